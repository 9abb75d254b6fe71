//! One memory budget for the state of all views. When it is passed, the coldest state leaves memory first; a view stops only when
//! what cannot leave is too much, or when its state passes a limit on memory and disk together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use fleuve_types::{Error, ErrorKind, ObjectId, Result};

use super::beside::Beside;
use super::core::Core;
use super::view::{ANSWER, View, over_limit};
use super::{EngineOptions, ViewLimits};
use crate::paging::Evictable;

/// State read whole at a start is at most this part of the budget for each operator, and at most so many bytes.
const EAGER_PART: usize = 64;
const EAGER_BYTES: usize = 16 << 20;
/// The allocator gives back what is freed when at least this part of the budget has left memory at once: it takes a while.
const GIVEN_BACK_PART: usize = 16;
/// A step is thought to add at most this part of the budget.
const STEP_PART: usize = 4;
/// Room for what is held beside state and has not been seen yet.
const SPARE_PART: usize = 16;
/// That and what is held beside state take at most this part of the budget from it.
const BESIDE_PART: usize = 2;
/// A build may hold this part of the budget, however much the views hold.
const BUILD_PART: usize = 4;
/// Of an answer so much leaves memory at once, as epochs wait meanwhile.
const ANSWER_AT_ONCE_BYTES: usize = 64 << 20;
/// What a checkpoint copies to write it while steps go on is at most this part of the budget.
const FLUSH_PART: usize = 8;
/// However full memory is, it may be this part.
const LEAST_FLUSH_PART: usize = 32;
/// State of less than this part of the budget does not leave memory: it would be many small files.
const SMALLEST_PART: usize = 256;

/// How a view's own limits are called.
const OWN_MEMORY: &str = "option memory_bytes of the view";
const OWN_STATE: &str = "option state_bytes of the view";

/// What a row may add to the state, about.
const ROW_BYTES: u64 = 128;
/// This part of the budget may be added before memory is measured.
const UNMEASURED_PART: u64 = 16;

/// The memory budget and what is held of it, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStatus {
    /// What all may take together.
    pub budget_bytes: usize,
    /// What the state of all views and indexes takes, and of those that are being built.
    pub state_bytes: usize,
    /// What the process takes beside state, as far as it counts. None where it cannot be looked at.
    pub beside_bytes: Option<usize>,
}

/// What all that hold state know of the memory that is held.
pub(super) struct Limits {
    budget: usize,
    view_bytes: usize,
    view_state_bytes: u64,
    /// What a step may add before anybody looks.
    step: usize,
    hot: usize,
    /// Memory is measured whenever it may be, so that the machine's clock has no say.
    always: bool,
    /// None where the process cannot be looked at.
    beside: Option<Beside>,
    views: AtomicUsize,
    builds: AtomicUsize,
}

impl Limits {
    pub(super) fn of(options: &EngineOptions) -> Self {
        let budget = options.budget_bytes;
        Self {
            budget,
            view_bytes: options.view_bytes,
            view_state_bytes: options.view_state_bytes,
            step: options.epoch_bytes.min(budget / STEP_PART),
            hot: options.hot_bytes,
            always: options.stepped,
            beside: options.process.map(|p| Beside::of(p, options.epoch_bytes)),
            views: AtomicUsize::new(0),
            builds: AtomicUsize::new(0),
        }
    }

    /// Above this state leaves memory.
    fn high(&self) -> usize {
        let beside = self.beside.as_ref().map_or(0, |b| b.bytes() + self.budget / SPARE_PART);
        let beside = beside.min(self.budget / BESIDE_PART - self.step);
        (self.budget - self.step - beside).min(self.hot)
    }

    pub(super) fn beside(&self) -> Option<&Beside> {
        self.beside.as_ref()
    }

    /// So much state has left memory.
    fn left_memory(&self, bytes: usize) {
        self.beside.as_ref().filter(|_| bytes >= self.budget / GIVEN_BACK_PART).inspect(|b| b.give_back());
    }

    /// A long build is done: what it needed for a moment goes back to the system, beside whatever goes on.
    pub(super) fn build_is_done(&self) {
        if let Some(beside) = &self.beside {
            beside.give_back_later();
        }
    }

    /// Memory has just been measured.
    fn measured(&self) {
        self.beside.as_ref().inspect(|b| b.measured());
    }

    /// As others see it.
    pub(super) fn status(&self) -> MemoryStatus {
        let beside_bytes = self.beside.as_ref().map(Beside::bytes);
        MemoryStatus { budget_bytes: self.budget, state_bytes: self.held(), beside_bytes }
    }

    pub(super) fn held(&self) -> usize {
        self.views.load(Ordering::Relaxed) + self.builds.load(Ordering::Relaxed)
    }

    /// True if memory has to be measured: the next steps may pass the budget, or so many rows that were taken in since may have
    /// added much to it.
    pub(super) fn are_near(&self, rows: u64) -> bool {
        let high = self.high();
        self.always || self.held() >= high / 2 || rows.saturating_mul(ROW_BYTES) >= high as u64 / UNMEASURED_PART
    }

    /// True if there is about as much state in memory as may be.
    pub(super) fn are_filled(&self) -> bool {
        self.held() >= self.high() / 4 * 3
    }

    pub(super) fn eager_bytes(&self) -> u64 {
        (self.high() / EAGER_PART).min(EAGER_BYTES) as u64
    }

    /// So much of the state may be copied to be written beside the steps. More is written between two of them. It is no state of any view's,
    /// and soon gone again.
    pub(super) fn flush_room(&self) -> usize {
        let free = self.high().saturating_sub(self.held());
        free.max(self.budget / LEAST_FLUSH_PART).min(self.budget / FLUSH_PART)
    }

    fn smallest(&self) -> usize {
        self.high() / SMALLEST_PART
    }

    /// A build's part of it.
    pub(super) fn build(self: &Arc<Self>) -> BuildShare {
        BuildShare { limits: self.clone(), held: 0, rows: 0, measured: Instant::now() }
    }

    /// What a view may hold in memory.
    fn memory_of(&self, view: &View) -> usize {
        let own = view.definition.limits.memory_bytes;
        own.map_or(self.view_bytes, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Whether a view's state is too much only for what lies on disk, and could be small enough without what newer runs say over again, which
    /// is twice as much as the rest at most. Once all of it is one run and still too much, it is not.
    fn may_hold(&self, view: &View) -> bool {
        let all = view.disk_bytes.saturating_add(view.state_bytes as u64);
        let own = view.definition.limits;
        let memory = own.memory_bytes.unwrap_or(self.view_bytes as u64);
        let limit = own.state_bytes.unwrap_or(self.view_state_bytes);
        view.state_bytes as u64 <= memory && all / 3 <= limit && all > limit && view.least_bytes() <= limit
    }

    /// Fails if a view's state is too much, or lies in too many runs.
    fn check(&self, view: &View) -> Result<()> {
        let own = view.definition.limits;
        let (memory, all) = (view.state_bytes as u64, view.disk_bytes.saturating_add(view.state_bytes as u64));
        let shared =
            if self.view_bytes < self.budget { "setting view_memory_bytes" } else { "setting memory_budget_bytes" };
        // Where a view has no limit of its own, it is that of all.
        for (bytes, own, of_own, of_all, shared) in [
            (memory, own.memory_bytes, OWN_MEMORY, self.view_bytes as u64, shared),
            (all, own.state_bytes, OWN_STATE, self.view_state_bytes, "setting view_state_bytes"),
        ] {
            let (limit, of) = own.map_or((of_all, shared), |own| (own, of_own));
            if bytes > limit {
                return Err(over_limit(bytes, limit, of));
            }
        }
        view.circuit.check_runs()?;
        view.output.check_runs()
    }
}

/// What a build holds, as all others see it.
pub(super) struct BuildShare {
    limits: Arc<Limits>,
    held: usize,
    /// Taken in since it was measured.
    rows: u64,
    measured: Instant,
}

impl BuildShare {
    /// Holds a view that is being built, and has taken in so many rows, to its part of the memory.
    pub(super) fn hold(&mut self, view: &mut View, rows: u64) -> Result<()> {
        self.rows += rows;
        if self.measured.elapsed() < super::core::MEASURE && !self.limits.are_near(self.rows) {
            return Ok(());
        }
        self.fit(view)
    }

    /// As [`BuildShare::hold`], whenever it was measured last.
    pub(super) fn fit(&mut self, view: &mut View) -> Result<()> {
        let limits = self.limits.clone();
        self.rows = 0;
        view.measure();
        let others = limits.held().saturating_sub(self.held);
        let high = limits.high();
        let most = high.saturating_sub(others).max(high / BUILD_PART).min(limits.memory_of(view));
        self.set(view.state_bytes);
        if view.state_bytes > most {
            view.shrink(most / 8 * 7)?;
            limits.left_memory(self.held.saturating_sub(view.state_bytes));
            self.set(view.state_bytes);
        }
        limits.measured();
        self.measured = Instant::now();
        if limits.may_hold(view) && view.compact(true) {
            // What newer runs say over again counts no more.
            view.measure();
        }
        limits.check(view)?;
        if view.state_bytes > limits.budget {
            return Err(over_limit(view.state_bytes as u64, limits.budget as u64, "setting memory_budget_bytes"));
        }
        Ok(())
    }

    fn set(&mut self, bytes: usize) {
        self.limits.builds.fetch_add(bytes, Ordering::Relaxed);
        self.limits.builds.fetch_sub(std::mem::replace(&mut self.held, bytes), Ordering::Relaxed);
    }
}

impl Drop for BuildShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// What leaves memory first: what was touched longest ago, of that the largest.
pub(super) fn coldest_first(mut states: Vec<Evictable>) -> Vec<Evictable> {
    states.retain(|s| s.bytes > 0);
    states.sort_by_key(|s| (std::cmp::Reverse((s.idle, s.bytes)), s.node));
    states
}

/// Why a view has to stop that holds `own` bytes of `all` that views hold in memory.
fn over_budget(all: usize, own: usize, budget: usize, failure: Option<Error>) -> Error {
    let most = format!(
        "all views hold {all} bytes in memory, this one the most ({own}), and the limit is {budget} (setting memory_budget_bytes)"
    );
    match failure {
        Some(e) => Error::new(e.kind, format!("its state could not leave memory: {}; {most}", e.message)),
        None => Error::new(
            ErrorKind::Limit,
            format!("{most}: raise it, and the view goes on with ALTER MATERIALIZED VIEW … RESUME"),
        ),
    }
}

impl Core {
    /// Other limits of a view, wherever it is.
    pub(super) fn limit(&mut self, id: ObjectId, limits: ViewLimits) {
        if let Some(building) = self.building.get_mut(&id) {
            building.limits = Some(limits);
        }
        let waiting = self.waiting.iter_mut().map(|(definition, _)| definition);
        let all = self.views.iter_mut().map(|v| &mut v.definition).chain(waiting);
        all.filter(|d| d.id == id).for_each(|d| d.limits = limits);
        self.unmeasured = true;
    }

    /// Measures the views and holds them to their limits.
    pub(super) fn measure(&mut self) {
        self.write_begun();
        self.measured = Instant::now();
        self.unmeasured = false;
        self.unmeasured_rows = 0;
        self.is_merging = false;
        let limits = self.limits.clone();
        let mut over: Vec<(usize, Error)> = vec![];
        for (n, view) in self.views.iter_mut().enumerate() {
            let is_merging = view.tend();
            (self.is_merging, self.has_merged) = (self.is_merging || is_merging, self.has_merged || is_merging);
            if view.is_unmeasured {
                self.shown.touched.insert(view.id());
            }
            view.measure();
            if view.failed.is_some() {
                continue;
            }
            let most = limits.memory_of(view);
            let held = if view.state_bytes > most { view.shrink(most / 8 * 7) } else { Ok(()) };
            match held.and_then(|()| limits.check(view)) {
                // What is merged may be less.
                Err(_) if limits.may_hold(view) && view.compact(false) => {
                    (self.is_merging, self.has_merged) = (true, true);
                }
                Err(e) => over.push((n, e)),
                Ok(()) => {}
            }
        }
        self.fit_budget(&limits, &mut over);
        // What has just left memory may have runs merged; nobody would look for that at rest.
        self.is_merging |= self.views.iter().any(View::is_merging);
        self.has_merged |= self.is_merging;
        for (n, error) in over {
            self.fail_view(n, &error.message);
        }
    }

    /// Lets state leave memory until the budget holds; if that is not enough, the view that holds the most has to stop.
    fn fit_budget(&mut self, limits: &Limits, over: &mut Vec<(usize, Error)>) {
        let builds = limits.builds.load(Ordering::Relaxed);
        let mut all: usize = self.views.iter().map(|v| v.state_bytes).sum();
        limits.views.store(all, Ordering::Relaxed);
        let (high, held) = (limits.high(), all);
        let mut failure: Option<Error> = None;
        if all + builds > high {
            let most = (high / 8 * 7).saturating_sub(builds);
            for (n, state) in self.evictable(limits.smallest()) {
                if all <= most {
                    break;
                }
                let view = &mut self.views[n];
                let before = view.state_bytes;
                // The rest of an answer can wait for the next look, if the budget holds.
                let wanted = all - most;
                let bytes = wanted.min((all + builds).saturating_sub(limits.budget) + ANSWER_AT_ONCE_BYTES);
                if let Err(e) = view.evict(state.node, bytes) {
                    tracing::error!(view = %view.id(), error = %e, "state could not leave memory");
                    failure.get_or_insert(e);
                }
                self.shown.touched.insert(view.id());
                all = all - before + view.state_bytes;
                if state.node == ANSWER && bytes < wanted.min(state.bytes) {
                    break;
                }
            }
        }
        limits.views.store(all, Ordering::Relaxed);
        limits.left_memory(held.saturating_sub(all));
        limits.measured();
        if all > limits.budget
            && let Some((n, largest)) =
                self.views.iter().enumerate().filter(|(_, v)| v.failed.is_none()).max_by_key(|(_, v)| v.state_bytes)
        {
            over.push((n, over_budget(all, largest.state_bytes, limits.budget, failure)));
        }
    }

    /// The states of all views that can leave memory, the coldest first.
    fn evictable(&self, from_bytes: usize) -> Vec<(usize, Evictable)> {
        let mut states: Vec<(usize, Evictable)> = vec![];
        for (n, view) in self.views.iter().enumerate().filter(|(_, v)| v.failed.is_none()) {
            // A view takes no step in an epoch that has nothing for it.
            let idle = self.epoch.saturating_sub(view.epoch);
            let unread = self.epoch.saturating_sub(view.looked_up);
            states.extend(view.evictable().into_iter().map(|s| {
                let is_read = s.node == ANSWER || view.definition.index_by.is_some();
                let idle = if is_read { (s.idle + idle).min(unread) } else { s.idle + idle };
                (n, Evictable { idle, ..s })
            }));
        }
        states.retain(|(_, s)| s.bytes >= from_bytes.max(1));
        states.sort_by_key(|(n, s)| (std::cmp::Reverse((s.idle, s.bytes)), *n, s.node));
        states
    }
}

#[cfg(test)]
mod tests;
