//! DISTINCT: a row is there as long as the sum of its weights is positive.

use arrow::array::UInt32Array;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use fleuve_types::{Delta, Result};

use super::map::concat;
use super::shard::{for_each, shard_of, split};
use super::timed::TimedRows;
use super::{Operator, StepContext};
use crate::state::{
    Paged, Pages, Part, RowCodec, TableShard, absent_rows, changes_from_batch, changes_to_batch, fetch_due, fetch_rows,
    hash_bytes, paged_shards, times_at, times_of,
};

pub(crate) struct Distinct {
    schema: SchemaRef,
    codec: RowCodec,
    shards: Vec<TimedRows>,
    pages: Option<Pages>,
    /// Columns that carry event time: rows are dropped when the watermark has passed them.
    close_by: Vec<usize>,
}

impl Distinct {
    pub(crate) fn new(schema: SchemaRef, shards: usize) -> Result<Self> {
        let codec = RowCodec::for_schema(&schema)?;
        let shards = (0..shards).map(|_| TimedRows::default()).collect();
        Ok(Self { schema, codec, shards, pages: None, close_by: vec![] })
    }

    /// Drops rows when the watermark has passed one of these columns, which carry event time.
    pub(crate) fn close_by(&mut self, columns: Vec<usize>) {
        self.shards.iter_mut().for_each(|shard| *shard = TimedRows::by_times(columns.len()));
        self.close_by = columns;
    }
}

paged_shards!(Distinct);

impl Operator for Distinct {
    fn only_adds(&self, _: usize) -> bool {
        true
    }

    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        let input = &inputs[0];
        let rows = self.codec.encode(input.batch.columns())?;
        let hashes = rows.hashes(input.len());
        let parts = split(&hashes, self.shards.len());
        let no_key = hash_bytes(&[]);
        let times = self.close_by.iter().map(|c| times_of(input.batch.column(*c))).collect::<Result<Vec<_>>>()?;
        let reader = self.pages.as_ref().and_then(Pages::reader);
        let (codec, close_by) = (&self.codec, &self.close_by);
        let outs = for_each(&mut self.shards, input.len(), |s, shard| {
            fetch_rows(shard, reader, parts[s].iter().map(|i| hashes[*i as usize]))?;
            shard.date(codec, close_by)?;
            let (state, windows) = (&mut shard.rows, &mut shard.windows);
            let mut touched: Vec<(u32, i64, u32)> = Vec::new();
            let mut seen = std::collections::HashSet::new();
            for i in &parts[s] {
                let at = *i as usize;
                let t = state.add(no_key, &[], hashes[at], rows.row(at), input.weight(at));
                if t.is_new {
                    windows.put(t.slot, times_at(&times, at));
                }
                if seen.insert(t.slot) {
                    touched.push((t.slot, t.old, *i));
                }
            }
            let mut indices = Vec::new();
            let mut weights = Vec::new();
            for (slot, old, i) in touched {
                let change = i64::from(state.weight(slot) > 0) - i64::from(old > 0);
                if change != 0 {
                    indices.push(i);
                    weights.push(change);
                }
            }
            state.sweep();
            let batch = Delta::insert(input.batch.clone()).take(&UInt32Array::from(indices))?.batch;
            Delta::weighted(batch, weights)
        })?;
        concat(&self.schema, &outs)
    }

    /// A row that is dropped behind the watermark is shown all the same.
    fn can_answer(&self) -> bool {
        self.close_by.is_empty()
    }

    fn present_answer(&mut self, part: Part) -> Result<Delta> {
        let absent = absent_rows(&mut self.shards, self.pages.as_ref(), part)?;
        let mut outs = vec![];
        for shard in absent.iter().chain(&self.shards) {
            let state = &shard.rows;
            let shown = state.rows_in(part).filter(|s| state.weight(*s) > 0);
            let rows: Vec<&[u8]> = shown.map(|s| state.row(s)).collect();
            outs.push(Delta::insert(self.codec.decode_batch(&self.schema, &rows)?));
        }
        concat(&self.schema, &outs)
    }

    fn places(&self, rows: &Delta) -> Result<Vec<u64>> {
        Ok(self.codec.encode(rows.batch.columns())?.hashes(rows.len()))
    }

    fn close(&mut self, watermarks: &[Option<i64>]) -> Result<Option<Delta>> {
        fetch_due(&mut self.shards, self.pages.as_ref(), watermarks)?;
        for shard in &mut self.shards {
            shard.date(&self.codec, &self.close_by)?;
            let closed = shard.closed(watermarks);
            shard.drop_rows(&closed);
        }
        Ok(None)
    }

    fn closing(&self) -> Option<&'static str> {
        (!self.close_by.is_empty()).then_some("rows of closed windows are dropped")
    }

    fn loaded(&mut self) -> Result<()> {
        self.shards.iter_mut().try_for_each(|shard| shard.loaded(&self.codec, &self.close_by))
    }

    fn paged(&mut self) -> Option<&mut dyn Paged> {
        Some(self)
    }

    fn pages(&self) -> Option<&Pages> {
        self.pages.as_ref()
    }

    fn describe(&self) -> String {
        "Distinct".into()
    }

    fn state_rows(&self) -> usize {
        let held = self.shards.iter().map(|s| s.rows.len()).sum();
        self.pages.as_ref().map_or(held, |p| p.dated_rows(held, self.close_by.len()))
    }

    fn state_bytes(&self) -> usize {
        self.pages.as_ref().map_or(0, Pages::bytes) + self.shards.iter().map(TimedRows::bytes).sum::<usize>()
    }

    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        self.shards.iter_mut().map(|s| changes_to_batch(0, &s.rows.take_changes(full))).collect()
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let n = self.shards.len();
        let shards = &mut self.shards;
        changes_from_batch(batch, |_, key, row, weight| {
            let shard = &mut shards[shard_of(hash_bytes(row), n)];
            shard.rows.restore(key, row, weight);
        })?;
        self.shards.iter_mut().for_each(TableShard::written);
        Ok(())
    }
}
