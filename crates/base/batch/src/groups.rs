//! `GROUP BY 'x'` over no rows gives no group. DataFusion 54.1 leaves constants out of GROUP BY, also where nothing else is in it: without it an
//! aggregate has a row. `max(DISTINCT 3)` groups so, too.

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::eliminate_group_by_constant::EliminateGroupByConstant;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// In the place of the rule that leaves constants out.
pub(crate) fn groups(
    rule: &EliminateGroupByConstant,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    match &plan {
        LogicalPlan::Aggregate(aggregate) if !aggregate.group_expr.iter().any(|e| e.any_column_refs()) => {
            Ok(Transformed::no(plan))
        }
        _ => rule.rewrite(plan, config),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn a_constant_makes_no_group_of_nothing() {
        let table = "CREATE TABLE t (k INT, v INT) AS VALUES (1, 1), (1, 2)";
        for (sql, expected) in [
            ("SELECT sum(v) FROM t WHERE k > 1 GROUP BY 'x'", &[][..]),
            ("SELECT sum(v) FROM t GROUP BY 'x'", &["|3|"]),
            ("SELECT sum(v) FROM t GROUP BY k, 'x'", &["|3|"]),
            ("SELECT sum(v), max(DISTINCT 3) FROM t WHERE k > 1", &["|||"]),
            ("SELECT sum(v), count(DISTINCT 3) FROM t", &["|3|1|"]),
        ] {
            assert_eq!(testing::rows(table, 1, sql).await.unwrap(), expected, "{sql}");
        }
    }
}
