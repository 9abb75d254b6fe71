//! Expressions that change, in columns that keep their names.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Changes the expressions of a node, those of GROUPING SETS one by one; its columns keep their names.
///
/// # Errors
/// Those of `change`.
pub fn map_with_names(
    plan: LogicalPlan,
    mut change: impl FnMut(Expr) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&plan);
    let mut named = |expr: Expr| {
        let name = names.save(&expr);
        let new = change(expr)?;
        Ok(if new.transformed { new.update_data(|e| name.restore(e)) } else { new })
    };
    let new = plan.map_expressions(|expr| match expr {
        Expr::GroupingSet(_) => expr.map_children(&mut named),
        expr => named(expr),
    })?;
    if new.transformed { new.map_data(LogicalPlan::recompute_schema) } else { Ok(new) }
}
