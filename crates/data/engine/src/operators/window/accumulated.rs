use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, filter, take};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::cast::as_boolean_array;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::window_state::WindowFrameContext;
use datafusion::physical_expr::window::{PlainAggregateWindowExpr, WindowExpr};

use super::WindowCall;

/// Aggregates whose state, taken up again, is exactly what it was: what follows is the same wherever it was taken up. (Of a variance it is not: its
/// mean is multiplied and divided.)
pub(crate) const TAKEN_UP: [&str; 9] =
    ["avg", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "max", "min", "sum"];

/// The types of the state of an aggregate over all rows up to one; `None` if that is not what it is.
pub(crate) fn state_types(expr: &dyn WindowExpr) -> Option<Vec<DataType>> {
    let aggregate = expr.as_any().downcast_ref::<PlainAggregateWindowExpr>()?.get_aggregate_expr();
    let fields = aggregate.state_fields().ok()?;
    Some(fields.iter().map(|f| f.data_type().clone()).collect())
}

/// What an aggregate comes to at each of `rows`, and its state there; it goes on from the state `before`. `None` if the call is not of one, or there
/// are no rows.
pub(super) fn evaluate(
    call: &WindowCall,
    rows: &RecordBatch,
    before: Option<&[ArrayRef]>,
) -> DfResult<Option<(ArrayRef, Vec<ArrayRef>)>> {
    let expr = call.expr.as_ref();
    let Some(aggregate) = expr.as_any().downcast_ref::<PlainAggregateWindowExpr>() else { return Ok(None) };
    let arguments = expr.evaluate_args(rows)?;
    let passes = call.filter.as_ref().map(|f| f.evaluate(rows)?.into_array(rows.num_rows())).transpose()?;
    let passes = passes.as_ref().map(|passes| as_boolean_array(passes)).transpose()?;
    // Rows that do not pass are left out, as the batch engine does: sums of others beside NULLs can differ in the last bit.
    let of = |argument: &ArrayRef, start: usize, len: usize| -> DfResult<ArrayRef> {
        let new = argument.slice(start, len);
        Ok(passes.map_or(Ok(new.clone()), |p| filter(&new, &p.slice(start, len)))?)
    };
    let order: Vec<ArrayRef> = expr.order_by_columns(rows)?.into_iter().map(|c| c.values).collect();
    let options: Vec<SortOptions> = expr.order_by().iter().map(|o| o.options).collect();
    let mut frames = WindowFrameContext::new(Arc::clone(expr.get_window_frame()), options);
    let mut accumulator = aggregate.get_aggregate_expr().create_accumulator()?;
    if let Some(before) = before {
        accumulator.merge_batch(before)?;
    }
    // Of each frame, and which one a row has: peers share theirs.
    let (mut values, mut states) = (vec![], vec![]);
    let mut frame_of: Vec<u32> = Vec::with_capacity(rows.num_rows());
    let mut frame = 0..0;
    for row in 0..rows.num_rows() {
        let next = frames.calculate_range(&order, &frame, rows.num_rows(), row)?;
        if next.end > frame.end {
            let new = arguments.iter().map(|a| of(a, frame.end, next.end - frame.end));
            accumulator.update_batch(&new.collect::<DfResult<Vec<_>>>()?)?;
            values.push(accumulator.evaluate()?);
            states.push(accumulator.state()?);
        }
        frame = next;
        frame_of.push(values.len() as u32 - 1);
    }
    let Some(width) = states.first().map(Vec::len) else { return Ok(None) };
    let frame_of = UInt32Array::from(frame_of);
    let by_row = |values: Vec<ScalarValue>| Ok(take(&ScalarValue::iter_to_array(values)?, &frame_of, None)?);
    let state = |n: usize| by_row(states.iter().map(|state| state[n].clone()).collect());
    let states = (0..width).map(state).collect::<DfResult<Vec<_>>>()?;
    Ok(Some((by_row(values)?, states)))
}
