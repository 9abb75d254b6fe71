//! Slots by event time: what may be dropped once the watermark has passed. Derived state: made again from what it points to.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use fleuve_types::{Error, Result};

use super::arrangement::Arrangement;
use super::bytes::{ByteSet, hash_bytes};
use super::calendar::Due;
use super::rows::Encoded;

/// The event times of a column, counted in its own unit.
///
/// # Errors
/// A bug if the column is no timestamp or date.
pub(crate) fn times_of(column: &ArrayRef) -> Result<Int64Array> {
    let counted = cast(column, &DataType::Int64).map_err(|e| Error::bug(format!("event time: {e}")))?;
    Ok(counted.as_primitive::<Int64Type>().clone())
}

/// The times of a row in each of several columns.
pub(crate) fn times_at(columns: &[Int64Array], row: usize) -> impl Iterator<Item = Option<i64>> + Clone + '_ {
    columns.iter().map(move |c| c.is_valid(row).then(|| c.value(row)))
}

/// A slot without a time in a column, which that column never closes.
const NEVER: i64 = i64::MAX;

#[derive(Default)]
struct Column {
    slots: BTreeMap<i64, Vec<u32>>,
    /// By slot: its time. What `slots` says about a slot that was given away since is told apart by it.
    times: Vec<i64>,
    entries: usize,
}

/// Slots of a state by their times in one or more columns; closed is what lies before the watermark in any of them.
#[derive(Default)]
pub(crate) struct Windows {
    columns: Vec<Column>,
}

impl Windows {
    /// Over so many columns.
    pub(crate) fn new(columns: usize) -> Self {
        Self { columns: (0..columns).map(|_| Column::default()).collect() }
    }

    /// How many columns there are.
    pub(crate) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// True if there is nothing to close by.
    pub(crate) fn is_off(&self) -> bool {
        self.columns.is_empty()
    }

    /// A new slot with its time in each column.
    pub(crate) fn put(&mut self, slot: u32, times: impl Iterator<Item = Option<i64>>) {
        for (column, time) in self.columns.iter_mut().zip(times) {
            if column.times.len() <= slot as usize {
                column.times.resize(slot as usize + 1, NEVER);
            }
            let time = time.unwrap_or(NEVER);
            column.times[slot as usize] = time;
            if time != NEVER {
                column.slots.entry(time).or_default().push(slot);
                column.entries += 1;
            }
        }
    }

    /// New slots, in the order of the rows of `columns`, of which those numbered `times` have their times.
    ///
    /// # Errors
    /// As [`times_of`].
    pub(crate) fn put_all(&mut self, slots: &[u32], columns: &[ArrayRef], times: &[usize]) -> Result<()> {
        let times = times.iter().map(|c| times_of(&columns[*c])).collect::<Result<Vec<_>>>()?;
        for (row, slot) in slots.iter().enumerate() {
            self.put(*slot, times_at(&times, row));
        }
        Ok(())
    }

    /// The times of a slot, which is found under `hash` when it has left memory. The columns are counted from `first` on.
    pub(crate) fn dues(&self, slot: u32, hash: u64, first: usize, out: &mut Vec<Due>) {
        for (n, column) in self.columns.iter().enumerate() {
            let time = column.times.get(slot as usize).copied().filter(|time| *time != NEVER);
            out.extend(time.map(|time| Due { time, column: (first + n) as u8, hash }));
        }
    }

    /// Takes out the slots that lie before the watermark of any column, ascending. A slot that was freed meanwhile may be among
    /// them.
    pub(crate) fn closed(&mut self, watermarks: &[Option<i64>]) -> Vec<u32> {
        let mut out = vec![];
        for (column, watermark) in self.columns.iter_mut().zip(watermarks) {
            let Some(watermark) = watermark else { continue };
            while let Some(first) = column.slots.first_entry().filter(|e| e.key() < watermark) {
                let (time, slots) = first.remove_entry();
                column.entries -= slots.len();
                out.extend(slots.into_iter().filter(|s| column.times[*s as usize] == time));
            }
        }
        out.sort_unstable();
        out.dedup();
        for column in &mut self.columns {
            for slot in &out {
                column.times[*slot as usize] = NEVER;
            }
        }
        out
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let column = |c: &Column| c.times.capacity() * 8 + c.entries * 4 + c.slots.len() * 48;
        self.columns.iter().map(column).sum()
    }
}

/// Keys by event time, for states that are kept by key.
#[derive(Default)]
pub(crate) struct OpenKeys {
    keys: ByteSet,
    windows: Windows,
}

impl OpenKeys {
    /// Over so many time columns of the key.
    pub(crate) fn new(columns: usize) -> Self {
        Self { keys: ByteSet::default(), windows: Windows::new(columns) }
    }

    /// True if there is nothing to close by.
    pub(crate) fn is_off(&self) -> bool {
        self.windows.is_off()
    }

    /// How many time columns the key has.
    pub(crate) fn columns(&self) -> usize {
        self.windows.columns()
    }

    /// None yet, over as many columns.
    pub(crate) fn emptied(&self) -> Self {
        Self::new(self.windows.columns())
    }

    /// A key that is in use. One without a time is never closed, so it need not be known.
    pub(crate) fn note(&mut self, hash: u64, key: &[u8], times: impl Iterator<Item = Option<i64>> + Clone) {
        if times.clone().all(|t| t.is_none()) {
            return;
        }
        let (slot, is_new) = self.keys.insert(hash, key);
        if is_new {
            self.windows.put(slot, times);
        }
    }

    /// The keys of rows that arrive: `rows` are their numbers.
    pub(crate) fn note_rows(&mut self, rows: &[u32], hashes: &[u64], keys: &Encoded, times: &[Int64Array]) {
        if self.is_off() {
            return;
        }
        for row in rows {
            let row = *row as usize;
            self.note(hashes[row], keys.row(row), times_at(times, row));
        }
    }

    /// The times of the keys of rows that changed, or of all; rows are found under the hash of their key.
    pub(crate) fn dues(&self, rows: &Arrangement, full: bool, out: &mut Vec<Due>) {
        if self.is_off() {
            return;
        }
        let mut keys: Vec<u32> = rows.changed(full).into_iter().map(|slot| rows.key_slot_of(slot)).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys.into_iter().map(|key| rows.key(key)) {
            let hash = hash_bytes(key);
            let slot = self.keys.get(hash, key);
            slot.into_iter().for_each(|slot| self.windows.dues(slot, hash, 0, out));
        }
    }

    /// Takes out the keys that lie before the watermark.
    pub(crate) fn closed(&mut self, watermarks: &[Option<i64>]) -> Vec<Vec<u8>> {
        let slots = self.windows.closed(watermarks);
        slots
            .into_iter()
            .map(|slot| {
                let key = self.keys.key(slot).to_vec();
                self.keys.remove(slot);
                key
            })
            .collect()
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        if self.is_off() { 0 } else { self.keys.bytes() + self.windows.bytes() }
    }
}
