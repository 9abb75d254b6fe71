//! Subscribers of a view, each with a queue of its own. One that does not read loses what passes its limits, and is told so; the
//! view does not wait for it, and what waits for it does not grow.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{EngineOptions, ViewChange};

/// Why a subscription gives no change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangesEnd {
    /// The reader was too slow: so many epochs are lost.
    Lagged(u64),
    /// The view is gone.
    Closed,
    /// The view was replaced by one with other columns.
    Replaced,
    /// The view has stopped, for this reason.
    Stopped(String),
}

/// What may wait for one subscriber.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    pub(super) epochs: usize,
    pub(super) bytes: usize,
}

impl QueueLimits {
    pub(super) fn of(options: &EngineOptions) -> Self {
        Self { epochs: options.subscriber_epochs.max(1), bytes: options.subscriber_bytes }
    }
}

#[derive(Default)]
struct Waiting {
    changes: VecDeque<(ViewChange, usize)>,
    bytes: usize,
    lost: u64,
    end: Option<ChangesEnd>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

impl Queue {
    fn end(&self, end: ChangesEnd) {
        self.waiting.lock().end.get_or_insert(end);
        self.filled.notify_one();
    }

    fn push(&self, change: ViewChange, bytes: usize, limits: QueueLimits) {
        let mut waiting = self.waiting.lock();
        // One that lost something has to begin anew: what follows is of no use to it.
        if waiting.lost > 0 || waiting.changes.len() >= limits.epochs || waiting.bytes + bytes > limits.bytes {
            waiting.lost += 1 + waiting.changes.len() as u64;
            waiting.changes = VecDeque::new();
            waiting.bytes = 0;
        } else {
            waiting.bytes += bytes;
            waiting.changes.push_back((change, bytes));
        }
        drop(waiting);
        self.filled.notify_one();
    }
}

/// The changes of a view after a subscription began. One reader.
pub struct ViewChanges(Arc<Queue>);

impl ViewChanges {
    /// The next change, waited for.
    ///
    /// # Errors
    /// [`ChangesEnd`]; there is nothing after it.
    pub async fn recv(&mut self) -> Result<ViewChange, ChangesEnd> {
        loop {
            {
                let mut waiting = self.0.waiting.lock();
                if waiting.lost > 0 {
                    return Err(ChangesEnd::Lagged(waiting.lost));
                }
                if let Some((change, bytes)) = waiting.changes.pop_front() {
                    waiting.bytes -= bytes;
                    return Ok(change);
                }
                if let Some(end) = &waiting.end {
                    return Err(end.clone());
                }
            }
            self.0.filled.notified().await;
        }
    }
}

/// The subscribers of one view.
pub(super) struct Subscribers {
    limits: QueueLimits,
    queues: Vec<Arc<Queue>>,
}

impl Subscribers {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self { limits, queues: vec![] }
    }

    pub(super) fn subscribe(&mut self) -> ViewChanges {
        self.forget_gone();
        let queue = Arc::new(Queue::default());
        self.queues.push(queue.clone());
        ViewChanges(queue)
    }

    pub(super) fn send(&mut self, change: &ViewChange) {
        self.forget_gone();
        if self.queues.is_empty() {
            return;
        }
        let bytes = change.delta.memory_bytes();
        for queue in &self.queues {
            queue.push(change.clone(), bytes, self.limits);
        }
    }

    /// The view stops: after what waits for them there is nothing but that.
    pub(super) fn stop(&mut self, reason: &str) {
        self.end(&ChangesEnd::Stopped(reason.to_string()));
    }

    /// What comes now has other columns than what waits for them.
    pub(super) fn end_by_columns(&mut self) {
        self.end(&ChangesEnd::Replaced);
    }

    fn end(&mut self, end: &ChangesEnd) {
        for queue in self.queues.drain(..) {
            queue.end(end.clone());
        }
    }

    /// Takes over the subscribers of another.
    pub(super) fn extend(&mut self, mut other: Self) {
        self.queues.append(&mut other.queues);
    }

    /// A reader that is gone let go of its queue.
    fn forget_gone(&mut self) {
        self.queues.retain(|q| Arc::strong_count(q) > 1);
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        for queue in &self.queues {
            queue.end(ChangesEnd::Closed);
        }
    }
}
