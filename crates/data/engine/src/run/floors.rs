//! Where the watermark of a stream went on without a partition: rows that come to it then are late below the watermark, whatever came
//! before them there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Floors that are remembered for a stream. A view that is built over older rows takes those below them for on time.
const MAX_FLOORS: usize = 10_000;

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
