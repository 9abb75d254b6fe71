use std::ops::Range;

use datafusion::common::ScalarValue;
use fleuve_types::Result;

use super::{Reach, WindowCall};
use crate::operators::order::{SortedRows, order_of};
use crate::state::Ordered;

/// A part of a partition whose values are computed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) key: u32,
    /// The rows that are looked at, by position.
    pub(super) read: Range<u64>,
    /// Those of them whose values are computed.
    pub(super) write: Range<u64>,
    /// True if values go on from those of the row before `write`.
    goes_on: bool,
}

impl Piece {
    pub(super) fn whole(key: u32, rows: u64) -> Self {
        Self { key, read: 0..rows, write: 0..rows, goes_on: false }
    }

    /// The row whose values it goes on from.
    pub(super) fn previous(&self, rows: &Ordered) -> Option<(u32, u64)> {
        let position = self.write.start.checked_sub(1).filter(|_| self.goes_on)?;
        copies(rows, self.key, position..position + 1).next()
    }
}

/// How far a frame of RANGE reaches, in the values of its one sort key. `None` is the peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Distance {
    pub(crate) before: Option<ScalarValue>,
    pub(crate) after: Option<ScalarValue>,
}

/// The rows in a range of positions: each slot with the number of the copy.
pub(super) fn copies(rows: &Ordered, key: u32, range: Range<u64>) -> impl Iterator<Item = (u32, u64)> + '_ {
    let Range { start, end } = range;
    rows.from(key, start).take_while(move |p| p.position < end).flat_map(move |p| {
        let first = start.saturating_sub(p.position);
        let last = p.weight.min(end - p.position);
        (first..last).map(move |copy| (p.slot, copy))
    })
}

/// A partition in its order.
pub(super) struct Partition<'a> {
    rows: &'a Ordered,
    order: &'a SortedRows,
    key: u32,
    total: u64,
}

impl<'a> Partition<'a> {
    pub(super) fn new(rows: &'a Ordered, order: &'a SortedRows, key: u32) -> Self {
        Self { rows, order, key, total: rows.total(key) }
    }

    /// The parts that the values of `calls` have to be computed for after `changed` came or went, rows in their order.
    pub(super) fn pieces(&self, calls: &[WindowCall], changed: &[&[u8]], out: &mut Vec<Piece>) -> Result<()> {
        let Some(first) = changed.first().filter(|_| self.total > 0) else { return Ok(()) };
        if calls.iter().any(|c| c.reach == Reach::Partition) {
            out.push(Piece::whole(self.key, self.total));
            return Ok(());
        }
        if calls.iter().any(|c| matches!(c.reach, Reach::Running(_))) {
            let start = self.affected(calls, first)?.start;
            if let Some(row) = self.row_at(start) {
                // What goes on begins with the first of its peers.
                let write = self.rows.count_before(self.key, order_of(row))..self.total;
                out.push(Piece { key: self.key, read: self.needed(calls, &write)?, write, goes_on: true });
            }
            return Ok(());
        }
        let from = out.len();
        for row in changed {
            let write = self.affected(calls, row)?;
            if write.is_empty() {
                continue;
            }
            let read = self.needed(calls, &write)?;
            match out[from..].last_mut() {
                Some(last) if read.start <= last.read.end => {
                    last.write.end = last.write.end.max(write.end);
                    last.read = self.needed(calls, &last.write)?;
                }
                _ => out.push(Piece { key: self.key, read, write, goes_on: false }),
            }
        }
        Ok(())
    }

    /// The rows whose value depends on a row that came or went.
    fn affected(&self, calls: &[WindowCall], row: &[u8]) -> Result<Range<u64>> {
        let position = self.rows.count_before(self.key, row);
        let copies = self.rows.slot(row).map_or(0, |s| self.rows.weight(s));
        let mut all = position..position + copies;
        for call in calls {
            let range = match &call.reach {
                Reach::Rows { before, after } => {
                    position.saturating_sub(*after)..(position + copies).saturating_add(*before)
                }
                Reach::Values(d) => self.lower(row, d.after.as_ref())?..self.upper(row, d.before.as_ref())?,
                Reach::Running(_) => self.rows.count_before(self.key, order_of(row))..self.total,
                Reach::Partition => 0..self.total,
            };
            all = all.start.min(range.start)..all.end.max(range.end);
        }
        Ok(all.start..all.end.min(self.total))
    }

    /// The rows that the values of the rows in `write` depend on.
    fn needed(&self, calls: &[WindowCall], write: &Range<u64>) -> Result<Range<u64>> {
        let mut all = write.clone();
        for call in calls {
            let range = match &call.reach {
                Reach::Rows { before, after } => write.start.saturating_sub(*before)..write.end.saturating_add(*after),
                Reach::Values(d) => {
                    let (first, last) = (self.row_at(write.start), self.row_at(write.end - 1));
                    let start = first.map_or(Ok(0), |row| self.lower(row, d.before.as_ref()))?;
                    start..last.map_or(Ok(self.total), |row| self.upper(row, d.after.as_ref()))?
                }
                Reach::Running(_) => continue,
                Reach::Partition => 0..self.total,
            };
            all = all.start.min(range.start)..all.end.max(range.end);
        }
        Ok(all.start..all.end.min(self.total))
    }

    fn row_at(&self, position: u64) -> Option<&'a [u8]> {
        self.rows.from(self.key, position).next().map(|p| self.rows.row(p.slot))
    }

    /// Where the rows begin that are at most `distance` before `row`.
    fn lower(&self, row: &[u8], distance: Option<&ScalarValue>) -> Result<u64> {
        let Some(distance) = distance else { return Ok(self.rows.count_before(self.key, order_of(row))) };
        let order = self.order.moved(row, distance, false)?;
        Ok(order.map_or(0, |order| self.rows.count_before(self.key, &order)))
    }

    /// Where the rows end that are at most `distance` after `row`.
    fn upper(&self, row: &[u8], distance: Option<&ScalarValue>) -> Result<u64> {
        let Some(distance) = distance else { return Ok(self.rows.count_through(self.key, order_of(row))) };
        let order = self.order.moved(row, distance, true)?;
        Ok(order.map_or(self.total, |order| self.rows.count_through(self.key, &order)))
    }
}

/// How a change reaches other rows, for EXPLAIN.
pub(super) fn text(reach: &Reach) -> String {
    match reach {
        Reach::Rows { before: 0, after: 0 } => " (the row)".into(),
        Reach::Rows { before, after } => format!(" (rows from {before} before to {after} after)"),
        Reach::Values(Distance { before, after }) => {
            let text = |d: &Option<ScalarValue>| d.as_ref().map_or("0".to_string(), ToString::to_string);
            format!(" (rows with values from {} before to {} after)", text(before), text(after))
        }
        Reach::Running(_) => " (rows from the change on)".into(),
        Reach::Partition => " (whole partitions)".into(),
    }
}
