//! Several runs read as one.

use std::cmp::Ordering;
use std::sync::Arc;

use fleuve_types::Result;

use super::run::{Entry, Run, Scan};

/// What becomes of the entries that several runs have for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combine {
    /// The newest counts.
    Newest,
    /// Values are weights (i64, little-endian) that add up; what comes to nothing is left out.
    Sum,
}

/// The entries of several runs, the newest first, as those of one, in order.
pub(crate) struct Merge {
    scans: Vec<Scan>,
    /// Scans that have an entry, as a heap: the least in front, of equal ones the newest.
    heap: Vec<usize>,
    combine: Combine,
    /// Nothing older is left out: a key that is gone need not be said to be.
    is_all: bool,
    /// Entries behind this hash are not asked for.
    last: u64,
    hash: u64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    spare: Vec<u8>,
}

impl Merge {
    /// Reads `runs`, the newest first. `is_all` says that there is no older run: then keys that are gone are left out.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`] if a run cannot be read.
    pub(crate) fn new(runs: &[Arc<Run>], combine: Combine, is_all: bool) -> Result<Self> {
        Self::range(runs, combine, is_all, (0, u64::MAX))
    }

    /// As [`Merge::new`], of the entries with a hash from `first` up to and including `last`.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn range(runs: &[Arc<Run>], combine: Combine, is_all: bool, (first, last): (u64, u64)) -> Result<Self> {
        let mut scans: Vec<Scan> = runs.iter().map(|run| run.scan_from(first)).collect();
        let mut heap = vec![];
        for (n, scan) in scans.iter_mut().enumerate() {
            let mut is_there = scan.next()?;
            while is_there && scan.entry().hash < first {
                is_there = scan.next()?;
            }
            if is_there && scan.entry().hash <= last {
                heap.push(n);
            }
        }
        let spare = vec![];
        let mut merge = Self { scans, heap, combine, is_all, last, hash: 0, key: vec![], value: None, spare };
        for at in (0..merge.heap.len() / 2).rev() {
            merge.sink(at);
        }
        Ok(merge)
    }

    fn order(&self, a: usize, b: usize) -> Ordering {
        let (x, y) = (self.scans[a].entry(), self.scans[b].entry());
        (x.hash, x.key, a).cmp(&(y.hash, y.key, b))
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let child = |n: usize| self.heap.get(2 * at + n).map(|_| 2 * at + n);
            let (Some(left), right) = (child(1), child(2)) else { return };
            let least = match right {
                Some(right) if self.order(self.heap[right], self.heap[left]).is_lt() => right,
                _ => left,
            };
            if self.order(self.heap[at], self.heap[least]).is_lt() {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }

    /// Takes the least scan's entry away.
    fn advance(&mut self) -> Result<()> {
        let scan = &mut self.scans[self.heap[0]];
        if !scan.next()? || scan.entry().hash > self.last {
            self.heap.swap_remove(0);
        }
        self.sink(0);
        Ok(())
    }

    /// Moves to the next entry; false at the end.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`] if a run cannot be read.
    pub(crate) fn next(&mut self) -> Result<bool> {
        while let Some(first) = self.heap.first() {
            let entry = self.scans[*first].entry();
            self.hash = entry.hash;
            self.key.clear();
            self.key.extend_from_slice(entry.key);
            let buffer = self.value.take().unwrap_or_else(|| std::mem::take(&mut self.spare));
            self.set_value(buffer);
            self.advance()?;
            while let Some(first) = self.heap.first() {
                let entry = self.scans[*first].entry();
                if (entry.hash, entry.key) != (self.hash, self.key.as_slice()) {
                    break;
                }
                if self.combine == Combine::Sum {
                    let sum = weight(self.value.as_deref()).wrapping_add(weight(entry.value));
                    self.value = (sum != 0).then(|| sum.to_le_bytes().to_vec());
                }
                self.advance()?;
            }
            if self.value.is_some() || !(self.is_all || self.combine == Combine::Sum) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Copies the value of the scan in front into a buffer that is used again.
    fn set_value(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        match self.scans[self.heap[0]].entry().value {
            Some(value) => {
                buffer.extend_from_slice(value);
                self.value = Some(buffer);
            }
            None => self.spare = buffer,
        }
    }

    /// The entry that [`Merge::next`] moved to.
    pub(crate) fn entry(&self) -> Entry<'_> {
        Entry { hash: self.hash, key: &self.key, value: self.value.as_deref() }
    }
}

fn weight(value: Option<&[u8]>) -> i64 {
    value.and_then(|v| v.try_into().ok()).map_or(0, i64::from_le_bytes)
}
