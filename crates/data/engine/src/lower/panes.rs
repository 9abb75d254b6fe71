//! An aggregate over windows that overlap (`HOP`, `CUMULATE`): rows are gathered by pane before they are put into windows.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Aggregate as AggregatePlan, Expr, ExprSchemable, LogicalPlan, Projection, Unnest};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions;
use fleuve_types::{Error, Result};

use super::share::Work;
use super::{Lowering, grouping, loose};
use crate::operators::aggregate::AggregateCall;
use crate::operators::panes::{PaneCall, PaneKind, Panes};
use crate::operators::physical;

/// The windows of a row, and what is under them.
struct Windows<'a> {
    unnest: &'a Unnest,
    below: &'a Projection,
    call: &'a ScalarFunction,
    /// The length of a pane, in the unit of the time.
    pane: i64,
    /// Projections over the windows, the topmost first.
    chain: Vec<&'a LogicalPlan>,
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// Finds windows right under an aggregate.
fn windows_of(plan: &AggregatePlan) -> Option<Windows<'_>> {
    let mut chain = vec![];
    let mut at = plan.input.as_ref();
    let unnest = loop {
        match at {
            LogicalPlan::Projection(p) => {
                chain.push(at);
                at = &p.input;
            }
            LogicalPlan::SubqueryAlias(a) => {
                chain.push(at);
                at = &a.input;
            }
            LogicalPlan::Unnest(unnest) => break unnest,
            _ => return None,
        }
    };
    let ([(list, column)], []) = (unnest.list_type_columns.as_slice(), unnest.struct_type_columns.as_slice()) else {
        return None;
    };
    let LogicalPlan::Projection(below) = unnest.input.as_ref() else { return None };
    let Expr::ScalarFunction(call) = unaliased(below.expr.get(*list)?) else { return None };
    let is_ours = matches!(call.name(), "fleuve_hop" | "fleuve_cumulate");
    let is_deep = column.depth != 1 || unnest.options.recursions.iter().any(|r| r.depth != 1);
    if !is_ours || unnest.options.preserve_nulls || is_deep {
        return None;
    }
    let [time, step, size] = call.args.as_slice() else { return None };
    let DataType::Timestamp(unit, _) = time.get_type(below.input.schema()).ok()? else { return None };
    let pane = common(length(step, unit)?, length(size, unit)?);
    (pane > 0).then_some(Windows { unnest, below, call, pane, chain })
}

fn length(expr: &Expr, unit: TimeUnit) -> Option<i64> {
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(v)), _) = expr else { return None };
    let per_unit: i128 = match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    let nanos = i128::from(v.days) * 86_400_000_000_000 + i128::from(v.nanoseconds);
    let is_even = v.months == 0 && nanos > 0 && nanos % per_unit == 0;
    is_even.then(|| i64::try_from(nanos / per_unit).ok()).flatten()
}

/// The greatest common divisor.
fn common(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { common(b, a % b) }
}

/// `expr` with columns replaced by what they are.
fn replaced(expr: &Expr, by: &HashMap<Column, Expr>) -> DfResult<Expr> {
    let new = expr.clone().transform_up(|e| {
        Ok(match &e {
            Expr::Column(column) => match by.get(column) {
                Some(new) => Transformed::yes(new.clone()),
                None => Transformed::no(e),
            },
            _ => Transformed::no(e),
        })
    })?;
    Ok(new.data)
}

/// Where an expression is to be computed.
enum Place {
    /// Of the rows.
    Row(Expr),
    /// Of the window.
    Window(Expr),
}

impl Windows<'_> {
    fn name(&self) -> String {
        self.call.name().trim_start_matches("fleuve_").to_string()
    }

    /// The column of the window.
    fn window(&self) -> Option<Column> {
        let (list, _) = self.unnest.list_type_columns.first()?;
        let at = self.unnest.dependency_indices.iter().position(|from| from == list)?;
        Some(Column::from(self.unnest.schema.qualified_field(at)))
    }

    /// What an expression over the aggregate's input is, over the rows or over the window. None if it needs both.
    fn place(&self, expr: &Expr) -> DfResult<Option<Place>> {
        let mut expr = unaliased(expr).clone();
        for step in &self.chain {
            let by: HashMap<Column, Expr> = match step {
                LogicalPlan::Projection(p) => {
                    p.schema.columns().into_iter().zip(p.expr.iter().map(|e| unaliased(e).clone())).collect()
                }
                LogicalPlan::SubqueryAlias(a) => {
                    let inner = a.input.schema().columns().into_iter().map(Expr::Column);
                    a.schema.columns().into_iter().zip(inner).collect()
                }
                _ => return Ok(None),
            };
            expr = replaced(&expr, &by)?;
        }
        let Some(window) = self.window() else { return Ok(None) };
        let columns = expr.column_refs();
        if columns.iter().all(|c| **c == window) && !columns.is_empty() {
            return Ok(Some(Place::Window(expr)));
        }
        if columns.contains(&window) {
            return Ok(None);
        }
        let below = self.below.expr.iter().map(|e| unaliased(e).clone()).collect::<Vec<_>>();
        let outer = self.unnest.schema.columns().into_iter().zip(&self.unnest.dependency_indices);
        let by = outer.filter_map(|(column, at)| Some((column, below.get(*at)?.clone()))).collect();
        Ok(Some(Place::Row(replaced(&expr, &by)?)))
    }
}

/// What a pane adds up for a call, and the argument that it does it with; None if it cannot.
fn pane_kind(call: &AggregateCall, argument: Option<&Expr>, below: &DFSchema, append_only: bool) -> Option<PaneKind> {
    let is_plain = !call.distinct && !call.ignores_null && call.order.is_empty() && call.arguments.len() < 2;
    if !is_plain {
        return None;
    }
    let of = argument.map(|a| a.get_type(below)).transpose().ok()?;
    match (call.function.as_str(), of) {
        ("count", _) => Some(PaneKind::Count),
        ("sum", Some(DataType::Int64 | DataType::UInt64 | DataType::Decimal128(..))) => Some(PaneKind::Sum),
        ("avg", Some(DataType::Int64 | DataType::Decimal128(..))) => Some(PaneKind::Sum),
        // Where values can go, the least is found among all of them.
        ("min" | "max", Some(of)) if append_only && !of.is_nested() && !of.is_floating() => {
            Some(if call.function == "min" { PaneKind::Min } else { PaneKind::Max })
        }
        _ => None,
    }
}

/// The whole numbers of which an average is taken as floating-point numbers: they are added up without loss.
fn whole_numbers(argument: Expr, below: &DFSchema) -> Expr {
    if let Expr::Cast(c) = &argument
        && c.field.data_type() == &DataType::Float64
        && c.expr.get_type(below).is_ok_and(|t| t.is_integer() && t != DataType::UInt64)
    {
        return datafusion::logical_expr::cast(c.expr.as_ref().clone(), DataType::Int64);
    }
    argument
}

/// The expressions that rows are reduced to, each once.
struct Reduced {
    exprs: Vec<Expr>,
}

impl Reduced {
    fn column(&mut self, expr: Expr) -> usize {
        if let Some(at) = self.exprs.iter().position(|e| *e == expr) {
            return at;
        }
        self.exprs.push(expr);
        self.exprs.len() - 1
    }
}

fn failed(e: datafusion::error::DataFusionError) -> Error {
    Error::bug(format!("panes: {}", e.strip_backtrace()))
}

impl Lowering<'_> {
    /// The aggregate, if it is one over windows that overlap, of calls that can be added up by pane.
    pub(super) fn panes(&mut self, plan: &AggregatePlan) -> Result<Option<usize>> {
        if plan.group_expr.is_empty() || grouping::sets_of(plan).is_some() {
            return Ok(None);
        }
        let Some(windows) = windows_of(plan) else { return Ok(None) };
        let mut groups = vec![];
        let mut keys = Reduced { exprs: vec![] };
        for group in &plan.group_expr {
            match windows.place(group).map_err(failed)? {
                Some(Place::Row(expr)) => groups.push(Ok(keys.column(expr))),
                Some(Place::Window(expr)) => groups.push(Err(expr)),
                None => return Ok(None),
            }
        }
        let append_only = self.only_grows(&windows.below.input)?;
        let Some(calls) = self.aggregate_calls(plan, append_only)? else { return Ok(None) };
        let width = keys.exprs.len();
        let mut rows = keys;
        rows.exprs.push(windows.call.args[0].clone());
        let Some(gathered) = gather(plan, &windows, &calls, append_only, &mut rows)? else { return Ok(None) };
        let by: Vec<String> = rows.exprs.iter().take(width).map(ToString::to_string).collect();
        let label = format!("{}, a step's rows gathered by [{}] and pane", windows.name(), by.join(", "));
        let (node, schema) = self.reduce(&windows, rows.exprs)?;
        let panes = self.gather_panes(&windows, (node, schema), label, width, gathered)?;
        self.aggregate_panes(plan, &windows, panes, (width, groups), calls).map(Some)
    }

    /// Whether the rows of a plan never go, without what it takes to find out.
    fn only_grows(&mut self, plan: &LogicalPlan) -> Result<bool> {
        let mark = self.mark();
        let node = self.plan(plan)?;
        let append_only = self.nodes[node].append_only;
        self.back_to(mark);
        Ok(append_only)
    }

    /// Rows with these columns only.
    fn reduce(&mut self, windows: &Windows<'_>, exprs: Vec<Expr>) -> Result<(usize, Arc<DFSchema>)> {
        let named = exprs.into_iter().enumerate().map(|(n, e)| e.alias(format!("__pane_{n}"))).collect();
        let plan = Projection::try_new(named, windows.below.input.clone()).map_err(failed)?;
        let schema = plan.schema.clone();
        Ok((self.plan(&LogicalPlan::Projection(plan))?, schema))
    }

    fn gather_panes(
        &mut self,
        windows: &Windows<'_>,
        (input, schema): (usize, Arc<DFSchema>),
        label: String,
        keys: usize,
        calls: Vec<PaneCall>,
    ) -> Result<usize> {
        let input_schema = self.nodes[input].schema.clone();
        let time = Expr::Column(Column::new_unqualified(schema.field(keys).name()));
        let mut list = windows.call.clone();
        list.args[0] = time;
        let list = Expr::ScalarFunction(list);
        let over = input_schema.field(keys);
        let own = Schema::new(vec![Field::new(over.name(), over.data_type().clone(), true)]);
        let own = DFSchema::try_from(own).map_err(failed)?;
        let windows_of_pane = physical(&list, &own)?;
        let item = match windows_of_pane.data_type(own.as_arrow()).map_err(failed)? {
            DataType::List(item) => item.data_type().clone(),
            other => return Err(Error::bug(format!("the windows of a row are {other}"))),
        };
        let mut fields: Vec<Field> = input_schema.fields().iter().take(keys).map(|f| f.as_ref().clone()).collect();
        fields.push(Field::new("__window", item, true));
        for of in calls.iter().flat_map(|c| c.types(&input_schema)) {
            fields.push(Field::new(format!("__part_{}", fields.len()), of, true));
        }
        fields.push(Field::new("__rows", DataType::Int64, true));
        let out = Arc::new(Schema::new(fields));
        let mut work = Work::new("panes", format!("{} {keys} {calls:?}", windows.pane));
        if let Some(same) = self.same_rows(&mut work, &[input], [Some(&windows_of_pane)])? {
            return Ok(same);
        }
        let operator = Panes {
            keys,
            length: windows.pane,
            windows: windows_of_pane,
            codec: Panes::codec(keys, &input_schema)?,
            label,
            calls,
            input_schema,
            schema: out.clone(),
        };
        let append_only = self.nodes[input].append_only;
        let columns: Vec<Expr> = schema.columns().into_iter().take(keys).map(Expr::Column).chain([list]).collect();
        let times = self.time_keys(input, &columns, &schema)?;
        let node = self.node(Box::new(operator), vec![input], out, append_only, None);
        self.carries(node, times);
        self.does(node, work);
        Ok(node)
    }

    fn aggregate_panes(
        &mut self,
        plan: &AggregatePlan,
        windows: &Windows<'_>,
        panes: usize,
        (width, groups): (usize, Vec<std::result::Result<usize, Expr>>),
        calls: Vec<AggregateCall>,
    ) -> Result<usize> {
        let schema = self.nodes[panes].schema.clone();
        let from = DFSchema::try_from(schema.as_ref().clone()).map_err(failed)?;
        let column = |at: usize| Expr::Column(Column::new_unqualified(schema.field(at).name()));
        let window: HashMap<Column, Expr> = windows.window().map(|w| (w, column(width))).into_iter().collect();
        let groups = groups
            .into_iter()
            .map(|group| match group {
                Ok(at) => Ok(column(at)),
                Err(expr) => replaced(&expr, &window).map_err(failed),
            })
            .collect::<Result<Vec<_>>>()?;
        let keys = groups.iter().map(|g| physical(g, &from)).collect::<Result<Vec<_>>>()?;
        let times = self.time_keys(panes, &groups, &from)?;
        let part =
            |at: usize| -> Arc<dyn PhysicalExpr> { Arc::new(expressions::Column::new(schema.field(at).name(), at)) };
        let mut at = width + 1;
        let mut parts = vec![];
        for mut call in calls {
            let width = if matches!(call.function.as_str(), "sum" | "avg") { 2 } else { 1 };
            call.arguments = (at..at + width).map(part).collect();
            call.argument_types = (at..at + width).map(|n| schema.field(n).data_type().clone()).collect();
            call.filter = None;
            call.is_partial = true;
            parts.push(call);
            at += width;
        }
        self.aggregate_by(panes, (keys, times), (parts, Some(part(at))), loose(&plan.schema))
    }
}

/// What the panes add up, over the columns of `rows`; None if there is a call that they cannot.
fn gather(
    plan: &AggregatePlan,
    windows: &Windows<'_>,
    calls: &[AggregateCall],
    append_only: bool,
    rows: &mut Reduced,
) -> Result<Option<Vec<PaneCall>>> {
    let below = windows.below.input.schema();
    let mut gathered = vec![];
    for (call, expr) in calls.iter().zip(&plan.aggr_expr) {
        let Expr::AggregateFunction(f) = unaliased(expr) else { return Ok(None) };
        let of_rows = |expr: &Expr| match windows.place(expr).map_err(failed)? {
            Some(Place::Row(expr)) => Ok(Some(expr)),
            _ => Ok::<_, Error>(None),
        };
        let argument = match (call.arguments.is_empty(), f.params.args.first()) {
            (true, _) | (_, None) => None,
            (false, Some(argument)) => match of_rows(argument)? {
                Some(expr) if call.function == "avg" => Some(whole_numbers(expr, below)),
                Some(expr) => Some(expr),
                None => return Ok(None),
            },
        };
        let filter = match &f.params.filter {
            None => None,
            Some(filter) => match of_rows(filter)? {
                Some(expr) => Some(rows.column(expr)),
                None => return Ok(None),
            },
        };
        let Some(kind) = pane_kind(call, argument.as_ref(), below, append_only) else { return Ok(None) };
        let argument = argument.map(|a| rows.column(a));
        gathered.push(PaneCall { kind, argument, filter });
    }
    Ok(Some(gathered))
}
