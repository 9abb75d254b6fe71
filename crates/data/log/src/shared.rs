//! What the handle, the writer and the mover share.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fleuve_types::{Clock, ObjectId, Result};
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::check::CheckedPart;
use crate::log::Appended;
use crate::mover::Inbox;
use crate::partition::{Partition, Topic};
use crate::segment::OpenSegments;
use crate::tail::TailCache;
use crate::wal::{TopicEvent, Trim, WalFile};
use crate::{AppendError, LogOptions};

pub(crate) type AppendReply = oneshot::Sender<Result<Vec<Appended>, AppendError>>;

/// Something for the writer.
#[derive(Debug)]
pub(crate) enum Request {
    Append(AppendRequest),
    Topic { topic: ObjectId, event: TopicEvent, reply: oneshot::Sender<Result<()>> },
    Trim { trims: Vec<Trim>, reply: oneshot::Sender<Result<()>> },
}

#[derive(Debug)]
pub(crate) struct AppendRequest {
    pub(crate) parts: Vec<CheckedPart>,
    pub(crate) marks: Vec<(String, Option<Bytes>)>,
    pub(crate) durable: bool,
    pub(crate) reply: AppendReply,
    /// The room that the append takes in the queue; given back when it is answered.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

impl Request {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Append(a) => append_bytes(&a.parts, &a.marks),
            _ => 1024,
        }
    }
}

/// What an append counts for in the queue.
pub(crate) fn append_bytes(parts: &[CheckedPart], marks: &[(String, Option<Bytes>)]) -> usize {
    let parts: usize = parts.iter().map(|p| p.bytes.len() + 128).sum();
    parts + marks.iter().map(|(k, v)| k.len() + v.as_ref().map_or(0, Bytes::len) + 64).sum::<usize>()
}

/// What waits for the writer, in order.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<QueueState>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    items: VecDeque<Request>,
    bytes: usize,
    is_closed: bool,
}

impl QueueState {
    fn take(&mut self, max_bytes: usize) -> Vec<Request> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.items.front() {
            bytes += next.size_bytes();
            if bytes > max_bytes && !taken.is_empty() {
                break;
            }
            self.bytes -= next.size_bytes();
            taken.extend(self.items.pop_front());
        }
        taken
    }
}

/// Why a request was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotQueued {
    Closed,
    Full,
}

impl Queue {
    /// Adds a request unless more than `limit_bytes` wait already.
    pub(crate) fn push(&self, request: Request, limit_bytes: usize) -> Result<(), NotQueued> {
        let mut q = self.state.lock();
        if q.is_closed {
            return Err(NotQueued::Closed);
        }
        if q.bytes > limit_bytes {
            return Err(NotQueued::Full);
        }
        q.bytes += request.size_bytes();
        q.items.push_back(request);
        drop(q);
        self.ready.notify_one();
        Ok(())
    }

    /// Waits for requests and takes as many as make up `max_bytes`; `None` when the queue is closed and empty.
    pub(crate) fn take(&self, max_bytes: usize) -> Option<Vec<Request>> {
        let mut q = self.state.lock();
        while q.items.is_empty() {
            if q.is_closed {
                return None;
            }
            self.ready.wait(&mut q);
        }
        Some(q.take(max_bytes))
    }

    /// As [`Queue::take`], but `None` also when nothing is there yet.
    pub(crate) fn try_take(&self, max_bytes: usize) -> Option<Vec<Request>> {
        let mut q = self.state.lock();
        (!q.items.is_empty()).then(|| q.take(max_bytes))
    }

    /// Takes no more; what is there is still given out.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.ready.notify_all();
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.state.lock().bytes
    }
}

/// The durable key-value pairs, as readers see them.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    pub(crate) by_key: BTreeMap<String, Bytes>,
    pub(crate) bytes: usize,
}

impl Marks {
    pub(crate) fn new(by_key: BTreeMap<String, Bytes>) -> Self {
        let bytes = by_key.iter().map(|(k, v)| k.len() + v.len()).sum();
        Self { by_key, bytes }
    }

    pub(crate) fn set(&mut self, key: String, value: Option<Bytes>) {
        let len = key.len();
        let old = match value {
            Some(value) => {
                self.bytes += len + value.len();
                self.by_key.insert(key, value)
            }
            None => self.by_key.remove(&key),
        };
        self.bytes -= old.map_or(0, |old| len + old.len());
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: LogOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) topics: RwLock<HashMap<ObjectId, Arc<Topic>>>,
    pub(crate) marks: RwLock<Marks>,
    pub(crate) wal_files: RwLock<BTreeMap<u32, Arc<WalFile>>>,
    pub(crate) tail: TailCache,
    pub(crate) open_segments: OpenSegments,
    pub(crate) queue: Queue,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) mover: Inbox,
    pub(crate) changed: watch::Sender<u64>,
    /// Why nothing can be appended any more.
    pub(crate) failed: OnceLock<String>,
    /// What a test wants of fdatasync: 1 is to fail, 2 is to panic.
    #[cfg(test)]
    pub(crate) sync_fault: std::sync::atomic::AtomicU8,
}

impl Shared {
    pub(crate) fn disk(&self) -> &dyn fleuve_store::Disk {
        self.options.disk.as_ref()
    }

    pub(crate) fn wal_dir(&self) -> std::path::PathBuf {
        self.options.dir.join("wal")
    }

    pub(crate) fn segments_dir(&self) -> std::path::PathBuf {
        self.options.dir.join("segments")
    }

    pub(crate) fn topic(&self, id: ObjectId) -> Option<Arc<Topic>> {
        self.topics.read().get(&id).cloned()
    }

    pub(crate) fn partition(&self, id: ObjectId, partition: i32) -> Option<Arc<Partition>> {
        self.topics.read().get(&id)?.partition(partition)
    }

    /// The error of an append when the log has failed.
    pub(crate) fn check_failed(&self) -> Result<(), AppendError> {
        match self.failed.get() {
            Some(why) => Err(AppendError::Io(why.clone())),
            None => Ok(()),
        }
    }

    /// From now on every append is refused.
    pub(crate) fn fail(&self, why: impl std::fmt::Display) {
        let why = format!(
            "the log has failed and takes no more until the server is started again; mend the disk or make room first (what was \
             acknowledged is kept, and can be read): {why}"
        );
        tracing::error!("{why}");
        // Only the first reason is kept.
        let _ = self.failed.set(why);
    }
}
