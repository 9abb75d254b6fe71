//! The answer of a view, as readers see it. Derived state: rebuilt from a checkpoint or from the log.
//!
//! Rows live in immutable chunks; a row that goes is struck out in its chunk's bitmap, which is copied only when a reader still
//! holds the old one. So a snapshot is a list of chunks, taken in no time and consistent for as long as it is held.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use fleuve_types::{Delta, Epoch, Error, Result};
use hashbrown::HashTable;
use parking_lot::RwLock;

use crate::state::{RowCodec, batch_of, hash_bytes};

/// Chunks are merged up to this many rows.
const CHUNK_ROWS: usize = 65_536;
const WEIGHT: &str = "__weight";

/// Which rows of a chunk are there, one bit each; `None` is all of them.
type Live = Option<Arc<Vec<u64>>>;

/// A part of a view's rows.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    batch: RecordBatch,
    live: Live,
    live_rows: usize,
}

impl Chunk {
    fn rows(&self) -> Result<RecordBatch> {
        match &self.live {
            None => Ok(self.batch.clone()),
            Some(bits) => {
                let buffer = Buffer::from_slice_ref(bits.as_slice());
                let mask = BooleanArray::new(BooleanBuffer::new(buffer, 0, self.batch.num_rows()), None);
                filter_record_batch(&self.batch, &mask).map_err(|e| Error::bug(e.to_string()))
            }
        }
    }

    fn is_live(&self, row: usize) -> bool {
        self.live.as_ref().is_none_or(|bits| bits[row / 64] >> (row % 64) & 1 == 1)
    }
}

/// Where a row stands. Rows are told apart by 128 bits of hash of their identity.
#[derive(Clone, Copy)]
struct Place {
    hash: (u64, u64),
    chunk: u32,
    row: u32,
}

#[derive(Default)]
struct Index {
    epoch: Epoch,
    places: HashTable<Place>,
}

/// The rows of a view and what is needed to change them.
pub(crate) struct Output {
    schema: SchemaRef,
    /// Columns that tell rows apart: the key, or all.
    identity: Vec<usize>,
    codec: RowCodec,
    key: Option<Vec<usize>>,
    append_only: bool,
    chunks: Vec<Chunk>,
    hashes: Vec<Vec<(u64, u64)>>,
    index: Option<Arc<RwLock<Index>>>,
    rows: usize,
    /// Changes since the last save.
    unsaved: Vec<Delta>,
    /// The bytes of the chunks' batches.
    bytes: usize,
}

/// A view's rows at one epoch.
#[derive(Clone)]
pub struct ViewSnapshot {
    pub(crate) schema: SchemaRef,
    pub(crate) epoch: Epoch,
    pub(crate) key: Option<Vec<usize>>,
    chunks: Vec<Chunk>,
    index: Option<Arc<RwLock<Index>>>,
    rows: usize,
}

fn hash128(bytes: &[u8]) -> (u64, u64) {
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
            schema,
            identity,
            key,
            append_only,
            chunks: vec![],
            hashes: vec![],
            index: indexed.then(Default::default),
            rows: 0,
            unsaved: vec![],
            bytes: 0,
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let index = self.index.as_ref().map_or(0, |i| i.read().places.capacity() * 25);
        let hashes: usize = self.hashes.iter().map(|h| h.capacity() * 16).sum();
        let unsaved: usize = self.unsaved.iter().map(|d| d.batch.get_array_memory_size()).sum();
        self.bytes + index + hashes + unsaved
    }

    fn identities(&self, batch: &RecordBatch) -> Result<Vec<(u64, u64)>> {
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

    /// Says that the rows are those of `epoch`, too.
    pub(crate) fn seen(&mut self, epoch: Epoch) {
        if let Some(index) = &self.index {
            index.write().epoch = epoch;
        }
    }

    fn change(&mut self, delta: &Delta) -> Result<()> {
        let index = self.index.clone();
        let mut index = index.as_ref().map(|i| i.write());
        if let Some(index) = index.as_mut() {
            // No snapshot's epoch: nobody looks rows up until the new one is published.
            index.epoch = Epoch::MAX;
        }
        if !delta.is_append() {
            let Some(index) = index.as_mut() else {
                return Err(Error::bug("a row went from a view that was thought to only grow"));
            };
            let hashes = self.identities(&delta.batch)?;
            for (row, hash) in hashes.iter().enumerate() {
                for _ in delta.weight(row)..0 {
                    self.strike(index, *hash)?;
                }
            }
        }
        let mut indices: Vec<u32> = Vec::new();
        for i in 0..delta.len() {
            for _ in 0..delta.weight(i) {
                indices.push(i as u32);
            }
        }
        if indices.is_empty() {
            return Ok(());
        }
        let batch = if delta.weights.is_none() {
            delta.batch.clone()
        } else {
            Delta::insert(delta.batch.clone()).take(&UInt32Array::from(indices))?.batch
        };
        let batch = batch_of(&self.schema, batch.columns().to_vec(), batch.num_rows())?;
        self.rows += batch.num_rows();
        self.add_chunk(batch, index.as_deref_mut())?;
        self.tidy(index.as_deref_mut())
    }

    fn strike(&mut self, index: &mut Index, hash: (u64, u64)) -> Result<()> {
        let entry = index
            .places
            .find_entry(hash.0, |p| p.hash == hash)
            .map_err(|_| Error::bug("a view's change takes away a row that is not there"))?;
        let (place, _) = entry.remove();
        let chunk = &mut self.chunks[place.chunk as usize];
        let len = chunk.batch.num_rows();
        let bits = chunk.live.get_or_insert_with(|| Arc::new(vec![u64::MAX; len.div_ceil(64)]));
        Arc::make_mut(bits)[place.row as usize / 64] &= !(1 << (place.row % 64));
        chunk.live_rows -= 1;
        self.rows -= 1;
        Ok(())
    }

    fn add_chunk(&mut self, batch: RecordBatch, index: Option<&mut Index>) -> Result<()> {
        let number = self.chunks.len() as u32;
        let mut hashes = vec![];
        if let Some(index) = index {
            hashes = self.identities(&batch)?;
            for (row, hash) in hashes.iter().enumerate() {
                let place = Place { hash: *hash, chunk: number, row: row as u32 };
                index.places.insert_unique(hash.0, place, |p| p.hash.0);
            }
        }
        self.bytes += batch.get_array_memory_size();
        self.hashes.push(hashes);
        self.chunks.push(Chunk { live_rows: batch.num_rows(), batch, live: None });
        Ok(())
    }

    /// Merges small neighbours at the end, so that there are few chunks, and rewrites chunks that are mostly struck out.
    fn tidy(&mut self, mut index: Option<&mut Index>) -> Result<()> {
        while let [.., a, b] = self.chunks.as_slice() {
            if a.live_rows > 2 * b.live_rows || a.live_rows + b.live_rows > CHUNK_ROWS {
                break;
            }
            self.rewrite(self.chunks.len() - 2, index.as_deref_mut())?;
        }
        if self.chunks.len() > 8 {
            let (mut all, mut live) = (0, 0);
            for chunk in &self.chunks {
                all += chunk.batch.num_rows();
                live += chunk.live_rows;
            }
            if live * 2 < all {
                self.rewrite(0, index)?;
            }
        }
        Ok(())
    }

    /// Writes the live rows of the chunks from `from` on into new ones.
    fn rewrite(&mut self, from: usize, mut index: Option<&mut Index>) -> Result<()> {
        let old = self.chunks.split_off(from);
        let old_hashes = self.hashes.split_off(from);
        let mut batches = vec![];
        for (n, chunk) in old.iter().enumerate() {
            self.bytes -= chunk.batch.get_array_memory_size();
            if let Some(index) = index.as_deref_mut() {
                let number = (from + n) as u32;
                for (row, hash) in old_hashes[n].iter().enumerate() {
                    if chunk.is_live(row) {
                        let here = |p: &Place| p.chunk == number && p.row == row as u32;
                        if let Ok(entry) = index.places.find_entry(hash.0, here) {
                            entry.remove();
                        }
                    }
                }
            }
            batches.push(chunk.rows()?);
        }
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows == 0 {
            return Ok(());
        }
        let all = if self.schema.fields().is_empty() {
            batch_of(&self.schema, vec![], rows)?
        } else {
            arrow::compute::concat_batches(&self.schema, &batches).map_err(|e| Error::bug(e.to_string()))?
        };
        for at in (0..rows).step_by(CHUNK_ROWS) {
            let part = all.slice(at, CHUNK_ROWS.min(rows - at));
            self.add_chunk(part, index.as_deref_mut())?;
        }
        Ok(())
    }

    /// The rows as they are now.
    pub(crate) fn snapshot(&self, epoch: Epoch) -> ViewSnapshot {
        ViewSnapshot {
            schema: self.schema.clone(),
            epoch,
            key: self.key.clone(),
            chunks: self.chunks.clone(),
            index: self.key.as_ref().and(self.index.clone()),
            rows: self.rows,
        }
    }

    /// Changes since the last call, or all rows, as batches with a weight column.
    pub(crate) fn save(&mut self, full: bool) -> Result<Vec<RecordBatch>> {
        let unsaved = std::mem::take(&mut self.unsaved);
        if full {
            return self.chunks.iter().map(|c| with_weights(&Delta::insert(c.rows()?))).collect();
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

fn with_weights(delta: &Delta) -> Result<RecordBatch> {
    let mut fields: Vec<Field> =
        delta.batch.schema().fields().iter().map(|f| Field::new(f.name(), f.data_type().clone(), true)).collect();
    fields.push(Field::new(WEIGHT, DataType::Int64, false));
    let mut columns = delta.batch.columns().to_vec();
    columns.push(Arc::new((0..delta.len()).map(|i| delta.weight(i)).collect::<Int64Array>()));
    batch_of(&Arc::new(Schema::new(fields)), columns, delta.len())
}

impl ViewSnapshot {
    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The epoch that it shows.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How many rows there are.
    pub fn num_rows(&self) -> usize {
        self.rows
    }

    /// All rows.
    ///
    /// # Errors
    /// Arrow's.
    pub fn batches(&self) -> Result<Vec<RecordBatch>> {
        self.chunks.iter().filter(|c| c.live_rows > 0).map(Chunk::rows).collect()
    }

    /// The row with this key (one-row columns in the key's order), without looking at the others. `None` if there is no index
    /// for this epoch: then the caller has to scan.
    ///
    /// # Errors
    /// Arrow's.
    pub fn lookup(&self, key: &[ArrayRef]) -> Result<Option<Vec<RecordBatch>>> {
        let Some(index) = &self.index else { return Ok(None) };
        let codec = RowCodec::new(key.iter().map(|c| c.data_type().clone()).collect())?;
        let hash = hash128(codec.encode(key)?.row(0));
        let index = index.read();
        if index.epoch != self.epoch {
            return Ok(None);
        }
        let found = index.places.find(hash.0, |p| p.hash == hash);
        Ok(Some(found.map(|p| self.chunks[p.chunk as usize].batch.slice(p.row as usize, 1)).into_iter().collect()))
    }
}
