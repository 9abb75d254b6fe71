//! How far a build is: it tells, anyone reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fleuve_types::{Error, ErrorKind, Result};

/// How long a build will take is told from here on.
const TELLING_SHARE: f64 = 0.01;

/// How far a view under construction is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BuildProgress {
    /// Input records and rows that were there when it began (or began its last round), and were taken in. A record that is decoded
    /// counts as half of one, and as more the more operators are done with it. It never goes back, and is never more than `total`.
    pub done: u64,
    /// All of them.
    pub total: u64,
    /// Since it began.
    pub elapsed: Duration,
}

impl BuildProgress {
    /// `0.0..=1.0`
    pub fn share(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.done as f64 / self.total as f64 }
    }

    /// How long it will take if it goes on as it did. `None` before so much was done that this says something.
    pub fn remaining(&self) -> Option<Duration> {
        let share = self.share();
        (share >= TELLING_SHARE).then(|| self.elapsed.mul_f64((1.0 - share) / share))
    }
}

/// See the module.
pub(super) struct Progress {
    since: Instant,
    total: AtomicU64,
    /// Records of streams that were decoded. One that waits to be taken in counts as half of one.
    decoded: AtomicU64,
    /// Those of them that were taken in; of a step that goes on, as many as its operators that are done are of all of them.
    stepped: AtomicU64,
    /// Rows of other inputs that were taken in.
    rows: AtomicU64,
    /// Too much waits for it to go on.
    is_stopped: AtomicBool,
    /// Nobody waits for it any more.
    is_abandoned: AtomicBool,
    /// Somebody said that it is to end, and why.
    ended: OnceLock<Error>,
}

impl Progress {
    pub(super) fn begin() -> Arc<Self> {
        Arc::new(Self {
            since: Instant::now(),
            total: AtomicU64::new(0),
            decoded: AtomicU64::new(0),
            stepped: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            is_stopped: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
            ended: OnceLock::new(),
        })
    }

    /// So much is to be taken in.
    pub(super) fn expect(&self, rows: u64) {
        self.total.fetch_add(rows, Ordering::Relaxed);
    }

    /// So many rows of what is no stream were taken in.
    pub(super) fn advance(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// So many records of streams were decoded.
    pub(super) fn decoded(&self, records: u64) {
        self.decoded.fetch_add(records, Ordering::Relaxed);
    }

    /// A step takes in so many of these: what to tell of how many of its operators have done their part, then that all have.
    pub(super) fn step(self: &Arc<Self>, records: u64) -> impl FnMut(u64, u64) + Send + Sync + use<> {
        let (progress, mut told) = (self.clone(), 0);
        move |done, all| {
            let now = records * done / all.max(1);
            progress.stepped.fetch_add(now.saturating_sub(told), Ordering::Relaxed);
            told = told.max(now);
        }
    }

    /// Ends the build at its next step.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Ends the build at its next step with this error; what asked first counts.
    pub(super) fn end(&self, why: Error) {
        let _ = self.ended.set(why);
    }

    /// Whether [`Progress::end`] was said.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    pub(super) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// # Errors
    /// When it was stopped or ended, or nobody waits for it any more.
    pub(super) fn check(&self) -> Result<()> {
        if let Some(why) = self.ended.get() {
            return Err(why.clone());
        }
        if self.is_abandoned.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Retry, "the view was dropped or replaced while it was built"));
        }
        if !self.is_stopped() {
            return Ok(());
        }
        let message =
            "while it was built, the views that it reads changed more than may wait (setting view_memory_bytes)";
        Err(Error::new(ErrorKind::Limit, message))
    }

    /// What is done never goes back, and is never more than all.
    pub(super) fn now(&self) -> BuildProgress {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let stepped = get(&self.stepped);
        // Both are told by others meanwhile, in any order.
        let decoded = get(&self.decoded).max(stepped);
        let (done, total) = (get(&self.rows) + (decoded + stepped) / 2, get(&self.total));
        // Of kept state it is known only about how much there is to tell.
        BuildProgress { done: done.min(total), total, elapsed: self.since.elapsed() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_moves_within_a_batch_and_never_back_nor_past_all() {
        let progress = Progress::begin();
        let done = || (progress.now().done, progress.now().total);
        assert_eq!((done(), progress.now().remaining()), ((0, 0), None));
        progress.expect(1_000);
        progress.decoded(10);
        assert_eq!((done(), progress.now().remaining()), ((5, 1_000), None), "too little to tell");
        progress.decoded(390);
        assert_eq!(done(), (200, 1_000));
        assert!(progress.now().remaining().is_some());
        let mut step = progress.step(400);
        step(1, 4);
        assert_eq!(done(), (250, 1_000));
        step(4, 4);
        step(4, 4);
        assert_eq!(done(), (400, 1_000));
        progress.decoded(600);
        progress.step(600)(1, 1);
        assert_eq!(done(), (1_000, 1_000));
        // Groups that are told in the end.
        progress.expect(10);
        progress.advance(7);
        assert_eq!(done(), (1_007, 1_010));
        progress.advance(7);
        assert_eq!(done(), (1_010, 1_010));
    }
}
