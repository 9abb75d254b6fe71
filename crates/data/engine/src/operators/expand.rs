//! GROUPING SETS: every row once for each set, with NULL for the keys that are not in it, for an aggregate by all keys and the
//! number of the set. Keeps no state.

use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use fleuve_types::{Delta, Error, Result};

use super::map::concat;
use super::{Operator, StepContext, evaluate};
use crate::state::batch_of;

/// One grouping set.
pub(crate) struct GroupingSet {
    /// By key: true if it is in the set.
    pub(crate) has: Vec<bool>,
    /// What the set is told from others by; GROUPING() is computed from it.
    pub(crate) id: ScalarValue,
}

/// See the module.
pub(crate) struct Expand {
    pub(crate) keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) sets: Vec<GroupingSet>,
    /// The input's columns, the keys, the number of the set.
    pub(crate) schema: SchemaRef,
}

impl Operator for Expand {
    fn only_adds(&self, _: usize) -> bool {
        true
    }

    fn step(&mut self, inputs: &[Delta], _: StepContext) -> Result<Delta> {
        let input = &inputs[0];
        let keys = self.keys.iter().map(|k| evaluate(k, &input.batch)).collect::<Result<Vec<_>>>()?;
        let expanded = self.sets.iter().map(|set| {
            let mut columns = input.batch.columns().to_vec();
            columns.extend(
                keys.iter()
                    .zip(&set.has)
                    .map(|(key, has)| if *has { key.clone() } else { new_null_array(key.data_type(), input.len()) }),
            );
            columns.push(set.id.to_array_of_size(input.len()).map_err(|e| Error::bug(e.to_string()))?);
            let batch = batch_of(&self.schema, columns, input.len())?;
            Ok(Delta { batch, weights: input.weights.clone() })
        });
        concat(&self.schema, &expanded.collect::<Result<Vec<_>>>()?)
    }

    fn describe(&self) -> String {
        let set = |s: &GroupingSet| {
            let keys: Vec<String> =
                self.keys.iter().zip(&s.has).filter(|(_, has)| **has).map(|(k, _)| k.to_string()).collect();
            format!("({})", keys.join(", "))
        };
        format!("Expand: {}", self.sets.iter().map(set).collect::<Vec<_>>().join(", "))
    }
}
