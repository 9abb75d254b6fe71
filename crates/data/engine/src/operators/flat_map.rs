//! Any row-by-row plan of one input (unnest, hop windows), run by the batch engine over the change itself. Keeps no state.

use std::collections::BTreeMap;

use arrow::array::UInt32Array;
use arrow::datatypes::SchemaRef;
use fleuve_types::{Delta, Result};

use super::map::concat;
use super::{Cell, Operator, PlanRunner, StepContext};

pub(crate) struct FlatMap {
    pub(crate) label: String,
    pub(crate) input: Cell,
    pub(crate) plan: PlanRunner,
    pub(crate) schema: SchemaRef,
}

impl Operator for FlatMap {
    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        let input = &inputs[0];
        // The plan knows no weights: rows of one weight go through together.
        let mut by_weight: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for i in 0..input.len() {
            by_weight.entry(input.weight(i)).or_default().push(i as u32);
        }
        let mut outs = Vec::new();
        for (weight, rows) in by_weight {
            let part = if rows.len() == input.len() {
                input.batch.clone()
            } else {
                Delta::insert(input.batch.clone()).take(&UInt32Array::from(rows))?.batch
            };
            self.input.set(vec![part]);
            let rows = self.plan.run()?;
            let len = rows.num_rows();
            outs.push(Delta::weighted(rows, vec![weight; len])?);
        }
        self.input.set(vec![]);
        concat(&self.schema, &outs)
    }

    fn describe(&self) -> String {
        format!("FlatMap: {}", self.label)
    }
}
