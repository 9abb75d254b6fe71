//! The part of an answer that lies on disk: sorted runs of its rows, and in memory what was taken away from them since.
//!
//! Rows in memory and rows on disk are different rows: one that goes is struck out in memory if it is there, else it is noted here,
//! unread. Both come together on disk when the rows in memory leave.

use std::sync::Arc;

use arrow::array::RecordBatch;
use fleuve_types::{Error, Result};

use super::cold_rows::ColdShot;
use super::layout::{Form, SharedLayout, to_ipc};
use crate::state::runs::{Entry, MemoryFiles, Merge, Run, RunRef, RunSet, RunWriter, Space};
use crate::state::{Encoded, hash_bytes};

/// An entry of arrived rows has at most this many.
pub(super) const LOG_ROWS: usize = 8_192;

/// The runs of an answer.
pub(super) struct Cold {
    layout: SharedLayout,
    disk: RunSet,
    /// Small runs in memory of what was struck since the last flush, the newest first.
    strikes: Vec<Arc<Run>>,
    memory: Arc<Space>,
    /// Rows, those struck not counted.
    rows: u64,
    /// The number of the next row to arrive.
    next: u64,
}

/// One row or identity on its way into a run.
struct Item<'a> {
    hash: u64,
    key: &'a [u8],
    value: Option<&'a [u8]>,
}

/// What a checkpoint keeps of an answer on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct SavedRuns {
    runs: Vec<RunRef>,
    rows: u64,
    next: u64,
}

impl SavedRuns {
    /// The names of the files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.runs.iter().map(|r| r.name.as_str())
    }
}

impl Cold {
    pub(super) fn new(layout: SharedLayout, space: &Arc<Space>, place: &str) -> Result<Self> {
        let disk = RunSet::new(space.clone(), place.into(), layout.form.combine());
        Self::of(layout, disk, 0, 0)
    }

    pub(super) fn open(layout: SharedLayout, space: &Arc<Space>, place: &str, saved: &SavedRuns) -> Result<Self> {
        let disk = RunSet::open(space.clone(), place.into(), layout.form.combine(), &saved.runs)?;
        Self::of(layout, disk, saved.rows, saved.next)
    }

    fn of(layout: SharedLayout, disk: RunSet, rows: u64, next: u64) -> Result<Self> {
        let memory = Space::open(Arc::new(MemoryFiles::default()), false)?;
        Ok(Self { layout, disk, strikes: vec![], memory, rows, next })
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.disk.bytes() + self.strikes_bytes()
    }

    /// The part of it that a flush frees.
    pub(super) fn strikes_bytes(&self) -> usize {
        self.strikes.iter().map(|r| r.bytes() + r.disk_bytes() as usize).sum()
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk.disk_bytes()
    }

    pub(super) fn least_disk_bytes(&self) -> u64 {
        self.disk.least_disk_bytes()
    }

    /// What there is now, for a snapshot.
    pub(super) fn shot(&self) -> ColdShot {
        let runs = self.strikes.iter().chain(self.disk.runs()).cloned().collect();
        ColdShot { layout: self.layout.clone(), runs, next: self.next }
    }

    /// What is on disk as a checkpoint names it; the files stay from now on.
    pub(super) fn save(&mut self) -> SavedRuns {
        SavedRuns { runs: self.disk.name_all(), rows: self.rows, next: self.next }
    }

    /// The runs on disk.
    pub(super) fn disk(&self) -> &RunSet {
        &self.disk
    }

    /// Named files that the next checkpoint does not name any more.
    pub(super) fn take_stale(&mut self) -> Vec<String> {
        self.disk.take_stale()
    }

    /// Takes away `count` copies each of rows `(row, count)`, which lie on disk.
    pub(super) fn strike(&mut self, keys: &Encoded, rows: &[(u32, i64)]) -> Result<()> {
        let weights: Vec<[u8; 8]> = rows.iter().map(|(_, count)| (-count).to_le_bytes()).collect();
        let mut items: Vec<Item<'_>> = rows
            .iter()
            .zip(&weights)
            .map(|((row, _), weight)| {
                let key = keys.row(*row as usize);
                let value = (self.layout.form == Form::Bag).then_some(weight.as_slice());
                Item { hash: hash_bytes(key), key, value }
            })
            .collect();
        sort(&mut items);
        let mut writer = RunWriter::create(&self.memory, "strikes", items.len() as u64)?;
        add_all(&mut writer, &items, None, self.layout.form)?;
        self.strikes.insert(0, writer.finish()?);
        let gone: i64 = rows.iter().map(|(_, count)| *count).sum();
        self.rows = self.rows.checked_sub(gone as u64).ok_or_else(too_many)?;
        // As few as there are digits in the number of entries.
        while let [a, b, ..] = self.strikes.as_slice()
            && a.entries() * 2 > b.entries()
        {
            let both = [a.clone(), b.clone()];
            let mut writer = RunWriter::create(&self.memory, "strikes", a.hashes() + b.hashes())?;
            let mut merge = Merge::new(&both, self.layout.form.combine(), false)?;
            while merge.next()? {
                let Entry { hash, key, value } = merge.entry();
                writer.add(hash, key, value)?;
            }
            self.strikes.splice(..2, [writer.finish()?]);
        }
        Ok(())
    }

    /// As [`RunSet::tend`].
    pub(super) fn tend(&mut self) -> bool {
        self.disk.tend()
    }

    pub(super) fn is_merging(&self) -> bool {
        self.disk.is_merging()
    }

    /// As [`RunSet::compact`].
    pub(super) fn compact(&mut self, wait: bool) -> bool {
        self.disk.compact(wait)
    }

    /// Takes in rows that leave memory, with everything that was struck until now.
    pub(super) fn flush(&mut self, batches: &[RecordBatch]) -> Result<()> {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows == 0 && self.strikes.is_empty() {
            return Ok(());
        }
        match self.layout.form {
            Form::Log => self.flush_log(batches)?,
            Form::Keyed | Form::Bag => self.flush_sorted(batches, rows)?,
        }
        self.rows += rows as u64;
        self.strikes.clear();
        self.disk.tidy();
        Ok(())
    }

    fn flush_sorted(&mut self, batches: &[RecordBatch], rows: usize) -> Result<()> {
        let is_bag = self.layout.form == Form::Bag;
        let keys = batches.iter().map(|b| self.layout.keys(b)).collect::<Result<Vec<_>>>()?;
        let rest = match is_bag {
            true => vec![],
            false => batches.iter().map(|b| self.layout.rest(b)).collect::<Result<Vec<_>>>()?,
        };
        let one = 1_i64.to_le_bytes();
        let mut items = Vec::with_capacity(rows);
        for (n, batch) in batches.iter().enumerate() {
            for row in 0..batch.num_rows() {
                let key = keys[n].row(row);
                let value = if is_bag { one.as_slice() } else { rest[n].row(row) };
                items.push(Item { hash: hash_bytes(key), key, value: Some(value) });
            }
        }
        sort(&mut items);
        let strikes = Merge::new(&self.strikes, self.layout.form.combine(), false)?;
        let hashes = self.strikes.iter().map(|r| r.hashes()).sum::<u64>() + rows as u64;
        let mut writer = self.disk.writer(hashes)?;
        add_all(&mut writer, &items, Some(strikes), self.layout.form)?;
        if writer.entries() > 0 {
            self.disk.push(writer.finish()?);
        }
        Ok(())
    }

    fn flush_log(&mut self, batches: &[RecordBatch]) -> Result<()> {
        let entries = batches.iter().map(|b| b.num_rows().div_ceil(LOG_ROWS) as u64).sum();
        let mut writer = self.disk.writer(entries)?;
        for batch in batches {
            for at in (0..batch.num_rows()).step_by(LOG_ROWS) {
                let len = LOG_ROWS.min(batch.num_rows() - at);
                writer.add(self.next, &[], Some(&to_ipc(&batch.slice(at, len))?))?;
                self.next += len as u64;
            }
        }
        self.disk.push(writer.finish()?);
        Ok(())
    }
}

fn too_many() -> Error {
    Error::bug("a view's change takes away a row that is not there")
}

fn sort(items: &mut [Item<'_>]) {
    items.sort_unstable_by(|a, b| (a.hash, a.key).cmp(&(b.hash, b.key)));
}

/// Writes sorted items, copies of one added up, together with what was struck before.
fn add_all(writer: &mut RunWriter, items: &[Item<'_>], strikes: Option<Merge>, form: Form) -> Result<()> {
    let mut strikes = Struck::begin(strikes)?;
    for group in items.chunk_by(|a, b| (a.hash, a.key) == (b.hash, b.key)) {
        let Some(Item { hash, key, value }) = group.first() else { continue };
        strikes.write_before(writer, (*hash, key))?;
        let struck = strikes.take((*hash, key))?;
        if form == Form::Bag {
            let sum = group.iter().map(|i| weight(i.value)).sum::<i64>() + weight(struck.as_deref());
            if sum != 0 {
                writer.add(*hash, key, Some(&sum.to_le_bytes()))?;
            }
        } else {
            if group.len() > 1 {
                return Err(Error::bug("a view has two rows of one key"));
            }
            writer.add(*hash, key, *value)?;
        }
    }
    strikes.write_rest(writer)
}

pub(super) fn weight(value: Option<&[u8]>) -> i64 {
    value.and_then(|v| v.try_into().ok()).map_or(0, i64::from_le_bytes)
}

/// What was struck, read along.
struct Struck {
    merge: Option<Merge>,
    is_there: bool,
}

impl Struck {
    fn begin(merge: Option<Merge>) -> Result<Self> {
        let mut struck = Self { merge, is_there: true };
        struck.advance()?;
        Ok(struck)
    }

    fn advance(&mut self) -> Result<()> {
        self.is_there = match &mut self.merge {
            Some(merge) => merge.next()?,
            None => false,
        };
        Ok(())
    }

    fn entry(&self) -> Option<Entry<'_>> {
        self.merge.as_ref().filter(|_| self.is_there).map(Merge::entry)
    }

    /// Writes what comes before `(hash, key)`.
    fn write_before(&mut self, writer: &mut RunWriter, at: (u64, &[u8])) -> Result<()> {
        while let Some(entry) = self.entry()
            && (entry.hash, entry.key) < at
        {
            writer.add(entry.hash, entry.key, entry.value)?;
            self.advance()?;
        }
        Ok(())
    }

    /// The value of what was struck of `(hash, key)`.
    fn take(&mut self, at: (u64, &[u8])) -> Result<Option<Vec<u8>>> {
        match self.entry() {
            Some(entry) if (entry.hash, entry.key) == at => {
                let value = entry.value.map(<[u8]>::to_vec);
                self.advance()?;
                Ok(value)
            }
            _ => Ok(None),
        }
    }

    fn write_rest(&mut self, writer: &mut RunWriter) -> Result<()> {
        while let Some(entry) = self.entry() {
            writer.add(entry.hash, entry.key, entry.value)?;
            self.advance()?;
        }
        Ok(())
    }
}
