//! Filter and projection, fused. Keeps no state.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, NullArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use fleuve_types::{Delta, Error, Result};

use super::guard::slice;
use super::{Guard, Left, Operator, StepContext, evaluate, evaluate_filter, words_of};
use crate::state::batch_of;

/// One stage: keep the rows for which `filter` holds, then compute the columns.
pub(crate) struct Stage {
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    /// None keeps the columns as they are.
    pub(crate) project: Option<Vec<Arc<dyn PhysicalExpr>>>,
    pub(crate) schema: SchemaRef,
}

impl Stage {
    /// The rows for which `mask` holds. Columns that only the filter reads are not copied: they become columns of NULLs.
    fn keep(&self, delta: &Delta, mask: &BooleanArray) -> Result<Delta> {
        let Some(project) = &self.project else { return keep(delta, mask) };
        let read: HashSet<usize> = project.iter().flat_map(collect_columns).map(|c| c.index()).collect();
        let given = delta.batch.schema();
        let (mut fields, mut columns) = (vec![], vec![]);
        for (n, (field, column)) in given.fields().iter().zip(delta.batch.columns()).enumerate() {
            if read.contains(&n) {
                fields.push(field.clone());
                columns.push(column.clone());
            } else {
                fields.push(Arc::new(Field::new(field.name(), DataType::Null, true)));
                columns.push(Arc::new(NullArray::new(column.len())));
            }
        }
        let batch = batch_of(&Arc::new(Schema::new(fields)), columns, delta.len())?;
        keep(&Delta { batch, weights: delta.weights.clone() }, mask)
    }
}

/// Stages one after the other.
pub(crate) struct Map {
    pub(crate) stages: Vec<Stage>,
    pub(crate) guard: Guard,
}

/// Rows per piece of parallel work.
const PIECE_ROWS: usize = 16_384;

impl Map {
    /// The rows of `delta` that do not fail, and those that do.
    fn guarded(&self, delta: &Delta) -> Result<(Delta, Left)> {
        let mut left = Left::new();
        let parts = self.guard.run(delta, &mut left, &|rows| self.run(rows))?;
        let parts: Vec<Delta> = parts.into_iter().flatten().collect();
        let schema = self.stages.last().map_or_else(|| delta.batch.schema(), |s| s.schema.clone());
        Ok((concat(&schema, &parts)?, left))
    }

    /// True if it leaves out and moves columns, and copies none.
    fn only_picks(&self) -> bool {
        let picks = |expr: &Arc<dyn PhysicalExpr>| expr.downcast_ref::<Column>().is_some();
        self.stages.iter().all(|s| s.filter.is_none() && s.project.iter().flatten().all(picks))
    }

    fn run(&self, delta: &Delta) -> Result<Delta> {
        let mut delta = delta.clone();
        for stage in &self.stages {
            if let Some(filter) = &stage.filter {
                let mask = evaluate_filter(filter, &delta.batch)?;
                if mask.true_count() < mask.len() {
                    delta = stage.keep(&delta, &mask)?;
                }
            }
            if let Some(project) = &stage.project {
                let columns = project.iter().map(|e| evaluate(e, &delta.batch)).collect::<Result<Vec<_>>>()?;
                delta.batch = batch_of(&stage.schema, columns, delta.len())?;
            }
        }
        Ok(delta)
    }
}

/// The rows of a delta for which `mask` holds.
pub(crate) fn keep(delta: &Delta, mask: &BooleanArray) -> Result<Delta> {
    let batch = filter_record_batch(&delta.batch, mask).map_err(|e| Error::bug(e.to_string()))?;
    let weights = delta
        .weights
        .as_ref()
        .map(|w| w.iter().zip(mask.values().iter()).filter(|(_, keep)| *keep).map(|(w, _)| *w).collect());
    Ok(Delta { batch, weights })
}

/// Joins deltas of one schema into one.
pub(crate) fn concat(schema: &SchemaRef, deltas: &[Delta]) -> Result<Delta> {
    joined(schema, deltas, false)
}

/// As [`concat`], with the columns side by side. Not for a part of work that runs side by side itself.
pub(crate) fn concat_wide(schema: &SchemaRef, deltas: &[Delta]) -> Result<Delta> {
    joined(schema, deltas, true)
}

fn joined(schema: &SchemaRef, deltas: &[Delta], wide: bool) -> Result<Delta> {
    use rayon::prelude::*;
    let parts: Vec<&Delta> = deltas.iter().filter(|d| !d.is_empty()).collect();
    match parts.as_slice() {
        [] => return Ok(Delta::empty(schema.clone())),
        [one] => return Ok((*one).clone()),
        _ => {}
    }
    let rows = parts.iter().map(|d| d.len()).sum();
    let column = |n: usize| {
        let of_parts: Vec<&dyn Array> = parts.iter().map(|d| d.batch.column(n).as_ref()).collect();
        arrow::compute::concat(&of_parts).map_err(|e| Error::bug(e.to_string()))
    };
    let columns = 0..schema.fields().len();
    let columns = match wide && rows >= 2 * PIECE_ROWS && columns.len() > 1 {
        true => columns.into_par_iter().map(column).collect::<Result<Vec<_>>>()?,
        false => columns.map(column).collect::<Result<Vec<_>>>()?,
    };
    let batch = batch_of(schema, columns, rows)?;
    let weights = if parts.iter().all(|d| d.weights.is_none()) {
        None
    } else {
        Some(parts.iter().flat_map(|d| (0..d.len()).map(|i| d.weight(i))).collect())
    };
    Ok(Delta { batch, weights })
}

impl Operator for Map {
    fn only_adds(&self, _: usize) -> bool {
        true
    }

    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        use rayon::prelude::*;
        let input = &inputs[0];
        if input.len() < 2 * PIECE_ROWS || self.only_picks() || rayon::current_num_threads() == 1 {
            let (out, left) = self.guarded(input)?;
            self.guard.note(left);
            return Ok(out);
        }
        let pieces: Vec<Delta> =
            (0..input.len()).step_by(PIECE_ROWS).map(|at| slice(input, at, PIECE_ROWS.min(input.len() - at))).collect();
        let this = &*self;
        // The first failure in the order of the rows is the one to tell.
        let label = fleuve_profile::current();
        let labelled = |piece: &Delta| {
            let _shown = fleuve_profile::enter(label);
            this.guarded(piece)
        };
        let done: Vec<Result<(Delta, Left)>> = pieces.par_iter().map(labelled).collect();
        let (outs, left): (Vec<Delta>, Vec<Left>) = done.into_iter().collect::<Result<Vec<_>>>()?.into_iter().unzip();
        left.into_iter().for_each(|l| self.guard.note(l));
        let schema = outs.first().map_or_else(|| input.batch.schema(), |d| d.batch.schema());
        concat_wide(&schema, &outs)
    }

    fn describe(&self) -> String {
        let mut parts = Vec::new();
        for stage in &self.stages {
            if let Some(f) = &stage.filter {
                parts.push(format!("filter {f}"));
            }
            if let Some(p) = &stage.project {
                parts.push(format!("project {}", p.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));
            }
        }
        format!("Map: {}", parts.join("; "))
    }

    fn in_words(&self) -> String {
        let stage = |stage: &Stage| {
            let filter = stage.filter.as_ref().map(|f| format!("filter {}", words_of(f)));
            let project = stage.project.as_ref().map(|p| {
                let exprs: Vec<String> = p.iter().map(words_of).collect();
                format!("project {}", exprs.join(", "))
            });
            filter.into_iter().chain(project)
        };
        let parts: Vec<String> = self.stages.iter().flat_map(stage).collect();
        format!("Map: {}", parts.join("; "))
    }
}
