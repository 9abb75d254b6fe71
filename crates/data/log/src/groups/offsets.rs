//! How committed offsets are kept in the log's marks.
//!
//! Name: `group/<length of the group's id>:<group's id>/<topic id>/<partition>`; the length keeps apart groups whose
//! ids contain slashes. Value: version 1, offset, leader epoch, time of the commit, metadata; big endian.

use bytes::Bytes;
use fleuve_types::ObjectId;

/// What all names of offset marks begin with.
pub const OFFSET_MARKS_PREFIX: &str = "group/";
/// Most bytes of the metadata that a client stores with an offset (Kafka's `offset.metadata.max.bytes`).
pub const OFFSET_METADATA_BYTES: usize = 4096;

const VERSION: u8 = 1;

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset that the group wants.
    pub offset: i64,
    /// The leader epoch of the record before it, or -1.
    pub leader_epoch: i32,
    /// When it was committed, in milliseconds since 1970.
    pub commit_ms: i64,
    /// What the client stored with it.
    pub metadata: String,
}

impl CommittedOffset {
    /// The value of the mark.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(21 + self.metadata.len());
        out.push(VERSION);
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.to_be_bytes());
        out.extend_from_slice(&self.commit_ms.to_be_bytes());
        out.extend_from_slice(self.metadata.as_bytes());
        out.into()
    }

    /// Reads what [`CommittedOffset::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (leader_epoch, rest) = rest.split_first_chunk()?;
        let (commit_ms, metadata) = rest.split_first_chunk()?;
        (*version == VERSION).then_some(())?;
        Some(Self {
            offset: i64::from_be_bytes(*offset),
            leader_epoch: i32::from_be_bytes(*leader_epoch),
            commit_ms: i64::from_be_bytes(*commit_ms),
            metadata: std::str::from_utf8(metadata).ok()?.to_owned(),
        })
    }
}

/// What the names of a group's offset marks begin with.
pub fn group_prefix(group_id: &str) -> String {
    format!("{OFFSET_MARKS_PREFIX}{}:{group_id}/", group_id.len())
}

/// The name of the mark for one partition.
pub fn offset_key(group_id: &str, topic: ObjectId, partition: i32) -> String {
    format!("{}{topic}/{partition}", group_prefix(group_id))
}

/// Group, topic and partition of a mark's name; `None` when it is not that of an offset.
pub fn parse_offset_key(key: &str) -> Option<(&str, ObjectId, i32)> {
    let (len, rest) = key.strip_prefix(OFFSET_MARKS_PREFIX)?.split_once(':')?;
    let len: usize = len.parse().ok()?;
    let group_id = rest.get(..len)?;
    let (topic, partition) = rest.get(len..)?.strip_prefix('/')?.split_once('/')?;
    Some((group_id, topic.parse().ok()?, partition.parse().ok()?))
}
