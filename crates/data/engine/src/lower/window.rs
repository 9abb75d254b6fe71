//! Window functions.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, SortExpr, Window as WindowPlan, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_planner::create_window_expr;
use fleuve_batch::{FRAMED_ANEW, in_words};
use fleuve_types::{Error, Result};

use super::top_n::sort_keys;
use super::{Lowering, as_of, close, loose, session};
use crate::operators::map::{Map, Stage};
use crate::operators::order::SortedRows;
use crate::operators::physical;
use crate::operators::window::{
    Distance, Reach, Running, TAKEN_UP, Window, WindowCall, WindowSpec, can_be_alone, state_types,
};

/// Calls of window functions over one PARTITION BY and one ORDER BY.
pub(super) struct WindowCalls<'a> {
    pub(super) functions: Vec<&'a WindowFunction>,
    /// Where they stand among all calls of the plan.
    numbers: Vec<usize>,
    pub(super) partition_by: &'a [Expr],
    pub(super) order_by: &'a [SortExpr],
}

impl<'a> WindowCalls<'a> {
    /// The calls of a plan by what they are over, in the order of their first call.
    fn all(window: &'a WindowPlan) -> Result<Vec<Self>> {
        let mut all: Vec<Self> = vec![];
        for (number, expr) in window.window_expr.iter().enumerate() {
            let function = call(expr).ok_or_else(|| Error::bug(format!("{expr} is not a window function")))?;
            let (partition_by, order_by) = (&function.params.partition_by[..], &function.params.order_by[..]);
            match all
                .iter_mut()
                .find(|c| is_same(c.partition_by, partition_by) && is_in_same_order(c.order_by, order_by))
            {
                Some(calls) => {
                    calls.functions.push(function);
                    calls.numbers.push(number);
                }
                None => all.push(Self { functions: vec![function], numbers: vec![number], partition_by, order_by }),
            }
        }
        Ok(all)
    }

    /// `None` if the calls differ in what they are over.
    pub(super) fn of(window: &'a WindowPlan) -> Option<Self> {
        let mut all = Self::all(window).ok()?;
        all.pop().filter(|_| all.is_empty())
    }
}

/// Equal but for names: of a common part of several expressions, the first is left without one.
fn is_same(these: &[Expr], those: &[Expr]) -> bool {
    these.len() == those.len() && these.iter().zip(those).all(|(a, b)| without_name(a) == without_name(b))
}

fn is_in_same_order(these: &[SortExpr], those: &[SortExpr]) -> bool {
    let is_same = |(a, b): (&SortExpr, &SortExpr)| {
        (a.asc, a.nulls_first) == (b.asc, b.nulls_first) && without_name(&a.expr) == without_name(&b.expr)
    };
    these.len() == those.len() && these.iter().zip(those).all(is_same)
}

fn without_name(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => without_name(&alias.expr),
        other => other,
    }
}

fn call(expr: &Expr) -> Option<&WindowFunction> {
    match expr {
        Expr::Alias(a) => call(&a.expr),
        Expr::WindowFunction(f) => Some(f),
        _ => None,
    }
}

/// The calls of two plans in one, if the upper ones do not use what the lower ones give. Over the same window, one operator then puts equal
/// rows in the same order for all of them, as the batch engine does.
fn with_those_below(window: &WindowPlan) -> Result<Option<WindowPlan>> {
    let LogicalPlan::Window(below) = window.input.as_ref() else { return Ok(None) };
    if session::is_session(below) || as_of::is_as_of(below) {
        return Ok(None);
    }
    let input = below.input.schema();
    if !window.window_expr.iter().all(|e| e.column_refs().into_iter().all(|c| input.has_column(c))) {
        return Ok(None);
    }
    let calls = below.window_expr.iter().chain(&window.window_expr).cloned().collect();
    let merged = WindowPlan::try_new_with_schema(calls, below.input.clone(), window.schema.clone());
    merged.map(Some).map_err(|e| Error::bug(e.to_string()))
}

impl Lowering<'_> {
    /// One operator for the calls over one window after the other.
    pub(super) fn window(&mut self, window: &WindowPlan) -> Result<usize> {
        if let Some(window) = with_those_below(window)? {
            return self.window(&window);
        }
        let mut node = self.plan(&window.input)?;
        let inputs = window.input.schema().fields().len();
        let mut columns: Vec<usize> = (0..inputs).collect();
        let all = loose(&window.schema);
        for calls in WindowCalls::all(window)? {
            columns.extend(calls.numbers.iter().map(|n| inputs + n));
            let schema = Arc::new(all.project(&columns).map_err(|e| Error::bug(e.to_string()))?);
            node = self.calls(&calls, window, node, schema)?;
        }
        let is_in_order = columns.iter().enumerate().all(|(at, column)| at == *column);
        Ok(if is_in_order { node } else { self.reorder(node, &columns, all) })
    }

    fn calls(
        &mut self,
        calls: &WindowCalls<'_>,
        window: &WindowPlan,
        input: usize,
        schema: SchemaRef,
    ) -> Result<usize> {
        let from = window.input.schema();
        let input_schema = self.nodes[input].schema.clone();
        let keys = calls.partition_by.iter().map(|k| physical(k, from)).collect::<Result<Vec<_>>>()?;
        let rows = SortedRows::new(sort_keys(calls.order_by, &window.input)?, &input_schema)?;
        let made = calls.functions.iter().zip(&calls.numbers).map(|(function, number)| {
            let expr = &window.window_expr[*number];
            let make = |expr: &Expr| {
                create_window_expr(expr, from, &ExecutionProps::new()).map_err(|e| {
                    Error::unsupported(format!("window function {}: {}", in_words(expr), e.strip_backtrace()))
                })
            };
            let made = make(expr)?;
            let value = made.field().map_err(|e| Error::bug(e.to_string()))?;
            // An average was cut off before: what it answered then is not taken up.
            let is_rounded = function.fun.name() == "avg" && value.data_type().is_decimal();
            let label = label(function) + if is_rounded { " rounded" } else { "" };
            let words = in_words(&expr.clone().unalias_nested().data);
            if is_taken_up(function, value.data_type()) {
                let filter = function.params.filter.as_deref().map(|f| physical(f, from)).transpose()?;
                let expr = make(&without_filter(function))?;
                if state_types(expr.as_ref()).is_some() {
                    let reach = Reach::Running(Running::State);
                    return Ok(WindowCall { expr, reach, filter, alone: false, label, words });
                }
            }
            let (reach, alone) = reach(function, from, value.data_type(), can_be_alone(made.as_ref()));
            Ok(WindowCall { expr: made, reach, filter: None, alone, label, words })
        });
        let partition_by = calls.partition_by;
        let first = calls.functions.first().map(|f| label(f));
        let over = calls.numbers.first().and_then(|n| window.window_expr.get(*n)).cloned();
        let calls = made.collect::<Result<_>>()?;
        let key = self.nodes[input].key.clone();
        let spec = WindowSpec { keys, rows, calls, input_schema, schema: schema.clone() };
        let mut operator = Window::new(spec, self.shards)?;
        let (numbers, times) = self.partition_times(input, partition_by, from)?;
        operator.close_by(numbers);
        let node = self.node(Box::new(operator), vec![input], schema, false, key);
        let first = first.unwrap_or_default();
        self.shrinks(node, || format!("{first} changes when rows arrive"));
        self.closes_by(node, times);
        self.loses(node, input, from, || {
            let call = over.map(|e| in_words(&e.unalias())).unwrap_or_default();
            (format!("{call} keeps the event time only as a column in PARTITION BY"), close::PARTITION_BY)
        });
        Ok(node)
    }

    /// The columns of a node, of which the one at `i` belongs at `places[i]`.
    pub(super) fn reorder(&mut self, node: usize, places: &[usize], schema: Arc<Schema>) -> usize {
        let column = |at: usize| -> Arc<dyn PhysicalExpr> {
            let from = places.iter().position(|p| *p == at).unwrap_or(at);
            Arc::new(Column::new(schema.field(at).name(), from))
        };
        let project = Some((0..places.len()).map(column).collect());
        let key = self.nodes[node].key.clone();
        let stages = vec![Stage { filter: None, project, schema: schema.clone() }];
        let map = Map { stages, guard: self.guard.clone() };
        let times = self.times_of(node).moved(|column| places.get(column).copied());
        let out = self.node(Box::new(map), vec![node], schema, false, key);
        self.carries(out, times);
        out
    }
}

/// `name(arguments)` and the frame, if it is not the usual one.
fn label(function: &WindowFunction) -> String {
    let params = &function.params;
    let arguments: Vec<String> = params.args.iter().map(ToString::to_string).collect();
    let distinct = if params.distinct { "DISTINCT " } else { "" };
    let mut text = format!("{}({distinct}{})", function.fun.name(), arguments.join(", "));
    if let Some(filter) = &params.filter {
        text.push_str(&format!(" FILTER (WHERE {filter})"));
    }
    // Of others it does not stand here: state of before would not be taken up.
    if params.null_treatment == Some(NullTreatment::IgnoreNulls) && matches!(function.fun.name(), "lag" | "lead") {
        text.push_str(" IGNORE NULLS");
    }
    let frame = &params.window_frame;
    let is_usual = frame.units == WindowFrameUnits::Range && (is_running(frame) || params.order_by.is_empty());
    if !is_usual {
        text.push_str(&format!(" {frame}"));
    }
    text
}

/// True if a call goes on from the state of an aggregate at the row before, as its value alone does not tell how. `value` is its type.
fn is_taken_up(function: &WindowFunction, value: &DataType) -> bool {
    let params = &function.params;
    let name = function.fun.name().to_lowercase();
    let is_exact = match name.as_str() {
        "sum" => Running::Sum.is_exact(value),
        "min" | "max" => Running::Min.is_exact(value) || value.is_nested(),
        _ => false,
    };
    let is_plain = !params.distinct && params.null_treatment != Some(NullTreatment::IgnoreNulls);
    let is_aggregate = matches!(function.fun, WindowFunctionDefinition::AggregateUDF(_));
    is_aggregate && !is_exact && is_plain && is_running(&params.window_frame) && TAKEN_UP.contains(&&*name)
}

fn without_filter(function: &WindowFunction) -> Expr {
    let mut call = function.clone();
    call.params.filter = None;
    Expr::from(call)
}

/// Which rows a call's value depends on, and whether each is to be computed by itself. `value` is its type.
fn reach(function: &WindowFunction, input: &DFSchema, value: &DataType, can_be_alone: bool) -> (Reach, bool) {
    let params = &function.params;
    if params.distinct || params.null_treatment == Some(NullTreatment::IgnoreNulls) {
        return (Reach::Partition, false);
    }
    let name = function.fun.name().to_lowercase();
    let frame = &params.window_frame;
    let around = || rows(frame).or_else(|| values(frame, &params.order_by, input));
    let running = match name.as_str() {
        "count" | "sum" => Some(Running::Sum),
        "min" => Some(Running::Min),
        "max" => Some(Running::Max),
        _ => None,
    };
    let running = running.filter(|r| r.is_exact(value));
    let reach = match &function.fun {
        WindowFunctionDefinition::WindowUDF(_) => match name.as_str() {
            "row_number" | "rank" => Some(Reach::Running(Running::Position)),
            "dense_rank" => Some(Reach::Running(Running::Sum)),
            "lag" => shift(&params.args).map(|n| Reach::Rows { before: n, after: 0 }),
            "lead" => shift(&params.args).map(|n| Reach::Rows { before: 0, after: n }),
            "first_value" if is_running(frame) => Some(Reach::Running(Running::First)),
            "last_value" if is_running(frame) => Some(Reach::Running(Running::Peers)),
            "first_value" | "last_value" | "nth_value" => around(),
            // Aggregates come as window functions where DataFusion would slide them wrongly.
            "min" | "max" if !value.is_nested() => around(),
            name if FRAMED_ANEW.contains(&name) => around(),
            _ => running.and_then(|_| around()),
        },
        WindowFunctionDefinition::AggregateUDF(_) => match running {
            Some(running) => is_running(frame).then_some(Reach::Running(running)).or_else(around),
            None if can_be_alone && params.filter.is_none() => {
                return around().map_or((Reach::Partition, false), |r| (r, true));
            }
            None => None,
        },
    };
    (reach.unwrap_or(Reach::Partition), false)
}

/// How many rows lag and lead look back or ahead.
fn shift(args: &[Expr]) -> Option<u64> {
    match args.get(1) {
        None => Some(1),
        Some(Expr::Literal(ScalarValue::Int64(Some(n)), _)) => u64::try_from(*n).ok(),
        Some(_) => None,
    }
}

/// True if the frame is all rows up to this one or its peers.
fn is_running(frame: &WindowFrame) -> bool {
    matches!(&frame.start_bound, WindowFrameBound::Preceding(n) if n.is_null())
        && frame.end_bound == WindowFrameBound::CurrentRow
}

/// How far a frame of ROWS reaches.
fn rows(frame: &WindowFrame) -> Option<Reach> {
    let bound = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::CurrentRow => Some(0),
        WindowFrameBound::Preceding(ScalarValue::UInt64(Some(n))) => i64::try_from(*n).ok().map(|n| -n),
        WindowFrameBound::Following(ScalarValue::UInt64(Some(n))) => i64::try_from(*n).ok(),
        _ => None,
    };
    if frame.units != WindowFrameUnits::Rows {
        return None;
    }
    let (start, end) = (bound(&frame.start_bound)?, bound(&frame.end_bound)?);
    Some(Reach::Rows { before: start.min(0).unsigned_abs(), after: end.max(0).unsigned_abs() })
}

/// How far a frame of RANGE with two ends reaches, in the values of its sort key.
fn values(frame: &WindowFrame, order_by: &[SortExpr], input: &DFSchema) -> Option<Reach> {
    let [key] = order_by else { return None };
    if frame.units != WindowFrameUnits::Range {
        return None;
    }
    let key = key.expr.get_type(input).ok()?;
    let (start, end) = (&frame.start_bound, &frame.end_bound);
    let is_distance = |b: &WindowFrameBound| match b {
        WindowFrameBound::CurrentRow => true,
        WindowFrameBound::Preceding(d) | WindowFrameBound::Following(d) => is_even(d, &key),
    };
    let before = match start {
        WindowFrameBound::Preceding(d) => Some(d.clone()),
        _ => None,
    };
    let after = match end {
        WindowFrameBound::Following(d) => Some(d.clone()),
        _ => None,
    };
    (is_distance(start) && is_distance(end)).then_some(Reach::Values(Distance { before, after }))
}

/// True for a distance that is as long everywhere; a month is not, nor is a day where clocks change.
fn is_even(distance: &ScalarValue, key: &DataType) -> bool {
    let days_are_even = !matches!(key, DataType::Timestamp(_, Some(zone)) if &**zone != "UTC" && &**zone != "+00:00");
    match distance {
        ScalarValue::IntervalMonthDayNano(Some(i)) => i.months == 0 && (i.days == 0 || days_are_even),
        ScalarValue::IntervalDayTime(Some(i)) => i.days == 0 || days_are_even,
        ScalarValue::IntervalYearMonth(_) => false,
        other => !other.is_null(),
    }
}
