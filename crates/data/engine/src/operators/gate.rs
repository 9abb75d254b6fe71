//! EMIT ON WINDOW CLOSE: rows wait until the watermark has passed their event time; then they are final and go on.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fleuve_types::{Delta, Error, Result};

use super::{Operator, StepContext};
use crate::state::{
    Arrangement, OpenKeys, RowCodec, Windows, changes_from_batch, changes_to_batch, hash_bytes, times_at, times_of,
};

pub(crate) struct Gate {
    schema: SchemaRef,
    codec: RowCodec,
    /// The columns that carry event time.
    times: Vec<usize>,
    rows: Arrangement,
    windows: Windows,
}

impl Gate {
    /// A gate by the event times in `times`.
    pub(crate) fn new(schema: SchemaRef, times: Vec<usize>) -> Result<Self> {
        let codec = RowCodec::for_schema(&schema)?;
        let windows = Windows::new(times.len());
        Ok(Self { schema, codec, times, rows: Arrangement::default(), windows })
    }
}

impl Operator for Gate {
    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        let input = &inputs[0];
        let rows = self.codec.encode(input.batch.columns())?;
        let times = self.times.iter().map(|c| times_of(input.batch.column(*c))).collect::<Result<Vec<_>>>()?;
        let no_key = hash_bytes(&[]);
        for i in 0..input.len() {
            let touched = self.rows.add(no_key, &[], hash_bytes(rows.row(i)), rows.row(i), input.weight(i));
            if touched.is_new {
                self.windows.put(touched.slot, times_at(&times, i));
            }
        }
        self.rows.sweep();
        Ok(Delta::empty(self.schema.clone()))
    }

    fn close(&mut self, watermarks: &[Option<i64>]) -> Result<Option<Delta>> {
        let mut slots = self.windows.closed(watermarks);
        slots.retain(|s| self.rows.is_held(*s));
        if slots.is_empty() {
            return Ok(None);
        }
        slots.sort_by(|a, b| self.rows.row(*a).cmp(self.rows.row(*b)));
        let weights: Vec<i64> = slots.iter().map(|s| self.rows.weight(*s)).collect();
        if weights.iter().any(|w| *w < 0) {
            return Err(Error::bug("a window closed with a row less than none"));
        }
        let rows: Vec<&[u8]> = slots.iter().map(|s| self.rows.row(*s)).collect();
        let shown = Delta::weighted(self.codec.decode_batch(&self.schema, &rows)?, weights)?;
        self.rows.drop_rows(&slots);
        Ok(Some(shown))
    }

    fn closing(&self) -> Option<&'static str> {
        Some("rows wait here until their window is closed")
    }

    fn describe(&self) -> String {
        let names: Vec<&str> = self.times.iter().map(|c| self.schema.field(*c).name().as_str()).collect();
        format!("Emit on window close: by {}", names.join(", "))
    }

    fn state_rows(&self) -> usize {
        self.rows.len()
    }

    fn state_bytes(&self) -> usize {
        self.rows.bytes() + self.windows.bytes()
    }

    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        Ok(vec![changes_to_batch(0, &self.rows.take_changes(full))?])
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        changes_from_batch(batch, |_, key, row, weight| self.rows.restore(key, row, weight))?;
        self.rows.mark_saved();
        Ok(())
    }

    fn loaded(&mut self) -> Result<()> {
        find_rows(&self.rows, &self.codec, &self.times, &mut self.windows)
    }
}

/// The times of an arrangement's rows again, after they were loaded.
pub(super) fn find_rows(rows: &Arrangement, codec: &RowCodec, times: &[usize], windows: &mut Windows) -> Result<()> {
    let slots: Vec<u32> = rows.iter().collect();
    let columns = codec.decode(slots.iter().map(|s| rows.row(*s)))?;
    let times = times.iter().map(|c| times_of(&columns[*c])).collect::<Result<Vec<_>>>()?;
    for (row, slot) in slots.iter().enumerate() {
        windows.put(*slot, times_at(&times, row));
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
