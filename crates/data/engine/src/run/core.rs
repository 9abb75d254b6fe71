//! The epoch loop.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use datafusion::execution::SessionState;
use fleuve_types::{Clock, Delta, Epoch, Error, ErrorKind, Frontier, ObjectId, Result};
use tokio::sync::watch;

use super::build::Building;
use super::checkpoint::Writing;
use super::epochs::Epochs;
use super::known::Known;
use super::memory::Limits;
use super::pace::Pace;
use super::reading::Taken;
use super::sinks::{Outside, Sink};
use super::stepping::EpochInput;
use super::times::{Advance, AllTimes, Outlived, TICK_US};
use super::topology::Topology;
use super::view::{Manifest, View};
use super::{
    Below, ByObject, CheckpointStore, Command, EngineOptions, EngineParts, EpochEntry, EpochStatus, Journal, Published,
    Reply, SavedCheckpoint, StreamReader, ViewDefinition, ViewState, ViewStatus, beside,
};
use crate::operators::caught;
use crate::output::ViewSnapshot;
use crate::state::runs::Space;

/// How often memory is measured.
pub(super) const MEASURE: Duration = Duration::from_millis(200);
/// How long to wait after a stream could not be read.
const RETRY: Duration = Duration::from_millis(200);
/// An epoch takes in at most this part of the budget, or a little.
const EPOCH_PART: usize = 64;
const SMALLEST_EPOCH_BYTES: usize = 64 << 10;

pub(super) struct Core {
    pub(super) options: EngineOptions,
    pub(super) state: SessionState,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Arc<dyn CheckpointStore>,
    pub(super) journal: Box<dyn Journal>,
    pub(super) streams: BTreeMap<ObjectId, Arc<dyn StreamReader>>,
    /// In an order in which each comes after the views that it reads.
    pub(super) views: Vec<View>,
    pub(super) sinks: Vec<Sink>,
    pub(super) building: HashMap<ObjectId, Building>,
    /// Views that read one that is not there yet: what they can rely on is known only when it is.
    pub(super) waiting: Vec<(ViewDefinition, Vec<Reply<()>>)>,
    /// What becomes another one when a view that is being built takes its place.
    pub(super) below: HashMap<ObjectId, Below>,
    pub(super) epoch: Epoch,
    pub(super) frontier: Frontier,
    /// The time of the epoch, which is what `now()` is in it. It never goes back.
    pub(super) time_us: i64,
    /// Time alone makes no epoch before this.
    pub(super) next_tick_us: i64,
    /// Event times at the frontier.
    pub(super) times: AllTimes,
    /// Watermarks that streams are to reach because somebody says so.
    pub(super) advances: BTreeMap<ObjectId, Advance>,
    /// The frontier of the epoch before.
    before: Frontier,
    /// The last checkpoint.
    pub(super) checkpointed: Epoch,
    pub(super) saved: Frontier,
    pub(super) pace: Pace,
    pub(super) writing: Option<Writing>,
    /// While it is there, changes are kept back instead of delivered.
    pub(super) withheld: Option<Vec<(ObjectId, Delta)>>,
    /// Views that are gone, with their files.
    pub(super) removed: Vec<(ObjectId, Vec<String>)>,
    /// Files that no checkpoint names after the next.
    pub(super) stale: Vec<String>,
    /// Where state lies that is read in parts.
    pub(super) space: Arc<Space>,
    pub(super) limits: Arc<Limits>,
    pub(super) commands: SyncSender<Command>,
    publish: watch::Sender<Arc<Published>>,
    /// Who reads what; none when the views have changed since.
    pub(super) topology: Option<Arc<Topology>>,
    pub(super) shown: Shown,
    pub(super) measured: Instant,
    /// Views stepped since.
    pub(super) unmeasured: bool,
    /// Rows that they took in.
    pub(super) unmeasured_rows: u64,
    /// Runs of views are being merged, which ends without a step of theirs; and were since the last checkpoint began, which still names
    /// those of before.
    pub(super) is_merging: bool,
    pub(super) has_merged: bool,
    pub(super) epochs: Epochs,
    retry_at: Option<Instant>,
    pub(super) replaying: bool,
    /// Views that wait until they are built anew, by their own definitions, as another took the place of one that they read.
    pub(super) to_follow: BTreeSet<ObjectId>,
    /// Up to where it was noted for each `(stream, partition)` what the records had promised that are to go; and as the last checkpoint has it.
    pub(super) outlived: Outlived,
    pub(super) outlived_saved: Outlived,
}

/// The views as they are published, and those of which something has changed since.
#[derive(Default)]
pub(super) struct Shown {
    views: ByObject<ViewSnapshot>,
    status: ByObject<ViewStatus>,
    pub(super) touched: BTreeSet<ObjectId>,
}

impl Core {
    pub(super) fn start(
        parts: EngineParts,
        commands: SyncSender<Command>,
        publish: watch::Sender<Arc<Published>>,
        epochs: Epochs,
    ) -> Result<Core> {
        let space = Space::open(parts.store.files(), parts.options.stepped)?;
        let mut parts = parts;
        // What an epoch takes in is not state, but it is memory, and it takes several times its size on the way.
        let part = (parts.options.budget_bytes / EPOCH_PART).max(SMALLEST_EPOCH_BYTES);
        parts.options.epoch_bytes = parts.options.epoch_bytes.min(part);
        let limits = Arc::new(Limits::of(&parts.options));
        if limits.beside().is_some() {
            beside::watch(Arc::downgrade(&limits))?;
        }
        let mut core = Core {
            limits,
            space,
            stale: vec![],
            pace: Pace::new(&parts.options),
            options: parts.options,
            state: parts.state,
            clock: parts.clock,
            store: parts.store,
            journal: parts.journal,
            streams: parts.streams.into_iter().collect(),
            views: vec![],
            sinks: vec![],
            building: HashMap::new(),
            advances: BTreeMap::new(),
            waiting: vec![],
            below: HashMap::new(),
            epoch: 0,
            frontier: Frontier::default(),
            time_us: 0,
            next_tick_us: i64::MIN,
            times: AllTimes::new(),
            before: Frontier::default(),
            checkpointed: 0,
            saved: Frontier::default(),
            writing: None,
            withheld: None,
            removed: vec![],
            commands,
            publish,
            topology: None,
            shown: Shown::default(),
            measured: Instant::now(),
            unmeasured: true,
            unmeasured_rows: 0,
            is_merging: false,
            has_merged: false,
            epochs,
            retry_at: None,
            replaying: true,
            to_follow: BTreeSet::new(),
            outlived: Outlived::new(),
            outlived_saved: Outlived::new(),
        };
        let to_build = core.restore(parts.views)?;
        for (id, view, writer) in parts.sinks {
            core.sinks.push(Sink::new(id, view, writer));
        }
        core.go_on_with_answers();
        for view in &mut core.views {
            view.tell_pending()?;
        }
        core.deliver_late();
        core.replay()?;
        let now_us = core.clock.now_us();
        if core.epoch == 0 {
            core.time_us = now_us;
        }
        core.times.values_mut().for_each(|t| t.awake(now_us));
        core.refresh_watermarks();
        core.start_late_sinks();
        core.publish_now();
        for definition in to_build {
            core.create(definition, vec![]);
        }
        // What they stopped for was mended right before the end.
        core.follow();
        Ok(core)
    }

    /// Repeats the epochs after the checkpoint. A long replay is not repeated as a whole if the process ends in it.
    fn replay(&mut self) -> Result<()> {
        for entry in self.journal.after(self.epoch)? {
            self.take_epoch(entry.epoch, Some(&entry))?;
            if self.pace.is_full() {
                self.begin_checkpoint(vec![]);
                self.finish_checkpoint(true);
            }
            self.pace.hurry();
        }
        self.replaying = false;
        Ok(())
    }

    /// Brings back the views of the last checkpoint; gives those that have to be built.
    fn restore(&mut self, definitions: Vec<ViewDefinition>) -> Result<Vec<ViewDefinition>> {
        let checkpoint = self.store.load()?;
        self.remove_left_overs(checkpoint.as_ref())?;
        let Some(checkpoint) = checkpoint else { return Ok(definitions) };
        self.epoch = checkpoint.epoch;
        self.checkpointed = checkpoint.epoch;
        self.time_us = checkpoint.time_us;
        self.decode_frontier(&checkpoint.frontier)
            .ok_or_else(|| Error::new(ErrorKind::Io, "the checkpoint's frontier is damaged"))?;
        self.times.retain(|stream, _| self.streams.contains_key(stream));
        self.frontier.offsets.retain(|(stream, _), _| self.streams.contains_key(stream));
        self.saved = self.frontier.clone();
        let to_build = self.open_views(definitions, &checkpoint)?;
        // What is built anew must not stay in the checkpoint as it was: a later one, taken before the build is done, would
        // show that state as if it belonged to the later epoch.
        for saved in checkpoint.views {
            if !self.views.iter().any(|v| v.id() == saved.id) {
                let manifest: Manifest = serde_json::from_slice(&saved.manifest).unwrap_or_default();
                self.removed.push((saved.id, manifest.names().map(str::to_string).collect()));
            }
        }
        Ok(to_build)
    }

    /// Removes runs that a crash left behind: no checkpoint names them.
    fn remove_left_overs(&self, checkpoint: Option<&SavedCheckpoint>) -> Result<()> {
        let views = checkpoint.iter().flat_map(|c| &c.views);
        let manifests: Vec<Manifest> = views.filter_map(|v| serde_json::from_slice(&v.manifest).ok()).collect();
        self.space.remove_others(&manifests.iter().flat_map(Manifest::names).collect())
    }

    pub(super) fn plan(&self, definition: ViewDefinition) -> Result<View> {
        self.plan_after(definition, &[])
    }

    /// As [`Core::plan`], with views that take the place of those that run.
    pub(super) fn plan_after(&self, definition: ViewDefinition, planned: &[View]) -> Result<View> {
        let known = Known::of(&definition, self.views.iter().chain(planned), &self.streams);
        caught("planning", || View::new(definition, &self.state, &known, &self.options, &self.space))
    }

    /// Acts only when told, and has done all of it before it takes the next command.
    fn run_stepped(&mut self, queue: &Receiver<Command>) {
        while let Ok(command) = queue.recv() {
            // Whoever waits for an answer may rely on the disk: nothing is written behind it.
            if !matches!(command, Command::Step(_)) {
                self.finish_checkpoint(true);
            }
            let only_begins = matches!(command, Command::BeginCheckpoint(_));
            if let Some(ending) = self.command(command) {
                return self.end(ending);
            }
            if !only_begins {
                self.finish_checkpoint(true);
            }
        }
    }

    pub(super) fn step(&mut self) -> bool {
        self.retry_at = None;
        let progressed = self.live_epoch();
        let outside = self.catch_up_outside();
        self.finish_checkpoint(true);
        if self.pace.is_urgent() && !outside.is_behind {
            self.begin_checkpoint(vec![]);
            self.finish_checkpoint(true);
        }
        progressed || outside.goes_on
    }

    pub(super) fn run(&mut self, queue: &Receiver<Command>) {
        if self.options.stepped {
            return self.run_stepped(queue);
        }
        loop {
            while let Ok(command) = queue.try_recv() {
                if let Some(ending) = self.command(command) {
                    return self.end(ending);
                }
            }
            self.finish_checkpoint(false);
            let progressed = self.live_epoch();
            let Outside { is_behind, goes_on, has_stopped } = self.catch_up_outside();
            if has_stopped {
                // There may be no epoch for long that shows it.
                self.publish_now();
            }
            let dirty = self.is_dirty();
            if dirty && !is_behind && self.writing.is_none() && self.pace.wait().is_zero() {
                self.begin_checkpoint(vec![]);
            }
            let goes_on = progressed || (is_behind && goes_on);
            if !goes_on {
                // What is looked at goes on between epochs, too: state that was not measured, builds that move on.
                if (self.unmeasured || self.is_merging || !self.building.is_empty())
                    && self.measured.elapsed() > MEASURE
                {
                    self.measure();
                    self.publish_now();
                }
                let mut wait = if self.writing.is_some() || self.retry_at.is_some() || is_behind {
                    Duration::from_millis(20)
                } else if self.unmeasured || self.is_merging || !self.building.is_empty() {
                    MEASURE
                } else if dirty {
                    self.pace.wait().max(Duration::from_millis(1))
                } else {
                    Duration::from_secs(3600)
                };
                if let Some(us) = self.time_due_us(self.clock.now_us()) {
                    wait = wait.min(Duration::from_micros(us.max(1_000) as u64));
                }
                match queue.recv_timeout(wait) {
                    Ok(command) => {
                        if let Some(ending) = self.command(command) {
                            return self.end(ending);
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    /// Whether a checkpoint would hold anything that the last one does not.
    pub(super) fn is_dirty(&self) -> bool {
        self.epoch > self.checkpointed
            || self.outlived != self.outlived_saved
            || (self.has_merged && !self.is_merging)
            || !self.removed.is_empty()
            || self.views.iter().any(|v| v.save_all)
    }

    pub(super) fn view(&self, id: ObjectId) -> Result<&View> {
        self.find_view(id).ok_or_else(|| {
            if self.building.contains_key(&id) {
                Error::new(ErrorKind::Retry, "the view is being built")
            } else {
                Error::not_found("there is no such view")
            }
        })
    }

    pub(super) fn remove_view(&mut self, id: ObjectId) {
        self.below.remove(&id);
        let mut replies: Vec<Reply<()>> =
            self.building.remove(&id).into_iter().flat_map(|b| b.take_replies()).collect();
        let gone = self.waiting.extract_if(.., |(definition, _)| definition.id == id);
        replies.extend(gone.flat_map(|(_, replies)| replies));
        for reply in replies {
            drop(reply.send(Err(Error::new(ErrorKind::Retry, "the view was dropped while it was being built"))));
        }
        if let Some(at) = self.views.iter().position(|v| v.id() == id) {
            let mut view = self.views.remove(at);
            self.topology = None;
            self.removed.push((id, view.take_names()));
        }
    }

    pub(super) fn live_epoch(&mut self) -> bool {
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return false;
        }
        self.retry_at = None;
        match self.take_epoch(self.epoch + 1, None) {
            Ok(progressed) => progressed,
            Err(e) => {
                tracing::error!(error = %e, "an epoch could not be read; it is tried again");
                self.retry_at = Some(Instant::now() + RETRY);
                false
            }
        }
    }

    /// Takes one epoch; false if there was nothing to take in. `again` repeats an epoch of the journal.
    fn take_epoch(&mut self, epoch: Epoch, again: Option<&EpochEntry>) -> Result<bool> {
        let began = Instant::now();
        let to = again.map(|e| &e.frontier);
        let ranges = self.ranges(to)?;
        let now_us = again.map_or_else(|| self.clock.now_us().max(self.time_us), |e| e.time_us);
        let is_due = || !self.advancing().is_empty() || self.time_due_us(now_us).is_some_and(|us| us <= 0);
        if ranges.is_empty() && to.is_none() && !is_due() {
            return Ok(false);
        }
        let read = self.read(&ranges, to.is_some())?;
        let mut input = EpochInput { columns: read.columns, ..EpochInput::default() };
        let mut count = 0;
        let was = (self.epoch, self.frontier.clone(), self.times.clone(), self.time_us, self.next_tick_us);
        self.before = self.frontier.clone();
        let spent: Vec<_> = read.taken.iter().map(|taken| (taken.stream, taken.spent)).collect();
        self.epochs.decoded(&spent);
        for Taken { stream, partition, next, rows, sorted, .. } in read.taken {
            self.frontier.advance(stream, partition, next);
            count += rows.iter().map(|d| d.len() as u64).sum::<u64>();
            input.rows.entry(stream).or_default().extend(rows);
            if let Some(sorted) = sorted {
                self.times.entry(stream).or_default().take(partition, next, &sorted, now_us);
                input.on_time.entry(stream).or_default().extend(sorted.on_time);
            }
        }
        self.epoch = epoch;
        self.time_us = now_us;
        self.next_tick_us = now_us.saturating_add(TICK_US);
        let advancing = if again.is_none() { self.advancing() } else { vec![] };
        let by_clock = self.settle_times(again, &advancing, now_us);
        if !self.replaying
            && let Err(e) = self.note_epoch(now_us, by_clock, !advancing.is_empty())
        {
            // Nothing has seen it: it is taken anew when the journal can be written.
            (self.epoch, self.frontier, self.times, self.time_us, self.next_tick_us) = was;
            return Err(e);
        }
        self.pace.took(count);
        self.stop_readers(&read.broken);
        self.step_views(&input, HashMap::new());
        if !self.replaying {
            self.publish_epoch();
            self.epochs.note(EpochStatus { epoch, time_us: now_us, rows: count, duration: began.elapsed() });
        }
        self.advanced(&advancing);
        Ok(true)
    }

    /// Writes down what decided this epoch, if anybody could tell it from another or somebody was told. `wait` until that is durable.
    pub(super) fn note_epoch(&mut self, time_us: i64, wait: bool, was_told: bool) -> Result<()> {
        let late_rows_leave = || self.streams.values().any(|s| s.event_time().is_some_and(|e| e.offsets.is_some()));
        let is_told = was_told || !self.sinks.is_empty() || late_rows_leave();
        if !is_told && !self.topology().tells() {
            return Ok(());
        }
        let watermarks = self.times.iter().filter_map(|(id, t)| Some((*id, t.watermark()?))).collect();
        let entry = EpochEntry { epoch: self.epoch, time_us, frontier: self.frontier.clone(), watermarks };
        self.journal.append(&entry, wait)
    }

    /// Views were stepped with so many rows of streams: what they hold now is measured now and then.
    pub(super) fn stepped(&mut self, rows: u64) {
        self.unmeasured = true;
        self.unmeasured_rows += rows;
        if self.measured.elapsed() > MEASURE || self.limits.are_near(self.unmeasured_rows) {
            self.measure();
        }
    }

    /// A view stops, and with it those that read it.
    pub(super) fn fail_view(&mut self, n: usize, reason: &str) {
        self.stop_view(n, reason, false);
    }

    /// As [`Core::fail_view`]; one that stops because of what it reads is built again when that runs.
    pub(super) fn stop_view(&mut self, n: usize, reason: &str, by_input: bool) {
        let mut stopped = vec![(n, reason.to_string(), by_input)];
        while let Some((n, reason, by_input)) = stopped.pop() {
            let view = &mut self.views[n];
            if view.failed.is_some() {
                continue;
            }
            let (id, name) = (view.id(), view.definition.name.clone());
            tracing::error!(view = %format!("{}.{}", name.0, name.1), reason, "a view stopped");
            // It was idle in epochs that it shows all the same.
            view.epoch = view.epoch.max(self.epoch.saturating_sub(1));
            view.fail(reason, by_input, Some(self.time_us), self.before.clone());
            self.topology = None;
            self.shown.touched.insert(id);
            // What it shows from now on cannot be built again.
            self.pace.hurry();
            for (m, other) in self.views.iter().enumerate() {
                if other.needs(id) {
                    stopped.push((m, format!("it reads {}.{}, which stopped", name.0, name.1), true));
                }
            }
        }
    }

    /// Shows readers what there is now, all of it looked at anew.
    pub(super) fn publish_now(&mut self) {
        self.shown = Shown::default();
        self.shown.touched.extend(self.views.iter().map(View::id));
        self.shown.touched.extend(self.waiting.iter().map(|(d, _)| d.id));
        self.publish_epoch();
    }

    /// Shows readers what an epoch has changed. What it costs does not depend on how many views were idle.
    fn publish_epoch(&mut self) {
        let topology = self.topology();
        let touched = std::mem::take(&mut self.shown.touched);
        for id in touched.iter().chain(self.building.keys()) {
            let view = topology.place(*id).map(|n| &self.views[n]);
            let progress = match self.building.get(id) {
                Some(b) => Some((b.progress.now(), b.profile.clone())),
                None => self.waiting.iter().any(|(d, _)| d.id == *id).then(Default::default),
            };
            if let Some(view) = view {
                self.shown.views.insert(*id, view.output.snapshot(self.epoch));
            }
            let status = match (view, progress) {
                (None, None) => continue,
                (Some(view), None) => view.status(),
                // The old answer is shown until the new one is there.
                (Some(view), Some((progress, _))) => {
                    ViewStatus { state: ViewState::Building(progress), ..view.status() }
                }
                (None, Some((progress, profile))) => ViewStatus::building(progress, profile),
            };
            self.shown.status.insert(*id, status);
        }
        let sinks = self.sinks.iter().map(|s| (s.id, s.failed.as_ref().map(Error::to_string))).collect();
        let times = self.times.iter().map(|(id, t)| (*id, t.shown())).collect();
        let (views, status) = (self.shown.views.clone(), self.shown.status.clone());
        let (epoch, time_us, frontier) = (self.epoch, self.time_us, self.frontier.clone());
        let memory = self.limits.status();
        let published = Published { epoch, time_us, frontier, views, status, sinks, times, memory };
        self.publish.send_replace(Arc::new(published));
    }
}
