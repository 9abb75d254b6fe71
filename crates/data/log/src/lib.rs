//! The durable log of Fleuve: topics with partitions of Kafka record batches, and a small durable map of marks.
//!
//! # What it is for
//! [`Log`] appends batches ([`Log::append`], [`Log::append_atomic`]) and answers when they are durable; it reads them
//! back, lets old ones go by retention, and remembers idempotent producers. [`batch`] reads and writes record batches.
//! [`groups`] is the consumer group protocol without I/O.
//!
//! # How
//! One thread writes all partitions' appends into one write-ahead log, a group of them with one fdatasync. A second one
//! copies closed write-ahead files into immutable segments per partition and names them in a manifest. What is durable
//! is the manifest and the write-ahead files behind it (ground state); all else is made from them when the log is opened.
//!
//! # Invariants
//! - Offsets of a partition have no gaps, never repeat and never go back.
//! - What was acknowledged as durable is there after any crash; what is readable is durable.
//! - An atomic append is there whole or not at all.
//! - A write that was cut short is cut off when the log is opened; a record that was written whole is never dropped;
//!   damage to durable data is an error that says where, never a silent loss.
//! - After a failed write or fdatasync nothing is appended until the log is opened again: the operating system may have
//!   dropped the data and forgotten the error.
//! - Bytes from clients are checked (lengths, checksum, counts) and never decoded on the way.
//! - Everything is bounded, see [`limits`].
//!
//! # What it does not know
//! Names of topics, the catalog, SQL, sockets, and Kafka's request and response formats.
//!
//! # What it does not promise
//! Transactions and compaction (transactional and control batches are refused). That two partitions of one atomic append
//! become visible to readers in the same instant. Replication: one folder, one process.

pub mod batch;
mod check;
mod codec;
mod disk;
mod error;
pub mod groups;
mod image;
pub mod limits;
mod log;
mod mover;
mod options;
mod partition;
mod producer_ids;
mod producers;
mod read;
mod recover;
mod retention;
mod segment;
mod shared;
mod stepped;
mod tail;
mod wal;
mod writer;

#[cfg(test)]
mod tests;

pub use error::{AppendError, ReadError};
pub use log::{Appended, Log, LogStats, PendingAppend, ReadSlice};
pub use options::{LogOptions, TimestampType, TopicConfig, TopicInfo, TopicSpec};
