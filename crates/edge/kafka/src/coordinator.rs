//! Drives the groups: gives the pure state machine its time and its requests, and carries its answers back.
//!
//! Membership is derived state and empty after a start; members join again. Committed offsets are ground: they are marks of
//! the log, durable before the answer, and read from there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fleuve_log::groups::{
    CommittedOffset, Effect, Event, GroupDescription, GroupError, GroupLimits, GroupListing, GroupTable,
    OFFSET_MARKS_PREFIX, Ticket, group_prefix, offset_key, parse_offset_key,
};
use fleuve_log::{AppendError, Log, PendingAppend};
use fleuve_types::{Clock, ObjectId};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};

use crate::{KafkaOptions, Topics};

/// The longest that the timer sleeps: also how soon it sees a clock that jumped.
const LONGEST_SLEEP_MS: i64 = 60_000;
/// How often offsets that nobody needs any more are looked for.
const SWEEP: Duration = Duration::from_secs(600);
/// Offsets of a topic that is gone stay so long at least.
const ORPHAN_MS: i64 = 3_600_000;

/// Marks to set or to delete.
pub(crate) type Marks = Vec<(String, Option<Bytes>)>;

/// The offsets that a group has committed, by topic and partition.
pub(crate) type GroupOffsets = BTreeMap<(ObjectId, i32), CommittedOffset>;

/// The groups and their waiting members. Stops its tasks when it is dropped.
pub(crate) struct Coordinator {
    shared: Arc<Shared>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

struct Shared {
    table: Mutex<GroupTable>,
    waiting: Mutex<HashMap<Ticket, oneshot::Sender<Effect>>>,
    next_ticket: AtomicU64,
    /// When the timer is going to look next, in milliseconds of the clock.
    timer_at_ms: AtomicI64,
    timer: Notify,
    log: Log,
    topics: Arc<dyn Topics>,
    clock: Arc<dyn Clock>,
    offsets_retention_ms: i64,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

fn limits(options: &KafkaOptions) -> GroupLimits {
    let ms = |v: u32| i32::try_from(v).unwrap_or(i32::MAX);
    GroupLimits {
        groups: options.max_groups,
        members: options.max_group_members,
        session_timeout_min_ms: ms(options.min_session_timeout_ms),
        session_timeout_max_ms: ms(options.max_session_timeout_ms),
        initial_rebalance_delay_ms: i64::from(options.initial_rebalance_delay_ms),
        ..GroupLimits::default()
    }
}

impl Coordinator {
    /// Brings back the groups that have offsets and starts the timer. Must be called on a tokio runtime.
    pub(crate) fn start(options: &KafkaOptions, log: Log, topics: Arc<dyn Topics>, clock: Arc<dyn Clock>) -> Self {
        let mut table = GroupTable::new(limits(options));
        let now_ms = clock.now_ms();
        let marks = log.marks_with_prefix(OFFSET_MARKS_PREFIX);
        let groups: BTreeSet<&str> =
            marks.iter().filter_map(|(key, _)| parse_offset_key(key)).map(|(group, _, _)| group).collect();
        for group in &groups {
            table.restore(now_ms, group);
        }
        if !groups.is_empty() {
            info!(groups = groups.len(), offsets = marks.len(), "read the committed offsets of consumer groups");
        }
        let shared = Arc::new(Shared {
            table: Mutex::new(table),
            waiting: Mutex::default(),
            next_ticket: AtomicU64::new(1),
            timer_at_ms: AtomicI64::new(i64::MAX),
            timer: Notify::new(),
            log,
            topics,
            clock,
            offsets_retention_ms: options.offsets_retention_ms,
        });
        let tasks = [tokio::spawn(run_timer(shared.clone())), tokio::spawn(run_sweeper(shared.clone()))];
        Self { shared, tasks }
    }

    /// Hands a request to a group; the answer comes when the group has it. Dropping the receiver is allowed.
    pub(crate) fn ask(&self, group: &str, event: impl FnOnce(Ticket) -> Event) -> oneshot::Receiver<Effect> {
        let shared = &self.shared;
        let ticket = Ticket(shared.next_ticket.fetch_add(1, Ordering::Relaxed));
        let (answer, receiver) = oneshot::channel();
        {
            let mut waiting = shared.waiting.lock();
            // Those whose client left are let go now and then.
            if ticket.0.is_multiple_of(1024) {
                waiting.retain(|_, w| !w.is_closed());
            }
            waiting.insert(ticket, answer);
        }
        let effects = shared.table.lock().step(shared.clock.now_ms(), group, event(ticket));
        shared.carry_out(effects);
        shared.wake_timer();
        receiver
    }

    /// Commits offsets of a group, if the member may; the future is ready once they are durable.
    pub(crate) fn commit(
        &self,
        group: &str,
        member: &str,
        instance: Option<&str>,
        generation: i32,
        offsets: Vec<((ObjectId, i32), CommittedOffset)>,
    ) -> Result<PendingAppend, CommitError> {
        let shared = &self.shared;
        let marks: Marks = offsets
            .into_iter()
            .map(|((topic, partition), offset)| (offset_key(group, topic, partition), Some(offset.encode())))
            .collect();
        // Queued under the lock, so that commits of two generations cannot change places.
        let mut table = shared.table.lock();
        table.commit(shared.clock.now_ms(), group, member, instance, generation).map_err(CommitError::Group)?;
        let pending = shared.log.append_atomic_nowait(Vec::new(), marks).map_err(CommitError::Log);
        drop(table);
        shared.wake_timer();
        pending
    }

    /// The committed offset of one partition.
    pub(crate) fn offset(&self, group: &str, topic: ObjectId, partition: i32) -> Option<CommittedOffset> {
        CommittedOffset::decode(&self.shared.log.mark(&offset_key(group, topic, partition))?)
    }

    /// All committed offsets of a group.
    pub(crate) fn offsets(&self, group: &str) -> GroupOffsets {
        let marks = self.shared.log.marks_with_prefix(&group_prefix(group));
        marks
            .iter()
            .filter_map(|(key, value)| {
                let (_, topic, partition) = parse_offset_key(key)?;
                Some(((topic, partition), CommittedOffset::decode(value)?))
            })
            .collect()
    }

    /// Deletes a group without members, with its offsets; the future is ready once that is durable.
    pub(crate) fn delete(&self, group: &str) -> Result<PendingAppend, CommitError> {
        let shared = &self.shared;
        let mut table = shared.table.lock();
        table.delete(group).map_err(CommitError::Group)?;
        let marks = shared.log.marks_with_prefix(&group_prefix(group));
        let marks = marks.into_iter().map(|(key, _)| (key, None)).collect();
        shared.log.append_atomic_nowait(Vec::new(), marks).map_err(CommitError::Log)
    }

    /// Deletes some offsets of a group; the future is ready once that is durable.
    pub(crate) fn forget(&self, group: &str, which: &[(ObjectId, i32)]) -> Result<PendingAppend, CommitError> {
        let marks = which.iter().map(|(topic, partition)| (offset_key(group, *topic, *partition), None)).collect();
        self.shared.log.append_atomic_nowait(Vec::new(), marks).map_err(CommitError::Log)
    }

    /// One group.
    pub(crate) fn describe(&self, group: &str) -> GroupDescription {
        self.shared.table.lock().describe(group)
    }

    /// All groups, by id.
    pub(crate) fn list(&self) -> Vec<GroupListing> {
        self.shared.table.lock().list()
    }
}

/// Why a change of a group was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommitError {
    /// The group does not allow it.
    Group(GroupError),
    /// The log did not take it.
    Log(AppendError),
}

impl Shared {
    fn carry_out(&self, effects: Vec<Effect>) {
        if effects.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock();
        for effect in effects {
            let (Effect::Join(ticket, _)
            | Effect::Sync(ticket, _)
            | Effect::Heartbeat(ticket, _)
            | Effect::Leave(ticket, _, _)) = &effect;
            if let Some(answer) = waiting.remove(ticket) {
                // The client may have left.
                let _ = answer.send(effect);
            }
        }
    }

    fn wake_timer(&self) {
        let due = self.table.lock().next_deadline_ms().unwrap_or(i64::MAX);
        if due < self.timer_at_ms.load(Ordering::SeqCst) {
            self.timer.notify_one();
        }
    }

    /// The marks that can go: offsets of groups that have long been empty, and of topics that are gone.
    fn expired(&self) -> Marks {
        let now_ms = self.clock.now_ms();
        let marks = self.log.marks_with_prefix(OFFSET_MARKS_PREFIX);
        let mut gone = Marks::new();
        for (key, value) in marks {
            let (Some((group, topic, _)), Some(offset)) = (parse_offset_key(&key), CommittedOffset::decode(&value))
            else {
                continue;
            };
            let orphan = self.topics.by_id(topic).is_none() && offset.commit_ms < now_ms - ORPHAN_MS;
            let expired =
                || self.table.lock().offset_expired(now_ms, group, offset.commit_ms, self.offsets_retention_ms);
            if orphan || expired() {
                gone.push((key, None));
            }
        }
        gone
    }
}

async fn run_timer(shared: Arc<Shared>) {
    loop {
        let now_ms = shared.clock.now_ms();
        let due_ms = shared.table.lock().next_deadline_ms().unwrap_or(i64::MAX);
        if due_ms <= now_ms {
            let effects = shared.table.lock().tick(now_ms);
            shared.carry_out(effects);
            // Time has to pass before the next look, or a deadline that stays due would spin.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let sleep_ms = (due_ms - now_ms).min(LONGEST_SLEEP_MS);
        shared.timer_at_ms.store(now_ms + sleep_ms, Ordering::SeqCst);
        let missed = shared.table.lock().next_deadline_ms().is_some_and(|due| due < now_ms + sleep_ms);
        if !missed {
            let sleep = Duration::from_millis(sleep_ms.unsigned_abs());
            let _ = tokio::time::timeout(sleep, shared.timer.notified()).await;
        }
    }
}

async fn run_sweeper(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let marks = shared.expired();
        if marks.is_empty() {
            continue;
        }
        info!(offsets = marks.len(), "forgetting committed offsets that are no longer needed");
        let done = match shared.log.append_atomic_nowait(Vec::new(), marks) {
            Ok(pending) => pending.await.map(|_| ()),
            Err(e) => Err(e),
        };
        if let Err(e) = done {
            warn!(error = %e, "old committed offsets could not be forgotten; trying again later");
        }
    }
}
