//! TIME and TIMESTAMP count microseconds, from year 1 to 9999. DataFusion 54.1 plans casts, literals, and what stands beside a date
//! or a text with nanoseconds, which end in 2262: one value beyond that, and a query fails.
//!
//! - `TIMESTAMP '9999-12-31'` and `ts::timestamp` are microseconds ([`TimeTypes`]);
//! - a date, a text and `now()` beside a timestamp become microseconds: in comparisons, `CASE`, `coalesce` and the like,
//!   `UNION`, joins; so does `date + time` ([`Microseconds`]);
//! - `date_trunc`, `date_bin`, `to_char`, `to_timestamp` and `generate_series` take and give them ([`functions`],
//!   [`series`]).
//!
//! And what of times PostgreSQL tells otherwise: fields ([`fields`]) and patterns ([`patterns`]).

mod fields;
mod functions;
mod operators;
mod patterns;
mod series;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::expr::{Between, Case, Cast, InList, InSubquery, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::coerce_plan_expr_for_schema;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, Operator, Subquery, Union};
use datafusion::optimizer::AnalyzerRule;
use datafusion::sql::sqlparser::ast::{DataType as Sql, TimezoneInfo};

use crate::names::map_with_names;
use crate::types::{is_comparison, with_types};

pub(crate) use fields::of_span;
pub(crate) use functions::register;
pub(crate) use operators::TimeOperators;
pub(crate) use series::register as register_series;
pub use series::{RANGE_ROWS, SERIES_ROWS};

const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const SPAN: DataType = DataType::Duration(TimeUnit::Microsecond);

/// `TIME`, `TIMESTAMP` and `TIMESTAMPTZ` without a precision, the last in the zone that a session has.
#[derive(Debug)]
pub struct TimeTypes {
    /// The zone.
    pub zone: Option<String>,
}

impl TypePlanner for TimeTypes {
    fn plan_type_field(&self, sql: &Sql) -> Result<Option<FieldRef>> {
        let zone = match sql {
            Sql::Time(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                return Ok(Some(Arc::new(Field::new("", DataType::Time64(TimeUnit::Microsecond), true))));
            }
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
        Expr::Between(_) | Expr::InList(_) | Expr::InSubquery(_) | Expr::Case(_) => true,
        Expr::Cast(cast) => matches!(cast.field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)),
        _ => false,
    }
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
        Expr::InSubquery(among) => member(among, schema)?,
        Expr::Case(case) => chosen(case, schema),
        Expr::ScalarFunction(ScalarFunction { func, args }) if chooses(func.name()) => {
            if func.name() == "coalesce" && has_texts_beside_times(&args, schema) {
                return plan_err!("coalesce gives a text or a time, not either: cast the text, or the time");
            }
            alike(args, schema, false).update_data(|args| Expr::ScalarFunction(ScalarFunction { func, args }))
        }
        Expr::Cast(cast) => match (cast.field.data_type(), type_of(&cast.expr, schema)) {
            // A number is one of seconds, as where DataFusion plans nanoseconds.
            (to @ DataType::Timestamp(TimeUnit::Microsecond, zone), Some(from)) if from.is_integer() => {
                let seconds = as_type(*cast.expr, &DataType::Timestamp(TimeUnit::Second, zone.clone()));
                Transformed::yes(as_type(seconds, to))
            }
            (to @ DataType::Timestamp(TimeUnit::Microsecond, _), Some(of)) if is_nanos(&of) => {
                Transformed::yes(cast_from(*cast.expr, &of, to))
            }
            _ => Transformed::no(Expr::Cast(cast)),
        },
        other => Transformed::no(other),
    })
}

/// True for texts that are no literals beside times, which would be read as such row by row.
fn has_texts_beside_times(values: &[Expr], schema: &DFSchema) -> bool {
    let types: Vec<DataType> = values.iter().filter_map(|v| type_of(v, schema)).collect();
    let is_text = |v: &Expr| !matches!(v, Expr::Literal(..)) && type_of(v, schema).is_some_and(|t| t.is_string());
    types.iter().any(DataType::is_temporal) && values.iter().any(is_text)
}

fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    expr.get_type(schema).ok()
}

fn as_type(expr: Expr, to: &DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), to.clone()))
}

fn is_nanos(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(TimeUnit::Nanosecond, _))
}

/// A value of one type as one of microseconds.
fn cast_from(expr: Expr, of: &DataType, to: &DataType) -> Expr {
    let (expr, of) = match of {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            (functions::micros(expr), DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
        }
        other => (expr, other.clone()),
    };
    if of == *to || of.is_null() { expr } else { as_type(expr, to) }
}

/// Values that are compared, or of which one is given, in one type if they are times. Texts that are no literals count in
/// comparisons alone.
fn alike(all: Vec<Expr>, schema: &DFSchema, are_compared: bool) -> Transformed<Vec<Expr>> {
    let types: Option<Vec<DataType>> = all.iter().map(|e| type_of(e, schema)).collect();
    let Some(types) = types else { return Transformed::no(all) };
    if types.contains(&DataType::Boolean) {
        return crate::truths::read(all, &types);
    }
    let is_text = |(e, t): (&Expr, &DataType)| t.is_string() && !(are_compared || matches!(e, Expr::Literal(..)));
    if all.iter().zip(&types).any(is_text) {
        return Transformed::no(all);
    }
    let kinds = all.iter().zip(&types).map(|(e, t)| Kind::of(t, asks_for_time(e)));
    let Some(to) = common(kinds) else { return Transformed::no(all) };
    let mut changes = false;
    let cast = |(expr, of): (Expr, DataType)| {
        changes |= of != to && !of.is_null();
        cast_from(expr, &of, &to)
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

/// `x IN (SELECT ...)`
fn member(among: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let InSubquery { expr, subquery, negated } = among;
    let of_column = subquery.subquery.schema().fields().first().map(|f| f.data_type().clone());
    let of_both = type_of(&expr, schema).zip(of_column);
    let to = of_both.as_ref().and_then(|(value, column)| {
        common([Kind::of(value, asks_for_time(&expr)), Kind::of(column, false)].into_iter())
    });
    let (Some((value, column)), Some(to)) = (of_both, to) else {
        return Ok(Transformed::no(Expr::InSubquery(InSubquery { expr, subquery, negated })));
    };
    let expr = Box::new(cast_from(*expr, &value, &to));
    let subquery = if column == to {
        subquery
    } else {
        let plan = subquery.subquery.as_ref().clone();
        let to = with_types(plan.schema(), &[Some(to)])?;
        Subquery { subquery: Arc::new(coerce_plan_expr_for_schema(plan, &to)?), ..subquery }
    };
    Ok(Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery, negated })))
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
            changes |= of != to;
            *side = cast_from(side.clone(), &of, &to);
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
    let inputs = union.inputs.iter().map(|input| {
        let to = with_types(input.schema(), &types)?;
        coerce_plan_expr_for_schema(input.as_ref().clone(), &to).map(Arc::new)
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let schema = Arc::new(with_types(schema, &types)?);
    Ok(Transformed::yes(LogicalPlan::Union(Union { inputs, schema })))
}

#[cfg(test)]
mod tests {
    use crate::testing;

    const TABLE: &str = "CREATE TABLE t AS SELECT k, ts, ts::timestamptz AS tz, d, tm, s FROM (VALUES
        (1, TIMESTAMP '2024-02-29 12:34:56.789', DATE '2024-02-29', TIME '12:00', 'a'),
        (2, TIMESTAMP '9999-12-31 23:59:59.999999', DATE '9999-12-31', TIME '23:59:59', 'b'),
        (3, TIMESTAMP '0001-01-01', DATE '0001-01-01', TIME '00:00', 'c'),
        (4, NULL, NULL, NULL, NULL)) AS q (k, ts, d, tm, s)";

    #[tokio::test]
    async fn all_times_can_be_compared() {
        for (condition, expected) in [
            ("ts < '9999-12-31'", &["|1|", "|3|"][..]),
            ("'9999-12-31' <= ts", &["|2|"]),
            ("ts = TIMESTAMP '0001-01-01'", &["|3|"]),
            ("ts = d", &["|3|"]),
            ("d <= ts", &["|1|", "|2|", "|3|"]),
            ("tz >= d", &["|1|", "|2|", "|3|"]),
            ("ts IS DISTINCT FROM d", &["|1|", "|2|"]),
            ("ts BETWEEN '0001-01-01' AND d", &["|3|"]),
            ("d NOT BETWEEN ts AND TIMESTAMP '9999-01-01'", &["|1|", "|2|"]),
            ("ts IN (d, '9999-12-31 23:59:59.999999')", &["|2|", "|3|"]),
            ("d NOT IN (ts, TIMESTAMP '9999-12-31')", &["|1|"]),
            ("d > now()", &["|2|"]),
            ("ts > now() - INTERVAL '1 hour'", &["|2|"]),
            ("tz < now() AND now() > '0001-01-01'", &["|1|", "|3|"]),
            ("CASE d WHEN ts THEN true ELSE false END", &["|3|"]),
            ("ts::timestamp = ts AND ts::timestamptz = tz AND tz::timestamp = ts", &["|1|", "|2|", "|3|"]),
            ("d::timestamp = date_trunc('day', ts)", &["|1|", "|2|", "|3|"]),
            ("EXISTS (SELECT 1 FROM t u WHERE u.d = t.ts)", &["|3|"]),
            ("EXISTS (SELECT 1 FROM t u JOIN t v ON u.ts = v.d AND u.k = t.k)", &["|3|"]),
            ("ts IN (SELECT d FROM t)", &["|3|"]),
            ("d NOT IN (SELECT ts FROM t WHERE k = 3)", &["|1|", "|2|"]),
            ("now()::timestamp < '9999-12-31' AND TIMESTAMP '0001-01-01' < now()", &["|1|", "|2|", "|3|", "|4|"]),
            ("'9999-12-31' NOT IN (now(), d)", &["|1|", "|3|"]),
            ("d IN (SELECT ts FROM t)", &["|3|"]),
            ("ts >= ALL (SELECT d FROM t WHERE d IS NOT NULL)", &["|2|"]),
            ("(ts - d) > INTERVAL '13 hours'", &["|2|"]),
            ("ts < TIMESTAMP '2024-01-01' + INTERVAL '300 years'", &["|1|", "|3|"]),
            ("arrow_cast(tm, 'Time64(Microsecond)') BETWEEN TIME '12:00' AND TIME '23:00'", &["|1|"]),
            ("tm < '12:00:01'", &["|1|", "|3|"]),
        ] {
            let sql = format!("SELECT k FROM t WHERE {condition} ORDER BY k");
            assert_eq!(testing::rows(TABLE, 1, &sql).await.unwrap(), expected, "{condition}");
        }
    }

    #[tokio::test]
    async fn times_are_given_in_microseconds() {
        for (expr, expected) in [
            (
                "coalesce(ts, '9999-12-31')",
                [
                    "|2024-02-29T12:34:56.789|",
                    "|9999-12-31T23:59:59.999999|",
                    "|0001-01-01T00:00:00|",
                    "|9999-12-31T00:00:00|",
                ],
            ),
            ("coalesce(d, ts)", ["|2024-02-29T00:00:00|", "|9999-12-31T00:00:00|", "|0001-01-01T00:00:00|", "||"]),
            (
                "least(ts, '2000-01-01')",
                ["|2000-01-01T00:00:00|", "|2000-01-01T00:00:00|", "|0001-01-01T00:00:00|", "|2000-01-01T00:00:00|"],
            ),
            (
                "greatest(ts, d)",
                ["|2024-02-29T12:34:56.789|", "|9999-12-31T23:59:59.999999|", "|0001-01-01T00:00:00|", "||"],
            ),
            ("nullif(ts, d)", ["|2024-02-29T12:34:56.789|", "|9999-12-31T23:59:59.999999|", "||", "||"]),
            (
                "CASE WHEN k < 3 THEN d WHEN k = 3 THEN ts ELSE '9999-01-01' END",
                ["|2024-02-29T00:00:00|", "|9999-12-31T00:00:00|", "|0001-01-01T00:00:00|", "|9999-01-01T00:00:00|"],
            ),
            ("d + tm", ["|2024-02-29T12:00:00|", "|9999-12-31T23:59:59|", "|0001-01-01T00:00:00|", "||"]),
            ("tm + d", ["|2024-02-29T12:00:00|", "|9999-12-31T23:59:59|", "|0001-01-01T00:00:00|", "||"]),
            ("d - tm", ["|2024-02-28T12:00:00|", "|9999-12-30T00:00:01|", "|0001-01-01T00:00:00|", "||"]),
            (
                "date_trunc('month', ts)",
                ["|2024-02-01T00:00:00|", "|9999-12-01T00:00:00|", "|0001-01-01T00:00:00|", "||"],
            ),
            (
                "date_trunc('quarter', d)",
                ["|2024-01-01T00:00:00|", "|9999-10-01T00:00:00|", "|0001-01-01T00:00:00|", "||"],
            ),
            (
                "date_trunc('WEEK', ts)",
                ["|2024-02-26T00:00:00|", "|9999-12-27T00:00:00|", "|0001-01-01T00:00:00|", "||"],
            ),
            (
                "date_trunc('second', ts)",
                ["|2024-02-29T12:34:56|", "|9999-12-31T23:59:59|", "|0001-01-01T00:00:00|", "||"],
            ),
            (
                "date_bin(INTERVAL '7 hours', ts, TIMESTAMP '2024-01-01')",
                ["|2024-02-29T12:00:00|", "|9999-12-31T23:00:00|", "|0001-01-01T00:00:00|", "||"],
            ),
            (
                "date_bin('2 years', ts, '2001-02-03')",
                ["|2023-02-03T00:00:00|", "|9999-02-03T00:00:00|", "|-0001-02-03T00:00:00|", "||"],
            ),
            (
                "to_timestamp(253402300799 - k)::timestamp",
                ["|9999-12-31T23:59:58|", "|9999-12-31T23:59:57|", "|9999-12-31T23:59:56|", "|9999-12-31T23:59:55|"],
            ),
            (
                "to_timestamp(k + 0.0000017)::timestamp",
                [
                    "|1970-01-01T00:00:01.000002|",
                    "|1970-01-01T00:00:02.000002|",
                    "|1970-01-01T00:00:03.000002|",
                    "|1970-01-01T00:00:04.000002|",
                ],
            ),
            ("(253402300799)::timestamp", ["|9999-12-31T23:59:59|"; 4]),
            (
                "to_char(tz, '%Y-%m-%dT%H:%M:%S')::timestamp",
                ["|2024-02-29T12:34:56|", "|9999-12-31T23:59:59|", "|0001-01-01T00:00:00|", "||"],
            ),
        ] {
            let sql = format!("SELECT {expr} AS v FROM t ORDER BY k");
            assert_eq!(testing::rows(TABLE, 1, &sql).await.unwrap(), expected, "{expr}");
            let sql = format!("SELECT DISTINCT arrow_typeof({expr}) AS v FROM t");
            assert_eq!(testing::rows(TABLE, 1, &sql).await.unwrap(), ["|Timestamp(µs)|"], "{expr}");
        }
        let sql =
            "SELECT arrow_typeof(date_trunc('hour', tz)) AS a, arrow_typeof(date_bin('1 day', tz, '2000-01-01')) AS b,
            arrow_typeof(now()) AS c, arrow_typeof(date_trunc('day', now())) AS d, arrow_typeof(tm) AS e,
            arrow_typeof(date_trunc('hour', tm)) AS f FROM t LIMIT 1";
        let expected = r#"|Timestamp(µs)|Timestamp(µs)|Timestamp(ns)|Timestamp(ns)|Time64(µs)|Time64(µs)|"#;
        assert_eq!(testing::rows(TABLE, 1, sql).await.unwrap(), [expected]);
    }

    #[tokio::test]
    async fn a_column_of_texts_is_no_time() {
        for call in ["coalesce(s, ts)", "coalesce(d, s)", "coalesce(NULL, lower(s), tm)"] {
            let error = testing::rows(TABLE, 1, &format!("SELECT {call} FROM t")).await.unwrap_err().to_string();
            assert!(error.contains("cast the text, or the time"), "{call}: {error}");
        }
        assert_eq!(
            testing::rows(TABLE, 1, "SELECT coalesce(s, ts::text, 'x') AS v FROM t WHERE k = 1").await.unwrap(),
            ["|a|"]
        );
    }

    #[tokio::test]
    async fn dates_and_timestamps_are_united() {
        for (sql, expected) in [
            (
                "SELECT d AS v FROM t WHERE k = 2 UNION ALL SELECT ts FROM t WHERE k = 2",
                &["|9999-12-31T00:00:00|", "|9999-12-31T23:59:59.999999|"][..],
            ),
            (
                "SELECT max(v) AS v FROM (SELECT k, d AS v FROM t UNION SELECT k, ts FROM t) q",
                &["|9999-12-31T23:59:59.999999|"],
            ),
            (
                "SELECT v FROM (SELECT ts AS v FROM t INTERSECT SELECT d FROM t) q WHERE v IS NOT NULL",
                &["|0001-01-01T00:00:00|"],
            ),
        ] {
            let sql = format!("SELECT v FROM ({sql}) r ORDER BY v");
            assert_eq!(testing::rows(TABLE, 1, &sql).await.unwrap(), expected, "{sql}");
        }
    }

    #[tokio::test]
    async fn series_are_of_microseconds() {
        let ends = "TIMESTAMP '2024-01-30', TIMESTAMP '2024-03-02', INTERVAL '1 month'";
        for (sql, expected) in [
            (
                format!("SELECT value AS v FROM generate_series({ends})"),
                &["|2024-01-30T00:00:00|", "|2024-02-29T00:00:00|"][..],
            ),
            (
                format!("SELECT unnest(generate_series({ends})) AS v"),
                &["|2024-01-30T00:00:00|", "|2024-02-29T00:00:00|"],
            ),
            (format!("SELECT unnest(range({ends})) AS v"), &["|2024-01-30T00:00:00|", "|2024-02-29T00:00:00|"]),
            (format!("SELECT DISTINCT arrow_typeof(value) AS v FROM range({ends}) q(value)"), &["|Timestamp(µs)|"]),
            (format!("SELECT DISTINCT arrow_typeof(unnest(generate_series({ends}))) AS v"), &["|Timestamp(µs)|"]),
            ("SELECT value AS v FROM generate_series(2, 3)".into(), &["|2|", "|3|"]),
        ] {
            assert_eq!(testing::rows(TABLE, 1, &sql).await.unwrap(), expected, "{sql}");
        }
        let sql = "SELECT * FROM generate_series(TIMESTAMP '2024-01-01', TIMESTAMP '9999-01-01', INTERVAL '1 day')";
        assert!(testing::rows(TABLE, 1, sql).await.is_err());
    }

    #[tokio::test]
    async fn bins_say_what_is_wrong() {
        for (sql, message) in [
            ("date_bin('0 days', ts)", "greater than zero"),
            ("date_bin('1 month 1 day', ts)", "not of both"),
            ("date_trunc('eon', ts)", "eon"),
        ] {
            let error = testing::rows(TABLE, 1, &format!("SELECT {sql} AS v FROM t")).await.unwrap_err().to_string();
            assert!(error.contains(message), "{sql}: {error}");
        }
    }
}
