//! `now()` in a view: a condition that compares it with what a row says gives the row a time to come and a time to go.
//!
//! For the optimizer it is a parameter, which can neither be folded to a constant nor be computed early. Where it is done, each
//! condition is a bound of a [`TemporalFilter`] (Materialize's "temporal filters"); anything else is refused.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Filter, Join, LogicalPlan, Operator as Op, RecursiveQuery, cast, lit,
};
use datafusion::optimizer::Optimizer;
use datafusion::sql::unparser::expr_to_sql;
use fleuve_types::{Error, ErrorKind, Result};

use super::Lowering;
use super::time::follows;
use crate::operators::physical;
use crate::operators::temporal::{Bound, Edge, TemporalFilter, Times};

/// The parameter.
const NOW: &str = "$fleuve_now";

/// What can be said with `now()`.
const FORMS: &str = "a view takes it in WHERE, HAVING or the ON of an inner join, where a condition compares it, less or plus a \
     constant interval, with an expression of columns: ts > now() - INTERVAL '1 hour', valid_until >= now(), \
     ts >= date_trunc('day', now())";

fn refuse(what: impl Into<String>) -> Error {
    Error::input(what).hint(FORMS)
}

/// A call that asks for the time, as the parameter; `None` for anything else.
fn parameter(expr: &Expr) -> DfResult<Option<Expr>> {
    let of = |data_type| {
        let field = Some(Arc::new(Field::new("now", data_type, false)));
        Expr::Placeholder(Placeholder::new_with_field(NOW.into(), field))
    };
    Ok(match expr {
        Expr::ScalarFunction(f) if f.func.name() == "now" => Some(of(expr.get_type(&DFSchema::empty())?)),
        Expr::ScalarFunction(f) if f.func.name() == "current_date" => {
            let now = of(DataType::Timestamp(TimeUnit::Nanosecond, None));
            Some(cast(now, DataType::Date32))
        }
        _ => None,
    })
}

/// The plan with the parameter for `now()`; `None` if it does not ask for the time.
///
/// # Errors
/// Where the time is asked for and nothing comes of it.
pub(crate) fn as_parameter(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let mut found = false;
    let mut wrong = None;
    let replaced = plan.clone().transform_down_with_subqueries(|node| {
        let is_condition = matches!(node, LogicalPlan::Filter(_) | LogicalPlan::Join(_));
        node.map_expressions(|expr| {
            expr.transform_down(|e| {
                let Some(now) = parameter(&e)? else { return Ok(Transformed::no(e)) };
                found = true;
                if !is_condition {
                    wrong = Some(e.schema_name().to_string());
                }
                Ok(Transformed::yes(now))
            })
        })
    });
    if let Some(call) = wrong {
        return Err(refuse(format!(
            "{call} outside of a condition gives another value each time, so a view cannot use it"
        )));
    }
    let plan = replaced.map_err(|e| Error::input(format!("now(): {}", e.strip_backtrace())))?.data;
    Ok(found.then_some(plan))
}

/// As [`SessionState::optimize`], for a plan with the parameter. Common parts of expressions stay where they are: as columns below
/// the conditions they would have to be computed.
pub(crate) fn optimize(plan: LogicalPlan, state: &SessionState) -> DfResult<LogicalPlan> {
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
    let rules = state.optimizer().rules.iter().filter(|r| r.name() != "common_sub_expression_eliminate");
    Optimizer::with_rules(rules.cloned().collect()).optimize(plan, state, |_, _| {})
}

/// True if an expression asks for the time, also in a subquery of it.
pub(super) fn is_asked(expr: &Expr) -> bool {
    let asks = |e: &Expr| {
        Ok(match e {
            Expr::Placeholder(p) => p.id == NOW,
            Expr::ScalarSubquery(q) => is_asked_in(&q.subquery),
            Expr::InSubquery(q) => is_asked_in(&q.subquery.subquery),
            Expr::Exists(q) => is_asked_in(&q.subquery.subquery),
            Expr::SetComparison(q) => is_asked_in(&q.subquery.subquery),
            _ => false,
        })
    };
    expr.exists(asks).unwrap_or(true)
}

/// True if a plan asks for the time anywhere.
fn is_asked_in(plan: &LogicalPlan) -> bool {
    plan.exists(|node| {
        let mut asks = false;
        node.apply_expressions(|e| {
            asks |= is_asked(e);
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(asks)
    })
    .unwrap_or(true)
}

/// An optimised plan in which the time is asked for in filters alone.
///
/// # Errors
/// Where it is asked for elsewhere.
pub(super) fn filters(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !is_asked_in(&plan) {
        return Ok(plan);
    }
    let plan = plan.transform_up(|node| match node {
        LogicalPlan::Join(join) if join.filter.as_ref().is_some_and(is_asked) => above(join),
        node => Ok(Transformed::no(node)),
    });
    let plan = plan.map_err(|e| Error::bug(format!("now() in a join: {}", e.strip_backtrace())))?.data;
    let mut wrong = None;
    let looked = plan.apply(|node| {
        match node {
            LogicalPlan::Filter(_) => {}
            LogicalPlan::RecursiveQuery(RecursiveQuery { static_term, recursive_term, .. }) => {
                if is_asked_in(static_term) || is_asked_in(recursive_term) {
                    wrong = Some(refuse("now() in a recursive query"));
                }
            }
            node => {
                node.apply_expressions(|e| {
                    if is_asked(e) {
                        let display = node.display().to_string();
                        let kind = display.split(':').next().unwrap_or_default();
                        wrong = Some(refuse(format!("now() in {kind}: {}", told(e))));
                    }
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    looked.map_err(|e| Error::bug(e.to_string()))?;
    wrong.map_or(Ok(plan), Err)
}

/// An inner join with its conditions on the time in a filter above it.
fn above(join: Join) -> DfResult<Transformed<LogicalPlan>> {
    if join.join_type != JoinType::Inner {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let all = split_conjunction_owned(join.filter.clone().unwrap_or_else(|| lit(true)));
    let (asking, rest): (Vec<Expr>, Vec<Expr>) = all.into_iter().partition(is_asked);
    let Some(asking) = conjunction(asking) else { return Ok(Transformed::no(LogicalPlan::Join(join))) };
    let join = LogicalPlan::Join(Join { filter: conjunction(rest), ..join });
    Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(asking, Arc::new(join))?)))
}

/// A text of the plan as users wrote it.
fn plain(text: &str) -> String {
    text.replace(NOW, "now()")
}

/// An expression in SQL, as near as can be to how users wrote it.
fn shown(expr: &Expr) -> String {
    let unit = |e: Expr| match e {
        Expr::ScalarFunction(mut f) if f.name() == fleuve_batch::MICROS_OF => Transformed::yes(f.args.remove(0)),
        e => Transformed::no(e),
    };
    let expr = &expr.clone().transform_up(|e| Ok(unit(e))).map_or_else(|_| expr.clone(), |t| t.data);
    let text = expr_to_sql(expr).map_or_else(|_| expr.to_string(), |sql| sql.to_string());
    plain(&text.replace("main.public.", ""))
}

/// An expression as users write it, for messages.
fn told(expr: &Expr) -> String {
    plain(&fleuve_batch::in_words(&expr.clone().unalias_nested().data))
}

/// A condition on the time: `value op time`, where the time has no columns and the value does not ask for it.
struct Condition {
    value: Expr,
    op: Op,
    time: Expr,
}

impl Condition {
    fn of(expr: &Expr) -> Option<Self> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
        let (value, op, time) = match (is_asked(left), is_asked(right)) {
            (false, true) => (left, *op, right),
            (true, false) => (right, op.swap()?, left),
            _ => return None,
        };
        let fits = matches!(op, Op::Lt | Op::LtEq | Op::Gt | Op::GtEq | Op::Eq);
        (fits && time.column_refs().is_empty()).then(|| Self {
            value: value.as_ref().clone(),
            op,
            time: time.as_ref().clone(),
        })
    }

    fn bound(&self, input: &DFSchema) -> Result<Bound> {
        // What EXPLAIN says is a part of what state is known by.
        let text = format!("{} {} {}", shown(&self.value), self.op, shown(&self.time));
        let told = format!("{} {} {}", told(&self.value), self.op, told(&self.time));
        let wrong = |e: datafusion::error::DataFusionError| Error::unsupported(e.strip_backtrace());
        let mut now_type = None;
        let column = |name| Expr::Column(Column::new_unqualified(name));
        let time = self.time.clone().transform_down(|e| {
            let Expr::Placeholder(p) = &e else { return Ok(Transformed::no(e)) };
            now_type = p.field.as_ref().map(|f| f.data_type().clone());
            Ok(Transformed::yes(column("now")))
        });
        let time = time.map_err(wrong)?.data;
        let now_type = now_type.ok_or_else(|| Error::bug("the parameter has no type"))?;
        let value_type = self.value.get_type(input).map_err(wrong)?;
        let fields = vec![Field::new("value", value_type, true), Field::new("now", now_type, false)];
        let schema = DFSchema::try_from(arrow::datatypes::Schema::new(fields)).map_err(wrong)?;
        if follows(&time, &schema) != Some(1) {
            return Err(refuse(format!("in {told} one side does not go on evenly with the time"))
                .hint(format!("{FORMS}; months and years stand with the column: ts + INTERVAL '1 month' > now()")));
        }
        let compare = |op| -> Result<_> {
            let compared = BinaryExpr::new(Box::new(time.clone()), op, Box::new(column("value")));
            physical(&Expr::BinaryExpr(compared), &schema)
        };
        let (reached, passed) = (compare(Op::GtEq)?, compare(Op::Gt)?);
        let times = Times::new(reached, passed, shift_of(&time), schema.as_arrow().clone())
            .map_err(|e| refuse(format!("in {told}: {}", e.message)))?;
        let edge = match self.op {
            Op::Lt => Edge::AfterPassed,
            Op::LtEq => Edge::AfterReached,
            Op::Gt => Edge::UntilReached,
            Op::GtEq => Edge::UntilPassed,
            _ => Edge::WhileEqual,
        };
        Ok(Bound { value: physical(&self.value, input)?, edge, times, text })
    }
}

/// How many nanoseconds an expression of `now` is after it, and the unit that it is cut to in the end, if it is that and no more.
fn shift_of(time: &Expr) -> Option<(i64, TimeUnit)> {
    match time {
        Expr::Column(_) => Some((0, TimeUnit::Nanosecond)),
        Expr::Alias(a) => shift_of(&a.expr),
        Expr::ScalarFunction(f) if f.name() == fleuve_batch::MICROS_OF => {
            let (shift, of) = shift_of(f.args.first()?)?;
            (of == TimeUnit::Nanosecond).then_some((shift, TimeUnit::Microsecond))
        }
        Expr::Cast(c) => {
            let DataType::Timestamp(unit, _) = c.field.data_type() else { return None };
            let (shift, of) = shift_of(&c.expr)?;
            (of == TimeUnit::Nanosecond).then_some((shift, *unit))
        }
        Expr::BinaryExpr(b) if matches!(b.op, Op::Plus | Op::Minus) => {
            let (of, by) = match (b.left.as_ref(), b.right.as_ref()) {
                (of, Expr::Literal(by, _)) => (of, by),
                (Expr::Literal(by, _), of) if b.op == Op::Plus => (of, by),
                _ => return None,
            };
            let by = match by {
                ScalarValue::IntervalMonthDayNano(Some(v)) if v.months == 0 => {
                    i64::from(v.days).checked_mul(DAY_NS)?.checked_add(v.nanoseconds)?
                }
                ScalarValue::IntervalDayTime(Some(v)) => {
                    i64::from(v.days).checked_mul(DAY_NS)?.checked_add(i64::from(v.milliseconds) * 1_000_000)?
                }
                _ => return None,
            };
            let (shift, unit) = shift_of(of)?;
            let by = if b.op == Op::Minus { by.checked_neg()? } else { by };
            // What was cut to a unit before is not shifted evenly any more.
            (unit == TimeUnit::Nanosecond).then_some((shift.checked_add(by)?, unit))
        }
        _ => None,
    }
}

const DAY_NS: i64 = 86_400 * 1_000_000_000;

impl Lowering<'_> {
    /// A filter that asks for the time. What it has to say besides is done first.
    pub(super) fn temporal(&mut self, filter: &Filter) -> Result<usize> {
        if self.on_close {
            return Err(refuse("now() in a view that emits on window close, whose rows are final")
                .hint("leave EMIT ON WINDOW CLOSE out, or filter by now() in a view over this one"));
        }
        let all = split_conjunction_owned(filter.predicate.clone());
        let (asking, rest): (Vec<Expr>, Vec<Expr>) = all.into_iter().partition(is_asked);
        let input = match conjunction(rest) {
            None => self.plan(&filter.input)?,
            Some(rest) => {
                let rest = Filter::try_new(rest, filter.input.clone()).map_err(|e| Error::bug(e.to_string()))?;
                self.plan(&LogicalPlan::Filter(rest))?
            }
        };
        let bounds = asking.iter().map(|expr| match Condition::of(expr) {
            Some(condition) => condition.bound(filter.input.schema()),
            None => Err(refuse(format!("the condition {} cannot be followed as time passes", told(expr)))),
        });
        let bounds = bounds.collect::<Result<Vec<_>>>().map_err(|e| Error { kind: ErrorKind::Input, ..e })?;
        let (schema, key) = (self.nodes[input].schema.clone(), self.nodes[input].key.clone());
        // A row that only has to wait stays for ever.
        let append_only = self.nodes[input].append_only && bounds.iter().all(|b| !b.edge.ends());
        let operator = TemporalFilter::new(bounds, schema.clone(), self.guard.clone())?;
        let node = self.node(Box::new(operator), vec![input], schema, append_only, key);
        self.shrinks(node, || "rows go as time passes".into());
        Ok(node)
    }
}
