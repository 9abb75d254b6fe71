//! Rows that a view's build left out, as a section of its state.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::UInt64Type;
use fleuve_types::{Epoch, Error, Result};

use crate::operators::DeadRow;

pub(super) fn to_batch(epoch: Epoch, rows: &[DeadRow]) -> Result<RecordBatch> {
    let numbers = |f: &dyn Fn(&DeadRow) -> u64| Arc::new(rows.iter().map(f).collect::<UInt64Array>()) as ArrayRef;
    let texts = |f: &dyn Fn(&DeadRow) -> &str| Arc::new(StringArray::from_iter_values(rows.iter().map(f))) as ArrayRef;
    RecordBatch::try_from_iter([
        ("epoch", numbers(&|_| epoch)),
        ("node", numbers(&|r| r.node as u64)),
        ("copies", numbers(&|r| r.copies)),
        ("operator", texts(&|r| &r.operator)),
        ("reason", texts(&|r| &r.reason)),
        ("row", texts(&|r| &r.row)),
    ])
    .map_err(|e| Error::bug(e.to_string()))
}

/// What [`to_batch`] made; `None` of no rows.
pub(super) fn from_batch(batch: &RecordBatch) -> Result<Option<(Epoch, Vec<DeadRow>)>> {
    let damaged = || Error::bug("state: rows that were left out");
    if batch.num_columns() != 6 {
        return Err(damaged());
    }
    let number = |c: usize| batch.column(c).as_primitive_opt::<UInt64Type>().ok_or_else(damaged);
    let text = |c: usize| batch.column(c).as_string_opt::<i32>().ok_or_else(damaged);
    let (epochs, nodes, copies) = (number(0)?, number(1)?, number(2)?);
    let (operators, reasons, rows) = (text(3)?, text(4)?, text(5)?);
    if epochs.is_empty() {
        return Ok(None);
    }
    let row = |i: usize| DeadRow {
        node: nodes.value(i) as usize,
        operator: operators.value(i).into(),
        reason: reasons.value(i).into(),
        row: rows.value(i).into(),
        copies: copies.value(i),
    };
    Ok(Some((epochs.value(0), (0..batch.num_rows()).map(row).collect())))
}
