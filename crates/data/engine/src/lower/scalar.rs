//! Uncorrelated scalar subqueries as joins: `SELECT x, (SELECT max(y) FROM t)` keeps its answer like `x LEFT JOIN (SELECT max(y) ...)`.
//!
//! DataFusion runs them before the query; a view has to follow them. Each gives at most one row: of those that might give several, `base/batch`
//! makes a list, which is checked where it is used.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinConstraint, JoinType, NullEquality};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, Subquery, col};
use fleuve_types::{Error, Result};

/// The same plan without scalar subqueries, as far as they can be joined.
pub(super) fn join_scalars(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let mut number = 0;
    plan.clone()
        .transform_up(|plan| rewrite(plan, &mut number))
        .map(|t| t.data)
        .map_err(|e| Error::unsupported(format!("a scalar subquery: {}", e.strip_backtrace())))
}

fn rewrite(plan: LogicalPlan, number: &mut usize) -> DfResult<Transformed<LogicalPlan>> {
    let input = match &plan {
        LogicalPlan::Projection(p) => p.input.clone(),
        LogicalPlan::Filter(f) => f.input.clone(),
        _ => return Ok(Transformed::no(plan)),
    };
    let mut joined = input;
    let mut found: Vec<(Subquery, Column)> = vec![];
    let mut exprs = vec![];
    for expr in plan.expressions() {
        let name = expr.schema_name().to_string();
        let replaced = expr.transform_up(|e| {
            let Expr::ScalarSubquery(subquery) = &e else { return Ok(Transformed::no(e)) };
            if !subquery.outer_ref_columns.is_empty() {
                return Ok(Transformed::no(e));
            }
            if let Some((_, column)) = found.iter().find(|(s, _)| s == subquery) {
                return Ok(Transformed::yes(Expr::Column(column.clone())));
            }
            *number += 1;
            let alias = format!("__scalar_{number}");
            let value = subquery.subquery.schema().columns().first().cloned().map(Expr::Column);
            let Some(value) = value else { return Ok(Transformed::no(e)) };
            let inner = rewritten(&subquery.subquery, number)?;
            let one =
                LogicalPlanBuilder::from(inner).project(vec![value.alias("value")])?.alias(alias.as_str())?.build()?;
            joined = beside(&joined, one)?;
            let column = Column::new(Some(alias), "value");
            found.push((subquery.clone(), column.clone()));
            Ok(Transformed::yes(Expr::Column(column)))
        })?;
        exprs.push((replaced.data, name));
    }
    if found.is_empty() {
        return Ok(Transformed::no(plan));
    }
    let schema = plan.schema().clone();
    let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    let joined = joined.as_ref().clone();
    let new = match &plan {
        LogicalPlan::Projection(_) => {
            let named = exprs.into_iter().zip(schema.iter()).map(|((expr, _), (qualifier, field))| {
                // The same name as before, so that what stands above finds its columns.
                expr.alias_qualified(qualifier.cloned(), field.name())
            });
            LogicalPlanBuilder::from(joined).project(named)?.build()?
        }
        _ => {
            let predicate = exprs.into_iter().map(|(e, _)| e).reduce(Expr::and).unwrap_or_else(|| col("value"));
            LogicalPlanBuilder::from(joined).filter(predicate)?.project(columns)?.build()?
        }
    };
    Ok(Transformed::yes(new))
}

/// Every row of `left` with the one row of `right`, or with NULL if there is none.
fn beside(left: &Arc<LogicalPlan>, right: LogicalPlan) -> DfResult<Arc<LogicalPlan>> {
    let join = Join::try_new(
        left.clone(),
        Arc::new(right),
        vec![],
        None,
        JoinType::Left,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?;
    Ok(Arc::new(LogicalPlan::Join(join)))
}

fn rewritten(plan: &Arc<LogicalPlan>, number: &mut usize) -> DfResult<LogicalPlan> {
    plan.as_ref().clone().transform_up(|plan| rewrite(plan, number)).map(|t| t.data)
}
