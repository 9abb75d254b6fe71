//! One partition where an operator wants one. DataFusion 54.1 takes away a sort that nobody wants, and with it what brought the partitions of its
//! input together; an operator further up that wants one partition, with a join in between, then has several, and the plan is refused.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::{Distribution, ExecutionPlan, ExecutionPlanProperties};

/// Brings partitions together again. To come after sorts are settled.
#[derive(Debug)]
pub(crate) struct SinglePartitions;

impl PhysicalOptimizerRule for SinglePartitions {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let (wanted, order) = (plan.required_input_distribution(), plan.required_input_ordering());
            let lacks = |n: usize, child: &Arc<dyn ExecutionPlan>| {
                matches!(wanted.get(n), Some(Distribution::SinglePartition))
                    && order.get(n).is_none_or(Option::is_none)
                    && child.output_partitioning().partition_count() > 1
            };
            let mut changed = false;
            let children = plan.children().into_iter().cloned().enumerate().map(|(n, child)| {
                if !lacks(n, &child) {
                    return child;
                }
                changed = true;
                Arc::new(CoalescePartitionsExec::new(child)) as Arc<dyn ExecutionPlan>
            });
            let children: Vec<_> = children.collect();
            if changed { plan.with_new_children(children).map(Transformed::yes) } else { Ok(Transformed::no(plan)) }
        })
        .data()
    }

    fn name(&self) -> &str {
        "SinglePartitions"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn a_sort_that_goes_leaves_one_partition() {
        let table = "CREATE TABLE t (id BIGINT, v BIGINT) AS VALUES (1, 10), (2, NULL), (3, 30), (4, 40)";
        let first = "SELECT DISTINCT ON (u.id) u.id, u.v FROM t u WHERE u.v IS NOT DISTINCT FROM coalesce(u.v, 2) ORDER BY u.id, u.v";
        for condition in ["t.v >= ALL", "t.v > ALL", "t.v <> ANY"] {
            let sql = format!("SELECT t.id FROM t WHERE {condition} (SELECT f.v FROM ({first}) f) ORDER BY t.id");
            let expected: &[&str] = match condition {
                "t.v >= ALL" => &["|4|"],
                "t.v > ALL" => &[],
                _ => &["|1|", "|3|", "|4|"],
            };
            assert_eq!(testing::rows(table, 2, &sql).await.unwrap(), expected, "{sql}");
        }
    }
}
