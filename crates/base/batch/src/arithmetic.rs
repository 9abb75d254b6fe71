//! Arithmetic that DataFusion 54.1 does with other numbers than SQL has:
//!
//! - `n / 2` of an unsigned `n` is a division of whole numbers; it takes unsigned ones with others to decimals;
//! - `date_part('epoch', a - b)` has the part of a second; it lost it beyond two seconds; of other fields it gave totals;
//! - `- (a - b)` is the time between two others, of which DataFusion says that it has no sign;
//! - `round(d, 1)` of a decimal has the type that it has in the end. DataFusion takes the number of digits for any until a cast of it is computed,
//!   when comparisons have settled on another type (`Invalid comparison operation`).

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, lit};
use datafusion::optimizer::AnalyzerRule;

use crate::names::map_with_names;
use crate::times::of_span;

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
    let mut is_of_interest = false;
    plan.apply_expressions(|expr| {
        is_of_interest = is_of_interest || expr.exists(|e| Ok(may_change(e)))?;
        Ok(if is_of_interest { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !is_of_interest {
        return Ok(Transformed::no(plan));
    }
    let schema = merge_schema(&plan.inputs());
    map_with_names(plan, |expr| expr.transform_up(|e| Ok(signed(e, &schema))))
}

/// Without a look at types.
fn may_change(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(both) => is_arithmetic(both.op),
        Expr::Negative(_) => true,
        Expr::ScalarFunction(call) => matches!(call.name(), "date_part" | "round"),
        _ => false,
    }
}

fn is_arithmetic(op: Operator) -> bool {
    use Operator::{Divide, Minus, Modulo, Multiply, Plus};
    matches!(op, Plus | Minus | Multiply | Divide | Modulo)
}

fn signed(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(both) if is_arithmetic(both.op) => {
            let is_integer = |e: &Expr| type_of(e, schema).is_some_and(|t| t.is_integer());
            let are_unsigned = (is_unsigned(&both.left, schema), is_unsigned(&both.right, schema));
            let fits = match are_unsigned {
                (false, false) => false,
                (true, true) => true,
                (true, false) => is_integer(&both.right),
                (false, true) => is_integer(&both.left),
            };
            if !fits {
                return Transformed::no(Expr::BinaryExpr(both));
            }
            let BinaryExpr { left, op, right } = both;
            Transformed::yes(Expr::BinaryExpr(BinaryExpr {
                left: Box::new(bigint(*left)),
                op,
                right: Box::new(bigint(*right)),
            }))
        }
        Expr::Negative(value) if is_unsigned(&value, schema) => {
            Transformed::yes(Expr::Negative(Box::new(bigint(*value))))
        }
        Expr::Negative(value) if is_span(&value, schema) => {
            let zero = Expr::Literal(ScalarValue::DurationMicrosecond(Some(0)), None);
            Transformed::yes(zero - *value)
        }
        Expr::ScalarFunction(call) if call.name() == "round" => match digits_of(&call) {
            Some(digits) => {
                let args = call.args.into_iter().take(1).chain([lit(digits)]).collect();
                Transformed::yes(Expr::ScalarFunction(ScalarFunction { func: call.func, args }))
            }
            None => Transformed::no(Expr::ScalarFunction(call)),
        },
        Expr::ScalarFunction(call) => match field_of_span(&call, schema) {
            Some(field) => Transformed::yes(field),
            None => Transformed::no(Expr::ScalarFunction(call)),
        },
        other => Transformed::no(other),
    }
}

/// The number of digits that a call of `round` names, if that is a constant of another type than the function takes.
fn digits_of(call: &ScalarFunction) -> Option<i32> {
    let whole = |value: &ScalarValue| match value {
        ScalarValue::Int64(Some(n)) => i32::try_from(*n).ok(),
        _ => None,
    };
    match call.args.as_slice() {
        [_, Expr::Literal(value, _)] => whole(value),
        [_, Expr::Negative(value)] => match value.as_ref() {
            Expr::Literal(value, _) => whole(value)?.checked_neg(),
            _ => None,
        },
        _ => None,
    }
}

fn is_unsigned(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        // Signed by now; and in a long chain the types of all that is below are not asked for at each link.
        Expr::BinaryExpr(_) | Expr::Negative(_) => false,
        other => type_of(other, schema).is_some_and(|t| t.is_unsigned_integer()),
    }
}

/// The time between two others, whose sign DataFusion does not change.
fn is_span(expr: &Expr, schema: &DFSchema) -> bool {
    type_of(expr, schema).is_some_and(|t| t == DataType::Duration(TimeUnit::Microsecond))
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

/// A field of the time between two others.
fn field_of_span(call: &ScalarFunction, schema: &DFSchema) -> Option<Expr> {
    let is_theirs = call.name() == "date_part" && !call.func.aliases().iter().any(|a| a.starts_with("fleuve_"));
    let [Expr::Literal(part, _), between] = call.args.as_slice() else { return None };
    let DataType::Duration(unit) = type_of(between, schema).filter(|_| is_theirs)? else { return None };
    if !part.try_as_str()??.eq_ignore_ascii_case("epoch") {
        return of_span(&call.func, &call.args);
    }
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
