//! Correlated subqueries: their outer columns, and where they may stand.
//!
//! A subquery is planned with the types that outer columns have before those of the outer query are settled, and DataFusion 54.1 keeps them:
//! with `n` out of `CASE WHEN … THEN k ELSE 1.5 END`, `t.a = r.n` compared integers, and other types not at all. And a correlated subquery that
//! stands twice in an aggregate loses its condition.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ExprSchema, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};
use datafusion::optimizer::AnalyzerRule;

use crate::decimals::SettledTypes;

/// Gives outer columns the types that they will have, and refuses correlated subqueries in aggregates. To come before types are settled.
#[derive(Debug)]
pub(crate) struct OuterColumns;

impl AnalyzerRule for OuterColumns {
    fn name(&self) -> &str {
        "outer_columns"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_down_with_subqueries(|plan| node(plan, config))?.data)
    }
}

fn node(plan: LogicalPlan, config: &ConfigOptions) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Join(mut join) = plan {
        // LATERAL names the columns of what stands before it.
        if !is_lateral(&join.right)? {
            return expressions(LogicalPlan::Join(join), config);
        }
        let schema = settled([join.left.as_ref()], config)?;
        let right = with_types(Arc::unwrap_or_clone(join.right), &schema)?;
        join.right = Arc::new(right.data);
        let plan = expressions(LogicalPlan::Join(join), config)?;
        return Ok(Transformed::new_transformed(plan.data, plan.transformed || right.transformed));
    }
    expressions(plan, config)
}

/// Whether it is a subquery in FROM that names columns outside of it.
fn is_lateral(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|p| Ok(matches!(p, LogicalPlan::Subquery(s) if !s.outer_ref_columns.is_empty())))
}

/// The columns of inputs with the types that they will have.
fn settled<'a>(inputs: impl IntoIterator<Item = &'a LogicalPlan>, config: &ConfigOptions) -> Result<DFSchema> {
    let mut schema = DFSchema::empty();
    for input in inputs {
        schema.merge(SettledTypes.analyze(input.clone(), config)?.schema());
    }
    Ok(schema)
}

/// The subqueries in the expressions of a node.
fn expressions(plan: LogicalPlan, config: &ConfigOptions) -> Result<Transformed<LogicalPlan>> {
    let mut is_correlated = false;
    plan.apply_expressions(|expr| {
        is_correlated |= expr.exists(|e| Ok(subquery_of(e).is_some_and(|s| !s.outer_ref_columns.is_empty())))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !is_correlated {
        return Ok(Transformed::no(plan));
    }
    if matches!(plan, LogicalPlan::Aggregate(_)) {
        return plan_err!(
            "a subquery in an aggregate cannot refer to the tables outside of it; compute it in a subquery in FROM, and aggregate that"
        );
    }
    let schema = settled(plan.inputs(), config)?;
    plan.map_subqueries(|subquery| with_types(subquery, &schema))
}

/// A subquery, and those within it, with the types that its outer columns have in `schema`.
fn with_types(subquery: LogicalPlan, schema: &DFSchema) -> Result<Transformed<LogicalPlan>> {
    subquery.transform_down_with_subqueries(|plan| {
        let plan = match plan {
            LogicalPlan::Subquery(mut subquery) => {
                for column in &mut subquery.outer_ref_columns {
                    *column = typed(std::mem::take(column), schema).data;
                }
                LogicalPlan::Subquery(subquery)
            }
            other => other,
        };
        plan.map_expressions(|expr| expr.transform(|e| Ok(typed(e, schema))))
    })
}

/// The subquery that an expression is of.
pub(crate) fn subquery_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery) => Some(subquery),
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(within) => Some(&within.subquery),
        Expr::SetComparison(comparison) => Some(&comparison.subquery),
        _ => None,
    }
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

    const T: &str = "CREATE TABLE t (k INT, v BIGINT) AS VALUES (3, 1), (1, 2), (4, 1), (2, 2)";

    #[tokio::test]
    async fn outer_columns_have_the_types_that_they_come_to() {
        let numbered = "(SELECT k, CASE WHEN k > 2 THEN 1 ELSE row_number() OVER (ORDER BY k) END AS n FROM t) a";
        let half = "(SELECT k, CASE WHEN k > 2 THEN k ELSE 1.5 END AS n FROM t) a";
        let both = "(SELECT k, k AS n FROM t UNION ALL SELECT 9, 1.5::double) a";
        for (sql, from, expected) in [
            (
                "SELECT k, (SELECT count(*) FROM t x WHERE x.v = a.n) AS c",
                numbered,
                &["|1|2|", "|2|2|", "|3|2|", "|4|2|"][..],
            ),
            (
                "SELECT k, (SELECT max(x.k) FROM t x WHERE x.v = a.n AND x.k > 2) AS c",
                numbered,
                &["|1|4|", "|2||", "|3|4|", "|4|4|"],
            ),
            ("SELECT k, (SELECT count(*) FROM t x WHERE x.v = a.n) AS c", half, &["|1|0|", "|2|0|", "|3|0|", "|4|0|"]),
            ("SELECT k, (SELECT count(*) FROM t x WHERE x.k = a.n) AS c", half, &["|1|0|", "|2|0|", "|3|1|", "|4|1|"]),
            (
                "SELECT k, (SELECT count(*) FROM t x WHERE x.v = CAST(a.n AS BIGINT)) AS c",
                half,
                &["|1|2|", "|2|2|", "|3|0|", "|4|0|"],
            ),
            (
                "SELECT k, (SELECT count(*) FROM t x WHERE x.v = a.n) AS c",
                both,
                &["|1|2|", "|2|2|", "|3|0|", "|4|0|", "|9|0|"],
            ),
        ] {
            let rows = testing::rows(T, 2, &format!("{sql} FROM {from} ORDER BY k")).await;
            assert_eq!(
                rows.map_err(|e| e.to_string()),
                Ok(expected.iter().map(|r| r.to_string()).collect()),
                "{sql} FROM {from}"
            );
        }
    }

    #[tokio::test]
    async fn so_have_those_of_lateral_subqueries() {
        let t = "CREATE TABLE t (k INT, s TEXT) AS VALUES (1, 'ab'), (2, 'a'), (3, 'b'), (4, NULL)";
        for (from, expected) in [
            ("(SELECT s FROM t UNION SELECT left(s, 1) FROM t) a", &["||0|", "|a|1|", "|ab|1|", "|b|1|"][..]),
            (
                "(SELECT CASE WHEN k = 1 THEN s ELSE left(s, 1) END AS s FROM t) a",
                &["||0|", "|a|1|", "|ab|1|", "|b|1|"],
            ),
            ("(SELECT string_agg(s, '') AS s FROM t WHERE k > 2 UNION ALL SELECT 'ab') a", &["|ab|1|", "|b|1|"]),
        ] {
            for inner in [
                "SELECT count(*) AS n FROM t x WHERE x.s = a.s",
                "SELECT n FROM (SELECT count(*) AS n FROM t x WHERE a.s = x.s) y",
            ] {
                let sql =
                    format!("SELECT a.s, l.n FROM {from} CROSS JOIN LATERAL ({inner}) l ORDER BY a.s NULLS FIRST");
                let rows = testing::rows(t, 2, &sql).await.map_err(|e| e.to_string());
                assert_eq!(rows, Ok(expected.iter().map(|r| r.to_string()).collect()), "{sql}");
            }
        }
        let numbers = "CREATE TABLE t (k INT, v BIGINT) AS VALUES (3, 1), (1, 2), (4, 1), (2, 2)";
        let sql = "SELECT a.n, l.c FROM (SELECT k AS n FROM t UNION ALL SELECT 1.5::double) a, LATERAL (SELECT count(*) AS c FROM t x WHERE x.v = a.n) l ORDER BY n";
        assert_eq!(
            testing::rows(numbers, 2, sql).await.unwrap(),
            ["|1.0|2|", "|1.5|0|", "|2.0|2|", "|3.0|0|", "|4.0|0|"]
        );
    }

    #[tokio::test]
    async fn a_correlated_subquery_in_an_aggregate_is_joined_or_refused() {
        let found = "EXISTS (SELECT 1 FROM t x WHERE x.k = t.v)";
        for (of, expected) in [
            (format!("sum(k) FILTER (WHERE {found}), count(*) FILTER (WHERE {found})"), "|10|4|"),
            (format!("sum(CASE WHEN {found} THEN 1 END)"), "|4|"),
            ("sum((SELECT max(x.k) FROM t x WHERE x.v = t.k))".into(), "|6|"),
        ] {
            assert_eq!(testing::rows(T, 1, &format!("SELECT {of} FROM t")).await.unwrap(), [expected], "{of}");
        }
        // What a sketch of nothing is, is not known.
        let sketch = "SELECT sum((SELECT approx_distinct(x.k) FROM t x WHERE x.v = t.k)) FROM t";
        let error = testing::rows(T, 1, sketch).await.unwrap_err();
        assert!(error.to_string().contains("cannot refer to the tables outside"), "{error}");
        let rows = testing::rows(T, 1, "SELECT sum(k) FILTER (WHERE v < (SELECT max(v) FROM t)) AS s FROM t").await;
        assert_eq!(rows.unwrap(), ["|7|"]);
    }
}
