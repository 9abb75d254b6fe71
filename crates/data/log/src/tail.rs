//! The newest bytes of the write-ahead files in memory, shared by all partitions. Derived state: a cache.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::limits;

/// What was written, by file and position, oldest first out.
#[derive(Debug)]
pub(crate) struct TailCache {
    capacity_bytes: usize,
    written: RwLock<Written>,
}

#[derive(Debug, Default)]
struct Written {
    bytes: usize,
    chunks: BTreeMap<(u32, u64), Bytes>,
}

fn cost(chunk: &Bytes) -> usize {
    chunk.len() + limits::TAIL_CACHE_ENTRY_BYTES
}

impl TailCache {
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        Self { capacity_bytes, written: RwLock::default() }
    }

    /// Takes in what one group commit wrote.
    pub(crate) fn insert(&self, file_seq: u32, position: u64, chunk: Bytes) {
        let mut w = self.written.write();
        w.bytes += cost(&chunk);
        if let Entry::Vacant(slot) = w.chunks.entry((file_seq, position)) {
            slot.insert(chunk);
        }
        while w.bytes > self.capacity_bytes {
            let Some((_, old)) = w.chunks.pop_first() else { break };
            w.bytes -= cost(&old);
        }
    }

    /// Bytes of a file, if they are all here.
    pub(crate) fn get(&self, file_seq: u32, position: u64, len: usize) -> Option<Bytes> {
        let w = self.written.read();
        let ((seq, start), chunk) = w.chunks.range(..=(file_seq, position)).next_back()?;
        let from = usize::try_from(position.wrapping_sub(*start)).ok().filter(|_| *seq == file_seq)?;
        let to = from.checked_add(len).filter(|to| *to <= chunk.len())?;
        Some(chunk.slice(from..to))
    }

    /// Forgets files up to `file_seq`.
    pub(crate) fn forget_through(&self, file_seq: u32) {
        let mut w = self.written.write();
        while let Some(entry) = w.chunks.first_entry() {
            if entry.key().0 > file_seq {
                break;
            }
            let gone = cost(&entry.remove());
            w.bytes -= gone;
        }
    }
}
