//! Correlated subqueries know their outer columns by the types that these have in the end. DataFusion 54.1 keeps those from before the types of
//! the outer query were settled: `(SELECT count(*) FROM t WHERE t.a = r.n)` with `n` out of `CASE WHEN … THEN 1 ELSE row_number() … END`
//! compared an integer with a decimal.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ExprSchema, Result};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;

/// Settles the types in subqueries again where those of outer columns changed. To come after types are settled.
#[derive(Debug)]
pub(crate) struct OuterTypes;

impl AnalyzerRule for OuterTypes {
    fn name(&self) -> &str {
        "outer_types"
    }

    fn analyze(&self, mut plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        // With each turn the types of one more level are what they will be.
        for _ in 0..MAX_LEVELS {
            let new = plan.transform_down_with_subqueries(node)?;
            if !new.transformed {
                return Ok(new.data);
            }
            plan = TypeCoercion::new().analyze(new.data, config)?;
            plan = plan.transform_down_with_subqueries(once)?.data;
        }
        Ok(plan)
    }
}

/// Subqueries in subqueries that are looked at.
const MAX_LEVELS: usize = 16;

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    plan.map_subqueries(|subquery| {
        let within = subquery.transform_down_with_subqueries(|plan| {
            let of_plan = |expr: Expr| expr.transform(|e| Ok(typed(e, &schema)));
            let plan = match plan {
                LogicalPlan::Subquery(mut subquery) => {
                    for column in &mut subquery.outer_ref_columns {
                        *column = typed(std::mem::take(column), &schema).data;
                    }
                    LogicalPlan::Subquery(subquery)
                }
                other => other,
            };
            plan.map_expressions(of_plan)
        })?;
        Ok(within)
    })
}

/// Conditions with one cast where an integer was made a wider one and then something else: only so is a correlated subquery made a join.
fn once(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if !matches!(plan, LogicalPlan::Filter(_)) {
        return Ok(Transformed::no(plan));
    }
    let schema = merge_schema(&plan.inputs());
    plan.map_expressions(|expr| {
        expr.transform_up(|e| {
            let Expr::Cast(mut cast) = e else { return Ok(Transformed::no(e)) };
            let is_twice = match cast.expr.as_ref() {
                Expr::Cast(inner) => {
                    let (from, through) = (inner.expr.get_type(&schema)?, inner.field.data_type());
                    from.is_signed_integer()
                        && through.is_signed_integer()
                        && from.primitive_width() <= through.primitive_width()
                }
                _ => false,
            };
            if let Expr::Cast(inner) = cast.expr.as_mut()
                && is_twice
            {
                cast.expr = std::mem::take(&mut inner.expr);
            }
            Ok(Transformed::new_transformed(Expr::Cast(cast), is_twice))
        })
    })
}

fn typed(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::OuterReferenceColumn(field, column) => match schema.field_from_column(&column) {
            Ok(now) if now.data_type() != field.data_type() => {
                let field = Arc::new(field.as_ref().clone().with_data_type(now.data_type().clone()));
                Transformed::yes(Expr::OuterReferenceColumn(field, column))
            }
            _ => Transformed::no(Expr::OuterReferenceColumn(field, column)),
        },
        other => Transformed::no(other),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn outer_columns_have_the_types_that_they_come_to() {
        let table = "CREATE TABLE t (k INT, v INT) AS VALUES (3, 1), (1, 2), (4, 1), (2, 2)";
        let numbered = "(SELECT k, CASE WHEN k > 2 THEN 1 ELSE row_number() OVER (ORDER BY k) END AS n FROM t) a";
        for (sql, expected) in [
            ("SELECT k, (SELECT count(*) FROM t x WHERE x.v = a.n) AS c", ["|1|2|", "|2|2|", "|3|2|", "|4|2|"]),
            (
                "SELECT k, (SELECT max(x.k) FROM t x WHERE x.v = a.n AND x.k > 2) AS c",
                ["|1|4|", "|2||", "|3|4|", "|4|4|"],
            ),
        ] {
            let rows = testing::rows(table, 2, &format!("{sql} FROM {numbered} ORDER BY k")).await;
            assert_eq!(rows.unwrap_or_else(|e| panic!("{sql}: {e}")), expected, "{sql}");
        }
    }
}
