//! The functions behind `ASOF JOIN`: the window function that it is planned as, and the mark that it leaves in a join's condition.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LimitEffect, PartitionEvaluator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;
use fleuve_types::AS_OF_FUNCTION;

use crate::parse::AS_OF_MARK;

/// The value of the last right row before, of the same time or earlier in the order; see [`AS_OF_FUNCTION`].
pub(crate) fn value() -> Arc<WindowUDF> {
    Arc::new(WindowUDF::new_from_impl(AsOf {
        signature: Signature::new(TypeSignature::UserDefined, Volatility::Immutable),
    }))
}

/// The mark, which no plan that runs has any more.
pub(crate) fn mark() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Mark { signature: Signature::nullary(Volatility::Immutable) }))
}

/// `part(time, value, number)`: the value. DataFusion (54.1) puts the rows of a union in order below it, and loses the order where it
/// knows a column to be a constant there, or the same as another one: of this it does not.
pub(crate) fn part() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Part { signature: Signature::any(3, Volatility::Immutable) }))
}

/// The value of a call of [`part`].
pub(crate) fn part_value(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.inner().is::<Part>() => call.args.get(1),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Part {
    signature: Signature,
}

impl ScalarUDFImpl for Part {
    fn name(&self) -> &str {
        "fleuve_as_of_part"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [_, value, _] => Ok(value.clone()),
            _ => plan_err!("{} takes a time, a value and a number", self.name()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [_, value, _] => Ok(value.clone()),
            _ => exec_err!("{} takes a time, a value and a number", self.name()),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsOf {
    signature: Signature,
}

impl WindowUDFImpl for AsOf {
    fn name(&self) -> &str {
        AS_OF_FUNCTION
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [_, DataType::Boolean, _] => Ok(arg_types.to_vec()),
            _ => plan_err!("{AS_OF_FUNCTION} takes a value, a side and a time"),
        }
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let Some(value) = args.get_input_field(0) else { return plan_err!("{AS_OF_FUNCTION} needs a value") };
        Ok(Arc::new(Field::new(args.name(), value.data_type().clone(), true)))
    }

    fn partition_evaluator(&self, _: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator))
    }

    fn limit_effect(&self, _: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

#[derive(Debug)]
struct Evaluator;

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let [value, is_right, time] = values else { return exec_err!("{AS_OF_FUNCTION} takes three values") };
        let is_right = is_right.as_boolean();
        let mut last = None;
        let places: UInt64Array = (0..rows)
            .map(|row| {
                if is_right.value(row) {
                    last = Some(row as u64);
                    return None;
                }
                last.filter(|_| time.is_valid(row))
            })
            .collect();
        Ok(take(value, &places, None)?)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mark {
    signature: Signature,
}

impl ScalarUDFImpl for Mark {
    fn name(&self) -> &str {
        AS_OF_MARK
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("{AS_OF_MARK}() stands for ASOF in the ON of a join, with AND behind it")
    }
}
