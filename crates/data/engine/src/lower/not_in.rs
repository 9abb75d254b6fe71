//! `x NOT IN (subquery)` where either side may be NULL: a comparison with NULL is not known, and a row whose answer is not known
//! goes. So with a NULL in the subquery no row stays, and a NULL `x` stays only if the subquery is empty.

use std::sync::Arc;

use datafusion::common::{Column, JoinConstraint, JoinType, NullEquality};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder};
use fleuve_types::{Error, Result};

/// DataFusion's null-aware anti join as joins that this engine has: the rows without an equal one, and of these those that have
/// nothing unknown to be compared with. Whether the subquery has NULLs, and whether it has anything else, is two rows at most.
pub(super) fn joins(plan: &Join) -> Result<LogicalPlan> {
    let ([(left, right)], None, JoinType::LeftAnti) = (plan.on.as_slice(), &plan.filter, plan.join_type) else {
        return Err(Error::unsupported("NOT IN with a further condition has no incremental operator"));
    };
    build(plan, left, right).map_err(|e| Error::unsupported(format!("NOT IN: {}", e.strip_backtrace())))
}

fn build(plan: &Join, left: &Expr, right: &Expr) -> DfResult<LogicalPlan> {
    let unequal = Join { null_aware: false, ..plan.clone() };
    let is_null = right.clone().is_null().alias("is_null");
    let known = LogicalPlanBuilder::from(plan.right.as_ref().clone())
        .project(vec![is_null])?
        .distinct()?
        .alias("__not_in")?
        .build()?;
    let unknown = left.clone().is_null().or(Expr::Column(Column::new(Some("__not_in"), "is_null")));
    let join = Join::try_new(
        Arc::new(LogicalPlan::Join(unequal)),
        Arc::new(known),
        vec![],
        Some(unknown),
        JoinType::LeftAnti,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?;
    Ok(LogicalPlan::Join(join))
}
