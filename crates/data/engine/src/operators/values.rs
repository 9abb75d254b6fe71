//! Rows that do not depend on any input: VALUES, or a SELECT without FROM. Given out in the first step.

use fleuve_types::{Delta, Result};

use super::{Operator, StepContext};

pub(crate) struct Values {
    pub(crate) rows: Delta,
}

impl Operator for Values {
    fn step(&mut self, _: &[Delta], context: StepContext) -> Result<Delta> {
        Ok(if context.first { self.rows.clone() } else { Delta::empty(self.rows.batch.schema()) })
    }

    fn wants_step(&self, context: StepContext) -> bool {
        context.first
    }

    fn describe(&self) -> String {
        format!("Values: {} rows", self.rows.len())
    }
}
