//! Where the watermark of a stream went on without a partition, or where records went from the log that had moved it: rows that come to
//! the partition then are late below the watermark, whatever came before them there.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Floors that are remembered for a stream. A view that is built over older rows takes those below them for on time.
const MAX_FLOORS: usize = 10_000;
/// A partition's promise is noted after about this many records, or after more where there are many.
const PROMISE_RECORDS: i64 = 65_536;
/// Promises that are remembered for a partition; every other one goes when they are more.
const MAX_PROMISES: usize = 1_024;

/// From an offset of a partition on, rows below this are late, whatever came before them there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The partition.
    pub partition: i32,
    /// The first record that it holds for.
    pub offset: i64,
    /// What the watermark was by then; in the event-time column's unit.
    pub value: i64,
}

/// The floors of a stream, the oldest first: of each partition, later ones have greater offsets and values. Shared with those who look at
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Floor>", into = "Vec<Floor>")]
pub struct Floors(Arc<Vec<Floor>>);

impl From<Vec<Floor>> for Floors {
    fn from(all: Vec<Floor>) -> Self {
        Self(Arc::new(all))
    }
}

impl From<Floors> for Vec<Floor> {
    fn from(floors: Floors) -> Self {
        floors.0.to_vec()
    }
}

impl Floors {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Floor> {
        self.0.iter()
    }

    /// Those of a partition.
    pub fn of(&self, partition: i32) -> impl Iterator<Item = &Floor> {
        self.iter().filter(move |f| f.partition == partition)
    }

    /// The floor of a partition at an offset.
    pub(super) fn at(&self, partition: i32, offset: i64) -> Option<i64> {
        self.of(partition).filter(|f| f.offset <= offset).map(|f| f.value).max()
    }

    /// The next offset of a partition after `from` at which another one begins.
    pub(super) fn next(&self, partition: i32, from: i64) -> Option<i64> {
        self.of(partition).filter(|f| f.offset > from).map(|f| f.offset).min()
    }

    /// No records of a partition are before `offset` any more: of the floors up to there the last one is enough.
    pub(super) fn begin_at(&mut self, partition: i32, offset: i64) {
        let is_before = |f: &Floor| f.partition == partition && f.offset <= offset;
        let value = self.at(partition, offset);
        if let Some(value) = value.filter(|_| self.iter().filter(|f| is_before(f)).nth(1).is_some()) {
            Arc::make_mut(&mut self.0).retain(|f| !is_before(f));
            self.raise(Floor { partition, offset, value });
        }
    }

    pub(super) fn raise(&mut self, floor: Floor) {
        if self.at(floor.partition, floor.offset) >= Some(floor.value) {
            return;
        }
        let all = Arc::make_mut(&mut self.0);
        all.push(floor);
        if all.len() > MAX_FLOORS {
            all.remove(0);
        }
    }
}

/// The floors that a stream was given as records went: the engine raises them before, and a build that may find records gone looks here
/// after each read.
#[derive(Clone, Debug, Default)]
pub(super) struct RaisedFloors(Arc<Mutex<Floors>>);

impl RaisedFloors {
    pub(super) fn raise(&self, floor: Floor) {
        self.0.lock().raise(floor);
    }

    pub(super) fn now(&self) -> Floors {
        self.0.lock().clone()
    }
}

/// What a partition promised at some offsets, the least first: the greatest time before it less the delay. When records go, this says how
/// far they had moved the watermark, and only those after the last promise have to be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Promises(Arc<Vec<(i64, i64)>>);

impl Promises {
    /// Before `offset` the partition promised `high`.
    pub(super) fn note(&mut self, offset: i64, high: i64) {
        if let [(first, _), .., (last, _)] | [(first @ last, _)] = self.0.as_slice() {
            let apart = PROMISE_RECORDS.max((last - first) / (MAX_PROMISES as i64 / 2));
            if offset < last.saturating_add(apart) {
                return;
            }
        }
        let all = Arc::make_mut(&mut self.0);
        all.push((offset, high));
        if all.len() > MAX_PROMISES {
            let mut n = 0;
            all.retain(|_| {
                n += 1;
                n % 2 == 0
            });
        }
    }

    /// The last one that was made before an offset, or there.
    pub(super) fn before(&self, offset: i64) -> Option<(i64, i64)> {
        self.0.iter().rev().find(|(at, _)| *at <= offset).copied()
    }

    /// Nobody asks for what was before an offset any more.
    pub(super) fn forget(&mut self, before: i64) {
        if self.0.first().is_some_and(|(at, _)| *at < before) {
            Arc::make_mut(&mut self.0).retain(|(at, _)| *at >= before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_takes_the_place_of_those_before_it_in_its_partition() {
        let floor = |partition, offset, value| Floor { partition, offset, value };
        let mut floors = Floors::default();
        for all in [floor(0, 5, 50), floor(1, 7, 70), floor(0, 20, 60), floor(0, 30, 90)] {
            floors.raise(all);
        }
        floors.begin_at(0, 25);
        assert_eq!(Vec::from(floors.clone()), [floor(1, 7, 70), floor(0, 30, 90), floor(0, 25, 60)]);
        assert_eq!([24, 25, 29, 30].map(|at| floors.at(0, at)), [None, Some(60), Some(60), Some(90)]);
        floors.begin_at(1, 8);
        assert_eq!(floors.at(1, 8), Some(70));
    }

    #[test]
    fn promises_are_few_and_none_is_invented() {
        let mut promises = Promises::default();
        let records = 3_000 * PROMISE_RECORDS;
        (0..records).step_by(10_000).for_each(|at| promises.note(at, at * 2));
        assert!(promises.0.len() <= MAX_PROMISES, "{}", promises.0.len());
        for at in (0..records).step_by(999_983) {
            let (offset, high) = promises.before(at).unwrap_or((0, 0));
            assert_eq!(high, offset * 2);
            assert!(offset <= at && at - offset <= 16 * PROMISE_RECORDS, "{offset} for {at}");
        }
        promises.forget(records / 2);
        assert_eq!(promises.before(records / 2 - 1), None);
        assert!(promises.before(records / 2 + 16 * PROMISE_RECORDS).is_some());
    }
}
