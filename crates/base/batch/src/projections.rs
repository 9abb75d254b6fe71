//! DataFusion's pushing down of projections, but for those that compute something out of a filter: 54.1 computes them below the filter,
//! for the rows, too, that the filter takes out. `SELECT id, a / b FROM t WHERE b <> 0` then fails. And but for those over joins that give columns
//! of one side, or a mark: it counts as if they gave the columns of both.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, remove_unnecessary_projections};

use crate::equivalence::join_type;

/// In the place of the rule `ProjectionPushdown`.
#[derive(Debug)]
pub(super) struct CarefulProjections;

impl PhysicalOptimizerRule for CarefulProjections {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let node = |plan: Arc<dyn ExecutionPlan>| {
            let stays = computes_from_filter(&plan) || is_over_one_side(&plan);
            if stays { Ok(Transformed::no(plan)) } else { remove_unnecessary_projections(plan) }
        };
        plan.transform_down(node).data()
    }

    fn name(&self) -> &str {
        "CarefulProjections"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn computes_from_filter(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<ProjectionExec>().is_some_and(|projection| {
        projection.input().downcast_ref::<FilterExec>().is_some()
            && !projection.expr().iter().all(|e| e.expr.downcast_ref::<Column>().is_some())
    })
}

fn is_over_one_side(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(projection) = plan.downcast_ref::<ProjectionExec>() else { return false };
    let kind = join_type(projection.input());
    kind.is_some_and(|kind| !matches!(kind, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full))
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn a_mark_is_no_column_of_the_other_side() {
        let table = "CREATE TABLE t (id BIGINT, v BIGINT) AS VALUES (1, 10), (2, NULL), (3, 30), (4, 40)";
        for (condition, expected) in [
            (
                "t.v >= ALL (SELECT f.v FROM (SELECT u.v, max(u.id) FROM t u WHERE u.id <> 2 GROUP BY u.v) f)",
                vec!["|4|"],
            ),
            ("t.v < ANY (SELECT u.v FROM t u) OR t.id = 2", vec!["|1|", "|2|", "|3|"]),
            ("EXISTS (SELECT 1 FROM t u WHERE u.v < t.v) OR t.id = 1", vec!["|1|", "|3|", "|4|"]),
        ] {
            let sql = format!("SELECT t.id FROM t WHERE {condition} ORDER BY t.id");
            assert_eq!(testing::rows(table, 2, &sql).await.unwrap(), expected, "{sql}");
        }
    }
}
