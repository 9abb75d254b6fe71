//! Rows that a view's query has and the view does not show: their windows are open, they were late, or the view has stopped.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use fleuve_types::Result;

use super::nearly::{Done, all_of};
use super::trace::{Step, Tracer, rows_where};
use super::{Ground, Reads, Scanned, Wanted, bug};
use crate::{Closing, Spec};

const LATE: &str = "the row was late: its time is behind what its partition had promised before it";
const LATE_BY_CLOCK: &str = "the row was late: the watermark had passed it when it came, as its partition was silent or new, or \
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
    let rows = rows_where(&tracer.ground, &at.plan, all_of(conditions)).await?;
    if rows.rows() == 0 {
        return if spec.emit_on_close { late(tracer, at, conditions).await } else { Ok(None) };
    }
    if has_stopped {
        let why = format!("left out, as {} has stopped", view.shown());
        return Ok(Some(vec![(why, at.of(&at.plan, rows))]));
    }
    let open = open_windows(&tracer.ground, at, view, &rows)?;
    // Not all is remembered of where the watermark went on without a partition.
    let late = || vec![(LATE_BY_CLOCK.to_string(), at.of(&at.plan, rows))];
    Ok(Some(if open.is_empty() { late() } else { open }))
}

/// Rows that are there only with those that were late.
async fn late(tracer: &Tracer, at: &Step, conditions: &[Expr]) -> Result<Option<Vec<Done>>> {
    let over = |reads| tracer.ground.over(at.plan.as_ref().clone(), reads);
    let plan = Arc::new(over(Reads::All)?);
    let rows = rows_where(&tracer.ground, &plan, all_of(conditions)).await?;
    if rows.rows() == 0 {
        return Ok(None);
    }
    let promised = rows_where(&tracer.ground, &over(Reads::Promised)?, all_of(conditions)).await?;
    let why = if promised.rows() == 0 { LATE } else { LATE_BY_CLOCK };
    Ok(Some(vec![(why.into(), Step { reads: Reads::Late, ..at.of(&plan, rows) })]))
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
