use std::ops::Range;

use super::{Reach, WindowCall};
use crate::operators::order::order_of;
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

/// Where a row that came or went stands.
pub(super) struct Changed<'a> {
    row: &'a [u8],
    position: u64,
    /// Its copies now.
    weight: u64,
}

impl<'a> Changed<'a> {
    pub(super) fn of(rows: &Ordered, key: u32, row: &'a [u8]) -> Self {
        let weight = rows.slot(row).map_or(0, |s| rows.weight(s));
        Self { row, position: rows.count_before(key, row), weight }
    }
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

/// The parts of a partition that the values of `calls` have to be computed for after `changed`, which is in order.
pub(super) fn pieces(calls: &[WindowCall], rows: &Ordered, key: u32, changed: &[Changed<'_>], out: &mut Vec<Piece>) {
    let total = rows.total(key);
    let Some(first) = changed.first().filter(|_| total > 0) else { return };
    let (mut before, mut after, mut is_running) = (0, 0, false);
    for call in calls {
        match call.reach {
            Reach::Partition => {
                out.push(Piece::whole(key, total));
                return;
            }
            Reach::Running(_) => is_running = true,
            Reach::Rows { before: b, after: a } => {
                before = b.max(before);
                after = a.max(after);
            }
        }
    }
    let piece = |write: Range<u64>| Piece {
        key,
        read: write.start.saturating_sub(before)..write.end.saturating_add(after).min(total),
        write,
        goes_on: is_running,
    };
    if is_running {
        // From the first peer on of the first row that changed, or that sees it ahead.
        let mut start = rows.count_before(key, order_of(first.row));
        if after > 0
            && let Some(row) = rows.from(key, start.saturating_sub(after)).next()
        {
            start = start.min(rows.count_before(key, order_of(rows.row(row.slot))));
        }
        if start < total {
            out.push(piece(start..total));
        }
        return;
    }
    let mut merged: Vec<Range<u64>> = vec![];
    for row in changed {
        let start = row.position.saturating_sub(after);
        let end = row.position.saturating_add(row.weight).saturating_add(before).min(total);
        match merged.last_mut() {
            // What the two read would overlap.
            Some(last) if start <= last.end.saturating_add(before).saturating_add(after) => {
                last.end = last.end.max(end)
            }
            _ if start < end => merged.push(start..end),
            _ => {}
        }
    }
    out.extend(merged.into_iter().map(piece));
}

/// How a change reaches other rows, for EXPLAIN.
pub(super) fn text(reach: Reach) -> String {
    match reach {
        Reach::Rows { before: 0, after: 0 } => " (the row)".into(),
        Reach::Rows { before, after } => format!(" (rows from {before} before to {after} after)"),
        Reach::Running(_) => " (rows from the change on)".into(),
        Reach::Partition => " (whole partitions)".into(),
    }
}
