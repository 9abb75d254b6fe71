//! EMIT ON WINDOW CLOSE: rows wait until the watermark has passed their event time; then they are final and go on.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fleuve_types::{Delta, Error, Result};

use super::map::concat;
use super::timed::TimedRows;
use super::{Operator, StepContext};
use crate::state::{
    Paged, Pages, RowCodec, TableShard, changes_from_batch, changes_to_batch, fetch_due, fetch_rows, hash_bytes,
    paged_shards, times_at, times_of,
};

pub(crate) struct Gate {
    schema: SchemaRef,
    codec: RowCodec,
    /// The columns that carry event time.
    times: Vec<usize>,
    /// One.
    shards: Vec<TimedRows>,
    pages: Option<Pages>,
}

paged_shards!(Gate);

impl Gate {
    /// A gate by the event times in `times`.
    pub(crate) fn new(schema: SchemaRef, times: Vec<usize>) -> Result<Self> {
        let codec = RowCodec::for_schema(&schema)?;
        let shards = vec![TimedRows::by_times(times.len())];
        Ok(Self { schema, codec, times, shards, pages: None })
    }
}

impl Operator for Gate {
    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        let input = &inputs[0];
        let rows = self.codec.encode(input.batch.columns())?;
        let times = self.times.iter().map(|c| times_of(input.batch.column(*c))).collect::<Result<Vec<_>>>()?;
        let hashes = rows.hashes(input.len());
        let reader = self.pages.as_ref().and_then(Pages::reader);
        let no_key = hash_bytes(&[]);
        for held in &mut self.shards {
            fetch_rows(held, reader, hashes.iter().copied())?;
            held.date(&self.codec, &self.times)?;
            for (i, hash) in hashes.iter().enumerate() {
                let touched = held.rows.add(no_key, &[], *hash, rows.row(i), input.weight(i));
                if touched.is_new {
                    held.windows.put(touched.slot, times_at(&times, i));
                }
            }
            held.rows.sweep();
        }
        Ok(Delta::empty(self.schema.clone()))
    }

    fn close(&mut self, watermarks: &[Option<i64>]) -> Result<Option<Delta>> {
        fetch_due(&mut self.shards, self.pages.as_ref(), watermarks)?;
        let mut outs = vec![];
        for held in &mut self.shards {
            held.date(&self.codec, &self.times)?;
            let mut slots = held.closed(watermarks);
            if slots.is_empty() {
                continue;
            }
            slots.sort_by(|a, b| held.rows.row(*a).cmp(held.rows.row(*b)));
            let weights: Vec<i64> = slots.iter().map(|s| held.rows.weight(*s)).collect();
            if weights.iter().any(|w| *w < 0) {
                return Err(Error::bug("a window closed with a row less than none"));
            }
            let rows: Vec<&[u8]> = slots.iter().map(|s| held.rows.row(*s)).collect();
            outs.push(Delta::weighted(self.codec.decode_batch(&self.schema, &rows)?, weights)?);
            held.drop_rows(&slots);
        }
        if outs.is_empty() { Ok(None) } else { concat(&self.schema, &outs).map(Some) }
    }

    fn closing(&self) -> Option<&'static str> {
        Some("rows wait here until their window is closed")
    }

    fn describe(&self) -> String {
        let names: Vec<&str> = self.times.iter().map(|c| self.schema.field(*c).name().as_str()).collect();
        format!("Emit on window close: by {}", names.join(", "))
    }

    fn paged(&mut self) -> Option<&mut dyn Paged> {
        Some(self)
    }

    fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }

    fn state_rows(&self) -> usize {
        let held = self.shards.iter().map(|s| s.rows.len()).sum();
        self.pages.as_ref().map_or(held, |p| p.dated_rows(held, self.times.len()))
    }

    fn state_bytes(&self) -> usize {
        self.pages.as_ref().map_or(0, Pages::bytes) + self.shards.iter().map(TimedRows::bytes).sum::<usize>()
    }

    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        self.shards.iter_mut().map(|s| changes_to_batch(0, &s.rows.take_changes(full))).collect()
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let shards = &mut self.shards;
        changes_from_batch(batch, |_, key, row, weight| {
            shards.iter_mut().for_each(|s| s.rows.restore(key, row, weight));
        })?;
        self.shards.iter_mut().for_each(TableShard::written);
        Ok(())
    }

    fn loaded(&mut self) -> Result<()> {
        self.shards.iter_mut().try_for_each(|s| s.loaded(&self.codec, &self.times))
    }
}
