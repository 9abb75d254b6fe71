//! Aggregates over frames that are never computed from the other end. Where two windows want their rows in opposite orders, DataFusion 54.1 leaves
//! one sort out and slides over the rows of the other from the last to the first: what began with the first row then has to take values out
//! again. `bool_and` cannot and is refused, floating-point numbers leave a trace in a sum (NaN and infinity all of them), and `min` and `max` keep their
//! last value where all that is left is NULL.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, ReversedUDAF, SetMonotonicity, WindowFunctionDefinition,
};

/// A call over a frame with a function that stays as it is; a count is exact from both ends.
pub(crate) fn forward(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::WindowFunction(mut call) = expr else { return Ok(Transformed::no(expr)) };
    let reversible = match &call.fun {
        WindowFunctionDefinition::AggregateUDF(of) if of.name() != "count" => {
            Some(of).filter(|of| !matches!(of.reverse_udf(), ReversedUDAF::NotSupported))
        }
        _ => None,
    };
    let Some(of) = reversible.cloned() else { return Ok(Transformed::no(Expr::WindowFunction(call))) };
    call.fun = WindowFunctionDefinition::AggregateUDF(Arc::new(AggregateUDF::new_from_impl(Forward { of })));
    Ok(Transformed::yes(Expr::WindowFunction(call)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Forward {
    of: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Forward {
    as_its_own!();

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        self.of.return_field(fields)
    }

    fn is_nullable(&self) -> bool {
        self.of.is_nullable()
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.of.accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.of.create_sliding_accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.of.state_fields(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.of.coerce_types(types)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::NotSupported
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.of.order_sensitivity()
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.of.default_value(data_type)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.of.inner().set_monotonicity(data_type)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn a_frame_is_not_computed_from_its_end() {
        let table = "CREATE TABLE t (k INT, v INT, f DOUBLE) AS VALUES (1, 3, 0.5), (2, NULL, 1e16), (3, 5, 0.25), (4, NULL, CAST('inf' AS DOUBLE)), (5, 1, 0.25)";
        let back = "row_number() OVER (ORDER BY k DESC) AS back";
        for (call, expected) in [
            ("sum(f) OVER (ORDER BY k)", ["0.5", "1e16", "1e16", "inf", "inf"]),
            ("avg(f) OVER (ORDER BY k)", ["0.5", "5000000000000000.0", "3333333333333333.5", "inf", "inf"]),
            ("bool_and(f < 1) OVER (ORDER BY k)", ["true", "false", "false", "false", "false"]),
            ("bit_or(v) OVER (ORDER BY k)", ["3", "3", "7", "7", "7"]),
            ("max(v) OVER (ORDER BY k)", ["3", "3", "5", "5", "5"]),
        ] {
            let rows =
                testing::rows(table, 1, &format!("SELECT k, {call} AS x, {back} FROM t ORDER BY k")).await.unwrap();
            let expected: Vec<_> =
                expected.iter().enumerate().map(|(n, x)| format!("|{}|{x}|{}|", n + 1, 5 - n)).collect();
            assert_eq!(rows, expected, "{call}");
        }
        let least = "SELECT v, min(v) OVER (ORDER BY v NULLS FIRST) AS least, row_number() OVER (ORDER BY v DESC NULLS LAST, k) AS back \
                     FROM t ORDER BY back DESC";
        let rows = testing::rows(table, 1, least).await.unwrap();
        assert_eq!(rows, ["|||5|", "|||4|", "|1|1|3|", "|3|1|2|", "|5|1|1|"]);
    }
}
