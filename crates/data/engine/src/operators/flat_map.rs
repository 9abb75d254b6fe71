//! Any row-by-row plan of one input (unnest, hop windows), run by the batch engine over the change itself. Keeps no state.

use std::collections::BTreeMap;

use arrow::array::UInt32Array;
use arrow::datatypes::SchemaRef;
use fleuve_types::{Delta, Result};

use super::map::concat;
use super::{Cell, Guard, Left, Operator, PlanRunner, StepContext};

pub(crate) struct FlatMap {
    pub(crate) label: String,
    pub(crate) input: Cell,
    pub(crate) plan: PlanRunner,
    pub(crate) schema: SchemaRef,
    pub(crate) guard: Guard,
}

impl Operator for FlatMap {
    fn only_adds(&self, _: usize) -> bool {
        true
    }

    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        let input = &inputs[0];
        // The plan knows no weights: rows of one weight go through together.
        let mut by_weight: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for i in 0..input.len() {
            by_weight.entry(input.weight(i)).or_default().push(i as u32);
        }
        let mut outs = Vec::new();
        let mut left = Left::new();
        for (weight, rows) in by_weight {
            let part = if rows.len() == input.len() { input.clone() } else { input.take(&UInt32Array::from(rows))? };
            let run = |part: &Delta| {
                self.input.set(vec![part.batch.clone()]);
                self.plan.run()
            };
            for rows in self.guard.run(&part, &mut left, &run)?.into_iter().flatten() {
                let len = rows.num_rows();
                outs.push(Delta::weighted(rows, vec![weight; len])?);
            }
        }
        self.guard.note(left);
        self.input.set(vec![]);
        concat(&self.schema, &outs)
    }

    fn describe(&self) -> String {
        format!("FlatMap: {}", self.label)
    }
}
