//! Byte strings with dense slot numbers. Derived state: rebuilt from a checkpoint or from the log.

use hashbrown::HashTable;

use super::growth::make_room;
use super::pages::Part;

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

/// Where a string lies in the arena: its length in the lower bits, its offset above. Of a string that is too long for that the length lies in
/// the arena before it.
#[derive(Clone, Copy, Default)]
struct Span(u64);

/// So many bits tell the length.
const LEN_BITS: u32 = 24;
/// Strings of this length and more have it in the arena.
const LONG: usize = (1 << LEN_BITS) - 1;
/// What that takes there.
const LONG_LEN_BYTES: usize = 8;

impl Span {
    /// Puts a string into an arena.
    fn put(arena: &mut Vec<u8>, bytes: &[u8]) -> Self {
        make_room(arena, bytes.len() + LONG_LEN_BYTES);
        let offset = arena.len() as u64;
        assert!(offset >> (u64::BITS - LEN_BITS) == 0, "a state holds at most a terabyte of keys");
        if bytes.len() >= LONG {
            arena.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        }
        arena.extend_from_slice(bytes);
        Self(offset << LEN_BITS | bytes.len().min(LONG) as u64)
    }

    fn of(self, arena: &[u8]) -> &[u8] {
        let (mut from, mut len) = ((self.0 >> LEN_BITS) as usize, self.0 as usize & LONG);
        if len == LONG {
            len = u64::from_le_bytes(std::array::from_fn(|i| arena[from + i])) as usize;
            from += LONG_LEN_BYTES;
        }
        &arena[from..from + len]
    }

    /// The bytes that it takes in the arena.
    fn bytes(self, arena: &[u8]) -> usize {
        let len = self.of(arena).len();
        if len >= LONG { len + LONG_LEN_BYTES } else { len }
    }
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
const KEPT_DEAD_BYTES: usize = 8 << 10;
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

    /// Looks at the place of a hash, for nothing but that it is in the cache afterwards.
    pub(crate) fn prefetch(&self, hash: u64) {
        std::hint::black_box(self.table.find(hash, |_| false));
    }

    /// Whether there is a key of this hash.
    pub(crate) fn has_hash(&self, hash: u64) -> bool {
        self.table.find(hash, |slot| self.hashes[*slot as usize] == hash).is_some()
    }

    /// The slot of `key`, made if it was not there, and whether it was made.
    pub(crate) fn insert(&mut self, hash: u64, key: &[u8]) -> (u32, bool) {
        if let Some(slot) = self.get(hash, key) {
            return (slot, false);
        }
        let span = Span::put(&mut self.arena, key);
        let slot = match self.free.pop() {
            Some(slot) => {
                self.spans[slot as usize] = span;
                self.hashes[slot as usize] = hash;
                slot
            }
            None => {
                assert!(self.spans.len() < NONE as usize, "a state holds at most 4294967294 keys");
                make_room(&mut self.spans, 1);
                self.spans.push(span);
                make_room(&mut self.hashes, 1);
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
        self.dead_bytes += self.spans[slot as usize].bytes(&self.arena);
        self.spans[slot as usize] = Span::default();
        self.free.push(slot);
        if self.dead_bytes > KEPT_DEAD_BYTES && self.dead_bytes * 2 > self.arena.len() {
            self.compact();
        }
    }

    /// The string in a slot.
    pub(crate) fn key(&self, slot: u32) -> &[u8] {
        self.spans[slot as usize].of(&self.arena)
    }

    /// The hash that the string in a slot came with.
    pub(crate) fn hash(&self, slot: u32) -> u64 {
        self.hashes[slot as usize]
    }

    /// All slots in use, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.table.iter().copied()
    }

    /// The slots in use whose hash is in `part`, in their order.
    pub(crate) fn iter_part(&self, part: Part) -> impl Iterator<Item = u32> + '_ {
        let in_use =
            |slot: &u32| self.free.is_empty() || self.table.find(self.hashes[*slot as usize], |s| s == slot).is_some();
        let (first, last) = part.bounds();
        let in_part = move |hash: u64| hash.wrapping_sub(first) <= last - first;
        let slots = self.hashes.iter().enumerate().filter(move |(_, hash)| in_part(**hash));
        slots.map(|(slot, _)| slot as u32).filter(in_use)
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.arena.capacity() + self.spans.capacity() * 8 + self.hashes.capacity() * 8 + self.table.capacity() * 5
    }

    fn compact(&mut self) {
        let live = self.arena.len() - self.dead_bytes;
        let mut arena = Vec::with_capacity(live + live / 2);
        for slot in self.table.iter() {
            let span = &mut self.spans[*slot as usize];
            *span = Span::put(&mut arena, span.of(&self.arena));
        }
        self.arena = arena;
        self.dead_bytes = 0;
    }
}
