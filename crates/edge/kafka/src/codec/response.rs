//! From an answer to the bytes of its frame.

use bytes::{BufMut, Bytes, BytesMut};
use fleuve_types::{Error, Result};
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};

/// A whole answer with its length in front. The response header of ApiVersions never has tagged fields, which the
/// message's own `header_version` knows.
///
/// # Errors
/// A bug: an answer that does not exist in that version.
pub(crate) fn encode_frame<R: Encodable + HeaderVersion>(
    correlation_id: i32,
    version: i16,
    answer: &R,
) -> Result<Bytes> {
    let size = answer.compute_size(version).map_err(|e| Error::bug(format!("an answer has no size: {e}")))?;
    let mut out = BytesMut::with_capacity(size + 16);
    out.put_u32(0);
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    let encoded = header
        .encode(&mut out, R::header_version(version))
        .and_then(|()| answer.encode(&mut out, version))
        .map_err(|e| Error::bug(format!("an answer cannot be written: {e}")));
    encoded?;
    let length = u32::try_from(out.len() - 4).map_err(|_| Error::bug("an answer is over 4 GB"))?;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(out.freeze())
}

/// A string of the protocol.
pub(crate) fn string(s: impl AsRef<str>) -> StrBytes {
    StrBytes::from_string(s.as_ref().to_string())
}
