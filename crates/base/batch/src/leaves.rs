//! DataFusion's taking out and pushing down of fields of structs, but where it fails: with a column `i` of a table `i` beside one `i` without a table,
//! as an unnested list has it, 54.1 makes a projection that it then refuses. Without it the plan is as right as before.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// In the place of the rules `extract_leaf_expressions` and `push_down_leaf_projections`.
pub(crate) fn unless_ambiguous<R: OptimizerRule>(
    rule: &R,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    match rule.rewrite(plan.clone(), config) {
        Err(DataFusionError::SchemaError(..)) => Ok(Transformed::no(plan)),
        rewritten => rewritten,
    }
}
