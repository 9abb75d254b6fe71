//! Segments: ground state. An immutable file with batches of one partition, their sparse index, and a footer.
//!
//! The batches stand at the start of the file exactly as clients get them, so a run of them can be sent from the file.
//! What segments exist is said by the manifest; a file that it does not name is a leftover.

mod read;
mod write;

use std::path::{Path, PathBuf};

use fleuve_types::ObjectId;

pub(crate) use read::OpenSegments;
pub(crate) use write::SegmentWriter;

use crate::codec::{Decoded, Fields, PutFields};

/// What the manifest says of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentMeta {
    /// Never used twice in a log.
    pub(crate) file_no: u64,
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) data_bytes: u64,
    pub(crate) max_timestamp_ms: i64,
    /// When its first and last batches were appended.
    pub(crate) first_append_ms: i64,
    pub(crate) last_append_ms: i64,
}

impl SegmentMeta {
    pub(crate) const ENCODED_BYTES: usize = 56;

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.file_no);
        out.put_i64(self.base_offset);
        out.put_i64(self.last_offset);
        out.put_u64(self.data_bytes);
        out.put_i64(self.max_timestamp_ms);
        out.put_i64(self.first_append_ms);
        out.put_i64(self.last_append_ms);
    }

    pub(crate) fn decode(f: &mut Fields<'_>) -> Decoded<Self> {
        Ok(Self {
            file_no: f.u64()?,
            base_offset: f.i64()?,
            last_offset: f.i64()?,
            data_bytes: f.u64()?,
            max_timestamp_ms: f.i64()?,
            first_append_ms: f.i64()?,
            last_append_ms: f.i64()?,
        })
    }
}

/// The folder with the segments of a topic.
pub(crate) fn topic_dir(segments: &Path, topic: ObjectId) -> PathBuf {
    segments.join(topic.to_string())
}

/// The file of a segment.
pub(crate) fn path(segments: &Path, topic: ObjectId, partition: i32, segment: &SegmentMeta) -> PathBuf {
    let name = format!("{partition}-{:020}-{:x}.seg", segment.base_offset, segment.file_no);
    topic_dir(segments, topic).join(name)
}

/// One entry of the sparse index: a batch that begins at `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IndexEntry {
    base_offset: i64,
    position: u64,
    /// The largest timestamp of all batches before this one.
    max_timestamp_before_ms: i64,
}

const FOOTER_MAGIC: [u8; 8] = *b"FlvSeg1\n";
const INDEX_ENTRY_BYTES: usize = 24;
/// Data length, number of index entries, checksum of index and both, magic.
const FOOTER_BYTES: usize = 24;
