//! `sum(a / b) FILTER (WHERE b <> 0)` divides where `b` is not zero. DataFusion 54.1 computes the arguments of an aggregate for all rows, and
//! then leaves out those that do not pass its FILTER.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{Case, Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use crate::names::map_with_names;
use crate::{can_fail, has_subquery};

/// Computes what can fail of the arguments of an aggregate with FILTER for the rows alone that pass it. To come after types are settled.
#[derive(Debug)]
pub(crate) struct FilteredArguments;

impl AnalyzerRule for FilteredArguments {
    fn name(&self) -> &str {
        "filtered_arguments"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_down_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let input = match &plan {
        LogicalPlan::Aggregate(aggregate) => &aggregate.input,
        LogicalPlan::Window(window) => &window.input,
        _ => return Ok(Transformed::no(plan)),
    };
    let schema = input.schema().clone();
    map_with_names(plan, |expr| expr.transform_up(|e| Ok(call(e, &schema))))
}

fn call(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let filter = match &mut expr {
        Expr::AggregateFunction(call) => call.params.filter.as_deref_mut(),
        Expr::WindowFunction(call) => call.params.filter.as_deref_mut(),
        _ => None,
    };
    // `FILTER (WHERE NULL)`, which has no type.
    if let Some(Expr::Literal(value @ ScalarValue::Null, _)) = filter {
        *value = ScalarValue::Boolean(None);
        return Transformed::yes(expr);
    }
    let (filter, exprs): (_, Vec<&mut Expr>) = match &mut expr {
        Expr::AggregateFunction(call) => {
            let order = call.params.order_by.iter_mut().map(|by| &mut by.expr);
            (&call.params.filter, call.params.args.iter_mut().chain(order).collect())
        }
        Expr::WindowFunction(call) => (&call.params.filter, call.params.args.iter_mut().collect()),
        _ => return Transformed::no(expr),
    };
    // A filter that comes out differently each time does not guard, and a subquery that stands twice may lose its condition.
    let Some(filter) = filter.as_deref().filter(|f| !f.is_volatile() && !has_subquery(f)) else {
        return Transformed::no(expr);
    };
    let changed = exprs.into_iter().fold(false, |changed, e| only_if(filter, e, schema) | changed);
    Transformed::new_transformed(expr, changed)
}

/// Makes `CASE WHEN filter THEN expr END` of it, if it can fail, reads a row, and is not that already.
fn only_if(filter: &Expr, expr: &mut Expr, schema: &DFSchema) -> bool {
    if is_only_if(filter, expr) || !expr.any_column_refs() || !can_fail(expr, schema) {
        return false;
    }
    let then = Box::new(std::mem::take(expr));
    *expr = Expr::Case(Case::new(None, vec![(Box::new(filter.clone()), then)], None));
    true
}

fn is_only_if(filter: &Expr, expr: &Expr) -> bool {
    let Expr::Case(case) = expr else { return false };
    matches!(case.when_then_expr.as_slice(), [(when, _)] if **when == *filter)
        && case.expr.is_none()
        && case.else_expr.is_none()
}
