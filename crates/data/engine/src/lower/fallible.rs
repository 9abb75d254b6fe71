//! Expressions that can fail are computed below the operators that keep state, in a projection of their own: there a row that
//! fails is a row of its own, which can be named, and left out without a trace in any state.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::utils::expr_to_columns;
use datafusion::logical_expr::{
    Aggregate, Expr, GroupingSet, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, Sort, Window,
};
use fleuve_batch::{can_fail, has_subquery};
use fleuve_types::{Error, Result};

/// The same plan, with what can fail in aggregates, window functions, join keys and sort keys computed before them. Not in recursive
/// queries: what fails there comes of no single row.
pub(super) fn compute_first(plan: LogicalPlan) -> Result<LogicalPlan> {
    all(plan, &mut 0)
        .map(|t| t.data)
        .map_err(|e| Error::unsupported(format!("an expression that can fail: {}", e.strip_backtrace())))
}

fn all(plan: LogicalPlan, number: &mut usize) -> DfResult<Transformed<LogicalPlan>> {
    if matches!(plan, LogicalPlan::RecursiveQuery(_)) {
        return Ok(Transformed::no(plan));
    }
    plan.map_children(|child| all(child, number))?.transform_data(|plan| rewrite(plan, number))
}

fn rewrite(plan: LogicalPlan, number: &mut usize) -> DfResult<Transformed<LogicalPlan>> {
    match &plan {
        LogicalPlan::Aggregate(aggregate) => self::aggregate(aggregate, number),
        LogicalPlan::Window(window) => self::window(window, number),
        LogicalPlan::Sort(sort) => self::sort(sort, number),
        LogicalPlan::Join(join) => self::join(join, number),
        _ => Ok(None),
    }
    .map(|new| new.map_or_else(|| Transformed::no(plan), Transformed::yes))
}

/// Expressions taken out of an operator, to be computed over its input.
struct Taken<'a> {
    schema: &'a DFSchema,
    number: &'a mut usize,
    exprs: Vec<(Expr, Column)>,
}

impl<'a> Taken<'a> {
    fn new(schema: &'a DFSchema, number: &'a mut usize) -> Self {
        Self { schema, number, exprs: vec![] }
    }

    /// What stands in the operator instead: a column, if `expr` can fail.
    fn out(&mut self, expr: Expr) -> Expr {
        if !can_fail(&expr, self.schema) || has_subquery(&expr) {
            return expr;
        }
        if let Some((_, column)) = self.exprs.iter().find(|(e, _)| *e == expr) {
            return Expr::Column(column.clone());
        }
        *self.number += 1;
        let column = Column::new_unqualified(format!("__computed_{}", self.number));
        self.exprs.push((expr, column.clone()));
        Expr::Column(column)
    }

    /// The arguments, filter and order of a call of a function.
    fn out_of_call(&mut self, call: Expr) -> DfResult<Expr> {
        Ok(match call {
            Expr::Alias(mut alias) => {
                *alias.expr = self.out_of_call(*alias.expr)?;
                Expr::Alias(alias)
            }
            call => {
                let mut at_top = true;
                call.transform_down(|e| {
                    if std::mem::take(&mut at_top) {
                        return Ok(Transformed::no(e));
                    }
                    let new = self.out(e);
                    // What stays whole is not looked into.
                    Ok(Transformed::new(new, true, TreeNodeRecursion::Jump))
                })?
                .data
            }
        })
    }

    /// `input` with the computed columns after its own (those of `keep`).
    fn below(self, input: &Arc<LogicalPlan>, keep: Vec<Expr>) -> DfResult<LogicalPlan> {
        let computed = self.exprs.into_iter().map(|(e, c)| e.alias(c.name));
        Projection::try_new(keep.into_iter().chain(computed).collect(), input.clone()).map(LogicalPlan::Projection)
    }
}

fn columns(schema: &DFSchema) -> Vec<Expr> {
    schema.columns().into_iter().map(Expr::Column).collect()
}

/// `plan` cut down to the columns of `schema`.
fn only(plan: LogicalPlan, schema: &DFSchema) -> DfResult<LogicalPlan> {
    LogicalPlanBuilder::from(plan).project(columns(schema))?.build()
}

fn aggregate(plan: &Aggregate, number: &mut usize) -> DfResult<Option<LogicalPlan>> {
    let mut taken = Taken::new(plan.input.schema(), number);
    let mut all = |exprs: &[Expr]| exprs.iter().map(|e| taken.out(e.clone())).collect::<Vec<_>>();
    let groups: Vec<Expr> = match plan.group_expr.as_slice() {
        [Expr::GroupingSet(set)] => vec![Expr::GroupingSet(match set {
            GroupingSet::Rollup(exprs) => GroupingSet::Rollup(all(exprs)),
            GroupingSet::Cube(exprs) => GroupingSet::Cube(all(exprs)),
            GroupingSet::GroupingSets(sets) => GroupingSet::GroupingSets(sets.iter().map(|s| all(s)).collect()),
        })],
        exprs => all(exprs),
    };
    let calls = plan.aggr_expr.iter().map(|e| taken.out_of_call(e.clone())).collect::<DfResult<Vec<_>>>()?;
    if taken.exprs.is_empty() {
        return Ok(None);
    }
    // Only what is still asked for.
    let mut wanted = std::collections::HashSet::new();
    groups.iter().chain(&calls).try_for_each(|e| expr_to_columns(e, &mut wanted))?;
    let keep = plan.input.schema().columns().into_iter().filter(|c| wanted.contains(c)).map(Expr::Column).collect();
    let input = Arc::new(taken.below(&plan.input, keep)?);
    Aggregate::try_new_with_schema(input, groups, calls, plan.schema.clone()).map(|a| Some(LogicalPlan::Aggregate(a)))
}

fn window(plan: &Window, number: &mut usize) -> DfResult<Option<LogicalPlan>> {
    let mut taken = Taken::new(plan.input.schema(), number);
    let calls = plan.window_expr.iter().map(|e| taken.out_of_call(e.clone())).collect::<DfResult<Vec<_>>>()?;
    if taken.exprs.is_empty() {
        return Ok(None);
    }
    let input = taken.below(&plan.input, columns(plan.input.schema()))?;
    // Their names spell their arguments: they stay what they were.
    let own = plan.schema.iter().skip(plan.input.schema().fields().len());
    let fields = input.schema().iter().chain(own).map(|(q, f)| (q.cloned(), f.clone())).collect();
    let schema = Arc::new(DFSchema::new_with_metadata(fields, plan.schema.metadata().clone())?);
    let window = LogicalPlan::Window(Window::try_new_with_schema(calls, Arc::new(input), schema)?);
    only(window, &plan.schema).map(Some)
}

fn sort(plan: &Sort, number: &mut usize) -> DfResult<Option<LogicalPlan>> {
    let mut taken = Taken::new(plan.input.schema(), number);
    let mut keys = plan.expr.clone();
    for key in &mut keys {
        key.expr = taken.out(key.expr.clone());
    }
    if taken.exprs.is_empty() {
        return Ok(None);
    }
    let input = taken.below(&plan.input, columns(plan.input.schema()))?;
    let sort = LogicalPlan::Sort(Sort { expr: keys, input: Arc::new(input), fetch: plan.fetch });
    only(sort, plan.input.schema()).map(Some)
}

fn join(plan: &Join, number: &mut usize) -> DfResult<Option<LogicalPlan>> {
    let (left_schema, right_schema) = (plan.left.schema().clone(), plan.right.schema().clone());
    let mut left = Taken::new(&left_schema, number);
    let left_keys: Vec<Expr> = plan.on.iter().map(|(l, _)| left.out(l.clone())).collect();
    let left_input = match left.exprs.is_empty() {
        true => None,
        false => Some(Arc::new(left.below(&plan.left, columns(&left_schema))?)),
    };
    let mut right = Taken::new(&right_schema, number);
    let right_keys: Vec<Expr> = plan.on.iter().map(|(_, r)| right.out(r.clone())).collect();
    let right_input = match right.exprs.is_empty() {
        true => None,
        false => Some(Arc::new(right.below(&plan.right, columns(&right_schema))?)),
    };
    if left_input.is_none() && right_input.is_none() {
        return Ok(None);
    }
    // The mark column is the join's own and has no name to be found again by.
    if matches!(plan.join_type, JoinType::LeftMark | JoinType::RightMark) {
        return Ok(None);
    }
    let join = Join::try_new(
        left_input.unwrap_or_else(|| plan.left.clone()),
        right_input.unwrap_or_else(|| plan.right.clone()),
        left_keys.into_iter().zip(right_keys).collect(),
        plan.filter.clone(),
        plan.join_type,
        plan.join_constraint,
        plan.null_equality,
        plan.null_aware,
    )?;
    only(LogicalPlan::Join(join), &plan.schema).map(Some)
}
