//! The write-ahead log: ground state. All partitions' appends, marks and topic changes go into one sequence of files.
//!
//! A file is a header and records back to back. A record says up to where its file was durable when the record was
//! written; so on recovery a damaged place that lies before such a point is damage, and anything else is the torn tail
//! of a write that nobody was told had happened.

mod file;
mod record;

pub(crate) use file::{FILE_HEADER_BYTES, Tail, WalFile, list, path};
pub(crate) use record::{RecordWriter, TopicEvent, Trim, WalPart, WalRecord, append_record_bytes};
