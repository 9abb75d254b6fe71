//! What of a state is found by time, in its runs: when a watermark passes, or the clock, what has left memory is brought back.
//!
//! An entry says that something under a hash has a time in one of the columns by which the state is found. It stands at a place among the
//! hashes that its time tells, so that what lies before a moment is a range of the runs. Each flush writes the times of what it writes; what they point to may have
//! gone since, or may have got another time. Entries of times that have passed are left out when runs are merged.
//!
//! Derived state, as the runs are.

use std::sync::Arc;

use fleuve_types::Result;
use parking_lot::Mutex;

use super::entries::{Entries, Room};
use super::flat::{Flat, write_pieces};
use super::pages::{Part, Target};
use super::runs::{Entry, IsOver, Run, RunSet};
use super::tables::{CALENDAR, entry_parts};

/// A time in a column, and the hash of what has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due {
    pub(crate) time: i64,
    pub(crate) column: u8,
    pub(crate) hash: u64,
}

/// How far a state was asked for what is due.
#[derive(Clone, Default)]
pub(super) struct Calendar(Arc<Mutex<Vec<Column>>>);

#[derive(Clone, Copy)]
struct Column {
    /// Before this nothing is asked for any more.
    passed: i64,
    /// The runs have nothing between `passed` and this. Not known where there is a run that was not looked at.
    next: Option<i64>,
}

impl Column {
    const NEW: Self = Self { passed: i64::MIN, next: None };
}

impl Calendar {
    /// As it was when a manifest was written.
    pub(super) fn saved(passed: &[i64]) -> Self {
        let column = |passed: &i64| Column { passed: *passed, ..Column::NEW };
        Self(Arc::new(Mutex::new(passed.iter().map(column).collect())))
    }

    /// By column: the time before which nothing is asked for any more.
    pub(super) fn passed(&self) -> Vec<i64> {
        self.0.lock().iter().map(|column| column.passed).collect()
    }

    /// The entries that a merge need not keep.
    pub(super) fn is_over(&self) -> IsOver {
        let calendar = self.clone();
        Arc::new(move |entry| parse(entry).is_some_and(|due| due.time < calendar.column(due.column).passed))
    }

    fn column(&self, column: u8) -> Column {
        self.0.lock().get(usize::from(column)).copied().unwrap_or(Column::NEW)
    }

    fn set(&self, column: u8, to: Column) {
        let mut columns = self.0.lock();
        let at = usize::from(column);
        let len = columns.len().max(at + 1);
        columns.resize(len, Column::NEW);
        columns[at] = to;
    }

    /// What has a time before `until` in a column is not asked for any more.
    pub(super) fn pass(&self, column: u8, until: i64) {
        let Column { passed, next } = self.column(column);
        if passed < until {
            self.set(column, Column { passed: until, next: next.filter(|next| *next >= until) });
        }
    }

    /// The hashes of what has a time before `until` in a column, as far as the runs know, and was not asked for before. Without runs
    /// nothing is looked for.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`] if a run cannot be read.
    pub(super) fn ask(&self, column: u8, until: i64, runs: Option<&RunSet>, hashes: &mut Vec<u64>) -> Result<()> {
        let Column { passed, mut next } = self.column(column);
        if until <= passed {
            return Ok(());
        }
        if let Some(runs) = runs.filter(|_| next.is_none_or(|next| next < until)) {
            next = Some(look(runs, column, passed, |due| {
                let is_due = due.time < until;
                if is_due {
                    hashes.push(due.hash);
                }
                is_due
            })?);
        }
        self.set(column, Column { passed: until, next });
        Ok(())
    }

    /// The first time of all columns that was not asked for; what has it may have gone.
    ///
    /// # Errors
    /// As [`Calendar::ask`].
    pub(super) fn first(&self, columns: u8, runs: &RunSet) -> Result<Option<i64>> {
        let mut first = i64::MAX;
        for column in 0..columns {
            let Column { passed, next } = self.column(column);
            let next = next.map_or_else(|| look(runs, column, passed, |_| false), Ok)?;
            self.set(column, Column { passed, next: Some(next) });
            first = first.min(next);
        }
        Ok(Some(first).filter(|first| *first != i64::MAX))
    }

    /// There is a run that was not there before.
    pub(super) fn runs_changed(&self) {
        self.0.lock().iter_mut().for_each(|column| column.next = None);
    }

    /// Entries in their order, each once. What has passed already is put where it is looked for next.
    fn sorted(&self, mut dues: Vec<Due>) -> Vec<Due> {
        for due in &mut dues {
            due.time = due.time.max(self.column(due.column).passed);
        }
        dues.sort_unstable_by_key(|due| (place(due.column, due.time), due.column, due.time, due.hash));
        dues.dedup();
        dues
    }
}

/// Goes through the entries of a column from a time on, in the order of their times, as long as `goes_on`. Gives the time of the entry at which
/// it does not.
fn look(runs: &RunSet, column: u8, from: i64, mut goes_on: impl FnMut(&Due) -> bool) -> Result<i64> {
    let mut entries = runs.scan_part(Part::between(place(column, from), place(column, i64::MAX)))?;
    while entries.next()? {
        let Some(due) = parse(&entries.entry()).filter(|due| due.column == column && due.time >= from) else {
            continue;
        };
        if !goes_on(&due) {
            return Ok(due.time);
        }
    }
    Ok(i64::MAX)
}

/// Where the places of times begin: they are in a 2^13th of all hashes, so that few others lie among them.
const FIRST_PLACE: u64 = 0xca10 << 48;
/// The bits of a place within its column.
const COLUMN_BITS: u32 = 47;
/// So many columns have places of their own; others share those of the last.
const COLUMNS: u8 = 16;
/// So many of the first bits of a time that is not small tell its place: half a millisecond of one in microseconds.
const PLACE_BITS: u32 = 42;

/// Where a time stands among the hashes. Within a column a later time does not stand before an earlier one.
fn place(column: u8, time: i64) -> u64 {
    let count = time.unsigned_abs();
    let shift = (u64::BITS - count.leading_zeros()).saturating_sub(PLACE_BITS);
    // As a floating-point number of so many digits has it.
    let code = (u64::from(shift) << (PLACE_BITS - 1)) + (count >> shift);
    let column = u64::from(column.min(COLUMNS - 1)) << COLUMN_BITS;
    let middle = FIRST_PLACE + column + (1 << (COLUMN_BITS - 1));
    if time < 0 { middle - code } else { middle + code }
}

/// The row of an entry: its time in the order of bytes, and its hash.
fn row(due: &Due) -> [u8; 16] {
    let mut row = [0; 16];
    row[..8].copy_from_slice(&(due.time ^ i64::MIN).to_be_bytes());
    row[8..].copy_from_slice(&due.hash.to_be_bytes());
    row
}

/// What an entry of a run says, if it is one of these.
fn parse(entry: &Entry<'_>) -> Option<Due> {
    let (_, column, row) = entry_parts(entry.key).ok().filter(|(part, ..)| *part == CALENDAR)?;
    let (time, hash) = row.split_at_checked(8)?;
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
    Some(Due { time: number(time)? as i64 ^ i64::MIN, column: *column.first()?, hash: number(hash)? })
}

/// Writes entries as a run.
pub(crate) fn write_dues(target: &Target<'_>, dues: Vec<Due>) -> Result<Option<Arc<Run>>> {
    let dues = target.calendar().sorted(dues);
    if dues.is_empty() {
        return Ok(None);
    }
    let mut writer = target.begin(dues.chunk_by(|a, b| place(a.column, a.time) == place(b.column, b.time)).count())?;
    write_pieces(&mut writer, &dues, |dues| {
        let mut flat = Flat::default();
        for due in dues {
            flat.push(place(due.column, due.time), (CALENDAR, &[due.column], &row(due)), Some(&[]));
        }
        Ok(flat)
    })?;
    writer.finish().map(Some)
}

/// Copies entries, as far as there is room.
pub(crate) fn copy_dues(target: &Target<'_>, room: &Room, dues: Vec<Due>, out: &mut Entries) {
    for due in target.calendar().sorted(dues) {
        if !out.push(room, place(due.column, due.time), (CALENDAR, &[due.column], &row(&due)), Some(&[])) {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
