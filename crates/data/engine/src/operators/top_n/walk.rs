use std::fmt;
use std::ops::Range;

/// How rows of a partition are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ranking {
    RowNumber,
    Rank,
    DenseRank,
}

impl fmt::Display for Ranking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ranking::RowNumber => "row_number",
            Ranking::Rank => "rank",
            Ranking::DenseRank => "dense_rank",
        })
    }
}

/// `first <= ranking <= last`; both count from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) ranking: Ranking,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (0 | 1, last) => write!(f, "{} <= {last}", self.ranking),
            (first, u64::MAX) => write!(f, "{} >= {first}", self.ranking),
            (first, last) => write!(f, "{first} <= {} <= {last}", self.ranking),
        }
    }
}

/// A row that is shown, with the numbers of its columns, as often as `weight` says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) slot: u32,
    pub(crate) numbers: [u64; MAX_NUMBERS],
    pub(crate) weight: u64,
}

/// Number columns of one operator: one for each kind.
pub(crate) const MAX_NUMBERS: usize = 3;

impl Entry {
    pub(crate) fn is_same(&self, other: &Entry) -> bool {
        (self.slot, self.numbers) == (other.slot, other.numbers)
    }
}

/// Counts rows in their order.
pub(crate) struct Walk<'a> {
    bounds: &'a [Bound],
    rows: u64,
    rank: u64,
    dense_rank: u64,
    order: Option<&'a [u8]>,
}

/// The numbers of a row's copies.
pub(crate) struct Place {
    /// Row numbers of the copies that are shown.
    rows: Range<u64>,
    rank: u64,
    dense_rank: u64,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(bounds: &'a [Bound]) -> Self {
        Self { bounds, rows: 0, rank: 0, dense_rank: 0, order: None }
    }

    /// Takes the next row, of which there are `weight` copies. `None`: neither it nor any later row is shown.
    pub(crate) fn next(&mut self, order: &'a [u8], weight: u64) -> Option<Place> {
        if self.order != Some(order) {
            self.order = Some(order);
            self.rank = self.rows + 1;
            self.dense_rank += 1;
        }
        let mut rows = self.rows + 1..self.rows + 1 + weight;
        self.rows += weight;
        for bound in self.bounds {
            let number = match bound.ranking {
                Ranking::RowNumber => {
                    if rows.start > bound.last {
                        return None;
                    }
                    rows = rows.start.max(bound.first)..rows.end.min(bound.last.saturating_add(1));
                    continue;
                }
                Ranking::Rank => self.rank,
                Ranking::DenseRank => self.dense_rank,
            };
            if number > bound.last {
                return None;
            }
            if number < bound.first {
                rows.end = rows.start;
            }
        }
        Some(Place { rows, rank: self.rank, dense_rank: self.dense_rank })
    }
}

impl Place {
    /// What the row in `slot` is shown as; `columns` says which numbers are asked for.
    pub(crate) fn entries(&self, slot: u32, columns: &[(Ranking, bool)], out: &mut Vec<Entry>) {
        let numbers = |row_number: u64| {
            let mut numbers = [0; MAX_NUMBERS];
            for (number, (ranking, is_read)) in numbers.iter_mut().zip(columns) {
                *number = match ranking {
                    _ if !is_read => 0,
                    Ranking::RowNumber => row_number,
                    Ranking::Rank => self.rank,
                    Ranking::DenseRank => self.dense_rank,
                };
            }
            numbers
        };
        if columns.contains(&(Ranking::RowNumber, true)) {
            out.extend(self.rows.clone().map(|n| Entry { slot, numbers: numbers(n), weight: 1 }));
        } else if !self.rows.is_empty() {
            out.push(Entry { slot, numbers: numbers(0), weight: self.rows.end - self.rows.start });
        }
    }
}
