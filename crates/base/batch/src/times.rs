//! TIMESTAMP counts microseconds, from year 1 to 9999. DataFusion 54.1 plans casts, literals, and what stands beside a date or a text with
//! nanoseconds, which end in 2262: one value beyond that, and a query fails.
//!
//! - `TIMESTAMP '9999-12-31'` and `ts::timestamp` are microseconds ([`TimeTypes`]);
//! - a date, a text and `now()` beside a timestamp become microseconds: in comparisons, `CASE`, `coalesce` and the like, `UNION`, joins; so does
//!   `date + time` ([`Microseconds`]);
//! - `date_trunc`, `date_bin` and `to_timestamp` reckon in them ([`functions`]).

mod functions;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{Between, Case, Cast, InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::coerce_plan_expr_for_schema;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, Operator, Union};
use datafusion::optimizer::AnalyzerRule;
use datafusion::sql::sqlparser::ast::{DataType as Sql, TimezoneInfo};

use crate::names::map_with_names;

pub(crate) use functions::register;

const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const SPAN: DataType = DataType::Duration(TimeUnit::Microsecond);

/// `TIMESTAMP` and `TIMESTAMPTZ` without a precision, in the zone that a session has.
#[derive(Debug)]
pub struct TimeTypes {
    /// The zone.
    pub zone: Option<String>,
}

impl TypePlanner for TimeTypes {
    fn plan_type_field(&self, sql: &Sql) -> Result<Option<FieldRef>> {
        let zone = match sql {
            Sql::Timestamp(None, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => self.zone.as_deref().map(Arc::from),
            Sql::Timestamp(None, _) => None,
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", DataType::Timestamp(TimeUnit::Microsecond, zone), true))))
    }
}

/// Says such casts before DataFusion chooses others. To come before types are settled.
#[derive(Debug)]
pub(crate) struct Microseconds;

impl AnalyzerRule for Microseconds {
    fn name(&self) -> &str {
        "microseconds"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mut below = false;
        let changed = plan.transform_up_with_subqueries(|plan| {
            // What is below may have other types now.
            let plan = if below { plan.recompute_schema()? } else { plan };
            let new = node(plan)?;
            below |= new.transformed;
            Ok(new)
        })?;
        Ok(changed.data)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let plan = match plan {
        LogicalPlan::Union(union) => return united(union),
        plan => plan,
    };
    let mut is_of_interest = matches!(&plan, LogicalPlan::Join(join) if !join.on.is_empty());
    plan.apply_expressions(|expr| {
        is_of_interest = is_of_interest || expr.exists(|e| Ok(may_change(e)))?;
        Ok(if is_of_interest { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !is_of_interest {
        return Ok(Transformed::no(plan));
    }
    let schema = merge_schema(&plan.inputs());
    let new = map_with_names(plan, |expr| expr.transform_up(|e| settled(e, &schema)))?;
    new.transform_data(|plan| match plan {
        LogicalPlan::Join(join) => joined(join),
        plan => Ok(Transformed::no(plan)),
    })
}

/// Without a look at types.
fn may_change(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(both) => is_comparison(both.op) || matches!(both.op, Operator::Plus | Operator::Minus),
        Expr::ScalarFunction(call) => chooses(call.name()),
        Expr::Between(_) | Expr::InList(_) | Expr::Case(_) => true,
        Expr::Cast(cast) => matches!(cast.field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)),
        _ => false,
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// True for a function that gives one of its arguments.
fn chooses(name: &str) -> bool {
    matches!(name, "coalesce" | "nvl" | "nullif" | "greatest" | "least" | "make_array")
}

fn settled(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::BinaryExpr(both) if is_comparison(both.op) => {
            let BinaryExpr { left, op, right } = both;
            let new = alike(vec![*left, *right], schema, true);
            new.update_data(|sides| {
                let [left, right] = <[Expr; 2]>::try_from(sides).expect("there are two sides");
                Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) })
            })
        }
        Expr::BinaryExpr(both) if matches!(both.op, Operator::Plus | Operator::Minus) => sum(both, schema),
        Expr::Between(Between { expr, negated, low, high }) => {
            let new = alike(vec![*expr, *low, *high], schema, true);
            new.update_data(|all| {
                let [expr, low, high] = <[Expr; 3]>::try_from(all).expect("there are three").map(Box::new);
                Expr::Between(Between { expr, negated, low, high })
            })
        }
        Expr::InList(InList { expr, list, negated }) => {
            let all = std::iter::once(*expr).chain(list).collect();
            alike(all, schema, true).update_data(|mut all| {
                let expr = Box::new(all.remove(0));
                Expr::InList(InList { expr, list: all, negated })
            })
        }
        Expr::Case(case) => chosen(case, schema),
        Expr::ScalarFunction(ScalarFunction { func, args }) if chooses(func.name()) => {
            alike(args, schema, false).update_data(|args| Expr::ScalarFunction(ScalarFunction { func, args }))
        }
        Expr::Cast(cast) if may_change(&Expr::Cast(cast.clone())) => {
            // A number is one of seconds, as where DataFusion plans nanoseconds.
            match (type_of(&cast.expr, schema), cast.field.data_type()) {
                (Some(DataType::Int64), DataType::Timestamp(_, zone)) => {
                    let seconds = as_type(*cast.expr, &DataType::Timestamp(TimeUnit::Second, zone.clone()));
                    Transformed::yes(Expr::Cast(Cast { expr: Box::new(seconds), field: cast.field }))
                }
                _ => Transformed::no(Expr::Cast(cast)),
            }
        }
        other => Transformed::no(other),
    })
}

fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    expr.get_type(schema).ok()
}

fn as_type(expr: Expr, to: &DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), to.clone()))
}

/// Values that are compared, or of which one is given, in one type if they are times. Texts that are no literals count in comparisons alone.
fn alike(all: Vec<Expr>, schema: &DFSchema, are_compared: bool) -> Transformed<Vec<Expr>> {
    let types: Option<Vec<DataType>> = all.iter().map(|e| type_of(e, schema)).collect();
    let Some(types) = types else { return Transformed::no(all) };
    let is_text = |(e, t): (&Expr, &DataType)| t.is_string() && !(are_compared || matches!(e, Expr::Literal(..)));
    if all.iter().zip(&types).any(is_text) {
        return Transformed::no(all);
    }
    let kinds = all.iter().zip(&types).map(|(e, t)| Kind::of(t, asks_for_time(e)));
    let Some(to) = common(kinds) else { return Transformed::no(all) };
    let mut changes = false;
    let cast = |(expr, of): (Expr, DataType)| {
        if of == to || of.is_null() {
            return expr;
        }
        changes = true;
        as_type(expr, &to)
    };
    let all = all.into_iter().zip(types).map(cast).collect();
    if changes { Transformed::yes(all) } else { Transformed::no(all) }
}

/// True for what has the time of the clock in it, whose nanoseconds mean nothing.
fn asks_for_time(expr: &Expr) -> bool {
    let asks = |e: &Expr| match e {
        Expr::ScalarFunction(call) => call.name() == "now",
        Expr::Placeholder(_) => true,
        _ => false,
    };
    expr.exists(|e| Ok(asks(e))).unwrap_or(false)
}

/// What the common type of several values goes by.
enum Kind {
    Timestamp(TimeUnit, Option<Arc<str>>),
    Clock(Option<Arc<str>>),
    /// A date or a text.
    Other,
    Null,
    NoTime,
}

impl Kind {
    fn of(data_type: &DataType, is_clock: bool) -> Self {
        match data_type {
            DataType::Timestamp(TimeUnit::Nanosecond, zone) if is_clock => Kind::Clock(zone.clone()),
            DataType::Timestamp(unit, zone) => Kind::Timestamp(*unit, zone.clone()),
            DataType::Date32 | DataType::Date64 => Kind::Other,
            t if t.is_string() => Kind::Other,
            DataType::Null => Kind::Null,
            _ => Kind::NoTime,
        }
    }
}

/// The type in which times can stand beside each other, where DataFusion would choose nanoseconds.
fn common(kinds: impl Iterator<Item = Kind>) -> Option<DataType> {
    let (mut has_time, mut has_clock, mut has_other) = (false, false, false);
    let (mut is_fine, mut zone) = (false, None);
    for kind in kinds {
        match kind {
            Kind::Timestamp(unit, of) => {
                has_time = true;
                is_fine |= unit == TimeUnit::Nanosecond;
                zone = zone.or(of);
            }
            Kind::Clock(of) => {
                has_clock = true;
                zone = zone.or(of);
            }
            Kind::Other => has_other = true,
            Kind::Null => {}
            Kind::NoTime => return None,
        }
    }
    let is_mixed = has_other && (has_time || has_clock) || has_time && has_clock;
    (is_mixed && !is_fine).then_some(DataType::Timestamp(TimeUnit::Microsecond, zone))
}

/// `CASE`: what is compared, and what is given.
fn chosen(case: Case, schema: &DFSchema) -> Transformed<Expr> {
    let Case { expr, when_then_expr, else_expr } = case;
    let (mut whens, thens): (Vec<Expr>, Vec<Expr>) = when_then_expr.into_iter().map(|(w, t)| (*w, *t)).unzip();
    let (has_expr, has_else) = (expr.is_some(), else_expr.is_some());
    let mut compared = Transformed::no(vec![]);
    if let Some(expr) = expr {
        whens.insert(0, *expr);
        compared = alike(whens, schema, true);
    } else {
        compared.data = whens;
    }
    let given = alike(thens.into_iter().chain(else_expr.map(|e| *e)).collect(), schema, false);
    let changes = compared.transformed || given.transformed;
    let (mut whens, mut thens) = (compared.data, given.data);
    let expr = has_expr.then(|| Box::new(whens.remove(0)));
    let else_expr = if has_else { thens.pop().map(Box::new) } else { None };
    let when_then_expr = whens.into_iter().map(Box::new).zip(thens.into_iter().map(Box::new)).collect();
    let case = Expr::Case(Case { expr, when_then_expr, else_expr });
    if changes { Transformed::yes(case) } else { Transformed::no(case) }
}

/// `date + time`, `date - time`, and the difference of two times.
fn sum(both: BinaryExpr, schema: &DFSchema) -> Transformed<Expr> {
    let BinaryExpr { left, op, right } = both;
    let again = |left, right| Expr::BinaryExpr(BinaryExpr { left, op, right });
    // In a long chain the right side is short; what is below is asked for its type only beside a time.
    let is_time = |t: &DataType| matches!(t, DataType::Time32(_) | DataType::Time64(_));
    let of_right = type_of(&right, schema).filter(|t| is_time(t) || t == &DataType::Date32 || is_timestamp(t));
    let Some(of_right) = of_right else { return Transformed::no(again(left, right)) };
    let Some(of_left) = type_of(&left, schema) else { return Transformed::no(again(left, right)) };
    let span = |time: Expr| {
        let counted = as_type(as_type(time, &DataType::Time64(TimeUnit::Microsecond)), &DataType::Int64);
        Box::new(as_type(counted, &SPAN))
    };
    let day = |date: Expr| Box::new(as_type(date, &MICROS));
    match (&of_left, &of_right) {
        (DataType::Date32, t) if is_time(t) => Transformed::yes(again(day(*left), span(*right))),
        (t, DataType::Date32) if is_time(t) && op == Operator::Plus => {
            Transformed::yes(again(span(*left), day(*right)))
        }
        (l, r) if op == Operator::Minus && (is_timestamp(l) || is_timestamp(r)) && !l.is_string() => {
            alike(vec![*left, *right], schema, true).update_data(|sides| {
                let [left, right] = <[Expr; 2]>::try_from(sides).expect("there are two sides").map(Box::new);
                again(left, right)
            })
        }
        _ => Transformed::no(again(left, right)),
    }
}

fn is_timestamp(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..))
}

/// The two sides of each key of a join.
fn joined(mut join: Join) -> Result<Transformed<LogicalPlan>> {
    let mut changes = false;
    for (left, right) in &mut join.on {
        let of = |e: &Expr, side: &LogicalPlan| Some((type_of(e, side.schema())?, asks_for_time(e)));
        let (Some((l, l_clock)), Some((r, r_clock))) = (of(left, &join.left), of(right, &join.right)) else { continue };
        let Some(to) = common([Kind::of(&l, l_clock), Kind::of(&r, r_clock)].into_iter()) else { continue };
        for (side, of) in [(left, l), (right, r)] {
            if of != to {
                *side = as_type(side.clone(), &to);
                changes = true;
            }
        }
    }
    let join = LogicalPlan::Join(join);
    Ok(if changes { Transformed::yes(join) } else { Transformed::no(join) })
}

/// `UNION` of dates and timestamps.
fn united(union: Union) -> Result<Transformed<LogicalPlan>> {
    let schema = &union.schema;
    let of_column = |at: usize| {
        let kinds = union.inputs.iter().map(|input| match input.schema().fields().get(at).map(|f| f.data_type()) {
            Some(t) if !t.is_string() => Kind::of(t, false),
            _ => Kind::NoTime,
        });
        common(kinds)
    };
    let types: Vec<Option<DataType>> = (0..schema.fields().len()).map(of_column).collect();
    if types.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let typed = |schema: &DFSchema| -> Result<DFSchema> {
        let fields = schema.iter().zip(&types).map(|((table, field), to)| {
            let field = match to {
                Some(to) => Arc::new(field.as_ref().clone().with_data_type(to.clone())),
                None => field.clone(),
            };
            (table.cloned(), field)
        });
        DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())
    };
    let inputs = union.inputs.iter().map(|input| {
        let to = typed(input.schema())?;
        coerce_plan_expr_for_schema(input.as_ref().clone(), &to).map(Arc::new)
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let schema = Arc::new(typed(schema)?);
    Ok(Transformed::yes(LogicalPlan::Union(Union { inputs, schema })))
}
