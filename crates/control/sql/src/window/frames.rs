//! Aggregates over frames that slide, where DataFusion (54.1) is wrong about frames that hold nothing.
//!
//! It slides one accumulator over the frames. Where a frame holds no row, as one of `RANGE` that leaves out the row itself may (`BETWEEN 3
//! PRECEDING AND 1 PRECEDING`), it neither takes rows in nor out, and then goes on as if it had: what had to go stays in all frames
//! that follow. And `min` and `max` keep their last value where all that is left in the frame is NULL. It takes floating-point numbers out of a
//! sum by subtraction, which leaves a trace (of 1e16, or NaN, all there is), and refuses aggregates that cannot take anything out. Such calls
//! become window functions that do it right.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, ScalarValue, not_impl_err};
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, Expr, LogicalPlan, LogicalPlanBuilder, PartitionEvaluator, Signature, TypeSignature,
    Volatility, Window, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, WindowUDF,
    WindowUDFImpl, when,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{Column as Position, Literal};
use fleuve_batch::FRAMED_ANEW;

/// Aggregates that pass over NULL: a FILTER is a CASE around the argument, and without any other value there is nothing to aggregate.
const WITHOUT_NULLS: [&str; 14] = [
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "count",
    "max",
    "min",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
    "var_pop",
];

/// The rule that puts the functions in the place of such calls; after the types are settled.
#[derive(Debug)]
pub(crate) struct SlidingFrames;

impl AnalyzerRule for SlidingFrames {
    fn name(&self) -> &str {
        "sliding_frames"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let node = |plan: LogicalPlan| match &plan {
            LogicalPlan::Window(window) if window.window_expr.iter().any(is_meant) => {
                replaced(window).map(Transformed::yes)
            }
            _ => Ok(Transformed::no(plan)),
        };
        Ok(plan.transform_up_with_subqueries(node)?.data)
    }
}

fn is_meant(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_meant(&alias.expr),
        Expr::WindowFunction(call) => match &call.fun {
            WindowFunctionDefinition::AggregateUDF(aggregate) => {
                let (name, params) = (aggregate.name(), &call.params);
                let can_be_framed = !params.distinct && (params.filter.is_none() || WITHOUT_NULLS.contains(&name));
                let is_wrong = is_extreme(name) || (FRAMED_ANEW.contains(&name) && can_be_framed);
                may_be_empty(&params.window_frame) || (is_wrong && !params.window_frame.start_bound.is_unbounded())
            }
            WindowFunctionDefinition::WindowUDF(_) => false,
        },
        _ => false,
    }
}

fn is_extreme(name: &str) -> bool {
    matches!(name, "min" | "max")
}

fn may_be_empty(frame: &WindowFrame) -> bool {
    use WindowFrameBound::{Following, Preceding};
    let one_side = match (&frame.start_bound, &frame.end_bound) {
        (Preceding(from), Preceding(to)) | (Following(from), Following(to)) => !from.is_null() && !to.is_null(),
        _ => false,
    };
    one_side && frame.units == WindowFrameUnits::Range
}

/// The same columns under the same names.
fn replaced(window: &Window) -> Result<LogicalPlan> {
    let calls = window.window_expr.iter().map(|e| of_call(e.clone())).collect::<Result<Vec<_>>>()?;
    let plan = LogicalPlan::Window(Window::try_new(calls, window.input.clone())?);
    // A call's name spells its arguments, and some aggregates have names of their own for it.
    let columns = plan.schema().columns().into_iter().zip(window.schema.iter()).map(|(column, (qualifier, field))| {
        match column.name == *field.name() {
            true => Expr::Column(column),
            false => Expr::Column(column).alias_qualified(qualifier.cloned(), field.name()),
        }
    });
    let columns: Vec<Expr> = columns.collect();
    if columns.iter().all(|c| matches!(c, Expr::Column(Column { .. }))) {
        return Ok(plan);
    }
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

fn of_call(expr: Expr) -> Result<Expr> {
    match expr {
        Expr::Alias(mut alias) => {
            *alias.expr = of_call(*alias.expr)?;
            Ok(Expr::Alias(alias))
        }
        Expr::WindowFunction(call) if is_meant(&Expr::WindowFunction(call.clone())) => {
            let WindowFunctionDefinition::AggregateUDF(aggregate) = &call.fun else {
                return Ok(Expr::WindowFunction(call));
            };
            let signature = Signature::new(TypeSignature::UserDefined, Volatility::Immutable);
            let function = Framed { aggregate: aggregate.clone(), signature };
            let params = without_filter(call.params, aggregate.name())?;
            let fun = WindowFunctionDefinition::WindowUDF(Arc::new(WindowUDF::new_from_impl(function)));
            Ok(Expr::from(WindowFunction { fun, params }))
        }
        other => Ok(other),
    }
}

fn without_filter(mut params: WindowFunctionParams, name: &str) -> Result<WindowFunctionParams> {
    if is_extreme(name) {
        params.distinct = false;
    }
    if params.distinct {
        return not_impl_err!("{name}(DISTINCT ...) over a frame of RANGE that leaves out the row itself");
    }
    if let Some(filter) = params.filter.take() {
        let [argument] = params.args.as_slice() else { return not_impl_err!("FILTER of {name} over such a frame") };
        if !WITHOUT_NULLS.contains(&name) {
            return not_impl_err!("{name} with FILTER over a frame of RANGE that leaves out the row itself");
        }
        params.args = vec![when(*filter, argument.clone()).end()?];
    }
    Ok(params)
}

/// An aggregate as a window function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Framed {
    aggregate: Arc<AggregateUDF>,
    signature: Signature,
}

impl WindowUDFImpl for Framed {
    fn name(&self) -> &str {
        self.aggregate.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let field = self.aggregate.return_field(args.input_fields())?;
        Ok(Arc::new(field.as_ref().clone().with_name(args.name())))
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        let named = |(at, field): (usize, &FieldRef)| Field::clone(field).with_name(format!("argument {at}"));
        let schema = Schema::new(args.input_fields().iter().enumerate().map(named).collect::<Vec<_>>());
        let column = |(at, expr): (usize, &Arc<dyn PhysicalExpr>)| -> Arc<dyn PhysicalExpr> {
            match expr.downcast_ref::<Literal>() {
                // Some aggregates ask for their constants.
                Some(_) => expr.clone(),
                None => Arc::new(Position::new(schema.field(at).name(), at)),
            }
        };
        let columns: Vec<_> = args.input_exprs().iter().enumerate().map(column).collect();
        let arguments = columns.len();
        let call = AggregateExprBuilder::new(self.aggregate.clone(), columns)
            .schema(Arc::new(schema))
            .alias(self.name())
            .with_ignore_nulls(args.ignore_nulls())
            .build()?;
        let is_exact = matches!(self.name(), "avg" | "sum") && !call.field().data_type().is_floating();
        if FRAMED_ANEW.contains(&self.name()) && !is_exact {
            return Ok(Box::new(Anew { call, arguments }));
        }
        let accumulator = call.create_sliding_accumulator()?;
        let passes_null = WITHOUT_NULLS.contains(&self.name());
        Ok(Box::new(Sliding { call, arguments, accumulator, held: 0..0, passes_null, some: 0 }))
    }
}

/// An accumulator for each frame of a partition.
#[derive(Debug)]
struct Anew {
    call: AggregateFunctionExpr,
    arguments: usize,
}

impl PartitionEvaluator for Anew {
    fn uses_window_frame(&self) -> bool {
        true
    }

    fn evaluate(&mut self, values: &[ArrayRef], frame: &Range<usize>) -> Result<ScalarValue> {
        let mut accumulator = self.call.create_accumulator()?;
        if frame.start < frame.end {
            // After the arguments come the columns of the order.
            let part = |v: &ArrayRef| v.slice(frame.start, frame.end - frame.start);
            accumulator.update_batch(&values[..self.arguments].iter().map(part).collect::<Vec<_>>())?;
        }
        accumulator.evaluate()
    }
}

/// One accumulator that is slid over the frames of a partition.
#[derive(Debug)]
struct Sliding {
    call: AggregateFunctionExpr,
    arguments: usize,
    accumulator: Box<dyn Accumulator>,
    /// The rows that are in the accumulator. Neither end ever goes back.
    held: Range<usize>,
    /// NULL counts for nothing.
    passes_null: bool,
    /// Of the rows held: those whose first argument is not NULL.
    some: usize,
}

impl Sliding {
    fn is_empty(&self) -> bool {
        self.held.is_empty() || (self.passes_null && self.some == 0)
    }
}

fn some(values: &[ArrayRef]) -> usize {
    values.first().map_or(0, |v| v.len() - v.null_count())
}

impl PartitionEvaluator for Sliding {
    fn uses_window_frame(&self) -> bool {
        true
    }

    fn evaluate(&mut self, values: &[ArrayRef], frame: &Range<usize>) -> Result<ScalarValue> {
        // After the arguments come the columns of the order.
        let part = |from: usize, to: usize| -> Vec<ArrayRef> {
            values[..self.arguments].iter().map(|v| v.slice(from, to - from)).collect()
        };
        let (start, end) = (frame.start, frame.end.max(frame.start));
        if end > self.held.end {
            let come = part(self.held.end, end);
            self.some += some(&come);
            self.accumulator.update_batch(&come)?;
        }
        if start > self.held.start {
            let go = part(self.held.start, start);
            self.some -= some(&go);
            self.accumulator.retract_batch(&go)?;
        }
        self.held = start..end;
        if self.is_empty() {
            return self.call.default_value(self.call.field().data_type());
        }
        self.accumulator.evaluate()
    }
}
