//! Arithmetic that DataFusion 54.1 does with other numbers than SQL has:
//!
//! - `row_number() OVER (…) / 2` and `array_length(a, 1) / 2` are divisions of whole numbers; it takes unsigned ones with others to decimals;
//! - `extract(EPOCH FROM (a - b))` has the part of a second; it lost it beyond two seconds.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, lit};
use datafusion::optimizer::AnalyzerRule;

/// Gives such arithmetic the numbers of SQL. To come before types are settled, those of outer columns, too.
#[derive(Debug)]
pub(crate) struct SignedArithmetic;

impl AnalyzerRule for SignedArithmetic {
    fn name(&self) -> &str {
        "signed_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let (schema, names) = (merge_schema(&plan.inputs()), NamePreserver::new(&plan));
    let new = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let new = expr.transform_up(|e| Ok(signed(e, &schema)))?;
        Ok(if new.transformed { new.update_data(|e| name.restore(e)) } else { new })
    })?;
    if new.transformed { new.map_data(LogicalPlan::recompute_schema) } else { Ok(new) }
}

fn signed(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    use Operator::{Divide, Minus, Modulo, Multiply, Plus};
    match expr {
        Expr::BinaryExpr(both) if matches!(both.op, Plus | Minus | Multiply | Divide | Modulo) => {
            let (left, right) = (type_of(&both.left, schema), type_of(&both.right, schema));
            let (Some(left), Some(right)) = (left, right) else { return Transformed::no(Expr::BinaryExpr(both)) };
            let is_unsigned = left.is_unsigned_integer() || right.is_unsigned_integer();
            if !is_unsigned || !left.is_integer() || !right.is_integer() {
                return Transformed::no(Expr::BinaryExpr(both));
            }
            let BinaryExpr { left, op, right } = both;
            Transformed::yes(Expr::BinaryExpr(BinaryExpr {
                left: Box::new(bigint(*left)),
                op,
                right: Box::new(bigint(*right)),
            }))
        }
        Expr::Negative(value) if type_of(&value, schema).is_some_and(|t| t.is_unsigned_integer()) => {
            Transformed::yes(Expr::Negative(Box::new(bigint(*value))))
        }
        Expr::ScalarFunction(call) => match epoch_of(&call, schema) {
            Some(seconds) => Transformed::yes(seconds),
            None => Transformed::no(Expr::ScalarFunction(call)),
        },
        other => Transformed::no(other),
    }
}

fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    expr.get_type(schema).ok()
}

fn bigint(expr: Expr) -> Expr {
    cast(expr, DataType::Int64)
}

fn cast(expr: Expr, to: DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), to))
}

/// The seconds of a time between two others.
fn epoch_of(call: &ScalarFunction, schema: &DFSchema) -> Option<Expr> {
    let [Expr::Literal(part, _), between] = call.args.as_slice() else { return None };
    let is_epoch = call.name() == "date_part" && part.try_as_str()??.eq_ignore_ascii_case("epoch");
    let DataType::Duration(unit) = type_of(between, schema).filter(|_| is_epoch)? else { return None };
    let per_second = match unit {
        TimeUnit::Second => 1.0,
        TimeUnit::Millisecond => 1e3,
        TimeUnit::Microsecond => 1e6,
        TimeUnit::Nanosecond => 1e9,
    };
    Some(cast(bigint(between.clone()), DataType::Float64) / lit(per_second))
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn counts_are_divided_as_whole_numbers() {
        let table = "CREATE TABLE t (k BIGINT, a TIMESTAMP, b TIMESTAMP) AS VALUES
            (3, TIMESTAMP '2024-01-01 00:00:00', TIMESTAMP '2024-01-01 00:00:59.25'),
            (5, TIMESTAMP '2024-01-01 00:00:00', TIMESTAMP '2025-01-01 00:00:00.5')";
        for (sql, expected) in [
            ("SELECT (row_number() OVER (ORDER BY k) - 1) / 2 AS n FROM t", ["|0|", "|0|"]),
            ("SELECT rank() OVER (ORDER BY k) / k AS n FROM t", ["|0|", "|0|"]),
            ("SELECT -row_number() OVER (ORDER BY k) AS n FROM t ORDER BY n", ["|-2|", "|-1|"]),
            ("SELECT array_length(make_array(k, 1, 2), 1) / 2 AS n FROM t", ["|1|", "|1|"]),
            ("SELECT row_number() OVER (ORDER BY k) * 1.5 AS n FROM t ORDER BY n", ["|1.5|", "|3.0|"]),
            ("SELECT extract(EPOCH FROM (b - a)) AS n FROM t ORDER BY n", ["|59.25|", "|31622400.5|"]),
        ] {
            assert_eq!(testing::rows(table, 1, sql).await.unwrap(), expected, "{sql}");
        }
    }
}
