//! Which correlated subqueries DataFusion 54.1 makes joins of, and right ones.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, Result};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Distinct, Expr, FetchType, LogicalPlan, Operator, SkipType};

use crate::has_subquery;

/// What is asked of a subquery.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Whether there is a row.
    Existence,
    /// Its rows, or its one value.
    Rows,
}

/// True if DataFusion can take the conditions that name outer columns out of a subquery, and join by them.
pub(super) fn is_pulled(plan: &LogicalPlan, asked: Asked) -> Result<bool> {
    Ok(pulled(plan, asked, false)? && !has_equal_names(plan)?)
}

/// True if a column that is joined by has the name of another one, or of one of the subquery's own: the tables are not told apart any more.
fn has_equal_names(plan: &LogicalPlan) -> Result<bool> {
    let mut inner: Vec<Column> = vec![];
    plan.apply(|node| {
        if let LogicalPlan::Filter(filter) = node {
            let conditions = split_conjunction(&filter.predicate).into_iter().filter(|c| c.contains_outer());
            inner.extend(conditions.flat_map(Expr::column_refs).cloned());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let all: Vec<Column> = inner.iter().cloned().chain(plan.schema().columns()).collect();
    Ok(inner.iter().any(|column| all.iter().any(|other| other.name == column.name && other != column)))
}

#[recursive::recursive]
fn pulled(plan: &LogicalPlan, asked: Asked, is_aggregated: bool) -> Result<bool> {
    if plan.all_out_ref_exprs().is_empty() {
        return Ok(true);
    }
    if !matches!(plan, LogicalPlan::Filter(_)) && names_outer(plan)? {
        return Ok(false);
    }
    match plan {
        LogicalPlan::Filter(filter) => {
            let conditions = split_conjunction(&filter.predicate);
            let outer: Vec<&Expr> = conditions.into_iter().filter(|c| c.contains_outer()).collect();
            let is_right = match is_aggregated {
                true => outer.into_iter().all(is_equality_with_outer),
                // It would become one on the rows that are aggregated, or of which there are no more than so many.
                false if !outer.is_empty() => !has_aggregate_or_limit(&filter.input)?,
                // HAVING would be lost.
                false => asked == Asked::Existence || !is_whole(&filter.input),
            };
            Ok(is_right && pulled(&filter.input, asked, is_aggregated)?)
        }
        LogicalPlan::Projection(projection) => pulled(&projection.input, asked, is_aggregated),
        LogicalPlan::Distinct(Distinct::All(input)) => pulled(input, asked, is_aggregated || asked == Asked::Rows),
        LogicalPlan::Aggregate(aggregate) if !is_aggregated => {
            // GROUPING SETS, ROLLUP and CUBE have a row over no rows.
            let is_set = |e: &Expr| matches!(e, Expr::GroupingSet(_));
            Ok(!aggregate.group_expr.iter().any(is_set) && pulled(&aggregate.input, asked, true)?)
        }
        LogicalPlan::Limit(limit) if asked == Asked::Existence => {
            let is_all = matches!(limit.get_skip_type()?, SkipType::Literal(0))
                && matches!(limit.get_fetch_type()?, FetchType::Literal(_));
            Ok(is_all && pulled(&limit.input, asked, is_aggregated)?)
        }
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
            Ok(pulled(&join.left, asked, is_aggregated)? && pulled(&join.right, asked, is_aggregated)?)
        }
        _ => Ok(false),
    }
}

/// True for an aggregate over all rows.
fn is_whole(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_whole(&projection.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}

fn has_aggregate_or_limit(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Aggregate(_) | LogicalPlan::Limit(_))))
}

/// True if the node itself, not one below it, names an outer column.
fn names_outer(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        found |= expr.contains_outer();
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// `column = outer`, which DataFusion joins by.
fn is_equality_with_outer(condition: &Expr) -> bool {
    let Expr::BinaryExpr(both) = condition else { return false };
    let is_column = |e: &Expr| match e {
        Expr::Column(_) => true,
        // A cast to text may become a function.
        Expr::Cast(cast) => matches!(*cast.expr, Expr::Column(_)) && !cast.field.data_type().is_string(),
        _ => false,
    };
    let fits = |inner: &Expr, outer: &Expr| is_column(inner) && !outer.any_column_refs() && outer.contains_outer();
    both.op == Operator::Eq
        && !has_subquery(condition)
        && (fits(&both.left, &both.right) || fits(&both.right, &both.left))
}
