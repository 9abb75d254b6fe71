use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use fleuve_types::{Clock, Error, ErrorKind, ObjectId, Result};
use tokio::sync::{oneshot, watch};

use crate::{AppendError, LogOptions, ReadError, TopicConfig, TopicInfo, TopicSpec};

/// Where an append went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The timestamp that the log gave (topics with `LogAppendTime`), in milliseconds; else -1.
    pub log_append_time_ms: i64,
    /// First offset of the partition that can be read.
    pub log_start_offset: i64,
    /// True when an idempotent producer had sent this before; the offsets are those of the first time.
    pub duplicate: bool,
}

/// What a read found.
#[derive(Clone, Debug)]
pub struct ReadSlice {
    /// Whole v2 batches in offset order; each element is one or more of them back to back. Empty at the end of the log.
    pub batches: Vec<Bytes>,
    /// The next offset that will be readable: all below is durable.
    pub high_watermark: i64,
    /// The first offset that can be read.
    pub log_start_offset: i64,
}

impl ReadSlice {
    /// Bytes in all batches.
    pub fn size_bytes(&self) -> usize {
        self.batches.iter().map(Bytes::len).sum()
    }

    /// All batches as one piece (copies when there is more than one element).
    pub fn concat(self) -> Bytes {
        match self.batches.len() {
            0 => Bytes::new(),
            1 => self.batches.into_iter().next().expect("one element"),
            _ => self.batches.concat().into(),
        }
    }
}

/// An append that is on its way: a future that is ready once it is durable and visible.
#[derive(Debug)]
pub struct PendingAppend(oneshot::Receiver<Result<Vec<Appended>, AppendError>>);

impl Future for PendingAppend {
    type Output = Result<Vec<Appended>, AppendError>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0)
            .poll(cx)
            .map(|r| r.unwrap_or_else(|_| Err(AppendError::Io("the log was closed".into()))))
    }
}

/// The durable log: a cheap handle that can be cloned and shared between threads.
#[derive(Clone, Debug)]
pub struct Log {}

#[allow(unused_variables, clippy::unused_async)]
impl Log {
    /// Opens the log in a folder, or makes a new one: takes the lock, reads the manifest, replays the write-ahead files.
    ///
    /// # Errors
    /// `Config` when another process has the folder open or an option makes no sense; `Io` when the disk fails or
    /// durable data is damaged (the message says where).
    pub fn open(options: LogOptions, clock: Arc<dyn Clock>) -> Result<Log> {
        Err(Error::unsupported("the log is not there yet"))
    }

    /// Writes what is queued, stops the threads and gives up the lock. Later appends fail; reads go on working.
    pub async fn close(&self) -> Result<()> {
        Ok(())
    }

    /// Makes a topic; durable when it returns.
    ///
    /// # Errors
    /// `AlreadyExists`, `Input` (partition count, settings), `Limit`, `Io`.
    pub async fn create_topic(&self, spec: TopicSpec) -> Result<()> {
        Err(Error::unsupported("the log is not there yet"))
    }

    /// Sets a topic's settings (all of them).
    ///
    /// # Errors
    /// `NotFound`, `Input`, `Io`.
    pub async fn set_config(&self, id: ObjectId, config: TopicConfig) -> Result<()> {
        Err(Error::unsupported("the log is not there yet"))
    }

    /// Raises the number of partitions to `total`.
    ///
    /// # Errors
    /// `NotFound`, `Input` when `total` is not more than there are, `Limit`, `Io`.
    pub async fn add_partitions(&self, id: ObjectId, total: i32) -> Result<()> {
        Err(Error::unsupported("the log is not there yet"))
    }

    /// Drops a topic with its data.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub async fn delete_topic(&self, id: ObjectId) -> Result<()> {
        Err(Error::unsupported("the log is not there yet"))
    }

    /// All topics, by id.
    pub fn topics(&self) -> Vec<TopicInfo> {
        Vec::new()
    }

    /// One topic.
    pub fn topic(&self, id: ObjectId) -> Option<TopicInfo> {
        None
    }

    /// Appends one or more v2 batches to a partition. With `durable` it returns after fdatasync, else once the writer
    /// has given the offsets (it becomes durable and readable soon after).
    ///
    /// Appends are written in the order in which they are first polled. Dropping the future after its first poll does
    /// not undo the append.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(
        &self,
        id: ObjectId,
        partition: i32,
        batches: Bytes,
        durable: bool,
    ) -> Result<Appended, AppendError> {
        Err(AppendError::Io("the log is not there yet".into()))
    }

    /// Appends batches to several partitions and sets marks (`None` deletes one), all or nothing even over a crash;
    /// returns once durable and visible. The answer has one element per part, in the same order. If any part is
    /// refused, nothing is written.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append_atomic(
        &self,
        parts: Vec<(ObjectId, i32, Bytes)>,
        marks: Vec<(String, Option<Bytes>)>,
    ) -> Result<Vec<Appended>, AppendError> {
        Err(AppendError::Io("the log is not there yet".into()))
    }

    /// As [`Log::append_atomic`], but only queues: calls take effect in the order in which they are made. It never
    /// waits; the queue lets it go past the limit at which `append` waits, up to twice that.
    ///
    /// # Errors
    /// `Limit` when the queue is full, and what can be seen before queueing; the rest comes from the future.
    pub fn append_atomic_nowait(
        &self,
        parts: Vec<(ObjectId, i32, Bytes)>,
        marks: Vec<(String, Option<Bytes>)>,
    ) -> Result<PendingAppend, AppendError> {
        Err(AppendError::Io("the log is not there yet".into()))
    }

    /// The value of a durable mark.
    pub fn mark(&self, key: &str) -> Option<Bytes> {
        None
    }

    /// All marks whose name begins with `prefix`, by name.
    pub fn marks_with_prefix(&self, prefix: &str) -> Vec<(String, Bytes)> {
        Vec::new()
    }

    /// Whole batches from the one that holds `offset`, up to `max_bytes` but at least one; none at the end of the log.
    /// Only durable data. May read from disk: on an async thread prefer a blocking section.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, id: ObjectId, partition: i32, offset: i64, max_bytes: usize) -> Result<ReadSlice, ReadError> {
        Err(ReadError::UnknownTopicOrPartition { topic: id, partition })
    }

    /// The first offset that can be read and the next one that will be (the high watermark).
    pub fn offsets(&self, id: ObjectId, partition: i32) -> Option<(i64, i64)> {
        None
    }

    /// The first record with a timestamp of at least `ts_ms`: its offset and timestamp. `Ok(None)` if there is none.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn offset_for_time(&self, id: ObjectId, partition: i32, ts_ms: i64) -> Result<Option<(i64, i64)>, ReadError> {
        Ok(None)
    }

    /// Forgets all records of a partition before an offset (-1: all there are); returns the new first offset.
    ///
    /// # Errors
    /// `NotFound`, `Input` when `before` is past the end, `Io`.
    pub async fn delete_records(&self, id: ObjectId, partition: i32, before: i64) -> Result<i64> {
        Err(Error::new(ErrorKind::NotFound, "the log is not there yet"))
    }

    /// Bytes of batches that a topic holds.
    pub fn size_bytes(&self, id: ObjectId) -> Option<u64> {
        None
    }

    /// Changes at every group commit, after the data became visible.
    pub fn changed(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    /// Lets go what retention no longer keeps at the time `now_ms`; returns the bytes freed.
    ///
    /// # Errors
    /// `Io`.
    pub async fn enforce_retention(&self, now_ms: i64) -> Result<u64> {
        Ok(0)
    }

    /// A producer id that was never given out before.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn next_producer_id(&self) -> Result<i64, AppendError> {
        Err(AppendError::Io("the log is not there yet".into()))
    }
}
