//! ApiVersions: what is taken, and in which versions.

use std::future::{Ready, ready};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;

use super::Answer;
use crate::codec::{APIS, Header, encode_frame};

pub(crate) fn handle() -> ApiVersionsResponse {
    let keys = APIS.iter().map(|api| {
        ApiVersion::default().with_api_key(api.key).with_min_version(api.min_version).with_max_version(api.max_version)
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}

/// A version that is newer than ours is answered in version 0, so that the client learns what to ask with.
pub(crate) fn unknown_version(header: &Header) -> Ready<Answer> {
    let answer = handle().with_error_code(ResponseError::UnsupportedVersion.code());
    ready(encode_frame(header.correlation_id, 0, &answer).into())
}
