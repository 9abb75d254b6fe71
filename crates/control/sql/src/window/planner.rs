//! From `tumble((subquery), time, size)` or `session((subquery), time, gap, key, ...)` to a plan.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, UnnestOptions, internal_err, plan_err};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF, lit};
use datafusion::sql::sqlparser::ast::{self, FunctionArg, FunctionArgExpr, TableFactor};

use super::functions::{self, length_in};
use super::{WINDOW_COLUMNS, WindowKind, session};
use crate::rewrite::simple_input;

/// Plans window table functions in the shape that `rewrite` gives them.
#[derive(Debug)]
pub(crate) struct WindowPlanner;

/// An interval as DataFusion holds it.
#[derive(Clone, Copy, Debug)]
struct Length {
    months: i32,
    days: i32,
    nanos: i64,
}

impl Length {
    fn literal(self) -> Expr {
        lit(ScalarValue::new_interval_mdn(self.months, self.days, self.nanos))
    }

    /// Months, and nothing else.
    fn is_calendar(self) -> bool {
        self.months != 0
    }
}

impl RelationPlanner for WindowPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let (kind, exprs, alias) = match &relation {
            TableFactor::Table { name, args: Some(args), alias, .. } => {
                let ident = name.0.first().and_then(|p| p.as_ident());
                let (Some(kind), 1) = (ident.and_then(|i| WindowKind::of(&i.value)), name.0.len()) else {
                    return Ok(RelationPlanning::Original(Box::new(relation)));
                };
                (kind, expressions(&args.args)?, alias.clone())
            }
            _ => return Ok(RelationPlanning::Original(Box::new(relation))),
        };
        let [ast::Expr::Subquery(query), time, rest @ ..] = exprs.as_slice() else {
            return plan_err!("write {}", kind.usage());
        };
        let Some((lengths, keys)) = rest.split_at_checked(kind.lengths().len()) else {
            return plan_err!("write {}", kind.usage());
        };
        let input = plan_input(query, context)?;
        let keys = keys.iter().map(|k| context.sql_to_expr(k.clone(), input.schema())).collect::<Result<Vec<_>>>()?;
        let time = context.sql_to_expr(time.clone(), input.schema())?;
        let lengths = lengths.iter().map(|l| length(kind, l, context)).collect::<Result<Vec<_>>>()?;
        // That of the session, which is not DataFusion's.
        let Some(date_bin) = context.context_provider().get_function_meta("date_bin") else {
            return internal_err!("there is no date_bin()");
        };
        let plan = add_windows(kind, input, time, &lengths, keys, &date_bin)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

fn expressions(args: &[FunctionArg]) -> Result<Vec<ast::Expr>> {
    args.iter()
        .map(|a| match a {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Ok(e.clone()),
            other => plan_err!("{other} is not an argument of a window function"),
        })
        .collect()
}

/// The input. A plain table is planned as it stands, so that its columns keep their table's name.
fn plan_input(query: &ast::Query, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let mut query = query.clone();
    let factor = match simple_input(&mut query) {
        Some(inner) => inner.clone(),
        None => TableFactor::Derived { lateral: false, subquery: Box::new(query), alias: None, sample: None },
    };
    context.plan(factor)
}

fn length(kind: WindowKind, expr: &ast::Expr, context: &mut dyn RelationPlannerContext) -> Result<Length> {
    let planned = context.sql_to_expr(expr.clone(), &DFSchema::empty())?;
    match constant(&planned) {
        Some(ScalarValue::IntervalMonthDayNano(Some(v))) => {
            let length = Length { months: v.months, days: v.days, nanos: v.nanoseconds };
            if length.is_calendar() && (v.days != 0 || v.nanoseconds != 0) {
                return plan_err!("a window of {} mixes months with days or time", expr);
            }
            if length.is_calendar() && kind != WindowKind::Tumble {
                return plan_err!("{} needs lengths of a fixed number of seconds, not months or years", kind.name());
            }
            Ok(length)
        }
        _ => plan_err!("{} needs a constant INTERVAL, not {expr}", kind.name()),
    }
}

/// The value of a literal, or of a text literal cast to an interval.
fn constant(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Cast(cast) => constant(&cast.expr)?.cast_to(cast.field.data_type()).ok(),
        Expr::Alias(alias) => constant(&alias.expr),
        _ => None,
    }
}

fn add_windows(
    kind: WindowKind,
    input: LogicalPlan,
    time: Expr,
    lengths: &[Length],
    keys: Vec<Expr>,
    date_bin: &ScalarUDF,
) -> Result<LogicalPlan> {
    for name in WINDOW_COLUMNS {
        if input.schema().fields().iter().any(|f| f.name() == name) {
            return plan_err!(
                "{} adds a column \"{name}\", and its table has one already; name the columns in a subquery",
                kind.name()
            );
        }
    }
    let (unit, zone) = match time.get_type(input.schema())? {
        DataType::Timestamp(unit, zone) => (unit, zone),
        other => {
            return plan_err!(
                "{} needs a column of type TIMESTAMP, and {} is {}",
                kind.name(),
                time.schema_name(),
                fleuve_types::sql_type_name(&other)
            );
        }
    };
    check(kind, unit, lengths)?;
    let columns: Vec<Expr> = input.schema().iter().map(|(q, f)| Expr::Column(Column::from((q, f)))).collect();
    let [start, end] = WINDOW_COLUMNS;
    match (kind, lengths) {
        (WindowKind::Tumble, [size]) => {
            let mut builder = LogicalPlanBuilder::from(input);
            if time.nullable(builder.schema())? {
                builder = builder.filter(time.clone().is_not_null())?;
            }
            let (from, to) = if size.is_calendar() {
                let origin = ScalarValue::Int64(Some(0)).cast_to(&DataType::Timestamp(unit, zone))?;
                let from = date_bin.call(vec![size.literal(), time, lit(origin)]);
                (from.clone(), from + size.literal())
            } else {
                let from = functions::tumble().call(vec![time, size.literal()]);
                (from.clone(), functions::shift().call(vec![from, size.literal()]))
            };
            let added = [from.alias(start), to.alias(end)];
            builder.project(columns.into_iter().chain(added))?.build()
        }
        (WindowKind::Hop, [slide, size]) => {
            let starts = functions::hop().call(vec![time, slide.literal(), size.literal()]).alias(start);
            let unnested = unnest(input, columns.clone(), starts, start)?;
            let from = Expr::Column(Column::new_unqualified(start));
            let to = functions::shift().call(vec![from.clone(), size.literal()]).alias(end);
            unnested.project(columns.into_iter().chain([from, to]))?.build()
        }
        (WindowKind::Cumulate, [step, size]) => {
            let ends = functions::cumulate().call(vec![time.clone(), step.literal(), size.literal()]).alias(end);
            let from = functions::tumble().call(vec![time, size.literal()]).alias(start);
            let with_start = columns.iter().cloned().chain([from]).collect();
            let unnested = unnest(input, with_start, ends, end)?;
            let added = [start, end].map(|c| Expr::Column(Column::new_unqualified(c)));
            unnested.project(columns.into_iter().chain(added))?.build()
        }
        (WindowKind::Session, [gap]) => {
            let mut builder = LogicalPlanBuilder::from(input);
            if time.nullable(builder.schema())? {
                builder = builder.filter(time.clone().is_not_null())?;
            }
            let gap = lit(length_in(unit, gap.months, gap.days, gap.nanos)?);
            let window = |function| session::call(function, &time, &gap, &keys);
            let (from, to) = (window(session::start())?, window(session::end())?);
            let names = [&from, &to].map(|e| Expr::Column(Column::new_unqualified(e.schema_name().to_string())));
            let [from_column, to_column] = names;
            let added = [from_column.alias(start), to_column.alias(end)];
            builder.window([from, to])?.project(columns.into_iter().chain(added))?.build()
        }
        _ => plan_err!("write {}", kind.usage()),
    }
}

/// `columns` and one row for each item of `list`; no row where it is NULL or empty.
fn unnest(input: LogicalPlan, columns: Vec<Expr>, list: Expr, name: &str) -> Result<LogicalPlanBuilder> {
    let options = UnnestOptions::new().with_preserve_nulls(false);
    LogicalPlanBuilder::from(input)
        .project(columns.into_iter().chain([list]))?
        .unnest_column_with_options(Column::new_unqualified(name), options)
}

/// Refuses lengths that make no windows, or too many, before anything runs.
fn check(kind: WindowKind, unit: TimeUnit, lengths: &[Length]) -> Result<()> {
    if let [size] = lengths
        && size.is_calendar()
    {
        return if size.months > 0 { Ok(()) } else { plan_err!("the length of a window must be positive") };
    }
    let counted = lengths.iter().map(|l| length_in(unit, l.months, l.days, l.nanos)).collect::<Result<Vec<_>>>();
    let counted = counted.map_err(|e| {
        let text = e.strip_backtrace();
        datafusion::error::DataFusionError::Plan(text.trim_start_matches("Execution error: ").to_string())
    })?;
    functions::check(kind, &counted)
}
