//! The window functions behind `SESSION`: where the session of a row begins and ends, over its key's rows in the order of time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, LimitEffect, PartitionEvaluator, Signature, TypeSignature, Volatility, WindowUDF,
    WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use fleuve_types::SESSION_FUNCTIONS;

/// `fleuve_session_start(time, gap)`: the time of the first row of the session.
pub(super) fn start() -> Arc<WindowUDF> {
    function(Bound::Start)
}

/// `fleuve_session_end(time, gap)`: `gap` after the last row of the session; NULL where that does not fit.
pub(super) fn end() -> Arc<WindowUDF> {
    function(Bound::End)
}

/// All functions of this module.
pub(crate) fn all() -> Vec<Arc<WindowUDF>> {
    vec![start(), end()]
}

/// `function(time, gap) OVER (PARTITION BY keys ORDER BY time)`
pub(super) fn call(function: Arc<WindowUDF>, time: &Expr, gap: &Expr, keys: &[Expr]) -> Result<Expr> {
    function
        .call(vec![time.clone(), gap.clone()])
        .partition_by(keys.to_vec())
        .order_by(vec![time.clone().sort(true, false)])
        .build()
}

fn function(bound: Bound) -> Arc<WindowUDF> {
    let signature = Signature::new(TypeSignature::UserDefined, Volatility::Immutable);
    Arc::new(WindowUDF::new_from_impl(SessionBound { bound, signature }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Bound {
    Start,
    End,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SessionBound {
    bound: Bound,
    signature: Signature,
}

impl WindowUDFImpl for SessionBound {
    fn name(&self) -> &str {
        let [start, end] = SESSION_FUNCTIONS;
        match self.bound {
            Bound::Start => start,
            Bound::End => end,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [DataType::Timestamp(..), DataType::Int64] => Ok(arg_types.to_vec()),
            _ => plan_err!("{} takes a timestamp and a whole number", self.name()),
        }
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let Some(time) = args.get_input_field(0) else { return plan_err!("{} needs a timestamp", self.name()) };
        Ok(Arc::new(Field::new(args.name(), time.data_type().clone(), true)))
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        let gap = args.input_exprs().get(1).and_then(|e| e.downcast_ref::<Literal>()).map(Literal::value);
        let Some(ScalarValue::Int64(Some(gap))) = gap else {
            return exec_err!("the gap of {} is a constant", self.name());
        };
        Ok(Box::new(Evaluator { bound: self.bound, gap: *gap }))
    }

    fn limit_effect(&self, _: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        // A session may go on after any row.
        LimitEffect::Unknown
    }
}

#[derive(Debug)]
struct Evaluator {
    bound: Bound,
    gap: i64,
}

impl PartitionEvaluator for Evaluator {
    /// `values[0]` ascends; NULLs, which are in no session, come last.
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let Some(times) = values.first() else { return exec_err!("a session needs a time") };
        let counts = cast(times, &DataType::Int64)?;
        let counts = counts.as_primitive::<Int64Type>();
        let some = &counts.values()[..rows - counts.null_count()];
        let mut bounds: Vec<Option<i64>> = Vec::with_capacity(rows);
        // A gap that does not fit is longer than the one asked for.
        for session in some.chunk_by(|a, b| b.checked_sub(*a).is_some_and(|gap| gap <= self.gap)) {
            let bound = match self.bound {
                Bound::Start => session.first().copied(),
                Bound::End => session.last().and_then(|last| last.checked_add(self.gap)),
            };
            bounds.resize(bounds.len() + session.len(), bound);
        }
        bounds.resize(rows, None);
        super::functions::retyped(Int64Array::from(bounds), times.data_type())
    }
}
