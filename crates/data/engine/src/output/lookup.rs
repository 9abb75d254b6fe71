//! Many rows of an answer at once, found by the answer's key: what a join reads that does not keep them itself.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{concat_batches, interleave};
use arrow::datatypes::{FieldRef, SchemaRef};
use fleuve_types::{ColumnPart, Error, Result, narrow_struct};

use super::chunks::{Chunk, RowHash, SharedIndex};
use super::{ViewSnapshot, hash128};
use crate::lookup::Found;
use crate::state::batch_of;

/// An answer in which rows are looked up, with the columns that are read. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Answer {
    snapshot: ViewSnapshot,
    columns: Vec<usize>,
    /// Of the whole columns, and of what is read of them.
    whole: SchemaRef,
    schema: SchemaRef,
}

impl Answer {
    /// An answer of which `columns` are read, as `schema` says.
    ///
    /// # Errors
    /// When its key is another one than `key`, or its columns have other types.
    pub(crate) fn new(
        snapshot: ViewSnapshot,
        key: &[usize],
        columns: &[ColumnPart],
        schema: SchemaRef,
    ) -> Result<Self> {
        if snapshot.key() != Some(key) {
            return Err(Error::input("the answer in which rows are looked up has another key by now"));
        }
        let own = snapshot.schema();
        let is_there = |(part, field): (&ColumnPart, &FieldRef)| {
            own.fields().get(part.at).is_some_and(|f| part.field(f).data_type() == field.data_type())
        };
        if !columns.iter().zip(schema.fields()).all(is_there) {
            return Err(Error::input("the answer in which rows are looked up has other columns by now"));
        }
        let columns: Vec<usize> = columns.iter().map(|c| c.at).collect();
        let whole = Arc::new(own.project(&columns).map_err(bug)?);
        Ok(Self { snapshot, columns, whole, schema })
    }

    /// The rows with these keys, `(hash, encoded key)` in order and each once. Where they lie makes no difference.
    ///
    /// # Errors
    /// Arrow's, and [`fleuve_types::ErrorKind::Io`] if what lies on disk cannot be read.
    pub(crate) fn find(&self, keys: &[(u64, &[u8])]) -> Result<Found> {
        let inner = &self.snapshot.0;
        let Some(index) = &inner.index else { return Err(Error::bug("rows are looked up in an answer without a key")) };
        let places = places_of(index, &inner.chunks, keys);
        let here = |(n, place): (usize, &Option<Place>)| Some((n, (*place)?));
        let (mut found, here): (Vec<usize>, Vec<Place>) = places.iter().enumerate().filter_map(here).unzip();
        let mut whole = self.gather(&here)?;
        if let Some(cold) = inner.cold.as_ref().filter(|_| found.len() < keys.len()) {
            let absent = places.iter().enumerate().filter(|(_, place)| place.is_none()).map(|(n, _)| n).collect();
            let (cold_keys, cold_rows) = cold.lookup_many(keys, absent, &self.columns, &self.whole)?;
            whole = concat_batches(&self.whole, [&whole, &cold_rows]).map_err(bug)?;
            found.extend(cold_keys);
        }
        let narrow = whole.columns().iter().zip(self.schema.fields()).map(|(c, f)| narrow_struct(c, f.data_type()));
        let rows = batch_of(&self.schema, narrow.collect::<Result<_>>()?, found.len())?;
        Ok(Found { weights: vec![1; found.len()], keys: found, rows })
    }

    /// Rows in memory.
    fn gather(&self, places: &[Place]) -> Result<RecordBatch> {
        if places.is_empty() {
            return Ok(RecordBatch::new_empty(self.whole.clone()));
        }
        // Only the chunks that have some: a column of views takes along all bytes of those that it is made of.
        let chunks = &self.snapshot.0.chunks;
        let mut used: Vec<Option<usize>> = vec![None; chunks.len()];
        let mut from: Vec<&Chunk> = vec![];
        let mut at = Vec::with_capacity(places.len());
        for (chunk, row) in places {
            let number = *used[*chunk].get_or_insert_with(|| {
                from.push(&chunks[*chunk]);
                from.len() - 1
            });
            at.push((number, *row));
        }
        let column = |c: &usize| {
            let parts: Vec<&dyn Array> = from.iter().map(|chunk| chunk.batch.column(*c).as_ref()).collect();
            interleave(&parts, &at).map_err(bug)
        };
        let columns: Vec<ArrayRef> = self.columns.iter().map(column).collect::<Result<_>>()?;
        batch_of(&self.whole, columns, places.len())
    }
}

/// `(chunk, row)`
type Place = (usize, usize);

/// Where the rows with these keys are in memory.
fn places_of(shared: &SharedIndex, chunks: &[Arc<Chunk>], keys: &[(u64, &[u8])]) -> Vec<Option<Place>> {
    let hashes: Vec<RowHash> = keys.iter().map(|(_, key)| hash128(key)).collect();
    let index = shared.index.read();
    let is_now = index.changes == shared.changes;
    // Where the answer has gone on since, most rows still are where the index has them.
    let place = |hash: &RowHash| {
        let (chunk, row) = index.find(*hash)?;
        let chunk = chunk.checked_sub(shared.first)? as usize;
        chunks.get(chunk)?.has(row, *hash).then_some((chunk, row))
    };
    let mut places: Vec<Option<Place>> = hashes.iter().map(place).collect();
    drop(index);
    if !is_now {
        find_others(chunks, &hashes, &mut places);
    }
    places
}

/// Looks through all rows for those that have no place yet.
fn find_others(chunks: &[Arc<Chunk>], hashes: &[RowHash], places: &mut [Option<Place>]) {
    let without = places.iter().zip(hashes).enumerate().filter(|(_, (place, _))| place.is_none());
    let mut left: HashMap<RowHash, usize> = without.map(|(n, (_, hash))| (*hash, n)).collect();
    for (number, chunk) in chunks.iter().enumerate() {
        if left.is_empty() {
            return;
        }
        for (row, hash) in chunk.rows_there() {
            if let Some(n) = left.remove(&hash) {
                places[n] = Some((number, row));
            }
        }
    }
}

fn bug(e: arrow::error::ArrowError) -> Error {
    Error::bug(e.to_string())
}
