//! What epochs took, for whoever wants to see how the engine is doing. Derived state, for looking at only.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fleuve_types::{Epoch, ObjectId};
use parking_lot::Mutex;

/// How many of the last epochs are kept.
const KEPT: usize = 500;
/// Durations are counted by these bounds, in microseconds.
const BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// An epoch that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStatus {
    /// Its number.
    pub epoch: Epoch,
    /// When it began.
    pub time_us: i64,
    /// Rows that it took in.
    pub rows: u64,
    /// How long it took until its answers were seen.
    pub duration: Duration,
}

/// How long epochs took: a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// Those that took no longer than the bound of that place, and longer than the one before.
    within: [u64; BOUNDS_US.len()],
    /// How many there were.
    pub count: u64,
    /// What they took together.
    pub sum: Duration,
}

impl Durations {
    fn note(&mut self, duration: Duration) {
        let place = BOUNDS_US.iter().position(|us| duration <= Duration::from_micros(*us));
        if let Some(place) = place {
            self.within[place] += 1;
        }
        self.count += 1;
        self.sum += duration;
    }

    /// Bounds, and how many took no longer than that.
    pub fn up_to(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut all = 0;
        BOUNDS_US.into_iter().zip(self.within).map(move |(us, own)| {
            all += own;
            (Duration::from_micros(us), all)
        })
    }
}

#[derive(Default)]
struct Figures {
    last: VecDeque<EpochStatus>,
    durations: Durations,
    decoding: HashMap<ObjectId, Duration>,
}

#[derive(Clone, Default)]
pub(super) struct Epochs(Arc<Mutex<Figures>>);

impl Epochs {
    pub(super) fn note(&self, epoch: EpochStatus) {
        let mut figures = self.0.lock();
        if figures.last.len() == KEPT {
            figures.last.pop_front();
        }
        figures.last.push_back(epoch);
        figures.durations.note(epoch.duration);
    }

    /// So much time was spent on reading and decoding streams.
    pub(super) fn decoded(&self, spent: &[(ObjectId, Duration)]) {
        let mut figures = self.0.lock();
        for (stream, time) in spent {
            *figures.decoding.entry(*stream).or_default() += *time;
        }
    }

    /// A stream is gone.
    pub(super) fn forget(&self, stream: ObjectId) {
        self.0.lock().decoding.remove(&stream);
    }

    pub(super) fn all(&self) -> Vec<EpochStatus> {
        self.0.lock().last.iter().copied().collect()
    }

    pub(super) fn durations(&self) -> Durations {
        self.0.lock().durations
    }

    pub(super) fn decoding(&self) -> HashMap<ObjectId, Duration> {
        self.0.lock().decoding.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_up_to_each_bound() {
        let epochs = Epochs::default();
        let (ms, second) = (Duration::from_millis, Duration::from_secs(1));
        for duration in [ms(1), ms(2), ms(200), second * 60] {
            epochs.note(EpochStatus { epoch: 1, time_us: 0, rows: 0, duration });
        }
        let durations = epochs.durations();
        assert_eq!((durations.count, durations.sum), (4, ms(203) + second * 60));
        let up_to = |bound: Duration| durations.up_to().find(|(b, _)| *b == bound).map(|(_, n)| n);
        assert_eq!([ms(1), ms(10), ms(250), second * 10].map(up_to), [Some(1), Some(2), Some(3), Some(3)]);
    }
}
