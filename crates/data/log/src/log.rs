use std::any::Any;
use std::future::Future;
use std::ops::Bound;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use fleuve_types::{Clock, Error, ObjectId, Result};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::check::{self, CheckedPart};
use crate::producer_ids::ProducerIds;
use crate::shared::{AppendRequest, NotQueued, Request, Shared, append_bytes};
use crate::stepped::{Answer, Stepped};
use crate::wal::{TopicEvent, Trim};
use crate::{
    AppendError, LogOptions, ReadError, TimestampType, TopicConfig, TopicInfo, TopicSpec, limits, mover, recover,
};

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
pub struct PendingAppend(Answer<Result<Vec<Appended>, AppendError>>);

impl Future for PendingAppend {
    type Output = Result<Vec<Appended>, AppendError>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0)
            .poll(cx)
            .map(|r| r.unwrap_or_else(|_| Err(AppendError::Io("the log was closed".into()))))
    }
}

/// The durable log: a cheap handle that can be cloned and shared between threads. When the last one is dropped the log
/// is closed.
#[derive(Clone, Debug)]
pub struct Log {
    running: Arc<Running>,
}

/// The threads and the lock behind all handles.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) shared: Arc<Shared>,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
    /// Writer and mover of a log without threads.
    pub(crate) stepped: Option<Stepped>,
    pub(crate) lock: Mutex<Option<Box<dyn Any + Send + Sync>>>,
    pub(crate) producer_ids: ProducerIds,
}

impl Running {
    /// Writes what is queued, ends the threads, gives up the lock. A second call finds nothing to do.
    fn stop(&self) {
        self.shared.permits.close();
        self.shared.queue.close();
        let mut threads = self.threads.lock().drain(..).collect::<Vec<_>>().into_iter();
        // The writer comes first: it may wait for the mover.
        if let Some(writer) = threads.next() {
            join(writer);
        }
        if let Some(stepped) = &self.stepped {
            stepped.write();
        }
        self.shared.mover.stop();
        threads.for_each(join);
        drop(self.lock.lock().take());
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the log has panicked");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn closed() -> AppendError {
    AppendError::Io("the log is closed".into())
}

fn check_config(config: &TopicConfig) -> Result<()> {
    let negative = |v: Option<i64>| v.is_some_and(|v| v < 0);
    if negative(config.retention_ms) || negative(config.retention_bytes) {
        return Err(Error::input("retention cannot be negative; leave it out to keep everything"));
    }
    if config.max_message_bytes > limits::APPEND_BYTES {
        return Err(Error::input(format!("max_message_bytes is at most {}", limits::APPEND_BYTES)));
    }
    Ok(())
}

fn check_partitions(partitions: i32) -> Result<()> {
    if (1..=limits::TOPIC_PARTITIONS).contains(&partitions) {
        return Ok(());
    }
    Err(Error::input(format!("a topic has 1 to {} partitions, not {partitions}", limits::TOPIC_PARTITIONS)))
}

impl Log {
    /// Opens the log in a folder, or makes a new one: takes the lock, reads the manifest, replays the write-ahead files.
    /// Blocks while it does.
    ///
    /// # Errors
    /// `Config` when another process has the folder open or an option makes no sense; `Io` when the disk fails or
    /// durable data is damaged (the message says where).
    pub fn open(options: LogOptions, clock: Arc<dyn Clock>) -> Result<Log> {
        Ok(Log { running: Arc::new(recover::open(options, clock)?) })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.running.shared
    }

    /// Writes what is queued, stops the threads and gives up the lock. Later appends fail; reads go on working.
    ///
    /// # Errors
    /// `Io` when the log had failed before, so that not all of what was queued is durable.
    pub async fn close(&self) -> Result<()> {
        let running = self.running.clone();
        let stopped = tokio::task::spawn_blocking(move || running.stop()).await;
        stopped.map_err(|e| Error::bug(format!("closing the log: {e}")))?;
        Ok(self.shared().check_failed()?)
    }

    /// Makes a topic; durable when it returns.
    ///
    /// # Errors
    /// `AlreadyExists`, `Input` (partition count, settings), `Limit`, `Io`.
    pub async fn create_topic(&self, spec: TopicSpec) -> Result<()> {
        check_config(&spec.config)?;
        check_partitions(spec.partitions)?;
        // The writer gives the generation.
        let event = TopicEvent::Create { generation: 0, partitions: spec.partitions, config: spec.config };
        self.change_topic(spec.id, event).await
    }

    /// Sets a topic's settings (all of them).
    ///
    /// # Errors
    /// `NotFound`, `Input`, `Io`.
    pub async fn set_config(&self, id: ObjectId, config: TopicConfig) -> Result<()> {
        check_config(&config)?;
        self.change_topic(id, TopicEvent::Configure { config }).await
    }

    /// Raises the number of partitions to `total`.
    ///
    /// # Errors
    /// `NotFound`, `Input` when `total` is not more than there are, `Limit`, `Io`.
    pub async fn add_partitions(&self, id: ObjectId, total: i32) -> Result<()> {
        check_partitions(total)?;
        self.change_topic(id, TopicEvent::AddPartitions { total }).await
    }

    /// Drops a topic with its data.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub async fn delete_topic(&self, id: ObjectId) -> Result<()> {
        self.change_topic(id, TopicEvent::Delete).await
    }

    async fn change_topic(&self, topic: ObjectId, event: TopicEvent) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.submit(Request::Topic { topic, event, reply }, answer).await
    }

    /// Queues something that is not an append and waits for its answer.
    async fn submit(&self, request: Request, answer: oneshot::Receiver<Result<()>>) -> Result<()> {
        self.shared().check_failed()?;
        // Such requests are rare and small: they do not wait for room.
        self.shared().queue.push(request, usize::MAX).map_err(|_| closed())?;
        Answer::new(answer, &self.running).await.unwrap_or_else(|_| Err(closed().into()))
    }

    /// All topics, by id.
    pub fn topics(&self) -> Vec<TopicInfo> {
        let mut topics: Vec<_> = self.shared().topics.read().values().map(|t| t.info()).collect();
        topics.sort_by_key(|t| t.id);
        topics
    }

    /// One topic.
    pub fn topic(&self, id: ObjectId) -> Option<TopicInfo> {
        self.shared().topic(id).map(|t| t.info())
    }

    /// Appends one or more v2 batches to a partition. With `durable` it returns after fdatasync, else once the writer
    /// has given the offsets and written (it becomes durable and readable soon after).
    ///
    /// Appends are written in the order in which they are first polled, as long as the queue has room; when it is full
    /// they wait for room side by side, so whoever needs an order then waits for one before polling the next. Dropping
    /// the future does not undo an append that was queued.
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
        let shared = self.shared();
        let unknown = AppendError::UnknownTopicOrPartition { topic: id, partition };
        let topic = shared.topic(id).filter(|t| t.partition(partition).is_some()).ok_or(unknown)?;
        let (limit_bytes, timestamps) = {
            let config = topic.config.read();
            (config.max_message_bytes.min(shared.options.max_batch_bytes), config.timestamp_type)
        };
        let part = check::part(id, partition, batches, limit_bytes)?;
        if timestamps == TimestampType::CreateTime {
            check::times(&part)?;
        }
        let parts = vec![part];
        let room = append_bytes(&parts, &[]).min(shared.options.queue_bytes) as u32;
        let permit = self.room(room).await?;
        let appended = self.enqueue(parts, Vec::new(), durable, Some(permit))?.await?;
        appended.into_iter().next().ok_or_else(|| AppendError::Io("an append was answered without offsets".into()))
    }

    /// Appends batches to several partitions and sets marks (`None` deletes one), all or nothing even over a crash;
    /// returns once durable and visible. The answer has one element per part, in the same order. If any part is
    /// refused, nothing is written. Batches may be as large as the log takes, whatever the topics say: this is for
    /// Fleuve's own writers.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append_atomic(
        &self,
        parts: Vec<(ObjectId, i32, Bytes)>,
        marks: Vec<(String, Option<Bytes>)>,
    ) -> Result<Vec<Appended>, AppendError> {
        let parts = self.check_atomic(parts, &marks)?;
        let shared = self.shared();
        let room = append_bytes(&parts, &marks).min(shared.options.queue_bytes) as u32;
        let permit = self.room(room).await?;
        self.enqueue(parts, marks, true, Some(permit))?.await
    }

    /// As [`Log::append_atomic`], but only queues: calls take effect in the order in which they are made. It never
    /// waits; the queue lets it go past the limit at which `append` waits, up to twice that.
    ///
    /// # Errors
    /// `Busy` when the queue is full, and what can be seen before queueing; the rest comes from the future.
    pub fn append_atomic_nowait(
        &self,
        parts: Vec<(ObjectId, i32, Bytes)>,
        marks: Vec<(String, Option<Bytes>)>,
    ) -> Result<PendingAppend, AppendError> {
        let parts = self.check_atomic(parts, &marks)?;
        self.enqueue(parts, marks, true, None)
    }

    /// Waits its turn for room in the queue. The turn is taken in the first poll: tokio's cooperative scheduling, which
    /// may put off any poll of its primitives in a busy task, is kept out, or later appends would overtake earlier ones.
    async fn room(&self, bytes: u32) -> Result<OwnedSemaphorePermit, AppendError> {
        let permits = self.shared().permits.clone();
        tokio::task::unconstrained(permits.acquire_many_owned(bytes)).await.map_err(|_| closed())
    }

    fn check_atomic(
        &self,
        parts: Vec<(ObjectId, i32, Bytes)>,
        marks: &[(String, Option<Bytes>)],
    ) -> Result<Vec<CheckedPart>, AppendError> {
        let limit_bytes = self.shared().options.max_batch_bytes;
        let parts: Vec<_> =
            parts.into_iter().map(|(id, p, bytes)| check::part(id, p, bytes, limit_bytes)).collect::<Result<_, _>>()?;
        check::atomic(&parts, marks)?;
        Ok(parts)
    }

    fn enqueue(
        &self,
        parts: Vec<CheckedPart>,
        marks: Vec<(String, Option<Bytes>)>,
        durable: bool,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<PendingAppend, AppendError> {
        let shared = self.shared();
        shared.check_failed()?;
        let (reply, answer) = oneshot::channel();
        let request = Request::Append(AppendRequest { parts, marks, durable, reply, permit });
        match shared.queue.push(request, shared.options.queue_bytes * 2) {
            Ok(()) => Ok(PendingAppend(Answer::new(answer, &self.running))),
            Err(NotQueued::Closed) => Err(closed()),
            Err(NotQueued::Full) => Err(AppendError::Busy),
        }
    }

    /// The value of a durable mark.
    pub fn mark(&self, key: &str) -> Option<Bytes> {
        self.shared().marks.read().by_key.get(key).cloned()
    }

    /// All marks whose name begins with `prefix`, by name.
    pub fn marks_with_prefix(&self, prefix: &str) -> Vec<(String, Bytes)> {
        let marks = self.shared().marks.read();
        let from = marks.by_key.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(|(k, _)| k.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Whole batches from the one that holds `offset`, up to `max_bytes` but at least one; none at the end of the log.
    /// Only durable data. May read from disk: on an async thread prefer a blocking section.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, id: ObjectId, partition: i32, offset: i64, max_bytes: usize) -> Result<ReadSlice, ReadError> {
        self.shared().read(id, partition, offset, max_bytes)
    }

    /// The first offset that can be read and the next one that will be (the high watermark).
    pub fn offsets(&self, id: ObjectId, partition: i32) -> Option<(i64, i64)> {
        let p = self.shared().partition(id, partition)?;
        let state = p.state.read();
        Some((state.start, state.end))
    }

    /// The first record with a timestamp of at least `ts_ms`: its offset and timestamp. `Ok(None)` if there is none.
    /// May read from disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn offset_for_time(&self, id: ObjectId, partition: i32, ts_ms: i64) -> Result<Option<(i64, i64)>, ReadError> {
        self.shared().offset_for_time(id, partition, ts_ms)
    }

    /// The record with the largest timestamp: its offset and timestamp (the first one if there are several). May read
    /// from disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn max_timestamp(&self, id: ObjectId, partition: i32) -> Result<Option<(i64, i64)>, ReadError> {
        let unknown = ReadError::UnknownTopicOrPartition { topic: id, partition };
        let p = self.shared().partition(id, partition).ok_or(unknown)?;
        let largest = p.state.read().max_timestamp_ms();
        largest.map_or(Ok(None), |ts_ms| self.offset_for_time(id, partition, ts_ms))
    }

    /// Forgets all records of a partition before an offset (-1: all there are); returns the new first offset.
    ///
    /// # Errors
    /// `NotFound`, `Input` when `before` is past the end, `Io`.
    pub async fn delete_records(&self, id: ObjectId, partition: i32, before: i64) -> Result<i64> {
        let not_found = || Error::not_found(format!("topic {id} has no partition {partition}, or does not exist"));
        let (start, end) = self.offsets(id, partition).ok_or_else(not_found)?;
        let before = if before == -1 { end } else { before };
        if !(0..=end).contains(&before) {
            return Err(Error::input(format!("offset {before} is out of range: the partition ends at {end}")));
        }
        if before > start {
            self.trim(vec![Trim { topic: id, partition, start: before }]).await?;
        }
        self.offsets(id, partition).map(|(start, _)| start).ok_or_else(not_found)
    }

    async fn trim(&self, trims: Vec<Trim>) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.submit(Request::Trim { trims, reply }, answer).await
    }

    /// Bytes of batches that a topic holds.
    pub fn size_bytes(&self, id: ObjectId) -> Option<u64> {
        let topic = self.shared().topic(id)?;
        let partitions = topic.partitions.read();
        Some(partitions.iter().map(|p| p.state.read().size_bytes()).sum())
    }

    /// Bytes of batches that a partition holds.
    pub fn partition_size_bytes(&self, id: ObjectId, partition: i32) -> Option<u64> {
        Some(self.shared().partition(id, partition)?.state.read().size_bytes())
    }

    /// Changes at every group commit, after the data became visible.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared().changed.subscribe()
    }

    /// What retention no longer keeps at the time `now_ms`: partitions and what their first offsets become. For whoever has something to
    /// do before [`Log::forget`].
    pub fn due_by_retention(&self, now_ms: i64) -> Vec<(ObjectId, i32, i64)> {
        mover::retention_trims(self.shared(), now_ms).iter().map(|t| (t.topic, t.partition, t.start)).collect()
    }

    /// Forgets all records of these partitions before these offsets. What is not there is passed over.
    ///
    /// # Errors
    /// `Io`.
    pub async fn forget(&self, before: &[(ObjectId, i32, i64)]) -> Result<()> {
        self.trim(
            before
                .iter()
                .map(|(topic, partition, start)| Trim { topic: *topic, partition: *partition, start: *start })
                .collect(),
        )
        .await
    }

    /// Lets go what retention no longer keeps at the time `now_ms`; returns by how many bytes the partitions concerned
    /// became smaller. Nobody else does this: whoever reads the log may have something to do before.
    ///
    /// # Errors
    /// `Io`.
    pub async fn enforce_retention(&self, now_ms: i64) -> Result<u64> {
        let trims = mover::retention_trims(self.shared(), now_ms);
        let sizes =
            |log: &Self| -> u64 { trims.iter().filter_map(|t| log.partition_size_bytes(t.topic, t.partition)).sum() };
        let before = sizes(self);
        if trims.is_empty() {
            return Ok(0);
        }
        self.trim(trims.clone()).await?;
        self.settle().await?;
        Ok(before.saturating_sub(sizes(self)))
    }

    /// Waits until the background thread has done what was to do: closed write-ahead files are segments, dead files are
    /// gone. For tests and orderly shutdown.
    ///
    /// # Errors
    /// `Io`, or when the log is closed.
    pub async fn settle(&self) -> Result<()> {
        let told = self.shared().mover.clean_up_and_tell();
        if let Some(stepped) = &self.running.stepped {
            while stepped.move_one() {}
        }
        told.await.unwrap_or_else(|_| Err(closed().into()))
    }

    /// Of a log without threads ([`LogOptions::stepped`]): writes what is queued.
    pub fn write_queued(&self) {
        if let Some(stepped) = &self.running.stepped {
            stepped.write();
        }
    }

    /// Of a log without threads: does one piece of the background work; false when there is none, or it failed.
    pub fn step(&self) -> bool {
        self.running.stepped.as_ref().is_some_and(Stepped::move_one)
    }

    /// A producer id that was never given out before.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn next_producer_id(&self) -> Result<i64, AppendError> {
        crate::producer_ids::next(self, &self.running.producer_ids).await
    }

    /// Why nothing is appended any more, if the disk has failed.
    pub fn failure(&self) -> Option<&str> {
        self.shared().failed.get().map(String::as_str)
    }

    /// Numbers for metrics.
    pub fn stats(&self) -> LogStats {
        let shared = self.shared();
        LogStats {
            group_commits: *shared.changed.borrow(),
            queue_bytes: shared.queue.size_bytes() as u64,
            wal_files: shared.wal_files.read().len() as u64,
            marks: shared.marks.read().by_key.len() as u64,
            has_failed: shared.failed.get().is_some(),
        }
    }
}

/// Numbers for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStats {
    /// Groups made durable since the log was opened.
    pub group_commits: u64,
    /// Bytes of appends that wait for the writer.
    pub queue_bytes: u64,
    /// Write-ahead files that are not yet moved to segments, the current one included.
    pub wal_files: u64,
    /// Durable marks.
    pub marks: u64,
    /// The disk has failed: nothing is appended any more.
    pub has_failed: bool,
}
