//! The answer of a view, as readers see it. Derived state: rebuilt from a checkpoint or from the log.
//!
//! Rows live in immutable chunks; a row that goes is struck out in its chunk's bitmap, which is copied only when a reader still
//! holds the old one. So a snapshot is a list of chunks, taken in no time and consistent for as long as it is held.
//!
//! When memory is short, chunks leave for immutable runs on disk, the oldest first. Rows come into memory always; what goes is
//! struck out there if it is there, else it is noted, unread, with the runs. A snapshot holds the runs, too. Once all rows have left,
//! the runs are what a checkpoint saves: then it names files and writes only what came since the last one.

mod chunks;
mod cold;
mod cold_rows;
mod difference;
mod layout;
mod lookup;
mod snapshot;
mod unsaved;

use std::sync::Arc;

use arrow::array::{Array, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use fleuve_types::{Delta, Epoch, Error, Result};
use hashbrown::HashTable;

use self::chunks::{Chunks, RowHash};
use self::cold::Cold;
pub(crate) use self::cold::SavedRuns;
pub(crate) use self::difference::{difference, difference_of};
use self::layout::{Form, Layout, SharedLayout};
pub(crate) use self::lookup::Answer;
pub use self::snapshot::{ViewRows, ViewSnapshot};
use self::unsaved::Unsaved;
use crate::operators::{for_each, split};
use crate::state::runs::Space;
use crate::state::{Encoded, RowCodec, batch_of, hash_bytes};

const WEIGHT: &str = "__weight";
/// Rows of an answer are saved in batches of this many.
const SAVED_ROWS: usize = 65_536;

/// Rows leave memory in pieces of about this many bytes: what is sorted at once.
const PIECE_BYTES: usize = 16 << 20;
/// An answer on disk holds at most about this much of what came last in memory.
const RECENT_BYTES: usize = 8 << 20;

/// The rows of a view and what is needed to change them.
pub(crate) struct Output {
    layout: SharedLayout,
    key: Option<Vec<usize>>,
    append_only: bool,
    /// The rows in memory.
    chunks: Chunks,
    /// The rows on disk. None before any has left.
    cold: Option<Cold>,
    /// Where rows may go, and in which folder.
    space: Option<(Arc<Space>, String)>,
    /// All rows have left at some time: a checkpoint names the runs and holds no rows itself.
    is_saved_as_runs: bool,
    /// What changed since the last save, if a checkpoint holds rows.
    unsaved: Unsaved,
    /// Named files that are not needed any more.
    stale: Vec<String>,
    /// It came from runs.
    is_loaded: bool,
}

/// What a checkpoint keeps of an answer.
pub(crate) struct SavedOutput {
    pub(crate) rows: SavedRows,
    /// The runs, if it lies on disk: then there are no rows, and none of earlier saves count.
    pub(crate) runs: Option<SavedRuns>,
}

/// The rows of an answer that a checkpoint's file holds.
pub(crate) enum SavedRows {
    /// None of earlier saves count.
    All(ViewSnapshot),
    /// Changes since the last save.
    Changes(Vec<Delta>),
}

impl SavedRows {
    /// True if there is nothing to be written.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::All(_) => false,
            Self::Changes(changes) => changes.is_empty(),
        }
    }

    /// As batches with a weight column.
    ///
    /// # Errors
    /// Arrow's.
    pub(crate) fn batches(self) -> Result<Vec<RecordBatch>> {
        match self {
            Self::All(all) => {
                all.rows().batches_of(SAVED_ROWS).map(|batch| with_weights(&Delta::insert(batch?))).collect()
            }
            Self::Changes(changes) => changes.iter().map(with_weights).collect(),
        }
    }
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
    let hashes = rows.hashes(delta.len());
    let mut shards: Vec<Vec<u32>> = split(&hashes, rayon::current_num_threads());
    // Equal rows are in the same shard; the order of the rows is not that of the shards.
    let sums = for_each(&mut shards, delta.len(), |_, shard| Ok(sum_up(&delta, &rows, &hashes, shard)))?;
    let mut kept: Vec<(u32, i64)> = sums.into_iter().flatten().collect();
    if kept.len() == delta.len() {
        return Ok(delta);
    }
    kept.sort_unstable_by_key(|(row, _)| *row);
    let taken = UInt32Array::from_iter_values(kept.iter().map(|(row, _)| *row));
    let batch = Delta::insert(delta.batch.clone()).take(&taken)?.batch;
    Delta::weighted(batch, kept.into_iter().map(|(_, weight)| weight).collect())
}

/// The first of each of the rows `of` that are equal, with the sum of their weights, without those that come to nothing.
fn sum_up(delta: &Delta, rows: &Encoded, hashes: &[u64], of: &[u32]) -> Vec<(u32, i64)> {
    let mut at: HashTable<usize> = HashTable::with_capacity(of.len());
    let mut sums: Vec<(u32, i64)> = Vec::with_capacity(of.len());
    for row in of {
        let i = *row as usize;
        let same = |slot: &usize| {
            let first = sums[*slot].0 as usize;
            hashes[first] == hashes[i] && rows.row(first) == rows.row(i)
        };
        if let Some(slot) = at.find(hashes[i], same) {
            sums[*slot].1 += delta.weight(i);
        } else {
            at.insert_unique(hashes[i], sums.len(), |slot| hashes[sums[*slot].0 as usize]);
            sums.push((*row, delta.weight(i)));
        }
    }
    sums.retain(|(_, weight)| *weight != 0);
    sums
}

impl Output {
    pub(crate) fn new(schema: SchemaRef, key: Option<Vec<usize>>, append_only: bool) -> Result<Self> {
        let layout = Arc::new(Layout::new(schema.clone(), key.as_deref(), append_only)?);
        Ok(Self {
            chunks: Chunks::new(schema, layout.form != Form::Log),
            layout,
            key,
            append_only,
            cold: None,
            space: None,
            is_saved_as_runs: false,
            unsaved: Unsaved::nothing(),
            stale: vec![],
            is_loaded: false,
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.chunks.rows() + self.cold.as_ref().map_or(0, |c| c.rows() as usize)
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes_that_can_leave() + self.cold.as_ref().map_or(0, |c| c.bytes() - c.strikes_bytes())
    }

    /// What of it [`Output::shrink`] can free.
    pub(crate) fn bytes_that_can_leave(&self) -> usize {
        self.chunks.bytes() + self.unsaved.bytes() + self.cold.as_ref().map_or(0, Cold::strikes_bytes)
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.cold.as_ref().map_or(0, Cold::disk_bytes)
    }

    /// Of these what merging its runs cannot save.
    pub(crate) fn least_disk_bytes(&self) -> u64 {
        self.cold.as_ref().map_or(0, Cold::least_disk_bytes)
    }

    /// Takes in a consolidated change.
    pub(crate) fn apply(&mut self, delta: &Delta) -> Result<()> {
        if delta.is_empty() {
            return Ok(());
        }
        self.change(delta)?;
        if !self.is_saved_as_runs {
            self.unsaved.note(delta, self.rows());
        } else if self.bytes_that_can_leave() > RECENT_BYTES
            && let Err(e) = self.flush(0)
        {
            // Nothing is lost: it stays in memory, and is tried again with the next change.
            tracing::warn!(error = %e, "rows of an answer could not leave memory");
        }
        Ok(())
    }

    fn change(&mut self, delta: &Delta) -> Result<()> {
        let (mut went, mut went_rows, mut keys) = (vec![], vec![], Encoded::Unit);
        if !delta.is_append() {
            keys = self.layout.keys(&delta.batch)?;
            for row in 0..delta.len() {
                for _ in delta.weight(row)..0 {
                    went.push(hash128(keys.row(row)));
                    went_rows.push(row as u32);
                }
            }
        }
        let mut came = None;
        let batch = came_rows(delta)?;
        if batch.num_rows() > 0 {
            let batch = batch_of(&self.layout.schema, batch.columns().to_vec(), batch.num_rows())?;
            let mut hashes = vec![];
            if self.chunks.is_indexed() {
                let keys = self.layout.keys(&batch)?;
                hashes.extend((0..batch.num_rows()).map(|row| hash128(keys.row(row))));
            }
            came = Some((batch, hashes));
        }
        let elsewhere = self.chunks.change(&went, came)?;
        if elsewhere.is_empty() {
            return Ok(());
        }
        let cold = self.cold.as_mut().filter(|c| c.rows() >= elsewhere.len() as u64);
        let cold = cold.ok_or_else(|| Error::bug("a view's change takes away a row that is not there"))?;
        let mut rows: Vec<(u32, i64)> = vec![];
        for n in elsewhere {
            match rows.last_mut().filter(|(row, _)| *row == went_rows[n]) {
                Some((_, count)) => *count += 1,
                None => rows.push((went_rows[n], 1)),
            }
        }
        cold.strike(&keys, &rows)
    }

    /// Lets rows leave memory for the folder `place`.
    pub(crate) fn page_in_space(&mut self, space: &Arc<Space>, place: &str) {
        self.space = Some((space.clone(), place.into()));
    }

    /// Moves rows to disk, the oldest first, until the memory that can leave is at most about `target` bytes.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`]: what could not leave is still there.
    pub(crate) fn shrink(&mut self, target: usize) -> Result<()> {
        let Some((space, place)) = &self.space else { return Ok(()) };
        if self.bytes_that_can_leave() <= target || (self.cold.is_none() && self.chunks.rows() == 0) {
            return Ok(());
        }
        if self.cold.is_none() {
            self.cold = Some(Cold::new(self.layout.clone(), space, place)?);
        }
        self.flush(target)
    }

    /// Moves rows to the runs until at most `target` bytes are left in memory.
    fn flush(&mut self, target: usize) -> Result<()> {
        // What is not saved yet goes only with the last row.
        let target = target.saturating_sub(self.unsaved.bytes());
        let Some(cold) = self.cold.as_mut() else { return Ok(()) };
        while self.chunks.rows() > 0 && self.chunks.bytes() > target {
            let (chunks, rows) = self.chunks.oldest(PIECE_BYTES.min(self.chunks.bytes() - target))?;
            cold.flush(&rows)?;
            self.chunks.drop_oldest(chunks);
        }
        if self.chunks.rows() == 0 {
            // What was struck since, and chunks without a row.
            cold.flush(&[])?;
            self.chunks.drop_oldest(usize::MAX);
            self.is_saved_as_runs = true;
            self.unsaved = Unsaved::nothing();
        }
        Ok(())
    }

    /// The rows as they are now.
    pub(crate) fn snapshot(&self, epoch: Epoch) -> ViewSnapshot {
        ViewSnapshot::new(snapshot::Inner {
            schema: self.layout.schema.clone(),
            epoch,
            key: self.key.clone(),
            append_only: self.append_only,
            chunks: self.chunks.list(),
            index: self.key.as_ref().and_then(|_| self.chunks.index()),
            cold: self.cold.as_ref().map(Cold::shot),
            rows: self.rows(),
        })
    }

    /// Changes since the last call, or all rows.
    pub(crate) fn save(&mut self, full: bool) -> Result<SavedOutput> {
        let is_whole = full || matches!(self.unsaved, Unsaved::Everything);
        if self.is_saved_as_runs || full || (is_whole && self.cold.is_some()) {
            self.flush(0)?;
        }
        if let Some(cold) = self.cold.as_mut().filter(|_| self.is_saved_as_runs) {
            return Ok(SavedOutput { rows: SavedRows::Changes(vec![]), runs: Some(cold.save()) });
        }
        let rows = match std::mem::replace(&mut self.unsaved, Unsaved::nothing()) {
            Unsaved::Changes(changes, _) if !is_whole => SavedRows::Changes(changes),
            _ => SavedRows::All(self.snapshot(0)),
        };
        Ok(SavedOutput { rows, runs: None })
    }

    /// True if a checkpoint names its runs.
    pub(crate) fn is_saved_as_runs(&self) -> bool {
        self.is_saved_as_runs
    }

    /// Those of its runs whose files stay when nobody reads them any more.
    pub(crate) fn named_runs(&self) -> impl Iterator<Item = &str> {
        self.cold.iter().flat_map(|c| c.disk().named())
    }

    /// # Errors
    /// When there are too many runs, because they cannot be merged.
    pub(crate) fn check_runs(&self) -> Result<()> {
        self.cold.as_ref().map_or(Ok(()), |c| c.disk().check())
    }

    /// Merges what is to be merged of the runs, as [`crate::Circuit`] does of its state.
    pub(crate) fn tend_runs(&mut self) -> bool {
        self.cold.as_mut().is_some_and(Cold::tend)
    }

    /// Some are being merged.
    pub(crate) fn is_merging(&self) -> bool {
        self.cold.as_ref().is_some_and(Cold::is_merging)
    }

    /// Merges all of them into one, in the same way.
    pub(crate) fn compact_runs(&mut self, wait: bool) -> bool {
        self.cold.as_mut().is_some_and(|cold| cold.compact(wait))
    }

    /// Named files that the next checkpoint does not name any more.
    pub(crate) fn take_stale(&mut self) -> Vec<String> {
        let mut stale = std::mem::take(&mut self.stale);
        stale.extend(self.cold.as_mut().map_or(vec![], Cold::take_stale));
        stale
    }

    /// Opens the runs that [`Output::save`] gave, before any [`Output::load`]. Reads no row, unless they are no longer than
    /// `eager_bytes`: then they are read into memory, and the next save has to be a full one. Tells if that is so.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`], [`fleuve_types::ErrorKind::NotFound`]: a run is damaged or not there.
    pub(crate) fn open(&mut self, saved: &SavedRuns, eager_bytes: u64) -> Result<bool> {
        let Some((space, place)) = &self.space else {
            return Err(Error::bug("an answer without a place for its runs"));
        };
        self.cold = Some(Cold::open(self.layout.clone(), space, place, saved)?);
        self.is_loaded = true;
        if self.disk_bytes() > eager_bytes {
            self.is_saved_as_runs = true;
            return Ok(false);
        }
        let rows = self.snapshot(0).rows().batches_of(SAVED_ROWS).collect::<Result<Vec<_>>>()?;
        self.cold = None;
        rows.into_iter().try_for_each(|batch| self.change(&Delta::insert(batch)))?;
        self.stale.extend(saved.names().map(str::to_string));
        Ok(true)
    }

    /// All rows come anew: forgets those that earlier batches brought, unless they came from runs.
    pub(crate) fn forget_loaded(&mut self) {
        if !self.is_loaded {
            self.chunks = Chunks::new(self.layout.schema.clone(), self.layout.form != Form::Log);
        }
    }

    /// Takes in one batch that [`Output::save`] gave.
    pub(crate) fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.is_loaded {
            // What a file said before the answer went to disk.
            return Ok(());
        }
        let (weights, columns) =
            batch.columns().split_last().ok_or_else(|| Error::bug("a saved answer lacks its weights"))?;
        let weights = weights.as_any().downcast_ref::<Int64Array>().ok_or_else(|| Error::bug("saved weights"))?;
        let rows = batch_of(&self.layout.schema, columns.to_vec(), batch.num_rows())?;
        self.change(&Delta::weighted(rows, weights.values().to_vec())?)
    }

    /// The columns that tell its rows apart, if the plan says so.
    pub(crate) fn key(&self) -> Option<&[usize]> {
        self.key.as_deref()
    }

    /// The columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.layout.schema
    }

    /// The types of the columns.
    pub(crate) fn types(&self) -> Vec<&DataType> {
        self.layout.schema.fields().iter().map(|f| f.data_type()).collect()
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
