//! Filters that DataFusion 54.1 pushes too far:
//!
//! - HAVING without a column, `SELECT max(v) FROM t HAVING 1 = (SELECT count(*) FROM u)`, below the aggregate, which gives its row over nothing,
//!   too;
//! - what is asked of the column before `NOT IN`, `x NOT IN (SELECT y FROM u) AND x > 1`, also of `y`, so that a NULL there is not seen.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, Join, JoinType, LogicalPlan};
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// In the place of the rule that pushes filters down.
pub(crate) fn filters(
    rule: &PushDownFilter,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = plan else { return rule.rewrite(plan, config) };
    if let LogicalPlan::Join(join) = filter.input.as_ref()
        && join.null_aware
        && join.join_type == JoinType::LeftAnti
        && !filter.predicate.is_volatile()
    {
        let left = Arc::new(LogicalPlan::Filter(Filter::try_new(filter.predicate, join.left.clone())?));
        return Ok(Transformed::yes(LogicalPlan::Join(Join { left, ..join.clone() })));
    }
    if let LogicalPlan::Filter(below) = filter.input.as_ref() {
        // The rule makes them one, and does not ask here what is below.
        let mut conditions = split_conjunction_owned(below.predicate.clone());
        for condition in split_conjunction_owned(filter.predicate.clone()) {
            if !conditions.contains(&condition) {
                conditions.push(condition);
            }
        }
        if let Some(all) = conjunction(conditions) {
            let one = LogicalPlan::Filter(Filter::try_new(all, below.input.clone())?);
            return filters(rule, one, config).map(|done| Transformed::yes(done.data));
        }
    }
    if !gives_a_row_over_nothing(&filter.input) {
        return rule.rewrite(LogicalPlan::Filter(filter), config);
    }
    let conditions = split_conjunction_owned(filter.predicate.clone());
    let (on_rows, on_none): (Vec<_>, Vec<_>) = conditions.into_iter().partition(Expr::any_column_refs);
    match (conjunction(on_rows), conjunction(on_none)) {
        (Some(on_rows), Some(on_none)) => {
            let below = LogicalPlan::Filter(Filter::try_new(on_rows, filter.input)?);
            let below = rule.rewrite(below, config)?;
            below.map_data(|below| Ok(LogicalPlan::Filter(Filter::try_new(on_none, below.into())?)))
        }
        (None, _) => Ok(Transformed::no(LogicalPlan::Filter(filter))),
        (Some(_), None) => rule.rewrite(LogicalPlan::Filter(filter), config),
    }
}

fn gives_a_row_over_nothing(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Aggregate(aggregate) = plan else { return false };
    aggregate.group_expr.is_empty() || matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)])
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn what_has_no_column_is_asked_above_the_aggregate() {
        let table = "CREATE TABLE t (k INT, v INT) AS VALUES (1, 1), (2, 2)";
        for (sql, expected) in [
            ("SELECT max(v) FROM t HAVING 1 = (SELECT count(*) FROM t)", &[][..]),
            ("SELECT max(v) FROM t HAVING 2 = (SELECT count(*) FROM t)", &["|2|"]),
            ("SELECT max(v) FROM t HAVING max(v) IS NULL AND NULL", &[]),
            ("SELECT max(v) FROM t HAVING max(v) > 1 AND 2 = (SELECT count(*) FROM t)", &["|2|"]),
            ("SELECT * FROM (SELECT max(v) AS m FROM t) q WHERE m > 1 AND 3 = (SELECT count(*) FROM t)", &[]),
            (
                "SELECT m FROM (SELECT max(v) AS m FROM t HAVING count(*) <> NULL AND count(*) > 0) q WHERE m IS NULL",
                &[],
            ),
            (
                "SELECT m FROM (SELECT max(1) AS m FROM t HAVING count(*) NOT IN (5, NULL)) q WHERE NOT (m IS NOT NULL)",
                &[],
            ),
            ("SELECT k FROM t GROUP BY ROLLUP (k) HAVING 1 = (SELECT count(*) FROM t)", &[]),
            ("SELECT k FROM t GROUP BY ROLLUP (k) HAVING k = 1 AND 2 = (SELECT count(*) FROM t)", &["|1|"]),
        ] {
            assert_eq!(testing::rows(table, 1, sql).await.unwrap(), expected, "{sql}");
        }
    }

    #[tokio::test]
    async fn what_is_asked_before_not_in_is_not_asked_behind_it() {
        let table = "CREATE TABLE t (k INT, v INT) AS VALUES (1, 7), (2, NULL), (3, 8)";
        for (condition, expected) in [
            ("k NOT IN (SELECT v FROM t) AND k > 1", &[][..]),
            ("k NOT IN (SELECT v FROM t) AND k = 3", &[]),
            ("k NOT IN (SELECT v FROM t WHERE v > 7) AND k > 1", &["|2|", "|3|"]),
            ("v NOT IN (SELECT k FROM t) AND v IS NULL", &[]),
            ("v NOT IN (SELECT k FROM t WHERE k > 5) AND v IS NULL", &["|2|"]),
        ] {
            let sql = format!("SELECT k FROM t WHERE {condition} ORDER BY k");
            assert_eq!(testing::rows(table, 1, &sql).await.unwrap(), expected, "{condition}");
        }
    }
}
