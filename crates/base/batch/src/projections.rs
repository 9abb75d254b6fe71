//! DataFusion's pushing down of projections, but for those that compute something out of a filter: 54.1 computes them below the filter,
//! for the rows, too, that the filter takes out. `SELECT id, a / b FROM t WHERE b <> 0` then fails.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, remove_unnecessary_projections};

/// In the place of the rule `ProjectionPushdown`.
#[derive(Debug)]
pub(super) struct CarefulProjections;

impl PhysicalOptimizerRule for CarefulProjections {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let node = |plan: Arc<dyn ExecutionPlan>| {
            if computes_from_filter(&plan) { Ok(Transformed::no(plan)) } else { remove_unnecessary_projections(plan) }
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
