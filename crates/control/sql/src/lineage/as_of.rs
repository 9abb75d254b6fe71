//! As-of joins, which are planned as the rows of both sides together and a window function: of a row of the left side,
//! itself and the row that is its partner.

use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Window};
use fleuve_types::{AS_OF_FUNCTION, Result};

use super::bug;
use super::names::words;
use super::trace::{Step, Tracer};
use super::wanted::{matching, same_columns};
use super::window::call;
use crate::errors::of_datafusion;

/// The call that all calls of the window are like, if it is of an as-of join.
pub(super) fn as_of_call(window: &Window) -> Option<&WindowFunction> {
    let mut calls = window.window_expr.iter().map(call);
    let first = calls.next()??;
    let is_like = |c: &WindowFunction| {
        c.fun.name() == AS_OF_FUNCTION
            && (&c.params.partition_by, &c.params.order_by) == (&first.params.partition_by, &first.params.order_by)
    };
    (is_like(first) && calls.all(|c| c.is_some_and(is_like))).then_some(first)
}

impl Tracer {
    pub(super) async fn as_of(&self, step: &Step, window: &Window, call: &WindowFunction) -> Result<Vec<Step>> {
        let input = &window.input;
        let width = input.schema().fields().len();
        let own = step.wanted.only(0..step.wanted.width().min(width))?;
        // All columns of the partner beside each row. The one that says which side it is of is never NULL.
        let side = match &call.params.args[1] {
            Expr::Column(column) => input.schema().maybe_index_of_column(column),
            _ => None,
        };
        let side = side.ok_or_else(|| bug("the sides of an as-of join"))? + width;
        let partnered = || -> DfResult<LogicalPlan> {
            let partner = |(i, column)| {
                let mut call = call.clone();
                call.params.args[0] = Expr::Column(column);
                Expr::WindowFunction(Box::new(call)).alias(format!("__partner{i}"))
            };
            let calls = input.schema().columns().into_iter().enumerate().map(partner);
            LogicalPlanBuilder::from(input.as_ref().clone()).window(calls.collect::<Vec<_>>())?.build()
        };
        let partnered = partnered().map_err(|e| of_datafusion(&e))?;
        let full = matching(&self.ground.context, &partnered, 2 * width, &same_columns(input), &own).await?;
        let partners = full.all_null(side..side + 1, false)?.only(width..2 * width)?;
        let on = condition(input, call);
        let mut next = vec![];
        for (rows, side) in [(own, "left"), (partners, "right")] {
            let via = format!("{side} side of ASOF JOIN{on}");
            match input.as_ref() {
                LogicalPlan::Union(union) => {
                    for part in &union.inputs {
                        let rows = self.behind(part, &same_columns(part), &rows).await?;
                        next.push(step.of(part, rows).via(via.clone()));
                    }
                }
                _ => next.push(step.of(input, rows).via(via)),
            }
        }
        Ok(next)
    }
}

/// The condition of the join as it was written, as far as it can be told.
fn condition(input: &LogicalPlan, call: &WindowFunction) -> String {
    let (LogicalPlan::Union(union), [time, side, ..]) = (input, call.params.order_by.as_slice()) else {
        return String::new();
    };
    let [left, .., right] = union.inputs.as_slice() else { return String::new() };
    let on_side = |part: &LogicalPlan, expr: &Expr| {
        let Expr::Column(column) = expr else { return None };
        let at = input.schema().maybe_index_of_column(column)?;
        words(&Expr::Column(part.schema().columns().get(at)?.clone()), &[part])
    };
    let pair = |expr: &Expr, op: &str| Some(format!("{} {op} {}", on_side(left, expr)?, on_side(right, expr)?));
    let op = match (time.asc, side.asc) {
        (true, false) => ">=",
        (true, true) => ">",
        (false, false) => "<=",
        (false, true) => "<",
    };
    let keys = call.params.partition_by.iter().map(|key| pair(key, "="));
    let conditions: Vec<String> = keys.chain([pair(&time.expr, op)]).flatten().collect();
    if conditions.is_empty() { String::new() } else { format!(" on {}", conditions.join(" AND ")) }
}
