//! The rows that a join puts out, gathered and built in batches.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use fleuve_types::{Delta, Error, Result};

use super::{Alone, JoinSpec};
use crate::operators::map::concat;
use crate::operators::{Guard, Left, evaluate_filter};
use crate::state::{RowCodec, batch_of};

/// Pairs are built this many at a time, so that a cross join does not hold all its pairs at once before the condition.
pub(super) const PAIRS_AT_ONCE: usize = 32_768;

/// Where the rows of one side of a list of pairs are.
pub(super) enum Rows<'a> {
    /// Row numbers of a batch.
    Batch(&'a RecordBatch, Vec<u32>),
    /// Rows as bytes.
    Bytes(Vec<&'a [u8]>),
}

pub(super) struct Output<'s> {
    pub(super) spec: &'s JoinSpec,
    left_codec: &'s RowCodec,
    right_codec: &'s RowCodec,
    /// More rows come to it than a core's part of all.
    pub(super) is_hot: bool,
    parts: Vec<Delta>,
    /// Pairs that the condition fails for.
    left: Left,
}

impl<'s> Output<'s> {
    pub(super) fn new(spec: &'s JoinSpec, left_codec: &'s RowCodec, right_codec: &'s RowCodec) -> Self {
        Self { spec, left_codec, right_codec, is_hot: false, parts: vec![], left: Left::new() }
    }

    /// An empty one for a part of the work.
    pub(super) fn beside(&self) -> Self {
        Self::new(self.spec, self.left_codec, self.right_codec)
    }

    /// Takes over what another one gathered.
    pub(super) fn extend(&mut self, other: Self) {
        self.parts.extend(other.parts);
        self.left.extend(other.left);
    }

    fn columns(&self, rows: &Rows<'_>, left: bool) -> Result<Vec<ArrayRef>> {
        match rows {
            Rows::Batch(batch, indices) => {
                let indices = UInt32Array::from(indices.clone());
                batch.columns().iter().map(|c| take(c, &indices, None).map_err(|e| Error::bug(e.to_string()))).collect()
            }
            Rows::Bytes(rows) => {
                let codec = if left { self.left_codec } else { self.right_codec };
                codec.decode(rows.iter().copied())
            }
        }
    }

    fn pair_batch(&self, left: &Rows<'_>, right: &Rows<'_>, len: usize) -> Result<RecordBatch> {
        let mut columns = self.columns(left, true)?;
        columns.extend(self.columns(right, false)?);
        batch_of(&self.spec.pair_schema, columns, len)
    }

    /// For which pairs the condition holds; not for those that it fails for.
    pub(super) fn holds(
        &mut self,
        left: &Rows<'_>,
        right: &Rows<'_>,
        weights: Vec<i64>,
    ) -> Result<Option<BooleanArray>> {
        let Some(filter) = &self.spec.filter else { return Ok(None) };
        let pairs = Delta::weighted(self.pair_batch(left, right, weights.len())?, weights)?;
        check(filter, &self.spec.guard, &pairs, &mut self.left).map(Some)
    }

    /// Puts out pairs for which the condition holds.
    pub(super) fn pairs(&mut self, left: &Rows<'_>, right: &Rows<'_>, weights: Vec<i64>) -> Result<()> {
        let batch = self.pair_batch(left, right, weights.len())?;
        let mut delta = Delta::weighted(batch, weights)?;
        if let Some(filter) = &self.spec.filter {
            let mask = check(filter, &self.spec.guard, &delta, &mut self.left)?;
            delta = crate::operators::map::keep(&delta, &mask)?;
        }
        delta.batch = self.with_schema(delta.batch)?;
        self.parts.push(delta);
        Ok(())
    }

    fn with_schema(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        batch_of(&self.spec.schema, batch.columns().to_vec(), rows)
    }

    /// Puts out rows of one side on their own; `marks` for a mark join.
    pub(super) fn alone(&mut self, rows: &Rows<'_>, left: bool, weights: Vec<i64>, marks: Vec<bool>) -> Result<()> {
        let len = weights.len();
        if len == 0 {
            return Ok(());
        }
        let kind = if left { self.spec.left_alone } else { self.spec.right_alone };
        let own = self.columns(rows, left)?;
        let nulls = |schema: &SchemaRef| -> Vec<ArrayRef> {
            schema.fields().iter().map(|f| new_null_array(f.data_type(), len)).collect()
        };
        let columns = match (kind, left) {
            (Alone::Padded, true) => [own, nulls(&self.spec.right_schema)].concat(),
            (Alone::Padded, false) => [nulls(&self.spec.left_schema), own].concat(),
            (Alone::Mark, _) => {
                let mut columns = own;
                columns.push(Arc::new(BooleanArray::from(marks)));
                columns
            }
            _ => own,
        };
        let batch = batch_of(&self.spec.schema, columns, len)?;
        self.parts.push(Delta::weighted(batch, weights)?);
        Ok(())
    }

    /// What is put out, and the pairs that were left out.
    pub(super) fn finish(self) -> Result<(Delta, Left)> {
        Ok((concat(&self.spec.schema, &self.parts)?, self.left))
    }
}

/// The condition for each pair; a pair that it fails for is no pair.
fn check(filter: &Arc<dyn PhysicalExpr>, guard: &Guard, pairs: &Delta, left: &mut Left) -> Result<BooleanArray> {
    let parts = guard.run(pairs, left, &|pairs| evaluate_filter(filter, &pairs.batch))?;
    if let [Some(mask)] = parts.as_slice() {
        return Ok(mask.clone());
    }
    let mut holds = BooleanBufferBuilder::new(pairs.len());
    for part in parts {
        match part {
            Some(mask) => holds.append_buffer(mask.values()),
            None => holds.append(false),
        }
    }
    Ok(BooleanArray::new(holds.finish(), None))
}

/// Changes of how one side's rows are shown: what was shown with `-`, what is shown now with `+`.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) at: Vec<usize>,
    pub(super) weights: Vec<i64>,
    pub(super) marks: Vec<bool>,
}

impl Shown {
    /// Notes row `at` going from `(weight, matched)` to `(weight, matched)`.
    pub(super) fn note(&mut self, kind: Alone, at: usize, old: (i64, bool), new: (i64, bool)) {
        let (before, after) = (kind.shown(old.0, old.1), kind.shown(new.0, new.1));
        if kind == Alone::Mark && old.1 != new.1 {
            for (weight, mark) in [(-before, old.1), (after, new.1)] {
                if weight != 0 {
                    self.at.push(at);
                    self.weights.push(weight);
                    self.marks.push(mark);
                }
            }
            return;
        }
        if after != before {
            self.at.push(at);
            self.weights.push(after - before);
            self.marks.push(new.1);
        }
    }
}
