//! What has to change so that one answer becomes another.

use arrow::array::{RecordBatch, UInt32Array};
use fleuve_types::{Delta, Result};

use super::{ViewSnapshot, consolidate};
use crate::operators::concat_deltas;
use crate::state::{RowCodec, batch_of, hash_bytes};

/// About this many rows of both are in memory at once.
const PASS_ROWS: usize = 2_000_000;

/// The change from `before` to `after`, which have the same types, consolidated. Equal rows are found a share of all rows at a
/// time, told by their hash, so that what is held does not grow with the answers; the difference itself does.
pub(crate) fn difference(before: &ViewSnapshot, after: &ViewSnapshot) -> Result<Delta> {
    difference_in(before, after, (before.num_rows() + after.num_rows()).div_ceil(PASS_ROWS).max(1) as u64)
}

pub(super) fn difference_in(before: &ViewSnapshot, after: &ViewSnapshot, passes: u64) -> Result<Delta> {
    let schema = after.schema();
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
        for batch in before.rows() {
            let batch = share(batch?)?;
            let weights = vec![-1; batch.num_rows()];
            both.push(Delta::weighted(batch, weights)?);
        }
        for batch in after.rows() {
            both.push(Delta::insert(share(batch?)?));
        }
        parts.push(consolidate(concat_deltas(schema, &both)?)?);
    }
    concat_deltas(schema, &parts)
}
