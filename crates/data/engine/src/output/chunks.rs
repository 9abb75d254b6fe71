//! Rows of an answer in memory: immutable chunks, an index of them, and which of their rows are struck out.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use fleuve_types::{Error, Result};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parking_lot::RwLock;

use crate::state::batch_of;

/// Chunks are merged up to this many rows.
const CHUNK_ROWS: usize = 65_536;

/// Rows are told apart by 128 bits of hash of their identity.
pub(super) type RowHash = (u64, u64);

/// Which rows of a chunk are there, one bit each; `None` is all of them.
type Live = Option<Arc<Vec<u64>>>;

/// A part of a view's rows. What a reader holds is never changed: the writer changes its own copy, which shares the rows.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) batch: RecordBatch,
    /// The identities of its rows, if there is an index.
    hashes: Arc<Vec<RowHash>>,
    live: Live,
    pub(super) live_rows: usize,
}

impl Chunk {
    /// The rows that are there of `len` rows from `at` on, with the columns of `projection`.
    pub(super) fn rows(&self, at: usize, len: usize, projection: Option<&[usize]>) -> Result<RecordBatch> {
        let bug = |e: arrow::error::ArrowError| Error::bug(e.to_string());
        let part = match projection {
            Some(columns) => self.batch.project(columns).map_err(bug)?.slice(at, len),
            None => self.batch.slice(at, len),
        };
        match &self.live {
            None => Ok(part),
            Some(bits) => {
                let buffer = Buffer::from_slice_ref(bits.as_slice());
                let mask = BooleanArray::new(BooleanBuffer::new(buffer, at, len), None);
                filter_record_batch(&part, &mask).map_err(bug)
            }
        }
    }

    /// The place of a row, found without an index.
    pub(super) fn find(&self, hash: RowHash) -> Option<usize> {
        (0..self.hashes.len()).find(|row| self.hashes[*row] == hash && self.is_live(*row))
    }

    /// True if a row stands there that has this hash.
    pub(super) fn has(&self, row: usize, hash: RowHash) -> bool {
        self.hashes.get(row) == Some(&hash) && self.is_live(row)
    }

    /// The rows that are there whose hash is in this range, by its first half; the last one included.
    pub(super) fn within(&self, (first, last): (u64, u64)) -> Vec<u32> {
        let rows = self.hashes.iter().enumerate();
        let wanted = rows.filter(|(row, hash)| hash.0 >= first && hash.0 <= last && self.is_live(*row));
        wanted.map(|(row, _)| row as u32).collect()
    }

    /// The rows that are there, with their hashes.
    pub(super) fn rows_there(&self) -> impl Iterator<Item = (usize, RowHash)> + '_ {
        self.hashes.iter().copied().enumerate().filter(|(row, _)| self.is_live(*row))
    }

    fn bytes(&self) -> usize {
        self.batch.get_array_memory_size() + self.hashes.capacity() * 16
    }

    fn is_live(&self, row: usize) -> bool {
        self.live.as_ref().is_none_or(|bits| bits[row / 64] >> (row % 64) & 1 == 1)
    }
}

/// The number of a chunk, and a row of it. Chunks are counted from the first that there ever was.
type At = (u32, u32);

/// Where the newest row with a hash stands.
#[derive(Clone, Copy)]
struct Place {
    hash: RowHash,
    at: At,
}

/// A row that others equal: those with the same hash that came next before and next after it.
#[derive(Clone, Copy)]
struct Equal {
    at: At,
    older: Option<At>,
    newer: Option<At>,
}

/// Where rows stand now. Readers may look into it only while nothing has changed since their snapshot.
///
/// Equal rows, of which there may be millions, are one entry and a list: as many entries with one hash would be looked through for each row.
#[derive(Default)]
pub(super) struct Index {
    pub(super) changes: u64,
    places: HashTable<Place>,
    /// By their places.
    equal: HashTable<Equal>,
}

/// Fibonacci hashing, with the better half of its bits at both ends.
fn hash_of(at: At) -> u64 {
    let mixed = (u64::from(at.0) << 32 | u64::from(at.1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

impl Index {
    fn put(&mut self, hash: RowHash, at: At) {
        match self.places.entry(hash.0, |p| p.hash == hash, |p| p.hash.0) {
            Entry::Vacant(free) => {
                free.insert(Place { hash, at });
            }
            Entry::Occupied(mut newest) => {
                let older = std::mem::replace(&mut newest.get_mut().at, at);
                self.link(older, |equal| equal.newer = Some(at));
                self.link(at, |equal| equal.older = Some(older));
            }
        }
    }

    /// Changes what is said of a row that others equal, or equalled.
    fn link(&mut self, at: At, change: impl FnOnce(&mut Equal)) {
        let entry = self.equal.entry(hash_of(at), |e| e.at == at, |e| hash_of(e.at));
        let mut entry = entry.or_insert(Equal { at, older: None, newer: None });
        change(entry.get_mut());
        if let Equal { older: None, newer: None, .. } = entry.get() {
            entry.remove();
        }
    }

    /// The place of the newest row with a hash, which is not there any more.
    fn take(&mut self, hash: RowHash) -> Option<At> {
        let at = self.places.find(hash.0, |p| p.hash == hash)?.at;
        self.remove(hash, at);
        Some(at)
    }

    /// A row is not there any more.
    fn remove(&mut self, hash: RowHash, at: At) {
        let (older, newer) = match self.equal.find_entry(hash_of(at), |e| e.at == at) {
            Ok(entry) => {
                let (equal, _) = entry.remove();
                (equal.older, equal.newer)
            }
            Err(_) => (None, None),
        };
        if let Some(older) = older {
            self.link(older, |equal| equal.newer = newer);
        }
        if let Some(newer) = newer {
            self.link(newer, |equal| equal.older = older);
            return;
        }
        if let Ok(mut newest) = self.places.find_entry(hash.0, |p| p.hash == hash && p.at == at) {
            match older {
                Some(older) => newest.get_mut().at = older,
                None => {
                    newest.remove();
                }
            }
        }
    }

    /// The rows of a chunk are not here any more.
    fn forget(&mut self, chunk: &Chunk, number: u32) {
        for (row, hash) in chunk.rows_there() {
            self.remove(hash, (number, row as u32));
        }
    }

    /// The place `(chunk, row)` of a row.
    pub(super) fn find(&self, hash: RowHash) -> Option<(u32, usize)> {
        self.places.find(hash.0, |p| p.hash == hash).map(|p| (p.at.0, p.at.1 as usize))
    }

    fn bytes(&self) -> usize {
        self.places.capacity() * (size_of::<Place>() + 1) + self.equal.capacity() * (size_of::<Equal>() + 1)
    }

    fn shrink(&mut self) {
        if self.places.len() < self.places.capacity() / 4 {
            self.places.shrink_to_fit(|p| p.hash.0);
        }
        if self.equal.len() < self.equal.capacity() / 4 {
            self.equal.shrink_to_fit(|e| hash_of(e.at));
        }
    }
}

/// An index that may have gone on since.
#[derive(Clone)]
pub(super) struct SharedIndex {
    pub(super) index: Arc<RwLock<Index>>,
    /// It is that of the chunks in hand as long as it has made this many changes.
    pub(super) changes: u64,
    /// The number of the first chunk in hand.
    pub(super) first: u32,
}

/// All rows of an answer that are in memory.
pub(super) struct Chunks {
    schema: SchemaRef,
    chunks: Vec<Arc<Chunk>>,
    /// The number of the first one: those before it have left.
    first: u32,
    index: Option<Arc<RwLock<Index>>>,
    rows: usize,
    /// Grows with every change.
    changes: u64,
    /// The bytes of the chunks.
    bytes: usize,
}

impl Chunks {
    /// None yet. Without an index rows can only come.
    pub(super) fn new(schema: SchemaRef, indexed: bool) -> Self {
        Self { schema, chunks: vec![], first: 0, index: indexed.then(Default::default), rows: 0, changes: 0, bytes: 0 }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn is_indexed(&self) -> bool {
        self.index.is_some()
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.index.as_ref().map_or(0, |i| i.read().bytes())
    }

    /// The chunks as they are now.
    pub(super) fn list(&self) -> Arc<[Arc<Chunk>]> {
        self.chunks.as_slice().into()
    }

    /// The index, with the number of the first chunk, and what it has to say of its changes to be the one of the chunks as they are.
    pub(super) fn index(&self) -> Option<SharedIndex> {
        self.index.as_ref().map(|i| SharedIndex { index: i.clone(), changes: self.changes, first: self.first })
    }

    /// Strikes out a row for each of `went`, then takes in `came` with the hashes of its rows. Gives the places in `went` of the rows
    /// that are not here.
    pub(super) fn change(&mut self, went: &[RowHash], came: Option<(RecordBatch, Vec<RowHash>)>) -> Result<Vec<usize>> {
        let index = self.index.clone();
        // Held over the whole change: no reader takes a place out of the middle of it.
        let mut index = index.as_ref().map(|i| i.write());
        self.changes += 1;
        if let Some(index) = index.as_mut() {
            index.changes = self.changes;
        }
        let mut elsewhere = vec![];
        if !went.is_empty() {
            let Some(index) = index.as_deref_mut() else {
                return Err(Error::bug("a row went from a view that was thought to only grow"));
            };
            for (n, hash) in went.iter().enumerate() {
                if !self.strike(index, *hash) {
                    elsewhere.push(n);
                }
            }
        }
        if let Some((batch, hashes)) = came {
            self.rows += batch.num_rows();
            self.add_chunk(batch, hashes, index.as_deref_mut());
            self.tidy(index.as_deref_mut())?;
        }
        Ok(elsewhere)
    }

    fn strike(&mut self, index: &mut Index, hash: RowHash) -> bool {
        let Some((chunk, row)) = index.take(hash) else { return false };
        let chunk = Arc::make_mut(&mut self.chunks[(chunk - self.first) as usize]);
        let len = chunk.batch.num_rows();
        let bits = chunk.live.get_or_insert_with(|| Arc::new(vec![u64::MAX; len.div_ceil(64)]));
        Arc::make_mut(bits)[row as usize / 64] &= !(1 << (row % 64));
        chunk.live_rows -= 1;
        self.rows -= 1;
        true
    }

    fn add_chunk(&mut self, batch: RecordBatch, hashes: Vec<RowHash>, index: Option<&mut Index>) {
        let number = self.first + self.chunks.len() as u32;
        if let Some(index) = index {
            for (row, hash) in hashes.iter().enumerate() {
                index.put(*hash, (number, row as u32));
            }
        }
        let chunk = Chunk { live_rows: batch.num_rows(), batch, hashes: Arc::new(hashes), live: None };
        self.bytes += chunk.bytes();
        self.chunks.push(Arc::new(chunk));
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
            let all: usize = self.chunks.iter().map(|c| c.batch.num_rows()).sum();
            if self.rows * 2 < all {
                self.rewrite(0, index)?;
            }
        }
        Ok(())
    }

    /// Writes the live rows of the chunks from `from` on into new ones.
    fn rewrite(&mut self, from: usize, mut index: Option<&mut Index>) -> Result<()> {
        let old = self.chunks.split_off(from);
        let (mut batches, mut hashes) = (vec![], vec![]);
        for (n, chunk) in old.iter().enumerate() {
            self.bytes -= chunk.bytes();
            if let Some(index) = index.as_deref_mut() {
                index.forget(chunk, self.first + (from + n) as u32);
                let live = chunk.hashes.iter().enumerate().filter(|(row, _)| chunk.is_live(*row));
                hashes.extend(live.map(|(_, hash)| *hash));
            }
            batches.push(chunk.rows(0, chunk.batch.num_rows(), None)?);
        }
        // Each from rows of its own: a slice of one large batch would hold, and count, all of it.
        let (mut part, mut part_rows, mut done) = (vec![], 0, 0);
        for batch in batches {
            let mut at = 0;
            while at < batch.num_rows() {
                let len = (batch.num_rows() - at).min(CHUNK_ROWS - part_rows);
                part.push(batch.slice(at, len));
                part_rows += len;
                at += len;
                if part_rows == CHUNK_ROWS {
                    self.add_rewritten(&mut part, &hashes, &mut done, index.as_deref_mut())?;
                    part_rows = 0;
                }
            }
        }
        self.add_rewritten(&mut part, &hashes, &mut done, index)
    }

    /// Makes a chunk of `part`, whose rows have the hashes from `done` on.
    fn add_rewritten(
        &mut self,
        part: &mut Vec<RecordBatch>,
        hashes: &[RowHash],
        done: &mut usize,
        index: Option<&mut Index>,
    ) -> Result<()> {
        let rows: usize = part.iter().map(RecordBatch::num_rows).sum();
        if rows == 0 {
            return Ok(());
        }
        let batch = if self.schema.fields().is_empty() {
            batch_of(&self.schema, vec![], rows)?
        } else {
            arrow::compute::concat_batches(&self.schema, part.iter()).map_err(|e| Error::bug(e.to_string()))?
        };
        part.clear();
        let own = hashes.get(*done..*done + rows).unwrap_or_default().to_vec();
        *done += rows;
        self.add_chunk(batch, own, index);
        Ok(())
    }

    /// The rows of the oldest chunks, at least so many bytes of them or all, and how many chunks that are.
    pub(super) fn oldest(&self, bytes: usize) -> Result<(usize, Vec<RecordBatch>)> {
        let (mut count, mut taken) = (0, 0);
        while count < self.chunks.len() && taken < bytes {
            taken += self.chunks[count].bytes();
            count += 1;
        }
        let live = self.chunks[..count].iter().filter(|c| c.live_rows > 0);
        let batches = live.map(|c| c.rows(0, c.batch.num_rows(), None)).collect::<Result<_>>()?;
        Ok((count, batches))
    }

    /// Lets go of so many chunks.
    pub(super) fn drop_oldest(&mut self, count: usize) {
        let count = count.min(self.chunks.len());
        let index = self.index.clone();
        let mut index = index.as_ref().map(|i| i.write());
        self.changes += 1;
        for (n, chunk) in self.chunks.drain(..count).enumerate() {
            self.bytes -= chunk.bytes();
            self.rows -= chunk.live_rows;
            if let Some(index) = index.as_deref_mut() {
                index.forget(&chunk, self.first + n as u32);
            }
        }
        self.first += count as u32;
        if let Some(index) = index.as_deref_mut() {
            index.changes = self.changes;
            index.shrink();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts rows with one of a few hashes, takes the newest of one, and removes any that are there.
    #[test]
    fn equal_rows_are_one_entry_and_a_list() {
        let mut state = 1_u64;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let mut index = Index::default();
        let mut there: Vec<(RowHash, At)> = vec![];
        for n in 0..4_000_u32 {
            let hash = (below(3), 1);
            match below(if n / 500 % 2 == 0 { 8 } else { 2 }) {
                0 => {
                    let newest = there.iter().rposition(|(h, _)| *h == hash);
                    assert_eq!(index.take(hash), newest.map(|i| there.remove(i).1), "{n}");
                }
                1 if !there.is_empty() => {
                    let (hash, at) = there.remove(below(there.len() as u64) as usize);
                    index.remove(hash, at);
                }
                _ => {
                    index.put(hash, (n / 7, n % 7));
                    there.push((hash, (n / 7, n % 7)));
                }
            }
            let of = |hash: u64| there.iter().filter(move |(h, _)| h.0 == hash);
            for hash in 0..3 {
                let newest = of(hash).next_back().map(|(_, at)| (at.0, at.1 as usize));
                assert_eq!(index.find((hash, 1)), newest, "{n}");
            }
            let counts: Vec<usize> = (0..3).map(|hash| of(hash).count()).collect();
            assert_eq!(index.places.len(), counts.iter().filter(|n| **n > 0).count(), "{n}");
            assert_eq!(index.equal.len(), counts.iter().filter(|n| **n > 1).sum::<usize>(), "{n}");
        }
    }
}
