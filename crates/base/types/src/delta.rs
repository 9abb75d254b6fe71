use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;

use crate::{Error, Result};

/// A change: rows with a signed weight each (a Z-set; Budiu et al., "DBSP", VLDB 2023). `+n` means n more copies of the
/// row, `-n` n fewer. `weights` absent means `+1` for every row.
#[derive(Clone, Debug)]
pub struct Delta {
    /// The rows.
    pub batch: RecordBatch,
    /// One weight per row, or none when all are +1.
    pub weights: Option<Arc<[i64]>>,
}

impl Delta {
    /// Rows that are all new.
    pub fn insert(batch: RecordBatch) -> Self {
        Self { batch, weights: None }
    }

    /// Memory that it holds, in bytes; what it shares with others counts in full.
    pub fn memory_bytes(&self) -> usize {
        self.batch.get_array_memory_size() + self.weights.as_ref().map_or(0, |w| w.len() * 8)
    }

    /// Rows with their weights.
    ///
    /// # Errors
    /// A bug if the lengths differ.
    pub fn weighted(batch: RecordBatch, weights: Vec<i64>) -> Result<Self> {
        if weights.len() != batch.num_rows() {
            return Err(Error::bug(format!(
                "a delta of {} rows came with {} weights",
                batch.num_rows(),
                weights.len()
            )));
        }
        let weights = if weights.iter().all(|w| *w == 1) { None } else { Some(weights.into()) };
        Ok(Self { batch, weights })
    }

    /// No rows.
    pub fn empty(schema: SchemaRef) -> Self {
        Self { batch: RecordBatch::new_empty(schema), weights: None }
    }

    /// Rows, whatever their weight.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// True when there is no row.
    pub fn is_empty(&self) -> bool {
        self.batch.num_rows() == 0
    }

    /// The weight of a row.
    pub fn weight(&self, row: usize) -> i64 {
        self.weights.as_ref().map_or(1, |w| w[row])
    }

    /// True when no weight is negative, so the change only adds.
    pub fn is_append(&self) -> bool {
        self.weights.as_ref().is_none_or(|w| w.iter().all(|w| *w >= 0))
    }

    /// The rows at `indices`, with their weights.
    ///
    /// # Errors
    /// Arrow's, if an index is out of bounds.
    pub fn take(&self, indices: &UInt32Array) -> Result<Self> {
        let columns: Vec<ArrayRef> = self
            .batch
            .columns()
            .iter()
            .map(|c| take(c, indices, None))
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| Error::bug(e.to_string()))?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(indices.len()));
        let batch = RecordBatch::try_new_with_options(self.batch.schema(), columns, &options)
            .map_err(|e| Error::bug(e.to_string()))?;
        let weights = self.weights.as_ref().map(|w| indices.values().iter().map(|i| w[*i as usize]).collect());
        Ok(Self { batch, weights })
    }
}

/// Sums the weights of equal items and leaves out those that come to zero. The order is that of first appearance.
pub fn consolidate_rows<T: std::hash::Hash + Eq + Clone>(items: impl IntoIterator<Item = (T, i64)>) -> Vec<(T, i64)> {
    let mut at = std::collections::HashMap::new();
    let mut out: Vec<(T, i64)> = Vec::new();
    for (item, w) in items {
        let slot = *at.entry(item.clone()).or_insert_with(|| {
            out.push((item, 0));
            out.len() - 1
        });
        out[slot].1 += w;
    }
    out.retain(|(_, w)| *w != 0);
    out
}
