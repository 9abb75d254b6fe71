use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::SortOptions;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::window_state::WindowFrameContext;
use datafusion::physical_expr::window::{SlidingAggregateWindowExpr, WindowExpr};

use super::WindowCall;

/// True if [`evaluate`] can do it.
pub(crate) fn is_possible(expr: &dyn WindowExpr) -> bool {
    expr.as_any().is::<SlidingAggregateWindowExpr>()
}

/// An aggregate over the frame of each of `len` rows from `skip` on, each by itself: its value depends on the rows of its frame
/// and on nothing else. (DataFusion slides one accumulator over all frames; sums of floats then depend on where it began.)
/// `None` if the call does not ask for that.
pub(super) fn evaluate(call: &WindowCall, rows: &RecordBatch, skip: usize, len: usize) -> DfResult<Option<ArrayRef>> {
    let expr = &call.expr;
    let aggregate = expr.as_any().downcast_ref::<SlidingAggregateWindowExpr>().filter(|_| call.alone);
    let Some(aggregate) = aggregate else { return Ok(None) };
    let arguments = expr.evaluate_args(rows)?;
    let order: Vec<ArrayRef> = expr.order_by_columns(rows)?.into_iter().map(|c| c.values).collect();
    let options: Vec<SortOptions> = expr.order_by().iter().map(|o| o.options).collect();
    let mut frames = WindowFrameContext::new(Arc::clone(expr.get_window_frame()), options);
    let mut last = 0..0;
    let mut values: Vec<ScalarValue> = Vec::with_capacity(len);
    for row in skip..skip + len {
        last = frames.calculate_range(&order, &last, rows.num_rows(), row)?;
        let mut accumulator = aggregate.get_aggregate_expr().create_accumulator()?;
        if !last.is_empty() {
            let frame: Vec<ArrayRef> = arguments.iter().map(|a| a.slice(last.start, last.len())).collect();
            accumulator.update_batch(&frame)?;
        }
        values.push(accumulator.evaluate()?);
    }
    ScalarValue::iter_to_array(values).map(Some)
}
