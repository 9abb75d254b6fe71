//! When a checkpoint is due. What a restart has to do again is to stay short, also when the process is ended again and again:
//! there is one every `checkpoint_interval_ms`, after `checkpoint_rows` of input, and right after work that took long (a replay,
//! a build). The first one after a start comes sooner, since what is repeated then is what the process before had left to do.

use std::time::{Duration, Instant};

use super::EngineOptions;

/// The first checkpoint comes this long after the start, or after the interval if that is shorter.
const FIRST: Duration = Duration::from_secs(1);
/// A build over at least this many records and rows is in a checkpoint as soon as it is done.
const LONG_BUILD_ROWS: u64 = 10_000;

/// Since when there was no checkpoint, and what came since.
pub(super) struct Pace {
    interval: Duration,
    most_rows: u64,
    since: Instant,
    rows: u64,
    is_first: bool,
    soon: bool,
}

impl Pace {
    pub(super) fn new(options: &EngineOptions) -> Self {
        Self {
            interval: Duration::from_millis(options.checkpoint_interval_ms),
            most_rows: options.checkpoint_rows.max(1),
            since: Instant::now(),
            rows: 0,
            is_first: true,
            soon: false,
        }
    }

    /// Rows were taken in.
    pub(super) fn took(&mut self, rows: u64) {
        self.rows = self.rows.saturating_add(rows);
    }

    /// A build that took in `rows` is done; tells if it was a long one.
    pub(super) fn built(&mut self, rows: u64) -> bool {
        let is_long = rows >= LONG_BUILD_ROWS;
        self.soon |= is_long;
        is_long
    }

    /// Something happened that must not have to be found again.
    pub(super) fn hurry(&mut self) {
        self.soon = true;
    }

    /// So much input came that it is not to wait for the interval.
    pub(super) fn is_full(&self) -> bool {
        self.rows >= self.most_rows
    }

    /// There has to be one, whatever the time.
    pub(super) fn is_urgent(&self) -> bool {
        self.soon || self.is_full()
    }

    /// How long until a checkpoint is due.
    pub(super) fn wait(&self) -> Duration {
        if self.is_urgent() {
            return Duration::ZERO;
        }
        let interval = if self.is_first { self.interval.min(FIRST) } else { self.interval };
        interval.saturating_sub(self.since.elapsed())
    }

    /// A checkpoint is taken now.
    pub(super) fn begin(&mut self) {
        (self.since, self.rows, self.is_first, self.soon) = (Instant::now(), 0, false, false);
    }
}
