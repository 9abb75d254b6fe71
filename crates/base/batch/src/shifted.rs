//! `lag` and `lead` with IGNORE NULLS (SQL:2016, 6.10): the value of the so-manieth row before or behind this one that has a value. DataFusion
//! 54.1 counts wrongly where it knows a whole partition (`lead` is NULL for each row), and breaks off where no value of it is NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::interleave;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions_window::lead_lag::{lag_udwf, lead_udwf};
use datafusion::logical_expr::function::{ExpressionArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{LimitEffect, PartitionEvaluator, ReversedUDWF, WindowUDF, WindowUDFImpl};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;

/// Both, under their own names.
pub(crate) fn shifted() -> [WindowUDF; 2] {
    [lag_udwf(), lead_udwf()].map(|of| WindowUDF::new_from_impl(Shifted { of }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Shifted {
    of: Arc<WindowUDF>,
}

impl WindowUDFImpl for Shifted {
    as_its_own!();

    fn expressions(&self, args: ExpressionArgs<'_>) -> Vec<Arc<dyn PhysicalExpr>> {
        self.of.expressions(args)
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        if !args.ignore_nulls() {
            return self.of.partition_evaluator_factory(args);
        }
        let ahead = offset(args.input_exprs())?.unwrap_or(1);
        let ahead = if (self.name() == "lead") == args.is_reversed() { ahead.saturating_neg() } else { ahead };
        let or_else = default(&args)?;
        Ok(Box::new(Valued { ahead, or_else }))
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<datafusion::arrow::datatypes::FieldRef> {
        self.of.field(args)
    }

    fn reverse_expr(&self) -> ReversedUDWF {
        ReversedUDWF::Reversed(Arc::new(WindowUDF::new_from_impl(Self { of: self.of.clone() })))
    }

    fn limit_effect(&self, args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        // Which rows have a value is not known before.
        match self.of.inner().limit_effect(args) {
            LimitEffect::Relative(_) => LimitEffect::Unknown,
            other => other,
        }
    }
}

/// A constant among the arguments.
fn constant(arguments: &[Arc<dyn PhysicalExpr>], at: usize) -> Result<Option<ScalarValue>> {
    match arguments.get(at).map(|a| a.downcast_ref::<Literal>()) {
        None => Ok(None),
        Some(Some(literal)) => Ok(Some(literal.value().clone())),
        Some(None) => exec_err!("the offset and the default of lag and lead have to be constants"),
    }
}

/// How many rows away; NULL is the row itself, as without IGNORE NULLS.
fn offset(arguments: &[Arc<dyn PhysicalExpr>]) -> Result<Option<i64>> {
    match constant(arguments, 1)? {
        None => Ok(None),
        Some(value) if value.is_null() => Ok(Some(0)),
        Some(value) if value.data_type().is_integer() => {
            Ok(Some(value.cast_to(&arrow::datatypes::DataType::Int64)?.try_into()?))
        }
        Some(value) => exec_err!("the offset of lag and lead is a whole number, not {value}"),
    }
}

/// What there is where no such row is, with the type of the values.
fn default(args: &PartitionEvaluatorArgs<'_>) -> Result<ScalarValue> {
    let given = constant(args.input_exprs(), 2)?.filter(|v| !v.is_null());
    match (given, args.input_fields()) {
        (Some(given), [value, ..]) if !value.data_type().is_null() => given.cast_to(value.data_type()),
        (Some(given), _) => Ok(given),
        (None, [value, _, default]) if value.data_type().is_null() => ScalarValue::try_from(default.data_type()),
        (None, [value, ..]) => ScalarValue::try_from(value.data_type()),
        (None, []) => exec_err!("lag and lead take a value"),
    }
}

/// The value `ahead` rows with a value further on; behind, where it is negative.
#[derive(Debug)]
struct Valued {
    ahead: i64,
    or_else: ScalarValue,
}

impl PartitionEvaluator for Valued {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let [values, ..] = values else { return exec_err!("lag and lead take a value") };
        if self.ahead == 0 {
            return Ok(values.clone());
        }
        let nulls = values.logical_nulls();
        let has_value = |row: usize| nulls.as_ref().is_none_or(|n| n.is_valid(row));
        let valued: Vec<usize> = (0..rows).filter(|row| has_value(*row)).collect();
        let away = usize::try_from(self.ahead.unsigned_abs()).unwrap_or(usize::MAX);
        let (mut before, mut places) = (0, Vec::with_capacity(rows));
        for row in 0..rows {
            let after = before + usize::from(has_value(row));
            let place = match self.ahead > 0 {
                true => after.checked_add(away - 1),
                false => before.checked_sub(away),
            };
            places.push(place.and_then(|p| valued.get(p)).map_or((1, 0), |row| (0, *row)));
            before = after;
        }
        Ok(interleave(&[values.as_ref(), self.or_else.to_array()?.as_ref()], &places)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    const TABLE: &str = "CREATE TABLE t (g INT, id INT, v INT) AS VALUES
        (1, 1, NULL), (1, 2, 20), (1, 3, NULL), (1, 4, 40), (1, 5, 50), (2, 6, 7), (2, 7, 8), (3, 8, NULL), (3, 9, NULL)";

    #[tokio::test]
    async fn rows_without_a_value_do_not_count() {
        // Over whole partitions, and where DataFusion would go through them row by row.
        for other in ["id", "sum(v) OVER (PARTITION BY g ORDER BY id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)"]
        {
            for (call, expected) in [
                ("lead(v)", ["20", "40", "40", "50", "", "8", "", "", ""]),
                ("lag(v)", ["", "", "20", "20", "40", "", "7", "", ""]),
                ("lead(v, 2)", ["40", "50", "50", "", "", "", "", "", ""]),
                ("lag(v, 2)", ["", "", "", "", "20", "", "", "", ""]),
                ("lag(v, -1)", ["20", "40", "40", "50", "", "8", "", "", ""]),
                ("lead(v, -2, 0)", ["0", "0", "0", "0", "20", "0", "0", "0", "0"]),
                ("lead(v, 0)", ["", "20", "", "40", "50", "7", "8", "", ""]),
                ("lead(v, 1, -1)", ["20", "40", "40", "50", "-1", "8", "-1", "-1", "-1"]),
                ("lag(NULL, 1)", ["", "", "", "", "", "", "", "", ""]),
                ("lag('a', 1, 'b')", ["b", "a", "a", "a", "a", "b", "a", "b", "a"]),
            ] {
                let over = "OVER (PARTITION BY g ORDER BY id)";
                let backwards = "OVER (PARTITION BY g ORDER BY id DESC)";
                let turned = match call.starts_with("lead") {
                    true => call.replacen("lead", "lag", 1),
                    false => call.replacen("lag", "lead", 1),
                };
                for call in [format!("{call} IGNORE NULLS {over}"), format!("{turned} IGNORE NULLS {backwards}")] {
                    let sql = format!("SELECT n FROM (SELECT id, {call} AS n, {other} AS o FROM t) q ORDER BY id");
                    for partitions in [1, 3] {
                        let rows = testing::rows(TABLE, partitions, &sql).await;
                        assert_eq!(rows.unwrap(), expected.map(|v| format!("|{v}|")), "{sql}");
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn with_nulls_they_are_as_they_were() {
        let sql = "SELECT n FROM (SELECT id, lead(v) OVER (ORDER BY id) AS n FROM t) q ORDER BY id";
        let rows = testing::rows(TABLE, 1, sql).await;
        assert_eq!(rows.unwrap(), ["|20|", "||", "|40|", "|50|", "|7|", "|8|", "||", "||", "||"]);
    }
}
