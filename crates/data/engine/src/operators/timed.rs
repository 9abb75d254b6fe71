//! State that is found by event time: rows, or keys, by the times in them.

use fleuve_types::Result;

use crate::state::{
    Arrangement, Due, FetchedKeys, OpenKeys, Resident, RowCodec, TableShard, Windows, hash_bytes, times_at, times_of,
};

/// Rows that are looked up one by one, and by the times in them. Their common key is empty.
#[derive(Default)]
pub(super) struct TimedRows {
    pub(super) rows: Arrangement,
    pub(super) windows: Windows,
    /// Slots that were fetched, and have no times yet.
    fetched: Vec<u32>,
    resident: Resident,
}

impl TableShard for TimedRows {
    fn hash_of(_: u8) -> fn(&[u8], &[u8]) -> u64 {
        |_, row| hash_bytes(row)
    }

    fn tables(&self) -> Vec<&Arrangement> {
        vec![&self.rows]
    }

    fn fetch(&mut self, _: u8, key: &[u8], row: &[u8], weight: i64) {
        let slot = self.rows.fetch(key, row, weight);
        if !self.windows.is_off() {
            self.fetched.extend(slot);
        }
    }

    fn dues(&self, full: bool) -> Vec<Due> {
        let mut out = vec![];
        if !self.windows.is_off() {
            let changed = self.rows.changed(full).into_iter();
            changed.for_each(|slot| self.windows.dues(slot, self.rows.row_hash(slot), 0, &mut out));
        }
        out
    }

    fn written(&mut self) {
        self.rows.mark_saved();
        self.resident.written(|hash| self.rows.has_row_hash(hash));
    }

    fn has(&self, hash: u64) -> bool {
        self.rows.has_row_hash(hash)
    }

    fn emptied(&self) -> Self {
        Self::by_times(self.windows.columns())
    }

    fn resident(&mut self) -> &mut Resident {
        &mut self.resident
    }
}

impl TimedRows {
    /// By so many times in a row.
    pub(super) fn by_times(columns: usize) -> Self {
        Self { windows: Windows::new(columns), ..Self::default() }
    }

    /// Finds the times of rows that were fetched. `times` are their columns.
    pub(super) fn date(&mut self, codec: &RowCodec, times: &[usize]) -> Result<()> {
        let mut slots = std::mem::take(&mut self.fetched);
        slots.retain(|slot| self.rows.is_held(*slot));
        self.date_slots(&slots, codec, times)
    }

    /// The times of all rows again, after they were loaded.
    pub(super) fn loaded(&mut self, codec: &RowCodec, times: &[usize]) -> Result<()> {
        self.fetched = vec![];
        let slots: Vec<u32> = if self.windows.is_off() { vec![] } else { self.rows.iter().collect() };
        self.date_slots(&slots, codec, times)
    }

    fn date_slots(&mut self, slots: &[u32], codec: &RowCodec, times: &[usize]) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let columns = codec.decode(slots.iter().map(|s| self.rows.row(*s)))?;
        self.windows.put_all(slots, &columns, times)
    }

    /// The slots of rows before the watermarks, to be given to [`TimedRows::drop_rows`].
    pub(super) fn closed(&mut self, watermarks: &[Option<i64>]) -> Vec<u32> {
        let mut slots = self.windows.closed(watermarks);
        slots.retain(|slot| self.rows.is_held(*slot));
        slots
    }

    /// Drops rows that nobody asks for again.
    pub(super) fn drop_rows(&mut self, slots: &[u32]) {
        slots.iter().for_each(|slot| self.resident.dropped(self.rows.row_hash(*slot)));
        self.rows.drop_rows(slots);
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows.bytes() + self.windows.bytes() + self.resident.bytes()
    }
}

/// The times of keys that were fetched. `times` are parts of the key.
pub(super) fn find_fetched(
    fetched: &FetchedKeys,
    codec: &RowCodec,
    times: &[usize],
    open: &mut OpenKeys,
) -> Result<()> {
    if open.is_off() || fetched.is_empty() {
        return Ok(());
    }
    let columns = codec.decode(fetched.iter().map(|(_, key)| key.as_slice()))?;
    let times = times.iter().map(|c| times_of(&columns[*c])).collect::<Result<Vec<_>>>()?;
    for (row, (_, key)) in fetched.iter().enumerate() {
        open.note(hash_bytes(key), key, times_at(&times, row));
    }
    Ok(())
}

/// The times of an arrangement's keys again, after it was loaded. `times` are parts of the key.
pub(super) fn find_keys(rows: &Arrangement, codec: &RowCodec, times: &[usize], open: &mut OpenKeys) -> Result<()> {
    let slots: Vec<u32> = rows.iter().collect();
    let columns = codec.decode(slots.iter().map(|s| rows.key_of(*s)))?;
    let times = times.iter().map(|c| times_of(&columns[*c])).collect::<Result<Vec<_>>>()?;
    for (row, slot) in slots.iter().enumerate() {
        let key = rows.key_of(*slot);
        open.note(hash_bytes(key), key, times_at(&times, row));
    }
    Ok(())
}
