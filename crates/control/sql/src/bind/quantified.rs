//! `x >= ALL (query)` and `x > ANY (query)`, protected from a name that means two columns.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr::SetComparison;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery};

/// The name that a compared query's column gets; no other table of a statement has it.
const ALIAS: &str = "__compared";

/// DataFusion (54.1) turns such a comparison into one filter over both sides' columns. When the query reads the table that the
/// outer query reads too, both columns have the same full name, and the filter compares one of them with itself. So the
/// query's column gets a name of its own. A correlated query has aliases already, or it could not be written.
pub(super) fn with_own_names(plan: LogicalPlan) -> Result<LogicalPlan> {
    let renamed = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|expr| match expr {
                Expr::SetComparison(comparison) if comparison.subquery.outer_ref_columns.is_empty() => {
                    rename(comparison).map(|c| Transformed::yes(Expr::SetComparison(c)))
                }
                other => Ok(Transformed::no(other)),
            })
        })
    })?;
    Ok(renamed.data)
}

fn rename(comparison: SetComparison) -> Result<SetComparison> {
    let Subquery { subquery, outer_ref_columns, spans } = comparison.subquery;
    let columns = subquery.schema().columns();
    let plan = match columns.as_slice() {
        [column] => {
            let named = Expr::Column(column.clone()).alias(ALIAS);
            LogicalPlanBuilder::from(subquery).project([named])?.alias(ALIAS)?.build().map(Arc::new)?
        }
        // More than one column is an error that DataFusion tells.
        _ => subquery,
    };
    Ok(SetComparison { subquery: Subquery { subquery: plan, outer_ref_columns, spans }, ..comparison })
}
