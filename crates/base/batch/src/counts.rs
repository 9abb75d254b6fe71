//! Functions that count, as BIGINT. DataFusion's give unsigned numbers, which SQL does not have: clients of the PostgreSQL protocol see them as
//! NUMERIC, and arithmetic with others ends in decimals. Where there is nothing to count in, NULL: `array_length('{}', 1)`, `regexp_count(NULL, 'a')`.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{cast, nullif};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::approx_distinct::approx_distinct_udaf;
use datafusion::functions_aggregate::regr::regr_count_udaf;
use datafusion::functions_nested::cardinality::cardinality_udf;
use datafusion::functions_nested::dimension::{array_dims_udf, array_ndims_udf};
use datafusion::functions_nested::length::array_length_udf;
use datafusion::functions_nested::position::{array_position_udf, array_positions_udf};
use datafusion::functions_window::ntile::ntile_udwf;
use datafusion::functions_window::rank::{dense_rank_udwf, rank_udwf};
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::function::{
    AccumulatorArgs, ExpressionArgs, PartitionEvaluatorArgs, StateFieldsArgs, WindowUDFFieldArgs,
};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, EmitTo, Expr, GroupsAccumulator, LimitEffect,
    PartitionEvaluator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;

/// Numbers of rows and of their groups.
pub(crate) fn window() -> [WindowUDF; 4] {
    [row_number_udwf(), rank_udwf(), dense_rank_udwf(), ntile_udwf()].map(|of| WindowUDF::new_from_impl(Signed { of }))
}

/// `row_number()`, for rules that number rows.
pub fn row_number() -> Expr {
    WindowUDF::new_from_impl(Signed { of: row_number_udwf() }).call(vec![])
}

/// Lengths of lists and places in them.
pub(crate) fn scalar() -> [ScalarUDF; 6] {
    let all = [
        array_length_udf(),
        cardinality_udf(),
        array_ndims_udf(),
        array_dims_udf(),
        array_position_udf(),
        array_positions_udf(),
    ];
    all.map(|of| ScalarUDF::new_from_impl(Signed { of }))
}

/// `regexp_count(text, pattern [, start [, flags]])`
pub(crate) fn matches() -> ScalarUDF {
    ScalarUDF::new_from_impl(Matches { of: datafusion::functions::regex::regexp_count() })
}

/// Numbers of values.
pub(crate) fn aggregate() -> [AggregateUDF; 2] {
    [approx_distinct_udaf(), regr_count_udaf()].map(|of| AggregateUDF::new_from_impl(Signed { of }))
}

/// A function and what it gives, as signed numbers.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Signed<F> {
    of: F,
}

fn signed(data_type: &DataType) -> DataType {
    match data_type {
        DataType::UInt64 => DataType::Int64,
        DataType::List(field) => {
            DataType::List(Arc::new(field.as_ref().clone().with_data_type(signed(field.data_type()))))
        }
        other => other.clone(),
    }
}

fn field(of: FieldRef) -> FieldRef {
    let data_type = signed(of.data_type());
    Arc::new(of.as_ref().clone().with_data_type(data_type))
}

fn array(of: ArrayRef) -> Result<ArrayRef> {
    Ok(cast(&of, &signed(of.data_type()))?)
}

fn value(of: ScalarValue) -> Result<ScalarValue> {
    of.cast_to(&signed(&of.data_type()))
}

impl WindowUDFImpl for Signed<Arc<WindowUDF>> {
    as_its_own!();

    fn expressions(&self, args: ExpressionArgs<'_>) -> Vec<Arc<dyn PhysicalExpr>> {
        self.of.expressions(args)
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(SignedEvaluator { of: self.of.partition_evaluator_factory(args)? }))
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        self.of.field(args).map(field)
    }

    fn sort_options(&self) -> Option<arrow::compute::SortOptions> {
        self.of.sort_options()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.of.coerce_types(types)
    }

    fn limit_effect(&self, args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        self.of.inner().limit_effect(args)
    }
}

#[derive(Debug)]
struct SignedEvaluator {
    of: Box<dyn PartitionEvaluator>,
}

impl PartitionEvaluator for SignedEvaluator {
    fn is_causal(&self) -> bool {
        self.of.is_causal()
    }

    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        array(self.of.evaluate_all(values, rows)?)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        value(self.of.evaluate(values, range)?)
    }

    fn evaluate_all_with_rank(&self, rows: usize, ranks: &[Range<usize>]) -> Result<ArrayRef> {
        array(self.of.evaluate_all_with_rank(rows, ranks)?)
    }

    fn supports_bounded_execution(&self) -> bool {
        self.of.supports_bounded_execution()
    }

    fn uses_window_frame(&self) -> bool {
        self.of.uses_window_frame()
    }

    fn include_rank(&self) -> bool {
        self.of.include_rank()
    }
}

impl ScalarUDFImpl for Signed<Arc<ScalarUDF>> {
    as_its_own!();

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types).map(|t| signed(&t))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.of.return_field_from_args(args).map(field)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let unsigned =
            self.of.inner().return_type(&args.arg_fields.iter().map(|f| f.data_type().clone()).collect::<Vec<_>>())?;
        let return_field = Arc::new(args.return_field.as_ref().clone().with_data_type(unsigned));
        // A list without elements has no dimensions.
        let is_none = |count: &ScalarValue| self.name() == "array_length" && count == &ScalarValue::Int64(Some(0));
        Ok(match self.of.invoke_with_args(ScalarFunctionArgs { return_field, ..args })? {
            ColumnarValue::Array(counts) if self.name() == "array_length" => {
                let counts = array(counts)?;
                let nothing = eq(&counts, &Int64Array::new_scalar(0))?;
                ColumnarValue::Array(nullif(&counts, &nothing)?)
            }
            ColumnarValue::Array(counts) => ColumnarValue::Array(array(counts)?),
            ColumnarValue::Scalar(count) => ColumnarValue::Scalar(match value(count)? {
                count if is_none(&count) => ScalarValue::Int64(None),
                count => count,
            }),
        })
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.of.coerce_types(types)
    }
}

/// A count of matches, NULL where one of its arguments is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Matches {
    of: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Matches {
    as_its_own!();

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args.iter().any(|a| matches!(a, ColumnarValue::Scalar(value) if value.is_null())) {
            return Ok(ColumnarValue::Scalar(ScalarValue::Int64(None)));
        }
        let of_args = args.args.iter().map(|a| match a {
            ColumnarValue::Array(values) => values.logical_nulls(),
            ColumnarValue::Scalar(_) => None,
        });
        let nulls = of_args.fold(None, |all, one| NullBuffer::union(all.as_ref(), one.as_ref()));
        Ok(match (self.of.invoke_with_args(args)?, nulls) {
            (ColumnarValue::Array(counts), Some(nulls)) => {
                let is_null = BooleanArray::new(!nulls.inner(), None);
                ColumnarValue::Array(nullif(&counts, &is_null)?)
            }
            (counts, _) => counts,
        })
    }
}

impl AggregateUDFImpl for Signed<Arc<AggregateUDF>> {
    as_its_own!();

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types).map(|t| signed(&t))
    }

    fn is_nullable(&self) -> bool {
        self.of.is_nullable()
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(SignedAccumulator { of: self.of.accumulator(args)? }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.of.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.of.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(SignedGroups { of: self.of.create_groups_accumulator(args)? }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(SignedAccumulator { of: self.of.create_sliding_accumulator(args)? }))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.of.coerce_types(types)
    }

    fn default_value(&self, _: &DataType) -> Result<ScalarValue> {
        value(self.of.default_value(&DataType::UInt64)?)
    }
}

#[derive(Debug)]
struct SignedAccumulator {
    of: Box<dyn Accumulator>,
}

impl Accumulator for SignedAccumulator {
    takes_in_as_its_own!(one group);

    fn evaluate(&mut self) -> Result<ScalarValue> {
        value(self.of.evaluate()?)
    }
}

struct SignedGroups {
    of: Box<dyn GroupsAccumulator>,
}

impl GroupsAccumulator for SignedGroups {
    takes_in_as_its_own!(groups);

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        array(self.of.evaluate(emit)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn counts_are_bigint() {
        let table = "CREATE TABLE t (g INT, k BIGINT, a INT[]) AS VALUES
            (1, 3, [7, 8]), (1, 5, [8]), (1, 5, [8, 8, 9]), (2, 1, NULL)";
        for partitions in [1, 3] {
            for (call, expected) in [
                ("row_number() OVER (PARTITION BY g ORDER BY k)", ["|1|", "|1|", "|2|", "|3|"]),
                ("rank() OVER (PARTITION BY g ORDER BY k)", ["|1|", "|1|", "|2|", "|2|"]),
                ("dense_rank() OVER (ORDER BY k)", ["|1|", "|2|", "|3|", "|3|"]),
                ("ntile(2) OVER (ORDER BY k)", ["|1|", "|1|", "|2|", "|2|"]),
                ("array_length(a)", ["|1|", "|2|", "|3|", "||"]),
                ("cardinality(a)", ["|1|", "|2|", "|3|", "||"]),
                ("list_length(a)", ["|1|", "|2|", "|3|", "||"]),
                ("array_ndims(a)", ["|1|", "|1|", "|1|", "||"]),
                ("array_position(a, 8)", ["|1|", "|1|", "|2|", "||"]),
                ("array_positions(a, 8)[1]", ["|1|", "|1|", "|2|", "||"]),
                ("array_dims(a)[1]", ["|1|", "|2|", "|3|", "||"]),
                ("approx_distinct(k) OVER (PARTITION BY g)", ["|1|", "|2|", "|2|", "|2|"]),
                ("regr_count(k, k) OVER (ORDER BY k)", ["|1|", "|2|", "|4|", "|4|"]),
            ] {
                let rows = testing::rows(table, partitions, &format!("SELECT {call} AS n FROM t ORDER BY 1")).await;
                assert_eq!(rows.unwrap(), expected, "{call}");
                let sql = format!("SELECT DISTINCT arrow_typeof({call}) AS n FROM t");
                assert!(!testing::rows(table, partitions, &sql).await.unwrap()[0].contains("UInt"), "{call}");
            }
            let sql = "SELECT g, approx_distinct(k) AS n, regr_count(k, k) AS m, arrow_typeof(approx_distinct(k)) AS t,
                arrow_typeof(regr_count(k, k)) AS u FROM t GROUP BY g ORDER BY g";
            let expected = ["|1|2|3|Int64|Int64|", "|2|1|1|Int64|Int64|"];
            assert_eq!(testing::rows(table, partitions, sql).await.unwrap(), expected);
            let sql = "SELECT approx_distinct(k) AS n, regr_count(k, k) AS m FROM t WHERE k > 9";
            assert_eq!(testing::rows(table, partitions, sql).await.unwrap(), ["|0|0|"]);
        }
    }

    #[tokio::test]
    async fn nothing_is_counted_in_nothing() {
        let table = "CREATE TABLE t (k INT, a INT[], s TEXT, p TEXT) AS VALUES
            (1, [7, 8], 'banana', 'a'), (2, make_array(), '', 'a'), (3, NULL, NULL, 'a'), (4, [NULL], 'b', NULL)";
        for (call, expected) in [
            ("array_length(a, 1)", ["|2|", "||", "||", "|1|"]),
            ("array_length(a)", ["|2|", "||", "||", "|1|"]),
            ("cardinality(a)", ["|2|", "|0|", "||", "|1|"]),
            ("array_length(make_array(), 1)", ["||"; 4]),
            ("regexp_count(s, p)", ["|3|", "|0|", "||", "||"]),
            ("regexp_count(s, 'a')", ["|3|", "|0|", "||", "|0|"]),
            ("regexp_count('aa', p, 2)", ["|1|", "|1|", "|1|", "||"]),
            ("regexp_count(NULL, 'a')", ["||"; 4]),
        ] {
            let rows = testing::rows(table, 1, &format!("SELECT {call} AS n FROM t ORDER BY k")).await;
            assert_eq!(rows.unwrap(), expected, "{call}");
        }
    }
}
