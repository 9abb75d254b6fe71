//! Rows that a view's query has and the view does not show: their windows are open, they were late, or the view has stopped.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::array_value_to_string;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan};
use fleuve_types::Result;

use super::nearly::{Done, all_of};
use super::trace::{Reads, Step, Tracer, rows_where};
use super::{Ground, Scanned, Wanted, bug};
use crate::errors::of_datafusion;
use crate::{Closing, Spec};

const LATE: &str = "the row was late: its time is behind what its partition had promised before it";
const LATE_BY_CLOCK: &str = "the row was late: the watermark had passed it when it came, as its partition was silent or \
     the watermark was advanced";

/// Windows that are told apart in one answer.
const MAX_WINDOWS: usize = 20;

/// Why a view does not show what its query has of such rows, and which rows those are. `at` is at the view's plan.
pub(super) async fn withheld(
    tracer: &Tracer,
    at: &Step,
    view: &Scanned,
    conditions: &[Expr],
) -> Result<Option<Vec<Done>>> {
    let Spec::View(spec) = &view.bound.spec else { return Ok(None) };
    let has_stopped = tracer.ground.snapshot.stopped(&view.namespace, &view.name).is_some();
    if conditions.is_empty() || !spec.emit_on_close && !has_stopped {
        return Ok(None);
    }
    let all = rows_where(&tracer.ground, &at.plan, all_of(conditions)).await?;
    if all.rows() == 0 {
        return Ok(None);
    }
    if has_stopped {
        let why = format!("left out, as {} has stopped", view.shown());
        return Ok(Some(vec![(why, at.of(&at.plan, all))]));
    }
    let punctual = tracer.ground.on_time_alone(&at.plan).map_err(|e| of_datafusion(&e))?;
    let on_time = rows_where(&tracer.ground, &punctual, all_of(conditions)).await?;
    if on_time.rows() == 0 {
        return Ok(Some(vec![(LATE.into(), Step { reads: Reads::Late, ..at.of(&at.plan, all) })]));
    }
    let open = open_windows(&tracer.ground, at, view, &on_time)?;
    let late = || vec![(LATE_BY_CLOCK.to_string(), at.of(&at.plan, on_time))];
    Ok(Some(if open.is_empty() { late() } else { open }))
}

/// Those of the rows whose windows are open, by when these close.
fn open_windows(ground: &Ground, at: &Step, view: &Scanned, rows: &Wanted) -> Result<Vec<Done>> {
    let whole = concat_batches(&rows.schema, &rows.batches).map_err(bug)?;
    let columns: Vec<usize> = (1..whole.num_columns()).collect();
    let of_view: RecordBatch = whole.project(&columns).map_err(bug)?;
    let Some(closing) = ground.snapshot.closing(&view.namespace, &view.name, &of_view)? else {
        return Ok(vec![("the window is open".into(), at.of(&at.plan, rows.clone()))]);
    };
    let mut windows: BTreeMap<Option<i64>, (String, Vec<RecordBatch>)> = BTreeMap::new();
    for (n, closing) in closing.iter().enumerate().filter(|(_, c)| !c.is_closed) {
        let room = windows.len() < MAX_WINDOWS;
        let row = whole.slice(n, 1);
        match windows.get_mut(&closing.at) {
            Some((_, rows)) => rows.push(row),
            None if room => drop(windows.insert(closing.at, (said(closing), vec![row]))),
            None => {}
        }
    }
    let types = rows.types();
    let step = |batches| Ok(at.of(&at.plan, Wanted::of(batches, &types)?));
    windows.into_values().map(|(why, batches)| Ok((why, step(batches)?))).collect()
}

fn said(closing: &Closing) -> String {
    let now = match closing.watermark {
        Some(now) => format!("at {}", time(now)),
        None => "not known yet".into(),
    };
    // What is NULL in the answer may close by what is not in it.
    let Some(at) = closing.at else { return format!("the window is open, with the watermark {now}") };
    // Behind a time itself, and not behind a window that ends then.
    let until = match at.rem_euclid(1_000) {
        1 => format!("passes {}", time(at - 1)),
        _ => format!("reaches {}", time(at)),
    };
    format!("the window is open: it closes when the watermark, {now}, {until}")
}

/// A time as rows show it.
fn time(us: i64) -> String {
    let value = ScalarValue::Int64(Some(us)).to_array().ok();
    let value = value.and_then(|v| cast(&v, &DataType::Timestamp(TimeUnit::Microsecond, None)).ok());
    value.and_then(|v| array_value_to_string(&v, 0).ok()).unwrap_or_else(|| us.to_string())
}

impl Ground {
    /// The plan over the rows of streams that are not behind what their partition had promised before them.
    fn on_time_alone(&self, plan: &LogicalPlan) -> DfResult<LogicalPlan> {
        let on_time = |node| match node {
            LogicalPlan::TableScan(scan) => Ok(match self.on_time_scan(&scan)? {
                Some(rows) => Transformed::yes(rows),
                None => Transformed::no(LogicalPlan::TableScan(scan)),
            }),
            other => Ok(Transformed::no(other)),
        };
        plan.clone().transform_up_with_subqueries(on_time).map(|t| t.data)
    }

    /// `None` for a scan of something else than a stream with a watermark.
    fn on_time_scan(&self, scan: &TableScan) -> DfResult<Option<LogicalPlan>> {
        let Some(object) = self.object(scan) else { return Ok(None) };
        let Spec::Stream(stream) = &object.bound.spec else { return Ok(None) };
        let Some(watermark) = &stream.watermark else { return Ok(None) };
        if !scan.filters.is_empty() {
            return Err(DataFusionError::Internal("a filter in a scan of a view's plan".into()));
        }
        let whole = LogicalPlanBuilder::scan("__read", scan.source.clone(), None)?.build()?;
        let rows = super::window::on_time(&self.context, &whole, watermark, Reads::OnTime)?;
        let columns = whole.schema().columns();
        let read = scan.projection.clone().unwrap_or_else(|| (0..columns.len()).collect());
        let named = read.iter().map(|at| {
            let column = columns[*at].clone();
            let name = column.name.clone();
            Expr::Column(column).alias_qualified(Some(scan.table_name.clone()), name)
        });
        LogicalPlanBuilder::from(rows).project(named.collect::<Vec<_>>())?.build().map(Some)
    }
}
