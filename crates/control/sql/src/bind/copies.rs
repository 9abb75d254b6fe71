//! `INTERSECT ALL` and `EXCEPT ALL` by how often a row is there.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder};

/// The columns that number equal rows on each side; no other table of a statement has them.
const COPIES: [&str; 2] = ["__copy", "__other_copy"];

/// DataFusion (54.1) plans `INTERSECT ALL` and `EXCEPT ALL` as joins that keep every copy of a row or none. With equal rows
/// numbered on both sides, the same join keeps as many as the standard says: the smaller number of copies, or the difference.
pub(super) fn counted(plan: LogicalPlan) -> Result<LogicalPlan> {
    let counted = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if keeps_all(&join) => count(join).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(counted.data)
}

/// Only set operations are planned as joins on which NULL is equal to NULL; those of distinct rows have these on their left.
fn keeps_all(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(_))
}

fn count(join: Join) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = join.left.schema().columns().into_iter().map(Expr::Column).collect();
    let (left, right) = (numbered(&join.left, COPIES[0])?, numbered(&join.right, COPIES[1])?);
    let (mut left_keys, mut right_keys) = (vec![], vec![]);
    for (l, r) in join.on {
        let (Expr::Column(l), Expr::Column(r)) = (l, r) else {
            return datafusion::common::internal_err!("a set operation compares columns");
        };
        left_keys.push(l);
        right_keys.push(r);
    }
    left_keys.push(Column::from_name(COPIES[0]));
    right_keys.push(Column::from_name(COPIES[1]));
    LogicalPlanBuilder::from(left)
        .join_detailed(right, join.join_type, (left_keys, right_keys), None, NullEquality::NullEqualsNull)?
        .project(columns)?
        .build()
}

/// The rows with the number that each has among its equals.
fn numbered(rows: &LogicalPlan, copy: &str) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = rows.schema().columns().into_iter().map(Expr::Column).collect();
    let number = fleuve_batch::row_number().partition_by(columns.clone()).build()?;
    let name = number.schema_name().to_string();
    let all = columns.into_iter().chain([Expr::Column(Column::from_name(name)).alias(copy)]);
    LogicalPlanBuilder::from(rows.clone()).window([number])?.project(all)?.build()
}
