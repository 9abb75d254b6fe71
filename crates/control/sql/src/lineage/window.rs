//! Window functions: the rows of a partition that decide a row's values.

use std::sync::Arc;

use datafusion::common::{JoinConstraint, JoinType, NullEquality};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::expr::{Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, Join, LogicalPlan, LogicalPlanBuilder, Window, WindowFrame, WindowFrameBound, WindowFunctionDefinition,
};
use fleuve_types::{Result, SESSION_FUNCTIONS};

use super::Wanted;
use super::as_of::as_of_call;
use super::names::listed;
use super::trace::{Step, Tracer};
use super::wanted::{Same, TAG, gather, matching, plain, same_columns};
use crate::errors::of_datafusion;

/// Values that only the rows up to the current one decide.
const RANKS: [&str; 3] = ["row_number", "rank", "dense_rank"];

pub(super) fn call(expr: &Expr) -> Option<&WindowFunction> {
    match expr {
        Expr::Alias(alias) => call(&alias.expr),
        Expr::WindowFunction(call) => Some(call),
        _ => None,
    }
}

/// True if rows after a row and its equals cannot change its value.
fn looks_back(call: &WindowFunction) -> bool {
    if call.params.order_by.is_empty() {
        return false;
    }
    let name = call.fun.name();
    let to_current = matches!(call.params.window_frame.end_bound, WindowFrameBound::CurrentRow)
        || matches!(&call.params.window_frame.end_bound, WindowFrameBound::Preceding(_));
    RANKS.contains(&name) || (matches!(call.fun, WindowFunctionDefinition::AggregateUDF(_)) && to_current)
}

impl Tracer {
    pub(super) async fn window(&self, step: &Step, window: &Window) -> Result<Vec<Step>> {
        let calls: Vec<&WindowFunction> = window.window_expr.iter().filter_map(call).collect();
        if !calls.is_empty() && calls.iter().all(|c| SESSION_FUNCTIONS.contains(&c.fun.name())) {
            return self.session(step, window, &calls).await;
        }
        if let Some(call) = as_of_call(window) {
            return self.as_of(step, window, call).await;
        }
        let input = &window.input;
        let width = input.schema().fields().len();
        let own = step.wanted.only(0..step.wanted.width().min(width))?;
        let mut kinds: Vec<(&[Expr], &[Sort], bool)> = vec![];
        for call in &calls {
            let (by, order, back) =
                (call.params.partition_by.as_slice(), call.params.order_by.as_slice(), looks_back(call));
            if !kinds.contains(&(by, order, back)) {
                kinds.push((by, order, back));
            }
        }
        let mut next = vec![];
        for (by, order, back) in kinds {
            let keys = match listed(by, input) {
                _ if by.is_empty() => String::new(),
                names if names.is_empty() => " of its partition".into(),
                names => format!(" of its partition by {names}"),
            };
            let (rows, via) = if back {
                let rows = self.up_to(input, by, order, &own).await?;
                let order = match listed(order.iter().map(|s| &s.expr), input) {
                    names if names.is_empty() => String::new(),
                    names => format!(" by {names}"),
                };
                (rows, format!("window: the rows{keys} up to it{order}"))
            } else {
                (self.partition(input, by, &own).await?, format!("window: all rows{keys}"))
            };
            next.push(step.of(input, rows).via(via));
        }
        Ok(next)
    }

    /// The rows of the input that are in the same partition as a wanted row.
    async fn partition(&self, input: &LogicalPlan, by: &[Expr], own: &Wanted) -> Result<Wanted> {
        let width = input.schema().fields().len();
        let keyed = with_exprs(input, by).map_err(|e| of_datafusion(&e))?;
        let full = matching(&self.ground.context, &keyed, width + by.len(), &same_columns(input), own).await?;
        let keys = full.only(width..width + by.len())?;
        let same: Vec<Same> =
            by.iter().enumerate().map(|(wanted, e)| Same { expr: e.clone(), wanted, exact: true }).collect();
        self.behind(input, &same, &keys).await
    }

    /// Of the rows in the same partition those that do not come after the wanted row.
    async fn up_to(&self, input: &LogicalPlan, by: &[Expr], order: &[Sort], own: &Wanted) -> Result<Wanted> {
        let context = &self.ground.context;
        let width = input.schema().fields().len();
        let build = || {
            let rank = context.state().window_functions().get("rank").cloned();
            let rank = rank.ok_or_else(|| DataFusionError::Internal("there is no rank()".into()))?;
            let params = WindowFunctionParams {
                args: vec![],
                partition_by: by.to_vec(),
                order_by: order.to_vec(),
                window_frame: WindowFrame::new(Some(false)),
                filter: None,
                null_treatment: None,
                distinct: false,
            };
            let call = WindowFunction { fun: WindowFunctionDefinition::WindowUDF(rank), params };
            let call = Expr::WindowFunction(Box::new(call)).alias("__rank");
            let keyed = with_exprs(input, by)?;
            LogicalPlanBuilder::from(keyed).window([call])?.build()
        };
        let ranked = build().map_err(|e| of_datafusion(&e))?;
        // The wanted rows with their keys and rank; then what is in the same partition and not behind.
        let all = width + by.len() + 1;
        let full = matching(context, &ranked, all, &same_columns(input), own).await?;
        let pairs = || -> DfResult<LogicalPlanBuilder> {
            let external = |e: fleuve_types::Error| DataFusionError::External(Box::new(e));
            let names: Vec<Expr> = (0..all).map(|i| plain(format!("c{i}"))).collect();
            let columns = ranked.schema().columns().into_iter().enumerate();
            let columns: Vec<Expr> = columns.map(|(i, c)| Expr::Column(c).alias(format!("c{i}"))).collect();
            let left = LogicalPlanBuilder::from(ranked.clone()).project(columns)?.build()?;
            let wanted = full.only(width..all).map_err(external)?.scan().map_err(external)?.distinct()?.build()?;
            let on = (0..by.len()).map(|i| (names[width + i].clone(), plain(format!("w{i}")))).collect();
            let filter = names[all - 1].clone().lt_eq(plain(format!("w{}", by.len())));
            let join = Join::try_new(
                Arc::new(left),
                Arc::new(wanted),
                on,
                Some(filter),
                JoinType::Inner,
                JoinConstraint::On,
                NullEquality::NullEqualsNull,
                false,
            )?;
            let kept: Vec<Expr> = std::iter::once(plain(TAG)).chain(names.into_iter().take(width)).collect();
            LogicalPlanBuilder::from(LogicalPlan::Join(join)).project(kept)
        };
        let found = gather(context, pairs().map_err(|e| of_datafusion(&e))?).await?;
        Ok(Wanted { cut: found.cut || own.cut, ..found })
    }

    /// The rows of the same session: those of the same key with the same bounds.
    async fn session(&self, step: &Step, window: &Window, calls: &[&WindowFunction]) -> Result<Vec<Step>> {
        let input = &window.input;
        let width = input.schema().fields().len();
        let mut same = vec![];
        let by = calls.first().map_or(&[][..], |c| c.params.partition_by.as_slice());
        let plan = LogicalPlan::Window(window.clone());
        let columns = plan.schema().columns();
        for key in by {
            // The keys of a session are columns of its input.
            let at = match key {
                Expr::Column(c) => input.schema().maybe_index_of_column(c),
                _ => None,
            };
            let Some(wanted) = at else {
                let rows = self.partition(input, by, &step.wanted.only(0..width)?).await?;
                return Ok(vec![step.of(input, rows).via("sessions of its key")]);
            };
            same.push(Same { expr: key.clone(), wanted, exact: true });
        }
        for (wanted, column) in columns.iter().enumerate().skip(width) {
            same.push(Same { expr: Expr::Column(column.clone()), wanted, exact: true });
        }
        let rows = matching(&self.ground.context, &plan, width, &same, &step.wanted).await?;
        let names = listed(by, input);
        let keys = if names.is_empty() { String::new() } else { format!(" of {names}") };
        Ok(vec![step.of(input, rows).via(format!("the same session{keys}"))])
    }
}

/// A plan's columns and some expressions over them.
fn with_exprs(input: &LogicalPlan, exprs: &[Expr]) -> DfResult<LogicalPlan> {
    let own = input.schema().columns().into_iter().map(Expr::Column);
    let more = exprs.iter().enumerate().map(|(i, e)| e.clone().alias(format!("__key{i}")));
    LogicalPlanBuilder::from(input.clone()).project(own.chain(more).collect::<Vec<_>>())?.build()
}
