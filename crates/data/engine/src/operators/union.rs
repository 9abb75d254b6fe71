//! UNION ALL. Keeps no state.

use arrow::datatypes::SchemaRef;
use fleuve_types::{Delta, Result};

use super::map::concat;
use super::{Operator, StepContext};
use crate::state::batch_of;

pub(crate) struct Union {
    pub(crate) schema: SchemaRef,
}

impl Operator for Union {
    fn only_adds(&self, _: usize) -> bool {
        true
    }

    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        let same = inputs
            .iter()
            .filter(|d| !d.is_empty())
            .map(|d| {
                // The inputs' types are the same, their column names need not be.
                let batch = batch_of(&self.schema, d.batch.columns().to_vec(), d.len())?;
                Ok(Delta { batch, weights: d.weights.clone() })
            })
            .collect::<Result<Vec<_>>>()?;
        concat(&self.schema, &same)
    }

    fn describe(&self) -> String {
        "Union".into()
    }
}
