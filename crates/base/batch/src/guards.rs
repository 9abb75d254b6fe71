//! Conditions that guard others: `b <> 0 AND a / b > 1` divides where `b` is not zero, and nowhere else. DataFusion 54.1 computes the right
//! side of AND and OR for all rows of a batch, unless the left side decides (nearly) all of them; and it makes AND and OR of CASE, and moves
//! conditions from outside before those inside. CASE itself computes a branch for the rows alone that come to it.

mod fallible;

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CaseExpr, lit, not};
use datafusion::physical_expr::utils::{conjunction, split_conjunction, split_disjunction};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use self::fallible::can_fail;

type Expr = Arc<dyn PhysicalExpr>;

/// Makes CASE of AND and OR whose right side can fail, in filters, projections, aggregates and the conditions of joins. What cannot fail stays
/// as it is.
#[derive(Debug)]
pub(super) struct Guards;

impl PhysicalOptimizerRule for Guards {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| Ok(node(&plan)?.map_or_else(|| Transformed::no(plan), Transformed::yes))).data()
    }

    fn name(&self) -> &str {
        "Guards"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The operator with guarded expressions, if it has any to guard.
fn node(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let Some(predicate) = condition(filter.predicate(), &filter.input().schema())? else { return Ok(None) };
        let new = FilterExecBuilder::from(filter).with_predicate(predicate).build()?;
        return Ok(Some(Arc::new(new)));
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        return self::projection(projection);
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return self::aggregate(aggregate);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let Some(filter) = join_filter(join.filter())? else { return Ok(None) };
        return join.builder().with_filter(Some(filter)).build_exec().map(Some);
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let Some(filter) = join_filter(join.filter())? else { return Ok(None) };
        let new = NestedLoopJoinExecBuilder::from(join).with_filter(Some(filter)).build()?;
        return Ok(Some(Arc::new(new)));
    }
    Ok(None)
}

fn projection(plan: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let schema = plan.input().schema();
    let mut changed = false;
    let exprs = plan.expr().iter().map(|e| {
        let new = guarded(e.expr.clone(), &schema)?;
        changed |= new.transformed;
        Ok(ProjectionExpr { expr: new.data, alias: e.alias.clone() })
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    if !changed {
        return Ok(None);
    }
    Ok(Some(Arc::new(ProjectionExec::try_new(exprs, plan.input().clone())?)))
}

fn aggregate(plan: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let schema = plan.input_schema();
    let mut changed = false;
    let calls = plan.aggr_expr().iter().map(|call| {
        let new = arguments(call, &schema)?;
        changed |= new.is_some();
        Ok(new.map_or_else(|| call.clone(), Arc::new))
    });
    let calls = calls.collect::<Result<Vec<_>>>()?;
    let filters = plan.filter_expr().iter().map(|filter| {
        let new = filter.as_ref().map(|f| condition(f, &schema)).transpose()?.flatten();
        changed |= new.is_some();
        Ok(new.or_else(|| filter.clone()))
    });
    let filters = filters.collect::<Result<Vec<_>>>()?;
    if !changed {
        return Ok(None);
    }
    let (groups, input) = (plan.group_expr().clone(), plan.input().clone());
    let new = AggregateExec::try_new(*plan.mode(), groups, calls, filters, input, schema)?;
    Ok(Some(Arc::new(new.with_limit_options(plan.limit_options()))))
}

/// An aggregate with guarded arguments. What it is in order by names parts of its state, and stays. One that is computed from the other end
/// stays whole: a new one would not know that any more.
fn arguments(call: &AggregateFunctionExpr, schema: &Schema) -> Result<Option<AggregateFunctionExpr>> {
    if call.is_reversed() {
        return Ok(None);
    }
    let all = call.all_expressions();
    let mut changed = false;
    let args = all.args.into_iter().map(|arg| {
        let new = guarded(arg, schema)?;
        changed |= new.transformed;
        Ok(new.data)
    });
    let args = args.collect::<Result<Vec<_>>>()?;
    Ok(if changed { call.with_new_expressions(args, all.order_by_exprs) } else { None })
}

fn join_filter(filter: Option<&JoinFilter>) -> Result<Option<JoinFilter>> {
    let Some(filter) = filter else { return Ok(None) };
    let new = condition(filter.expression(), filter.schema())?;
    Ok(new.map(|e| JoinFilter::new(e, filter.column_indices().to_vec(), filter.schema().clone())))
}

/// A condition that rows pass, if it changes: what cannot fail comes first.
fn condition(condition: &Expr, schema: &Schema) -> Result<Option<Expr>> {
    let parts = split_conjunction(condition).into_iter().cloned();
    let (risky, safe): (Vec<_>, Vec<_>) = parts.partition(|e| can_fail(e, schema));
    if risky.is_empty() {
        return Ok(None);
    }
    let new = guarded(conjunction(safe.into_iter().chain(risky)), schema)?;
    Ok(new.transformed.then_some(new.data))
}

fn guarded(expr: Expr, schema: &Schema) -> Result<Transformed<Expr>> {
    expr.transform_down(|expr| {
        let Some(op) = logical(&expr) else { return Ok(Transformed::no(expr)) };
        let parts = if op == Operator::And { split_conjunction(&expr) } else { split_disjunction(&expr) };
        let mut changed = false;
        let parts = parts.into_iter().map(|part| {
            let new = guarded(part.clone(), schema)?;
            changed |= new.transformed;
            Ok(new.data)
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let new = match case(op, &parts, schema)? {
            Some(case) => case,
            None if changed => joined(op, &parts),
            None => return Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump)),
        };
        Ok(Transformed::new(new, true, TreeNodeRecursion::Jump))
    })
}

/// AND or OR, if `expr` is one.
fn logical(expr: &Expr) -> Option<Operator> {
    let op = *expr.downcast_ref::<BinaryExpr>()?.op();
    matches!(op, Operator::And | Operator::Or).then_some(op)
}

/// `a AND b AND c` as `CASE WHEN NOT a THEN false WHEN NOT b THEN false ELSE a AND b AND c END`, and OR likewise, if `b` or `c` can fail.
/// What is NULL decides nothing, and is computed once more for the rows that are left; so what is never NULL is not. Neither is
/// what differs each time, which guards nothing therefore.
fn case(op: Operator, parts: &[Expr], schema: &Schema) -> Result<Option<Expr>> {
    let risky: Vec<bool> = parts.iter().map(|e| can_fail(e, schema)).collect();
    let Some(last) = risky.iter().rposition(|r| *r) else { return Ok(None) };
    let guards: Vec<_> = parts.iter().zip(risky).take(last).filter(|(e, _)| !is_volatile(e)).collect();
    if guards.is_empty() {
        return Ok(None);
    }
    // Those that cannot fail are looked at together.
    let whens = guards.chunk_by(|(_, a), (_, b)| !a && !b).map(|run| {
        let decides = joined(op, run.iter().map(|(e, _)| *e));
        let decides = if op == Operator::And { not(decides)? } else { decides };
        Ok((decides, lit(op == Operator::Or)))
    });
    let whens = whens.collect::<Result<Vec<_>>>()?;
    let is_left = |(n, e): &(usize, &Expr)| *n >= last || is_volatile(e) || e.nullable(schema).unwrap_or(true);
    let rest = joined(op, parts.iter().enumerate().filter(is_left).map(|(_, e)| e));
    Ok(Some(Arc::new(CaseExpr::try_new(None, whens, Some(rest))?)))
}

/// All of them between ANDs or ORs.
fn joined<'a>(op: Operator, parts: impl IntoIterator<Item = &'a Expr>) -> Expr {
    let both = |left: Expr, right: Expr| Arc::new(BinaryExpr::new(left, op, right)) as Expr;
    parts.into_iter().cloned().reduce(both).unwrap_or_else(|| lit(op == Operator::And))
}

#[cfg(test)]
mod tests;
