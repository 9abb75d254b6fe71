//! `LATERAL` whose conditions come to a constant while the query is simplified. DataFusion 54.1 then neither joins it nor takes it for a plain table.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Join, LogicalPlan};
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// In the place of the rule that makes joins of `LATERAL`.
pub(crate) fn laterals(
    rule: &DecorrelateLateralJoin,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(join) = plan else { return Ok(Transformed::no(plan)) };
    let right = join.right.as_ref().clone().transform_down(|plan| match plan {
        LogicalPlan::Subquery(subquery) if !names_outer(&subquery.subquery)? => {
            let plan = Arc::unwrap_or_clone(subquery.subquery);
            Ok(Transformed::new(plan, true, TreeNodeRecursion::Jump))
        }
        plan => Ok(Transformed::no(plan)),
    })?;
    if !right.transformed {
        return rule.rewrite(LogicalPlan::Join(join), config);
    }
    let new = rule.rewrite(LogicalPlan::Join(Join { right: Arc::new(right.data), ..join }), config)?;
    Ok(Transformed::yes(new.data))
}

fn names_outer(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= node.contains_outer_reference();
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}
