//! Any DataFusion aggregate whose accumulator may be asked for its result repeatedly, over rows that only come, or with an
//! accumulator that can take rows out again.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::take;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use fleuve_types::{Error, Result};

use super::accumulator::{Accumulator, Input};
use crate::state::ByteSet;

type Inner = Box<dyn datafusion::logical_expr::Accumulator>;

pub(super) struct Generic {
    expr: Arc<AggregateFunctionExpr>,
    groups: Vec<Option<Inner>>,
    state_width: usize,
}

fn failed(e: datafusion::error::DataFusionError) -> Error {
    Error::input(format!("an aggregate failed: {}", e.strip_backtrace()))
}

impl Generic {
    pub(super) fn new(expr: Arc<AggregateFunctionExpr>) -> Result<Self> {
        let state_width = expr.state_fields().map_err(failed)?.len();
        Ok(Self { expr, groups: vec![], state_width })
    }

    fn inner(&mut self, group: usize) -> Result<&mut Inner> {
        if self.groups[group].is_none() {
            self.groups[group] = Some(self.expr.create_accumulator().map_err(failed)?);
        }
        self.groups[group].as_mut().ok_or_else(|| Error::bug("an accumulator that was just made is there"))
    }
}

impl Accumulator for Generic {
    fn resize(&mut self, groups: usize) {
        self.groups.resize_with(groups, || None);
    }

    fn reset(&mut self, group: u32) {
        self.groups[group as usize] = None;
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let mut by_group: Vec<(u32, bool, u32)> = Vec::with_capacity(input.rows.len());
        let mask = |row: &u32| input.filter.is_none_or(|f: &BooleanArray| f.value(*row as usize));
        for (row, group) in input.rows.iter().zip(input.groups) {
            if mask(row) {
                let copies = input.weights.map_or(1, |w| w[*row as usize]);
                by_group.extend((0..copies.abs()).map(|_| (*group, copies < 0, *row)));
            }
        }
        // Of each group first what comes.
        by_group.sort_by_key(|(group, goes, _)| (*group, *goes));
        for part in by_group.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let indices = UInt32Array::from_iter_values(part.iter().map(|(_, _, row)| *row));
            let arguments = input
                .arguments
                .iter()
                .map(|a| take(a, &indices, None))
                .collect::<std::result::Result<Vec<_>, _>>()
                .map_err(|e| Error::bug(e.to_string()))?;
            let inner = self.inner(part[0].0 as usize)?;
            if part[0].1 { inner.retract_batch(&arguments) } else { inner.update_batch(&arguments) }.map_err(failed)?;
        }
        Ok(())
    }

    fn emit(&mut self, groups: &[u32], _: &ByteSet) -> Result<ArrayRef> {
        let values = groups
            .iter()
            .map(|g| self.inner(*g as usize)?.evaluate().map_err(failed))
            .collect::<Result<Vec<ScalarValue>>>()?;
        if values.is_empty() {
            return Ok(arrow::array::new_empty_array(self.expr.field().data_type()));
        }
        ScalarValue::iter_to_array(values).map_err(failed)
    }

    fn bytes(&self) -> usize {
        self.groups.capacity() * 16 + self.groups.iter().flatten().map(|g| g.size()).sum::<usize>()
    }

    fn state_width(&self) -> usize {
        self.state_width
    }

    fn save_groups(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let fields = self.expr.state_fields().map_err(failed)?;
        if groups.is_empty() {
            return Ok(fields.iter().map(|f| arrow::array::new_empty_array(f.data_type())).collect());
        }
        let mut columns: Vec<Vec<ScalarValue>> = vec![Vec::with_capacity(groups.len()); self.state_width];
        for g in groups {
            for (column, value) in columns.iter_mut().zip(self.inner(*g as usize)?.state().map_err(failed)?) {
                column.push(value);
            }
        }
        columns.into_iter().map(|c| ScalarValue::iter_to_array(c).map_err(failed)).collect()
    }

    fn load_group(&mut self, group: u32, state: &[ArrayRef], row: usize) -> Result<()> {
        self.groups[group as usize] = None;
        let state: Vec<ArrayRef> = state.iter().map(|s| s.slice(row, 1)).collect();
        self.inner(group as usize)?.merge_batch(&state).map_err(failed)
    }
}
