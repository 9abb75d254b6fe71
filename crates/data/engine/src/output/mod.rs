//! The answer of a view, as readers see it. Derived state: rebuilt from a checkpoint or from the log.
//!
//! Rows live in immutable chunks; a row that goes is struck out in its chunk's bitmap, which is copied only when a reader still
//! holds the old one. So a snapshot is a list of chunks, taken in no time and consistent for as long as it is held.

mod chunks;
mod difference;
mod snapshot;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use fleuve_types::{Delta, Epoch, Error, Result};
use hashbrown::HashTable;

use self::chunks::{Chunks, RowHash};
pub(crate) use self::difference::difference;
pub use self::snapshot::{ViewRows, ViewSnapshot};
use crate::state::{RowCodec, batch_of, hash_bytes};

const WEIGHT: &str = "__weight";
/// Rows of an answer are saved in batches of this many.
const SAVED_ROWS: usize = 65_536;

/// The rows of a view and what is needed to change them.
pub(crate) struct Output {
    schema: SchemaRef,
    /// Columns that tell rows apart: the key, or all.
    identity: Vec<usize>,
    codec: RowCodec,
    key: Option<Vec<usize>>,
    append_only: bool,
    chunks: Chunks,
    /// Changes since the last save.
    unsaved: Vec<Delta>,
}

fn hash128(bytes: &[u8]) -> RowHash {
    let first = hash_bytes(bytes);
    // A second hash of its own: FNV-1a over words, mixed at each step (Vigna's variant of Murmur3's finalizer).
    let mut second = 0xa076_1d64_78bd_642f ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        second = (second ^ u64::from_le_bytes(word)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        second ^= second >> 31;
    }
    second = second.wrapping_mul(0x94d0_49bb_1331_11eb);
    second ^= second >> 29;
    (first, second)
}

/// Sums up a change so that each row is in it once, without rows that come to nothing.
pub(crate) fn consolidate(delta: Delta) -> Result<Delta> {
    if delta.weights.is_none() || delta.is_empty() {
        return Ok(delta);
    }
    let codec = RowCodec::for_schema(&delta.batch.schema())?;
    let rows = codec.encode(delta.batch.columns())?;
    let mut at: HashTable<(u64, usize)> = HashTable::with_capacity(delta.len());
    let mut indices: Vec<u32> = Vec::with_capacity(delta.len());
    let mut weights: Vec<i64> = Vec::with_capacity(delta.len());
    for i in 0..delta.len() {
        let row = rows.row(i);
        let hash = hash_bytes(row);
        let same = |(h, slot): &(u64, usize)| *h == hash && rows.row(indices[*slot] as usize) == row;
        if let Some((_, slot)) = at.find(hash, same) {
            weights[*slot] += delta.weight(i);
        } else {
            at.insert_unique(hash, (hash, indices.len()), |(h, _)| *h);
            indices.push(i as u32);
            weights.push(delta.weight(i));
        }
    }
    let keep: Vec<usize> = (0..indices.len()).filter(|i| weights[*i] != 0).collect();
    if keep.len() == delta.len() {
        return Ok(delta);
    }
    let taken = UInt32Array::from_iter_values(keep.iter().map(|i| indices[*i]));
    let batch = Delta::insert(delta.batch.clone()).take(&taken)?.batch;
    Delta::weighted(batch, keep.iter().map(|i| weights[*i]).collect())
}

impl Output {
    pub(crate) fn new(schema: SchemaRef, key: Option<Vec<usize>>, append_only: bool) -> Result<Self> {
        let identity = key.clone().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let types = identity.iter().map(|i| schema.field(*i).data_type().clone()).collect();
        let indexed = !append_only || key.is_some();
        Ok(Self {
            codec: RowCodec::new(types)?,
            chunks: Chunks::new(schema.clone(), indexed),
            schema,
            identity,
            key,
            append_only,
            unsaved: vec![],
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.chunks.rows()
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let unsaved: usize = self.unsaved.iter().map(|d| d.batch.get_array_memory_size()).sum();
        self.chunks.bytes() + unsaved
    }

    fn identities(&self, batch: &RecordBatch) -> Result<Vec<RowHash>> {
        let columns: Vec<ArrayRef> = self.identity.iter().map(|i| batch.column(*i).clone()).collect();
        let rows = self.codec.encode(&columns)?;
        Ok((0..batch.num_rows()).map(|i| hash128(rows.row(i))).collect())
    }

    /// Takes in a consolidated change.
    pub(crate) fn apply(&mut self, delta: &Delta) -> Result<()> {
        if !delta.is_empty() {
            self.change(delta)?;
            self.unsaved.push(delta.clone());
        }
        Ok(())
    }

    fn change(&mut self, delta: &Delta) -> Result<()> {
        let mut went = vec![];
        if !delta.is_append() {
            for (row, hash) in self.identities(&delta.batch)?.into_iter().enumerate() {
                went.extend((delta.weight(row)..0).map(|_| hash));
            }
        }
        let mut came = None;
        let batch = came_rows(delta)?;
        if batch.num_rows() > 0 {
            let batch = batch_of(&self.schema, batch.columns().to_vec(), batch.num_rows())?;
            let hashes = if self.chunks.is_indexed() { self.identities(&batch)? } else { vec![] };
            came = Some((batch, hashes));
        }
        match self.chunks.change(&went, came)?.is_empty() {
            true => Ok(()),
            false => Err(Error::bug("a view's change takes away a row that is not there")),
        }
    }

    /// The rows as they are now.
    pub(crate) fn snapshot(&self, epoch: Epoch) -> ViewSnapshot {
        ViewSnapshot::new(snapshot::Inner {
            schema: self.schema.clone(),
            epoch,
            key: self.key.clone(),
            chunks: self.chunks.list(),
            index: self.key.as_ref().and_then(|_| self.chunks.index()),
            rows: self.rows(),
        })
    }

    /// Changes since the last call, or all rows, as batches with a weight column.
    pub(crate) fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        let unsaved = std::mem::take(&mut self.unsaved);
        if full {
            return self.snapshot(0).rows().batches_of(SAVED_ROWS).map(|b| with_weights(&Delta::insert(b?))).collect();
        }
        unsaved.iter().map(with_weights).collect()
    }

    /// Takes in one batch that [`Output::save`] gave.
    pub(crate) fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let (weights, columns) =
            batch.columns().split_last().ok_or_else(|| Error::bug("a saved answer lacks its weights"))?;
        let weights = weights.as_any().downcast_ref::<Int64Array>().ok_or_else(|| Error::bug("saved weights"))?;
        let rows = batch_of(&self.schema, columns.to_vec(), batch.num_rows())?;
        self.change(&Delta::weighted(rows, weights.values().to_vec())?)
    }

    /// True if rows never go from it.
    pub(crate) fn is_append_only(&self) -> bool {
        self.append_only
    }
}

/// The rows that come with a change, each as often as it does.
fn came_rows(delta: &Delta) -> Result<RecordBatch> {
    if delta.weights.is_none() {
        return Ok(delta.batch.clone());
    }
    let mut indices: Vec<u32> = Vec::new();
    for i in 0..delta.len() {
        indices.extend((0..delta.weight(i)).map(|_| i as u32));
    }
    Ok(Delta::insert(delta.batch.clone()).take(&UInt32Array::from(indices))?.batch)
}

fn with_weights(delta: &Delta) -> Result<RecordBatch> {
    let mut fields: Vec<Field> =
        delta.batch.schema().fields().iter().map(|f| Field::new(f.name(), f.data_type().clone(), true)).collect();
    fields.push(Field::new(WEIGHT, DataType::Int64, false));
    let mut columns = delta.batch.columns().to_vec();
    columns.push(Arc::new((0..delta.len()).map(|i| delta.weight(i)).collect::<Int64Array>()));
    batch_of(&Arc::new(Schema::new(fields)), columns, delta.len())
}

#[cfg(test)]
mod tests;
