//! A view's answer as readers hold it: it stays as it was, however the view goes on.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use fleuve_types::{Epoch, Error, Result};

use super::chunks::{Chunk, SharedIndex};
use super::cold_rows::{ColdRows, ColdShot};
use super::hash128;
use super::layout::Form;
use crate::state::{RowCodec, batch_of};

/// Readers are given at most this many rows at once when they do not say otherwise.
const BATCH_ROWS: usize = 8_192;

/// A view's rows at one epoch. Cheap to clone.
#[derive(Clone)]
pub struct ViewSnapshot(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) schema: SchemaRef,
    pub(super) epoch: Epoch,
    pub(super) key: Option<Vec<usize>>,
    pub(super) append_only: bool,
    pub(super) chunks: Arc<[Arc<Chunk>]>,
    /// There if the answer has a key.
    pub(super) index: Option<SharedIndex>,
    /// The rows that are not in memory.
    pub(super) cold: Option<ColdShot>,
    pub(super) rows: usize,
}

impl Inner {
    fn form(&self) -> Form {
        Form::of(self.key.as_deref(), self.append_only)
    }
}

/// Of so many rows those of piece `n` of `of`: the first, and the one after the last.
fn ordinals(rows: u64, n: u32, of: u32) -> (u64, u64) {
    let cut = |n: u32| (u128::from(rows) * u128::from(n) / u128::from(of.max(1))) as u64;
    (cut(n), cut(n + 1))
}

/// Of all hashes those of piece `n` of `of`: the first and the last.
fn hashes(n: u32, of: u32) -> (u64, u64) {
    let cut = |n: u32| (u128::from(n) << 64) / u128::from(of.max(1));
    (cut(n) as u64, (cut(n + 1) - 1) as u64)
}

impl ViewSnapshot {
    pub(super) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.0.schema
    }

    /// An epoch that it shows; it shows later ones, too, if the view did not change in them.
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// How many rows there are.
    pub fn num_rows(&self) -> usize {
        self.0.rows
    }

    /// The columns that tell its rows apart, if the plan says so.
    pub fn key(&self) -> Option<&[usize]> {
        self.0.key.as_deref()
    }

    /// True if no row of it ever goes.
    pub fn is_append_only(&self) -> bool {
        self.0.append_only
    }

    /// True if some of its rows are on disk.
    pub(crate) fn is_cold(&self) -> bool {
        self.0.cold.is_some()
    }

    /// All rows, a batch at a time.
    pub fn rows(&self) -> ViewRows {
        self.part(0, 1)
    }

    /// The `n`th of `parts` parts of the rows, about equal in size.
    pub(crate) fn part(&self, n: usize, parts: usize) -> ViewRows {
        let mut pieces = vec![];
        // Cut by rows, wherever in a chunk that is.
        let all: usize = self.0.chunks.iter().map(|c| c.batch.num_rows()).sum();
        let (from, to) = (all * n / parts, all * (n + 1) / parts);
        let mut at = 0;
        for chunk in self.0.chunks.iter() {
            let rows = chunk.batch.num_rows();
            let (first, last) = (from.clamp(at, at + rows) - at, to.clamp(at, at + rows) - at);
            at += rows;
            if first < last && chunk.live_rows > 0 {
                pieces.push(Piece::Chunk { chunk: chunk.clone(), at: first, end: last });
            }
        }
        self.read(pieces, self.0.cold.as_ref().map(|cold| cold.part(n, parts)))
    }

    /// Piece `n` of `of` pieces of the rows. Other than a part it is the same rows in every snapshot of the same answer, after a restart, too,
    /// however they lie in memory and on disk: it is cut by what tells rows apart, or by the order in which they came.
    pub(crate) fn piece(&self, n: u32, of: u32) -> ViewRows {
        match self.0.form() {
            Form::Log => self.arrived(ordinals(self.0.rows as u64, n, of)),
            Form::Keyed | Form::Bag => self.hashed(hashes(n, of)),
        }
    }

    /// The rows whose identity has a hash in this range, the last one included.
    fn hashed(&self, range: (u64, u64)) -> ViewRows {
        let picked = self.0.chunks.iter().map(|chunk| (chunk, chunk.within(range)));
        let picked = picked.filter(|(_, rows)| !rows.is_empty());
        let pieces = picked.map(|(chunk, rows)| Piece::Picked { chunk: chunk.clone(), rows, at: 0 }).collect();
        self.read(pieces, self.0.cold.as_ref().map(|cold| cold.hashed(range)))
    }

    /// The rows that came as these: the first, and the one after the last, counted from 0. Those in memory came after those on disk.
    fn arrived(&self, (from, to): (u64, u64)) -> ViewRows {
        let mut at = self.0.cold.as_ref().map_or(0, |cold| cold.next);
        let mut pieces = vec![];
        for chunk in self.0.chunks.iter() {
            let end = at + chunk.batch.num_rows() as u64;
            let (first, last) = (from.clamp(at, end) - at, to.clamp(at, end) - at);
            at = end;
            if first < last {
                pieces.push(Piece::Chunk { chunk: chunk.clone(), at: first as usize, end: last as usize });
            }
        }
        self.read(pieces, self.0.cold.as_ref().map(|cold| cold.arrived((from, to))))
    }

    /// Reads what is in memory, in its order, after what is on disk: what arrived first comes first.
    fn read(&self, mut pieces: Vec<Piece>, cold: Option<ColdRows>) -> ViewRows {
        pieces.reverse();
        pieces.extend(cold.map(|cold| Piece::Cold(Box::new(cold))));
        let projection = (0..self.0.schema.fields().len()).collect();
        ViewRows { schema: self.0.schema.clone(), projection, batch_rows: BATCH_ROWS, pieces }
    }

    /// All rows at once; for answers that are known to be small.
    ///
    /// # Errors
    /// As for [`ViewRows`].
    pub fn batches(&self) -> Result<Vec<RecordBatch>> {
        self.rows().collect()
    }

    /// The row with this key (one-row columns in the key's order), without reading the others. `None` if the answer has no key.
    ///
    /// # Errors
    /// Arrow's.
    pub fn lookup(&self, key: &[ArrayRef]) -> Result<Option<Vec<RecordBatch>>> {
        let Some(shared) = &self.0.index else { return Ok(None) };
        let codec = RowCodec::new(key.iter().map(|c| c.data_type().clone()).collect())?;
        let key = codec.encode(key)?;
        let hash = hash128(key.row(0));
        let index = shared.index.read();
        let found = if index.changes == shared.changes {
            index.find(hash).map(|(chunk, row)| (&self.0.chunks[(chunk - shared.first) as usize], row))
        } else {
            // It knows where rows stand now; where they stood then, only the chunks know.
            drop(index);
            self.0.chunks.iter().find_map(|chunk| Some((chunk, chunk.find(hash)?)))
        };
        let found = match (found, &self.0.cold) {
            (Some((chunk, row)), _) => Some(chunk.batch.slice(row, 1)),
            (None, Some(cold)) => cold.lookup(key.row(0))?,
            (None, None) => None,
        };
        Ok(Some(found.into_iter().collect()))
    }
}

/// Where rows are to be had.
enum Piece {
    Chunk {
        chunk: Arc<Chunk>,
        at: usize,
        end: usize,
    },
    /// Some rows of a chunk.
    Picked {
        chunk: Arc<Chunk>,
        rows: Vec<u32>,
        at: usize,
    },
    Cold(Box<ColdRows>),
}

/// These rows, by the columns of `projection`.
fn picked(batch: &RecordBatch, rows: &[u32], projection: &[usize], schema: &SchemaRef) -> Result<RecordBatch> {
    let indices = UInt32Array::from(rows.to_vec());
    let column = |c: &usize| take(batch.column(*c), &indices, None).map_err(|e| Error::bug(e.to_string()));
    batch_of(schema, projection.iter().map(column).collect::<Result<_>>()?, rows.len())
}

/// Rows of a snapshot, read a batch at a time.
///
/// # Errors
/// Each batch may be one: Arrow's, and [`fleuve_types::ErrorKind::Io`] if what lies on disk cannot be read.
pub struct ViewRows {
    schema: SchemaRef,
    projection: Vec<usize>,
    batch_rows: usize,
    /// The next one last.
    pieces: Vec<Piece>,
}

impl ViewRows {
    /// Only these columns.
    ///
    /// # Errors
    /// Arrow's, if there is no such column.
    pub(crate) fn project(mut self, columns: Vec<usize>) -> Result<Self> {
        self.schema = Arc::new(self.schema.project(&columns).map_err(|e| Error::bug(e.to_string()))?);
        self.projection = columns;
        Ok(self)
    }

    /// At most so many rows in each batch.
    pub(crate) fn batches_of(mut self, rows: usize) -> Self {
        self.batch_rows = rows.max(1);
        self
    }

    /// True if the next batch comes from a disk.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.pieces.last(), Some(Piece::Cold(_)))
    }

    /// The columns of the batches.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(piece) = self.pieces.last_mut() else { return Ok(None) };
            let batch = match piece {
                Piece::Chunk { chunk, at, end } => {
                    let len = self.batch_rows.min(*end - *at);
                    let batch = chunk.rows(*at, len, Some(&self.projection))?;
                    *at += len;
                    if at == end {
                        self.pieces.pop();
                    }
                    batch
                }
                Piece::Picked { chunk, rows, at } => {
                    let end = rows.len().min(*at + self.batch_rows);
                    let batch = picked(&chunk.batch, &rows[*at..end], &self.projection, &self.schema)?;
                    *at = end;
                    if end == rows.len() {
                        self.pieces.pop();
                    }
                    batch
                }
                Piece::Cold(rows) => match rows.next_batch(self.batch_rows, &self.projection, &self.schema)? {
                    Some(batch) => batch,
                    None => {
                        self.pieces.pop();
                        continue;
                    }
                },
            };
            if batch.num_rows() > 0 {
                let rows = batch.num_rows();
                return batch_of(&self.schema, batch.columns().to_vec(), rows).map(Some);
            }
        }
    }
}

impl Iterator for ViewRows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_batch().transpose();
        if matches!(next, Some(Err(_))) {
            self.pieces.clear();
        }
        next
    }
}
