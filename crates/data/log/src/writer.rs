//! The writer: one thread that gives offsets, writes groups of appends to the write-ahead log and answers once they are
//! durable. While it waits for the disk, the next group gathers in the queue: the slower the disk, the larger the groups.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use fleuve_types::{Error, ErrorKind, ObjectId, Result};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::batch::{self, BatchHeader};
use crate::check::CheckedPart;
use crate::image::TopicImage;
use crate::log::Appended;
use crate::mover::Mover;
use crate::partition::{Extent, PartitionState, Topic};
use crate::producers::{Producers, Verdict};
use crate::shared::{AppendReply, AppendRequest, Request, Shared};
use crate::wal::{RecordWriter, TopicEvent, Trim, WalFile, WalPart, append_record_bytes};
use crate::{AppendError, TimestampType, TopicConfig, limits};

/// A partition as the writer sees it, ahead of what is durable.
#[derive(Debug, Default)]
struct Sequencer {
    start: i64,
    next_offset: i64,
    producers: Producers,
}

#[derive(Debug)]
struct TopicSequencer {
    config: TopicConfig,
    partitions: Vec<Sequencer>,
}

#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    secret: u64,
    next_generation: u64,
    topics: HashMap<ObjectId, TopicSequencer>,
    file: Arc<WalFile>,
    position: u64,
}

/// A bug in the writer must not leave callers waiting for ever: the log fails instead.
#[derive(Debug)]
struct PanicGuard(Arc<Shared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the writer has panicked; this is a bug");
            self.0.permits.close();
            self.0.queue.close();
            // Dropping a request tells its caller.
            while self.0.queue.take(usize::MAX).is_some() {}
        }
    }
}

/// What becomes visible when a group is durable, in order.
#[derive(Debug)]
enum Publication {
    Extent { topic: ObjectId, partition: i32, extent: Extent },
    Marks(Vec<(String, Option<Bytes>)>),
    Topic { topic: ObjectId, event: TopicEvent },
    Trims(Vec<Trim>),
}

/// An answer that waits for the disk.
#[derive(Debug)]
enum Answer {
    Append { reply: AppendReply, appended: Vec<Appended>, _permit: Option<OwnedSemaphorePermit> },
    Done(oneshot::Sender<Result<()>>),
}

impl Answer {
    fn give(self, result: Result<(), &str>) {
        // Nobody waits any more when a send fails: the caller has dropped its future.
        match (self, result) {
            (Self::Append { reply, appended, .. }, Ok(())) => drop(reply.send(Ok(appended))),
            (Self::Append { reply, .. }, Err(why)) => drop(reply.send(Err(AppendError::Io(why.to_owned())))),
            (Self::Done(reply), Ok(())) => drop(reply.send(Ok(()))),
            (Self::Done(reply), Err(why)) => drop(reply.send(Err(Error::new(ErrorKind::Io, why)))),
        }
    }
}

/// What one write and one fdatasync carry.
#[derive(Debug)]
struct Group {
    now_ms: i64,
    records: RecordWriter,
    publications: Vec<Publication>,
    /// Answered after the write.
    early: Vec<Answer>,
    /// Answered after the fdatasync.
    durable: Vec<Answer>,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        secret: u64,
        next_generation: u64,
        topics: impl IntoIterator<Item = (ObjectId, TopicImage)>,
        file: Arc<WalFile>,
        position: u64,
    ) -> Self {
        let topics = topics.into_iter().map(|(id, t)| (id, TopicSequencer::from_image(t))).collect();
        Self { shared, secret, next_generation, topics, file, position }
    }

    /// Works until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let shared = self.shared.clone();
        let _guard = PanicGuard(shared.clone());
        while let Some(requests) = shared.queue.take(limits::GROUP_BYTES) {
            self.write_group(requests);
        }
    }

    /// Writes what is queued, and no more; for a log without threads.
    pub(crate) fn write_queued(&mut self) {
        let shared = self.shared.clone();
        let _guard = PanicGuard(shared.clone());
        while let Some(requests) = shared.queue.try_take(limits::GROUP_BYTES) {
            self.write_group(requests);
        }
    }

    fn write_group(&mut self, mut requests: Vec<Request>) {
        if let Err(e) = self.make_room() {
            // What nobody may be waiting for cannot be refused: what comes after it would hide that it is not there.
            let goes_on = self.shared.check_failed().is_ok() && self.has_reserve(&e);
            let (own, others): (Vec<_>, _) = requests.into_iter().partition(|r| goes_on && is_nowait(r));
            others.into_iter().for_each(|r| refuse(r, &e));
            if own.is_empty() {
                return;
            }
            requests = own;
        }
        self.commit(requests);
    }

    /// False if the current file has grown as far as it may for Fleuve's own appends, too: then the log has failed.
    fn has_reserve(&self, why: &AppendError) -> bool {
        let has = self.position < self.shared.options.wal_bytes * limits::WAL_GROWTH * limits::OWN_GROWTH;
        if !has {
            self.shared.fail(why);
        }
        has
    }

    /// Begins a new file when the current one is full; waits for the mover when it is too far behind.
    fn make_room(&mut self) -> Result<(), AppendError> {
        self.shared.check_failed()?;
        let options = &self.shared.options;
        if self.position < options.wal_bytes {
            return Ok(());
        }
        if self.shared.mover.closed_files() >= limits::CLOSED_WALS {
            if self.position < options.wal_bytes * limits::WAL_GROWTH {
                return Ok(());
            }
            if options.stepped {
                // Nobody else would make room.
                let mover = Mover::new(self.shared.clone());
                while self.shared.mover.closed_files() >= limits::CLOSED_WALS && mover.step() {}
            }
            let freed = self.shared.mover.wait_for_room(limits::CLOSED_WALS);
            freed.map_err(|e| AppendError::Io(format!("old data cannot be moved out of the write-ahead log: {e}")))?;
        }
        let seq = self.file.seq + 1;
        let file = match WalFile::create(self.shared.disk(), &self.shared.wal_dir(), seq) {
            Ok(file) => Arc::new(file),
            Err(e) => {
                self.shared.fail(format!("cannot begin write-ahead file {seq}: {e}"));
                return self.shared.check_failed();
            }
        };
        self.shared.wal_files.write().insert(seq, file.clone());
        self.shared.mover.closed(self.file.seq);
        self.file = file;
        self.position = crate::wal::FILE_HEADER_BYTES;
        self.forget_old_producers();
        Ok(())
    }

    fn forget_old_producers(&mut self) {
        let now_ms = self.shared.clock.now_ms();
        self.topics.values_mut().flat_map(|t| &mut t.partitions).for_each(|p| p.producers.expire(now_ms));
    }

    fn commit(&mut self, requests: Vec<Request>) {
        let capacity = requests.iter().map(record_bytes).sum();
        let mut group = Group {
            now_ms: self.shared.clock.now_ms(),
            records: RecordWriter::new(self.secret, self.file.seq, self.position, capacity),
            publications: Vec::new(),
            early: Vec::new(),
            durable: Vec::new(),
        };
        for request in requests {
            match request {
                Request::Append(append) => self.append(append, &mut group),
                Request::Topic { topic, event, reply } => match self.topic(topic, event, &mut group) {
                    Ok(()) => group.durable.push(Answer::Done(reply)),
                    Err(e) => drop(reply.send(Err(e))),
                },
                Request::Trim { trims, reply } => {
                    self.trim(trims, &mut group);
                    group.durable.push(Answer::Done(reply));
                }
            }
        }
        self.write(group);
    }

    /// Writes a group, waits for the disk, makes it visible and answers.
    fn write(&mut self, group: Group) {
        let end = group.records.position();
        let bytes = Bytes::from(group.records.out);
        let is_empty = bytes.is_empty();
        let mut written = self.file.file.write_all_at(&bytes, self.position);
        if written.is_ok() {
            group.early.into_iter().for_each(|a| a.give(Ok(())));
            if !is_empty {
                written = self.sync();
            }
        } else {
            group.early.into_iter().for_each(|a| a.give(Err("the write failed")));
        }
        if let Err(e) = written {
            self.shared.fail(format!("cannot write to {}: {e}", self.file.path.display()));
            let why = self.shared.failed.get().map_or("the log has failed", String::as_str);
            group.durable.into_iter().for_each(|a| a.give(Err(why)));
            return;
        }
        if !is_empty {
            self.shared.tail.insert(self.file.seq, self.position, bytes);
            self.position = end;
            publish(&self.shared, group.publications);
        }
        group.durable.into_iter().for_each(|a| a.give(Ok(())));
    }

    fn sync(&self) -> std::io::Result<()> {
        #[cfg(test)]
        match self.shared.sync_fault.load(std::sync::atomic::Ordering::SeqCst) {
            0 => {}
            1 => return Err(std::io::Error::other("injected")),
            _ => panic!("injected"),
        }
        if self.shared.options.sync { self.file.file.sync() } else { Ok(()) }
    }

    fn append(&mut self, append: AppendRequest, group: &mut Group) {
        let AppendRequest { parts, marks, durable, reply, permit } = append;
        let verdicts = match self.check(&parts, &marks, group.now_ms) {
            Ok(verdicts) => verdicts,
            Err(e) => return drop(reply.send(Err(e))),
        };
        let fresh = verdicts.iter().filter(|v| **v == Verdict::Append).count();
        let mut appended = Vec::with_capacity(parts.len());
        if fresh > 0 || !marks.is_empty() {
            group.records.begin_append(group.now_ms, fresh, marks.len());
        }
        for (part, verdict) in parts.iter().zip(verdicts) {
            appended.push(match verdict {
                Verdict::Append => self.append_part(part, group),
                Verdict::Duplicate(seen) => Appended {
                    base_offset: seen.base_offset,
                    last_offset: seen.last_offset,
                    log_append_time_ms: batch::NO_TIMESTAMP,
                    log_start_offset: self.sequencer(part.topic, part.partition).map_or(0, |s| s.start),
                    duplicate: true,
                },
            });
        }
        if fresh > 0 || !marks.is_empty() {
            group.records.marks(&marks);
            group.records.end();
        }
        if !marks.is_empty() {
            group.publications.push(Publication::Marks(marks));
        }
        let answer = Answer::Append { reply, appended, _permit: permit };
        if durable { group.durable.push(answer) } else { group.early.push(answer) }
    }

    /// Decides about all parts before any is done, so that one refusal leaves nothing behind.
    fn check(
        &mut self,
        parts: &[CheckedPart],
        marks: &[(String, Option<Bytes>)],
        now_ms: i64,
    ) -> Result<Vec<Verdict>, AppendError> {
        let marks_bytes: usize = marks.iter().map(|(k, v)| k.len() + v.as_ref().map_or(0, Bytes::len)).sum();
        if marks_bytes > 0 && marks_bytes + self.shared.marks.read().bytes > limits::MARKS_BYTES {
            return Err(AppendError::Limit(format!("all marks together hold {} bytes at most", limits::MARKS_BYTES)));
        }
        let mut with_producer = Vec::new();
        let mut verdicts = Vec::with_capacity(parts.len());
        for p in parts {
            let s = self.sequencer(p.topic, p.partition);
            let s = s.ok_or(AppendError::UnknownTopicOrPartition { topic: p.topic, partition: p.partition })?;
            if s.next_offset.checked_add(p.records()).is_none() {
                return Err(AppendError::Limit("the partition has no offsets left".into()));
            }
            verdicts.push(s.producers.check(&p.headers, now_ms)?);
            if parts.len() > 1 && p.headers.iter().any(BatchHeader::has_producer) {
                with_producer.push((p.topic, p.partition));
            }
        }
        // Each part was looked at by itself, so sequence numbers over two parts of one partition could not be followed.
        with_producer.sort_unstable();
        if with_producer.windows(2).any(|w| w[0] == w[1]) {
            return Err(AppendError::InvalidRecord(
                "an atomic append has two idempotent parts for one partition".into(),
            ));
        }
        Ok(verdicts)
    }

    fn sequencer(&mut self, topic: ObjectId, partition: i32) -> Option<&mut Sequencer> {
        self.topics.get_mut(&topic)?.partitions.get_mut(usize::try_from(partition).ok()?)
    }

    fn append_part(&mut self, part: &CheckedPart, group: &mut Group) -> Appended {
        let (now_ms, leader_epoch, file_seq) = (group.now_ms, self.shared.options.leader_epoch, self.file.seq);
        let topic = self.topics.get_mut(&part.topic).expect("checked before");
        let stamps = topic.config.timestamp_type == TimestampType::LogAppendTime;
        let s = &mut topic.partitions[part.partition as usize];
        let base_offset = s.next_offset;
        let last_offset = base_offset + part.records() - 1;
        let newest = part.headers.iter().map(|h| h.max_timestamp_ms).max().unwrap_or(batch::NO_TIMESTAMP);
        let max_timestamp_ms = if stamps { now_ms } else { newest };
        let wal_part = WalPart {
            topic: part.topic,
            partition: part.partition,
            base_offset,
            last_offset,
            max_timestamp_ms,
            place: 0..0,
        };
        let mut at = group.records.part(&wal_part, &part.bytes);
        let position = group.records.position() - part.bytes.len() as u64;
        for h in &part.headers {
            let bytes = &mut group.records.out[at..at + h.size_bytes];
            batch::patch(bytes, s.next_offset, leader_epoch);
            if stamps {
                batch::patch_append_time(bytes, now_ms);
            }
            s.producers.record(h, s.next_offset, now_ms);
            s.next_offset += i64::from(h.last_offset_delta) + 1;
            at += h.size_bytes;
        }
        let len = part.bytes.len() as u32;
        let extent = Extent { base_offset, last_offset, max_timestamp_ms, append_ms: now_ms, position, len, file_seq };
        group.publications.push(Publication::Extent { topic: part.topic, partition: part.partition, extent });
        Appended {
            base_offset,
            last_offset,
            log_append_time_ms: if stamps { now_ms } else { batch::NO_TIMESTAMP },
            log_start_offset: s.start,
            duplicate: false,
        }
    }

    fn topic(&mut self, id: ObjectId, event: TopicEvent, group: &mut Group) -> Result<()> {
        let event = self.decide_topic(id, event)?;
        group.records.topic(id, &event);
        match &event {
            TopicEvent::Create { partitions, config, .. } => {
                self.next_generation += 1;
                let partitions = (0..*partitions).map(|_| Sequencer::default()).collect();
                let topic = TopicSequencer { config: config.clone(), partitions };
                self.topics.insert(id, topic);
            }
            TopicEvent::Configure { config } => {
                let topic = self.topics.get_mut(&id).expect("decided before");
                topic.config = config.clone();
            }
            TopicEvent::AddPartitions { total } => {
                let topic = self.topics.get_mut(&id).expect("decided before");
                topic.partitions.resize_with(*total as usize, Sequencer::default);
            }
            TopicEvent::Delete => drop(self.topics.remove(&id)),
        }
        group.publications.push(Publication::Topic { topic: id, event });
        Ok(())
    }

    fn decide_topic(&self, id: ObjectId, event: TopicEvent) -> Result<TopicEvent> {
        let limit = |what: String| Err(Error::new(ErrorKind::Limit, what));
        let all: usize = self.topics.values().map(|t| t.partitions.len()).sum();
        let current = self.topics.get(&id).map(|t| t.partitions.len());
        match (event, current) {
            (TopicEvent::Create { .. }, Some(_)) => {
                Err(Error::new(ErrorKind::AlreadyExists, format!("there is a topic {id} already")))
            }
            (TopicEvent::Create { partitions, config, .. }, None) => {
                if self.topics.len() >= limits::TOPICS || all + partitions as usize > limits::PARTITIONS {
                    return limit(format!("at most {} topics and {} partitions", limits::TOPICS, limits::PARTITIONS));
                }
                Ok(TopicEvent::Create { generation: self.next_generation, partitions, config })
            }
            (_, None) => Err(Error::not_found(format!("there is no topic {id}"))),
            (TopicEvent::AddPartitions { total }, Some(current)) => {
                if total as usize <= current {
                    return Err(Error::input(format!("topic {id} has {current} partitions; {total} is not more")));
                }
                if all + total as usize - current > limits::PARTITIONS {
                    return limit(format!("at most {} partitions", limits::PARTITIONS));
                }
                Ok(TopicEvent::AddPartitions { total })
            }
            (event, Some(_)) => Ok(event),
        }
    }

    fn trim(&mut self, mut trims: Vec<Trim>, group: &mut Group) {
        trims.retain_mut(|t| {
            let Some(s) = self.topics.get_mut(&t.topic).and_then(|s| s.partitions.get_mut(t.partition as usize)) else {
                return false;
            };
            t.start = t.start.min(s.next_offset);
            let moves = t.start > s.start;
            s.start = s.start.max(t.start);
            moves
        });
        if !trims.is_empty() {
            group.records.trim(&trims);
            group.publications.push(Publication::Trims(trims));
        }
    }
}

impl TopicSequencer {
    fn from_image(image: TopicImage) -> Self {
        let sequencer = |p: crate::image::PartitionImage| Sequencer {
            start: p.start,
            next_offset: p.next_offset,
            producers: p.producers,
        };
        Self { config: image.config, partitions: image.partitions.into_iter().map(sequencer).collect() }
    }
}

fn record_bytes(request: &Request) -> usize {
    match request {
        Request::Append(a) => append_record_bytes(a.parts.iter().map(|p| p.bytes.len()), &a.marks),
        _ => 1024,
    }
}

/// True for an append that did not wait for room in the queue: its caller may have gone on without the answer.
fn is_nowait(request: &Request) -> bool {
    matches!(request, Request::Append(a) if a.permit.is_none())
}

fn refuse(request: Request, e: &AppendError) {
    match request {
        Request::Append(a) => drop(a.reply.send(Err(e.clone()))),
        Request::Topic { reply, .. } | Request::Trim { reply, .. } => drop(reply.send(Err(e.clone().into()))),
    }
}

/// Makes durable things visible to readers.
fn publish(shared: &Shared, publications: Vec<Publication>) {
    for publication in publications {
        match publication {
            Publication::Extent { topic, partition, extent } => {
                // The topic may have been deleted in the same group.
                if let Some(p) = shared.partition(topic, partition) {
                    p.state.write().push(extent);
                }
            }
            Publication::Marks(marks) => {
                let mut all = shared.marks.write();
                marks.into_iter().for_each(|(key, value)| all.set(key, value));
            }
            Publication::Topic { topic, event } => publish_topic(shared, topic, event),
            Publication::Trims(trims) => {
                for t in trims {
                    if let Some(p) = shared.partition(t.topic, t.partition) {
                        p.state.write().trim(t.start);
                    }
                }
                shared.mover.clean_up();
            }
        }
    }
    shared.changed.send_modify(|n| *n += 1);
}

fn publish_topic(shared: &Shared, id: ObjectId, event: TopicEvent) {
    match event {
        TopicEvent::Create { generation, partitions, config } => {
            let states = (0..partitions).map(|_| PartitionState::default()).collect();
            shared.topics.write().insert(id, Arc::new(Topic::new(id, generation, config, states)));
        }
        TopicEvent::Configure { config } => {
            if let Some(t) = shared.topic(id) {
                *t.config.write() = config;
            }
        }
        TopicEvent::AddPartitions { total } => {
            if let Some(t) = shared.topic(id) {
                t.grow(total);
            }
        }
        TopicEvent::Delete => {
            shared.topics.write().remove(&id);
            shared.mover.clean_up();
        }
    }
}
