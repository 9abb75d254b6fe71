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
use super::runs::{Entry, IsOver, Merge, Run, RunSet};
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
    /// The runs have nothing between `passed` and this.
    next: i64,
}

impl Column {
    const NEW: Self = Self { passed: i64::MIN, next: i64::MIN };
}

impl Calendar {
    /// The entries that a merge need not keep.
    pub(super) fn is_over(&self) -> IsOver {
        let calendar = self.clone();
        Arc::new(move |entry| parse(entry).is_some_and(|due| !calendar.is_ahead(&due)))
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
        if let Some(runs) = runs.filter(|_| next < until) {
            next = i64::MAX;
            let mut entries = runs.scan_part(part_from(passed))?;
            while let Some(due) = next_due(&mut entries)? {
                if due.column != column || due.time < passed {
                    continue;
                }
                if due.time >= until {
                    next = due.time;
                    break;
                }
                hashes.push(due.hash);
            }
        }
        self.set(column, Column { passed: until, next });
        Ok(())
    }

    /// The first time that was not asked for, of all columns; what has it may have gone.
    ///
    /// # Errors
    /// As [`Calendar::ask`].
    pub(super) fn first(&self, runs: &RunSet) -> Result<Option<i64>> {
        let passed = self.0.lock().iter().map(|column| column.passed).min().unwrap_or(i64::MIN);
        let mut entries = runs.scan_part(part_from(passed))?;
        let mut first: Option<i64> = None;
        while let Some(due) = next_due(&mut entries)? {
            // The entries of a place are in the order of their columns.
            if first.is_some_and(|first| place(first) != place(due.time)) {
                break;
            }
            if self.is_ahead(&due) {
                first = Some(first.map_or(due.time, |first| first.min(due.time)));
            }
        }
        Ok(first)
    }

    /// There is a run that was not there before.
    pub(super) fn runs_changed(&self) {
        self.0.lock().iter_mut().for_each(|column| column.next = i64::MIN);
    }

    fn is_ahead(&self, due: &Due) -> bool {
        due.time >= self.column(due.column).passed
    }

    /// Entries in their order, each once. What has passed already is put where it is looked for next.
    fn sorted(&self, mut dues: Vec<Due>) -> Vec<Due> {
        for due in &mut dues {
            due.time = due.time.max(self.column(due.column).passed);
        }
        dues.sort_unstable_by_key(|due| (place(due.time), due.column, due.time, due.hash));
        dues.dedup();
        dues
    }
}

/// Where the places of times begin: in a 2^17th of all hashes, so that few others lie among them.
const FIRST_PLACE: u64 = 0xca1e << 48;
/// So many of the first bits of a time that is not small tell its place: half a millisecond of one in microseconds.
const PLACE_BITS: u32 = 42;

/// Where a time stands among the hashes. A later time does not stand before an earlier one.
fn place(time: i64) -> u64 {
    let count = time.unsigned_abs();
    let shift = (u64::BITS - count.leading_zeros()).saturating_sub(PLACE_BITS);
    // As a floating-point number of so many digits has it.
    let code = (u64::from(shift) << (PLACE_BITS - 1)) + (count >> shift);
    let middle = FIRST_PLACE + (1 << 46);
    if time < 0 { middle - code } else { middle + code }
}

/// The part of all hashes in which this time and all later ones have their places.
fn part_from(time: i64) -> Part {
    Part::between(place(time), place(i64::MAX))
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

/// The next entry of these.
///
/// # Errors
/// [`fleuve_types::ErrorKind::Io`] if a run cannot be read.
fn next_due(entries: &mut Merge) -> Result<Option<Due>> {
    while entries.next()? {
        if let Some(due) = parse(&entries.entry()) {
            return Ok(Some(due));
        }
    }
    Ok(None)
}

/// Writes entries as a run.
pub(crate) fn write_dues(target: &Target<'_>, dues: Vec<Due>) -> Result<Option<Arc<Run>>> {
    let dues = target.calendar().sorted(dues);
    if dues.is_empty() {
        return Ok(None);
    }
    let mut writer = target.begin(dues.chunk_by(|a, b| place(a.time) == place(b.time)).count())?;
    write_pieces(&mut writer, &dues, |dues| {
        let mut flat = Flat::default();
        for due in dues {
            flat.push(place(due.time), (CALENDAR, &[due.column], &row(due)), Some(&[]));
        }
        Ok(flat)
    })?;
    writer.finish().map(Some)
}

/// Copies entries, as far as there is room.
pub(crate) fn copy_dues(target: &Target<'_>, room: &Room, dues: Vec<Due>, out: &mut Entries) {
    for due in target.calendar().sorted(dues) {
        if !out.push(room, place(due.time), (CALENDAR, &[due.column], &row(&due)), Some(&[])) {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
