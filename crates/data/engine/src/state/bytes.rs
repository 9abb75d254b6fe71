//! Byte strings with dense slot numbers. Derived state: rebuilt from a checkpoint or from the log.

use hashbrown::HashTable;

/// Hash of a key, the same in every run (a shard is chosen by it, and the order of output follows the shards).
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    // Word-at-a-time multiply-fold in the manner of wyhash; the state is seeded with constants so that it is stable.
    const K0: u64 = 0x9e37_79b9_7f4a_7c15;
    const K1: u64 = 0xe703_7ed1_a0b4_28db;
    let mut acc = K0 ^ (bytes.len() as u64).wrapping_mul(K1);
    let mut chunks = bytes.chunks_exact(16);
    for chunk in &mut chunks {
        let (a, b) = chunk.split_at(8);
        acc = fold(acc ^ word(a), K1 ^ word(b));
    }
    let rest = chunks.remainder();
    if rest.len() > 8 {
        let (a, b) = rest.split_at(8);
        acc = fold(acc ^ word(a), K1 ^ word(b));
    } else if !rest.is_empty() {
        acc = fold(acc ^ word(rest), K1);
    }
    fold(acc, K0)
}

fn word(bytes: &[u8]) -> u64 {
    let mut buf = [0_u8; 8];
    buf[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(buf)
}

fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide as u64) ^ ((wide >> 64) as u64)
}

#[derive(Clone, Copy, Default)]
struct Span {
    offset: u64,
    len: u32,
}

/// A set of byte strings; each has a slot number that stays until it is removed, then is used again.
#[derive(Default)]
pub(crate) struct ByteSet {
    table: HashTable<u32>,
    spans: Vec<Span>,
    hashes: Vec<u64>,
    arena: Vec<u8>,
    free: Vec<u32>,
    dead_bytes: usize,
}

/// So much of what was taken out is kept before a set is written anew. A state has a set for each shard.
const KEPT_DEAD_BYTES: usize = 16 << 10;
/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

impl ByteSet {
    /// Strings held.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// One more than the highest slot ever given.
    pub(crate) fn slots(&self) -> usize {
        self.spans.len()
    }

    /// The slot of `key`.
    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.table.find(hash, |slot| self.hashes[*slot as usize] == hash && self.key(*slot) == key).copied()
    }

    /// The slot of `key`, made if it was not there, and whether it was made.
    pub(crate) fn insert(&mut self, hash: u64, key: &[u8]) -> (u32, bool) {
        if let Some(slot) = self.get(hash, key) {
            return (slot, false);
        }
        let span = Span { offset: self.arena.len() as u64, len: key.len() as u32 };
        self.arena.extend_from_slice(key);
        let slot = match self.free.pop() {
            Some(slot) => {
                self.spans[slot as usize] = span;
                self.hashes[slot as usize] = hash;
                slot
            }
            None => {
                assert!(self.spans.len() < NONE as usize, "a state holds at most 4294967294 keys");
                self.spans.push(span);
                self.hashes.push(hash);
                (self.spans.len() - 1) as u32
            }
        };
        let hashes = &self.hashes;
        self.table.insert_unique(hash, slot, |s| hashes[*s as usize]);
        (slot, true)
    }

    /// Takes a string out; its slot may be given again.
    pub(crate) fn remove(&mut self, slot: u32) {
        let hash = self.hashes[slot as usize];
        if let Ok(entry) = self.table.find_entry(hash, |s| *s == slot) {
            entry.remove();
        }
        self.dead_bytes += self.spans[slot as usize].len as usize;
        self.spans[slot as usize] = Span::default();
        self.free.push(slot);
        if self.dead_bytes > KEPT_DEAD_BYTES && self.dead_bytes * 2 > self.arena.len() {
            self.compact();
        }
    }

    /// The string in a slot.
    pub(crate) fn key(&self, slot: u32) -> &[u8] {
        let span = self.spans[slot as usize];
        &self.arena[span.offset as usize..span.offset as usize + span.len as usize]
    }

    /// The hash that the string in a slot came with.
    pub(crate) fn hash(&self, slot: u32) -> u64 {
        self.hashes[slot as usize]
    }

    /// All slots in use, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.table.iter().copied()
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.arena.capacity() + self.spans.capacity() * 16 + self.hashes.capacity() * 8 + self.table.capacity() * 5
    }

    fn compact(&mut self) {
        let live = self.arena.len() - self.dead_bytes;
        let mut arena = Vec::with_capacity(live + live / 2);
        for slot in self.table.iter() {
            let span = &mut self.spans[*slot as usize];
            let start = span.offset as usize;
            let offset = arena.len() as u64;
            arena.extend_from_slice(&self.arena[start..start + span.len as usize]);
            span.offset = offset;
        }
        self.arena = arena;
        self.dead_bytes = 0;
    }
}
