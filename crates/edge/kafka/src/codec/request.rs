//! From the bytes of a frame to a request.

use bytes::{Buf, Bytes};
use kafka_protocol::messages as m;
use kafka_protocol::protocol::Decodable;

use super::shape::{self, Malformed};

/// An API that is taken, with its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    /// The protocol's number for it.
    pub key: i16,
    /// Its name in the protocol.
    pub name: &'static str,
    /// The first version.
    pub min_version: i16,
    /// The last version.
    pub max_version: i16,
    /// The first version whose request header has tagged fields.
    pub flexible_from: i16,
}

macro_rules! apis {
    ($($name:ident($key:literal) $request:ident: $min:literal ..= $max:literal flexible $flexible:literal;)*) => {
        /// A decoded request.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Request {
            $(#[doc = stringify!($name)] $name(m::$request),)*
        }

        /// Every API that is taken, by key.
        pub static APIS: &[Api] = &[
            $(Api {
                key: $key,
                name: stringify!($name),
                min_version: $min,
                max_version: $max,
                flexible_from: $flexible,
            },)*
        ];

        pub(super) fn decode_body(api_key: i16, version: i16, body: &mut Bytes) -> Result<Request, Malformed> {
            match api_key {
                $($key => m::$request::decode(body, version).map(Request::$name).map_err(|_| Malformed::Content),)*
                _ => Err(Malformed::UnknownApi),
            }
        }
    };
}

// Produce is told from version 0, or librdkafka silently stops compressing; 0 to 2 are refused.
// JoinGroup keeps 0 and 1, from which librdkafka concludes that groups work at all.
apis! {
    Produce(0) ProduceRequest: 0 ..= 13 flexible 9;
    Fetch(1) FetchRequest: 4 ..= 17 flexible 12;
    ListOffsets(2) ListOffsetsRequest: 1 ..= 10 flexible 6;
    Metadata(3) MetadataRequest: 0 ..= 13 flexible 9;
    OffsetCommit(8) OffsetCommitRequest: 2 ..= 9 flexible 8;
    OffsetFetch(9) OffsetFetchRequest: 1 ..= 9 flexible 6;
    FindCoordinator(10) FindCoordinatorRequest: 0 ..= 5 flexible 3;
    JoinGroup(11) JoinGroupRequest: 0 ..= 9 flexible 6;
    Heartbeat(12) HeartbeatRequest: 0 ..= 4 flexible 4;
    LeaveGroup(13) LeaveGroupRequest: 0 ..= 5 flexible 4;
    SyncGroup(14) SyncGroupRequest: 0 ..= 5 flexible 4;
    DescribeGroups(15) DescribeGroupsRequest: 0 ..= 6 flexible 5;
    ListGroups(16) ListGroupsRequest: 0 ..= 5 flexible 3;
    ApiVersions(18) ApiVersionsRequest: 0 ..= 4 flexible 3;
    CreateTopics(19) CreateTopicsRequest: 2 ..= 7 flexible 5;
    DeleteTopics(20) DeleteTopicsRequest: 1 ..= 6 flexible 4;
    DeleteRecords(21) DeleteRecordsRequest: 0 ..= 2 flexible 2;
    InitProducerId(22) InitProducerIdRequest: 0 ..= 5 flexible 2;
    OffsetForLeaderEpoch(23) OffsetForLeaderEpochRequest: 2 ..= 4 flexible 4;
    DescribeConfigs(32) DescribeConfigsRequest: 1 ..= 4 flexible 4;
    AlterConfigs(33) AlterConfigsRequest: 0 ..= 2 flexible 2;
    CreatePartitions(37) CreatePartitionsRequest: 0 ..= 3 flexible 2;
    DeleteGroups(42) DeleteGroupsRequest: 0 ..= 2 flexible 2;
    IncrementalAlterConfigs(44) IncrementalAlterConfigsRequest: 0 ..= 1 flexible 1;
    OffsetDelete(47) OffsetDeleteRequest: 0 ..= 0 flexible 32767;
    DescribeCluster(60) DescribeClusterRequest: 0 ..= 2 flexible 0;
    DescribeTopicPartitions(75) DescribeTopicPartitionsRequest: 0 ..= 0 flexible 0;
}

const PRODUCE: i16 = 0;
/// The first version of Produce that is decoded; those before it are read as it and refused by the handler.
const PRODUCE_BASE: i16 = 3;
/// A string that is null.
const NO_STRING: [u8; 2] = [0xff; 2];

/// The API with this key, if it is taken.
pub(crate) fn api(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|a| a.key == key)
}

/// The first bytes of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which API.
    pub api_key: i16,
    /// Which version of it.
    pub version: i16,
    /// Goes back with the answer.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: String,
}

/// Reads the header and leaves `frame` at the body. A client id that is not UTF-8 is shown with replacement characters.
///
/// # Errors
/// [`Malformed::UnknownApi`] and [`Malformed::Short`]. The version is not judged here.
pub(crate) fn decode_header(frame: &mut Bytes) -> Result<Header, Malformed> {
    let short = |_| Malformed::Short;
    let api_key = frame.try_get_i16().map_err(short)?;
    let version = frame.try_get_i16().map_err(short)?;
    let correlation_id = frame.try_get_i32().map_err(short)?;
    let api = api(api_key).ok_or(Malformed::UnknownApi)?;
    let client_id = match frame.try_get_i16().map_err(short)? {
        -1 => String::new(),
        n => {
            let n = usize::try_from(n).map_err(|_| Malformed::NegativeLength)?;
            if n > frame.len() {
                return Err(Malformed::Short);
            }
            String::from_utf8_lossy(&frame.split_to(n)).into_owned()
        }
    };
    if version >= api.flexible_from && version <= api.max_version {
        let used = shape::skip_tags(frame)?;
        frame.advance(used);
    }
    Ok(Header { api_key, version, correlation_id, client_id })
}

/// Reads the body that follows a header.
///
/// # Errors
/// [`Malformed`], with nothing allocated beyond a small multiple of the body's length.
pub(crate) fn decode_request_body(api_key: i16, version: i16, mut body: Bytes) -> Result<Request, Malformed> {
    let api = api(api_key).ok_or(Malformed::UnknownApi)?;
    if version < api.min_version || version > api.max_version {
        return Err(Malformed::UnknownVersion);
    }
    let mut version = version;
    if api_key == PRODUCE && version < PRODUCE_BASE {
        // The old layout is that of the base version without the transactional id in front.
        body = [NO_STRING.as_slice(), &body].concat().into();
        version = PRODUCE_BASE;
    }
    shape::check(api_key, version, &body)?;
    decode_body(api_key, version, &mut body)
}

/// Reads a whole request, without its length prefix. Does no I/O and is bounded in memory, whatever the bytes are.
///
/// # Errors
/// [`Malformed`].
pub fn decode_request(frame: &[u8]) -> Result<(Header, Request), Malformed> {
    let mut frame = Bytes::copy_from_slice(frame);
    let header = decode_header(&mut frame)?;
    let request = decode_request_body(header.api_key, header.version, frame)?;
    Ok((header, request))
}
