//! DISTINCT: a row is there as long as the sum of its weights is positive.

use arrow::array::UInt32Array;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use fleuve_types::{Delta, Result};

use super::map::concat;
use super::shard::{for_each, shard_of, split};
use super::{Operator, StepContext};
use crate::state::{Arrangement, RowCodec, changes_from_batch, changes_to_batch, hash_bytes};

pub(crate) struct Distinct {
    schema: SchemaRef,
    codec: RowCodec,
    shards: Vec<Arrangement>,
}

impl Distinct {
    pub(crate) fn new(schema: SchemaRef, shards: usize) -> Result<Self> {
        let codec = RowCodec::for_schema(&schema)?;
        Ok(Self { schema, codec, shards: (0..shards).map(|_| Arrangement::default()).collect() })
    }
}

impl Operator for Distinct {
    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        let input = &inputs[0];
        let rows = self.codec.encode(input.batch.columns())?;
        let hashes: Vec<u64> = (0..input.len()).map(|i| hash_bytes(rows.row(i))).collect();
        let parts = split(&hashes, self.shards.len());
        let no_key = hash_bytes(&[]);
        let outs = for_each(&mut self.shards, input.len(), |s, state| {
            let mut touched: Vec<(u32, i64, u32)> = Vec::new();
            let mut seen = std::collections::HashSet::new();
            for i in &parts[s] {
                let at = *i as usize;
                let t = state.add(no_key, &[], hashes[at], rows.row(at), input.weight(at));
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

    fn describe(&self) -> String {
        "Distinct".into()
    }

    fn state_rows(&self) -> usize {
        self.shards.iter().map(Arrangement::len).sum()
    }

    fn state_bytes(&self) -> usize {
        self.shards.iter().map(Arrangement::bytes).sum()
    }

    fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        self.shards.iter_mut().map(|s| changes_to_batch(0, &s.take_changes(full))).collect()
    }

    fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let n = self.shards.len();
        let shards = &mut self.shards;
        changes_from_batch(batch, |_, key, row, weight| {
            let shard = &mut shards[shard_of(hash_bytes(row), n)];
            shard.restore(key, row, weight);
        })?;
        self.shards.iter_mut().for_each(Arrangement::mark_saved);
        Ok(())
    }
}
