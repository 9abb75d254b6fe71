//! Joins in which NULL equals NULL (`a.k IS NOT DISTINCT FROM b.k`). DataFusion 54.1 has one word on that for all keys of a join, and makes keys
//! of equalities that come to the join later (`WHERE a.v = b.v`), in which NULL equals nothing.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{NullEquality, Result};
use datafusion::logical_expr::{Join, JoinType, LogicalPlan};
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

fn equals_null(join: &Join) -> bool {
    join.null_equality == NullEquality::NullEqualsNull && !join.on.is_empty()
}

/// In the place of the rule that makes keys of the equalities in a join's condition.
pub(crate) fn keys(
    rule: &ExtractEquijoinPredicate,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    match &plan {
        LogicalPlan::Join(join) if equals_null(join) => Ok(Transformed::no(plan)),
        _ => rule.rewrite(plan, config),
    }
}

/// In the place of the rule that puts inner joins, and the equalities above them, in another order.
pub(crate) fn cross_joins(
    rule: &EliminateCrossJoin,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    let is_one = |plan: &LogicalPlan| match plan {
        LogicalPlan::Join(join) => join.join_type == JoinType::Inner && equals_null(join),
        _ => false,
    };
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= is_one(node);
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !found {
        return rule.rewrite(plan, config);
    }
    // The rule goes down by itself: it is asked for the parts without such a join.
    let new = plan.map_uncorrelated_subqueries(|plan| cross_joins(rule, plan, config))?;
    let new = new.transform_sibling(|plan| plan.map_children(|plan| cross_joins(rule, plan, config)))?;
    if new.transformed { new.map_data(LogicalPlan::recompute_schema) } else { Ok(new) }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn null_equals_null_in_the_keys_that_say_so() {
        let table =
            "CREATE TABLE t (id INT, k INT, v INT) AS VALUES (1, 1, 10), (2, 1, NULL), (3, NULL, 30), (4, NULL, NULL)";
        for (sql, expected) in [
            (
                "SELECT a.id, b.id FROM t a JOIN t b ON a.k IS NOT DISTINCT FROM b.k WHERE a.v = b.v",
                &["|1|1|", "|3|3|"][..],
            ),
            ("SELECT a.id, b.id FROM t a, t b WHERE (a.k IS NOT DISTINCT FROM b.k) AND a.v = b.v", &["|1|1|", "|3|3|"]),
            (
                "SELECT a.id, b.id FROM t a LEFT JOIN t b ON (a.k IS NOT DISTINCT FROM b.k) AND a.v = b.v",
                &["|1|1|", "|2||", "|3|3|", "|4||"],
            ),
            (
                "SELECT a.id, c.id FROM t a JOIN t b ON a.k IS NOT DISTINCT FROM b.k JOIN t c ON c.v = b.v AND c.k = a.k",
                &["|1|1|", "|2|1|"],
            ),
            (
                "SELECT a.id, c.id FROM t a, t c, t b WHERE (a.k IS NOT DISTINCT FROM b.k) AND c.v = b.v AND b.id = a.id",
                &["|1|1|", "|3|3|"],
            ),
        ] {
            let rows = testing::rows(table, 2, &format!("{sql} ORDER BY 1, 2")).await;
            assert_eq!(rows.map_err(|e| e.to_string()), Ok(expected.iter().map(|r| r.to_string()).collect()), "{sql}");
        }
    }
}
