use std::path::PathBuf;
use std::sync::Arc;

use fleuve_store::{Disk, LocalDisk};
use fleuve_types::ObjectId;

use crate::limits;

/// How a log is opened. Plain data; checked by [`Log::open`](crate::Log::open).
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The folder; made if it is not there. One log at a time may have it open.
    pub dir: PathBuf,
    /// Size at which a partition starts a new segment file, in bytes.
    pub segment_bytes: u64,
    /// Size at which a write-ahead file is closed, in bytes.
    pub wal_bytes: u64,
    /// The largest record batch that any topic may take, in bytes.
    pub max_batch_bytes: usize,
    /// Bytes of appends that may wait for the writer; then `append` waits.
    pub queue_bytes: usize,
    /// Memory for recently written data, in bytes.
    pub tail_cache_bytes: usize,
    /// What is patched into batches as the partition leader epoch.
    pub leader_epoch: i32,
    /// False skips fdatasync: only for tests and simulations, a power cut then loses acknowledged data.
    pub sync: bool,
    /// The file system that the folder is on.
    pub disk: Arc<dyn Disk>,
    /// True makes it a log without threads, for simulations: what is queued is written when somebody waits for an answer or calls
    /// [`Log::write_queued`](crate::Log::write_queued), and what the background thread would do is done in
    /// [`Log::step`](crate::Log::step) and [`Log::settle`](crate::Log::settle). The order of all that is done then depends on the callers alone.
    pub stepped: bool,
}

impl LogOptions {
    /// The defaults, with data in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: limits::SEGMENT_BYTES,
            wal_bytes: limits::WAL_BYTES,
            max_batch_bytes: limits::BATCH_BYTES,
            queue_bytes: limits::QUEUE_BYTES,
            tail_cache_bytes: limits::TAIL_CACHE_BYTES,
            leader_epoch: 0,
            sync: true,
            disk: Arc::new(LocalDisk),
            stepped: false,
        }
    }
}

/// Who gives the records of a topic their timestamp (Kafka's `message.timestamp.type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum TimestampType {
    /// The producer.
    #[default]
    CreateTime,
    /// The log, when it appends.
    LogAppendTime,
}

/// What can be set for a topic.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct TopicConfig {
    /// How long data stays after it was appended, in milliseconds; `None` is for ever. It counts from the append, not
    /// from the record's own timestamp: a backfill of old events must not vanish.
    pub retention_ms: Option<i64>,
    /// How many bytes of each partition stay at least; `None` is all.
    pub retention_bytes: Option<i64>,
    /// The largest batch, in bytes with its header.
    pub max_message_bytes: usize,
    /// Who gives records their timestamp.
    pub timestamp_type: TimestampType,
}

impl Default for TopicConfig {
    /// Data stays for ever; batches up to [`limits::MESSAGE_BYTES`].
    fn default() -> Self {
        Self {
            retention_ms: None,
            retention_bytes: None,
            max_message_bytes: limits::MESSAGE_BYTES,
            timestamp_type: TimestampType::CreateTime,
        }
    }
}

/// A topic to be made.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    /// Its durable id; also the Kafka topic id.
    pub id: ObjectId,
    /// How many partitions, from 1.
    pub partitions: i32,
    /// Its settings.
    pub config: TopicConfig,
}

/// A topic as it is.
#[derive(Clone, Debug)]
pub struct TopicInfo {
    /// Its durable id.
    pub id: ObjectId,
    /// How many partitions.
    pub partitions: i32,
    /// Its settings.
    pub config: TopicConfig,
}
