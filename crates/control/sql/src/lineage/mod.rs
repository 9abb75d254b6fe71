//! Why is this row here? The input rows behind rows of a view.
//!
//! Traced backwards over the view's optimised plan, in batches: given rows that a node puts out, DataFusion computes which rows of the
//! node's inputs they come from (a group's rows, a join's partners, ...), down to the scans of streams, whose rows have a partition and
//! an offset. Rows are known by their values: all input rows that are equal in what the plan reads of them belong to an answer equally.
//! Everything is read from one snapshot, so the answer is that of the epoch that the view shows. Keeps no state.
//!
//! - `wanted`: rows of a node as a small table, and joining them with what could be behind them.
//! - `trace`: one node after the other; `join`, `window`, `as_of`, `recursion`: the nodes with more to say.
//! - `minimal`: what of many rows is needed, found by running a part of the query over fewer of them.
//! - `failing`: rows that a view leaves out because an expression fails for them; `punctual`: those that were late.
//! - `names`: how the way is put into words.
//! - `nearly`: where a row that is not there was left out; `withheld`: those that a view does not show yet, or any more.
//! - `show`: the rows of the streams, and the answer as a table.

mod as_of;
mod failing;
mod join;
mod minimal;
mod names;
mod nearly;
mod punctual;
mod recursion;
mod show;
mod trace;
mod wanted;
mod window;
mod withheld;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::prelude::SessionContext;
use fleuve_types::{Error, Result};

use crate::bind::at_time;
use crate::errors::of_datafusion;
use crate::{DEFAULT_NAMESPACE, ENVIRONMENT, ObjectSet, OnError, Snapshot, Spec, ViewSpec};

#[cfg(test)]
pub(crate) use failing::without_failing;
pub(crate) use nearly::nearly;
pub(crate) use punctual::Reads;
pub(crate) use show::{Line, answer_schema, output_lines, to_batch};
pub(crate) use trace::{Step, Tracer};
pub(crate) use wanted::Wanted;

/// Rows of a view that one statement traces.
pub(crate) const MAX_OUTPUT_ROWS: usize = 100;
/// Rows of a stream that are shown for each row of the view and each way to it, unless LIMIT says so.
pub(crate) const DEFAULT_SHOWN: usize = 20;
/// The most that LIMIT may say.
pub(crate) const MAX_SHOWN: usize = 100_000;

/// A snapshot with everything that is needed to run parts of views' plans on it.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) context: SessionContext,
    pub(crate) snapshot: Arc<dyn Snapshot>,
    pub(crate) objects: Arc<ObjectSet>,
    /// Some view has stopped: rows that an expression fails for may be in what it reads.
    pub(crate) has_stopped: bool,
}

impl Ground {
    /// A view's plan as it is kept current: optimised, its scans over the snapshot. Without the rows that were late, if the view emits on
    /// window close, and those that an expression fails for, if there may be some.
    pub(crate) fn plan_of(&self, view: &ViewSpec) -> Result<LogicalPlan> {
        let plan = at_time(view.plan.clone(), self.snapshot.time_us()).map_err(|e| of_datafusion(&e))?;
        let optimised = self.context.state().optimize(&plan).map_err(|e| of_datafusion(&e))?;
        let plan = self.over(optimised, Reads::of(view))?;
        match view.on_error {
            OnError::Stop if !self.has_stopped => Ok(plan),
            _ => failing::without_failing(plan).map_err(|e| of_datafusion(&e)),
        }
    }

    /// A plan over the snapshot, and over these rows of streams with a watermark.
    fn over(&self, plan: LogicalPlan, reads: Reads) -> Result<LogicalPlan> {
        let on_snapshot = |node| match node {
            LogicalPlan::TableScan(mut scan) => {
                if let Some(object) = self.object(&scan) {
                    let table = self.table(&object, reads).map_err(|e| DataFusionError::External(Box::new(e)))?;
                    scan.source = provider_as_source(table);
                    // Where rows are cut off is said by a node above.
                    scan.fetch = None;
                }
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            other => Ok(Transformed::no(other)),
        };
        plan.transform_up_with_subqueries(on_snapshot).map(|t| t.data).map_err(|e| of_datafusion(&e))
    }

    /// The stream or view behind a scan; `None` for anything else (a recursive query's own rows).
    pub(crate) fn object(&self, scan: &datafusion::logical_expr::TableScan) -> Option<Scanned> {
        if scan.table_name.catalog() != Some(ENVIRONMENT) {
            return None;
        }
        let namespace = scan.table_name.schema().unwrap_or(DEFAULT_NAMESPACE).to_string();
        let name = scan.table_name.table().to_string();
        let bound = self.objects.get(&namespace, &name)?;
        matches!(bound.spec, Spec::Stream(_) | Spec::View(_)).then(|| Scanned { namespace, name, bound: bound.clone() })
    }
}

/// What a scan reads.
#[derive(Clone)]
pub(crate) struct Scanned {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) bound: Arc<crate::BoundObject>,
}

impl Scanned {
    /// The name as people write it.
    pub(crate) fn shown(&self) -> String {
        if self.namespace == DEFAULT_NAMESPACE {
            self.name.clone()
        } else {
            format!("{}.{}", self.namespace, self.name)
        }
    }
}

/// True for what is not summed up to the same last bit each time.
pub(crate) fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float16 | DataType::Float32 | DataType::Float64)
}

/// What should not be possible.
pub(crate) fn bug(e: impl std::fmt::Display) -> Error {
    Error::bug(format!("tracing rows: {e}"))
}

/// The output columns of a plan.
pub(crate) fn schema_of(plan: &LogicalPlan) -> SchemaRef {
    Arc::new(plan.schema().as_arrow().clone())
}

/// A condition on columns of `names` as one on the columns of a plan that has them at the same places.
pub(crate) fn renamed(condition: Expr, names: &SchemaRef, plan: &LogicalPlan) -> Result<Expr> {
    let columns = plan.schema().columns();
    let by_place = |e: Expr| {
        Ok(match &e {
            Expr::Column(c) => match names.index_of(&c.name).ok().and_then(|i| columns.get(i)) {
                Some(column) => Transformed::yes(Expr::Column(column.clone())),
                None => Transformed::no(e),
            },
            _ => Transformed::no(e),
        })
    };
    condition.transform_up(by_place).map(|t| t.data).map_err(|e| of_datafusion(&e))
}
