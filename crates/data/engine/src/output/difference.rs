//! What has to change so that one answer becomes another.

use arrow::array::{RecordBatch, UInt32Array};
use fleuve_types::{Delta, Result};

use super::{ViewRows, ViewSnapshot, consolidate};
use crate::operators::concat_deltas;
use crate::state::{RowCodec, batch_of, hash_bytes};

/// About this many rows of both are in memory at once.
const PASS_ROWS: usize = 2_000_000;

/// The change from `before` to `after`, which have the same types, consolidated. Equal rows are found a share of all rows at a
/// time, told by their hash, so that what is held does not grow with the answers; the difference itself does.
pub(crate) fn difference(before: &ViewSnapshot, after: &ViewSnapshot) -> Result<Delta> {
    difference_in(before, after, passes_of(before, after))
}

/// As [`difference`], of columns that have the same types: where each stands before and after.
pub(crate) fn difference_of(before: &ViewSnapshot, after: &ViewSnapshot, columns: &[(usize, usize)]) -> Result<Delta> {
    let (old, new): (Vec<usize>, Vec<usize>) = columns.iter().copied().unzip();
    let rows = || Ok((before.rows().project(old.clone())?, after.rows().project(new.clone())?));
    between(rows, passes_of(before, after))
}

fn passes_of(before: &ViewSnapshot, after: &ViewSnapshot) -> u64 {
    (before.num_rows() + after.num_rows()).div_ceil(PASS_ROWS).max(1) as u64
}

pub(super) fn difference_in(before: &ViewSnapshot, after: &ViewSnapshot, passes: u64) -> Result<Delta> {
    between(|| Ok((before.rows(), after.rows())), passes)
}

fn between(rows: impl Fn() -> Result<(ViewRows, ViewRows)>, passes: u64) -> Result<Delta> {
    let schema = &rows()?.1.schema().clone();
    let codec = RowCodec::for_schema(schema)?;
    let mut parts = vec![];
    for pass in 0..passes {
        let share = |batch: RecordBatch| -> Result<RecordBatch> {
            let batch = batch_of(schema, batch.columns().to_vec(), batch.num_rows())?;
            if passes == 1 {
                return Ok(batch);
            }
            let rows = codec.encode(batch.columns())?;
            let own = (0..batch.num_rows()).filter(|i| hash_bytes(rows.row(*i)) % passes == pass);
            Ok(Delta::insert(batch.clone()).take(&own.map(|i| i as u32).collect::<UInt32Array>())?.batch)
        };
        let mut both = vec![];
        let (before, after) = rows()?;
        for batch in before {
            let batch = share(batch?)?;
            let weights = vec![-1; batch.num_rows()];
            both.push(Delta::weighted(batch, weights)?);
        }
        for batch in after {
            both.push(Delta::insert(share(batch?)?));
        }
        parts.push(consolidate(concat_deltas(schema, &both)?)?);
    }
    concat_deltas(schema, &parts)
}
