//! An arrangement: rows by key, each with a weight. Derived state: rebuilt from a checkpoint or from the log.

use super::bytes::{ByteSet, NONE};
use super::growth::resize;
use super::pages::Part;

/// Rows with weights, found by key in constant time; the rows of one key form a list.
#[derive(Default)]
pub(crate) struct Arrangement {
    keys: ByteSet,
    /// By key slot: the first row of its list, and the sum of its rows' weights.
    heads: Vec<u32>,
    totals: Vec<i64>,
    rows: ByteSet,
    weights: Vec<i64>,
    key_of: Vec<u32>,
    next: Vec<u32>,
    prev: Vec<u32>,
    /// Rows whose weight came to zero and that wait for [`Arrangement::sweep`].
    zeros: Vec<u32>,
    /// Row slots touched since the last save, and rows that were removed since.
    changed: Vec<u32>,
    is_changed: Vec<bool>,
    /// Row slots whose row is in an earlier save: only those have to be said to be gone.
    is_saved: Vec<bool>,
    removed: Vec<(Vec<u8>, Vec<u8>)>,
    removed_bytes: usize,
}

/// What happened to a row.
#[derive(Clone, Copy)]
pub(crate) struct Touched {
    pub(crate) slot: u32,
    pub(crate) old: i64,
    pub(crate) is_new: bool,
}

impl Arrangement {
    /// Adds `weight` copies of a row. A row whose weight comes to zero stays until [`Arrangement::sweep`].
    pub(crate) fn add(&mut self, key_hash: u64, key: &[u8], row_hash: u64, row: &[u8], weight: i64) -> Touched {
        let (slot, is_new) = self.rows.insert(row_hash, row);
        let s = slot as usize;
        if is_new {
            let (key_slot, key_is_new) = self.keys.insert(key_hash, key);
            let k = key_slot as usize;
            if k >= self.heads.len() {
                resize(&mut self.heads, k + 1, NONE);
                resize(&mut self.totals, k + 1, 0);
            }
            if key_is_new {
                self.heads[k] = NONE;
                self.totals[k] = 0;
            }
            if s >= self.weights.len() {
                resize(&mut self.weights, s + 1, 0);
                resize(&mut self.key_of, s + 1, NONE);
                resize(&mut self.next, s + 1, NONE);
                resize(&mut self.prev, s + 1, NONE);
                resize(&mut self.is_changed, s + 1, false);
                resize(&mut self.is_saved, s + 1, false);
            }
            let head = self.heads[k];
            self.weights[s] = 0;
            self.key_of[s] = key_slot;
            self.prev[s] = NONE;
            self.next[s] = head;
            if head != NONE {
                self.prev[head as usize] = slot;
            }
            self.heads[k] = slot;
        }
        let old = self.weights[s];
        self.weights[s] += weight;
        self.totals[self.key_of[s] as usize] += weight;
        if self.weights[s] == 0 {
            self.zeros.push(slot);
        }
        if !self.is_changed[s] {
            self.is_changed[s] = true;
            self.changed.push(slot);
        }
        Touched { slot, old, is_new }
    }

    /// Brings the place of a row that is about to be added into the cache.
    pub(crate) fn prefetch_row(&self, row_hash: u64) {
        self.rows.prefetch(row_hash);
    }

    /// Removes the rows whose weight is zero. Slots seen before may be given to other rows afterwards.
    pub(crate) fn sweep(&mut self) {
        for slot in std::mem::take(&mut self.zeros) {
            let s = slot as usize;
            if self.weights[s] != 0 || self.key_of[s] == NONE {
                continue;
            }
            let key_slot = self.key_of[s];
            if std::mem::take(&mut self.is_saved[s]) {
                let (key, row) = (self.keys.key(key_slot).to_vec(), self.rows.key(slot).to_vec());
                self.removed_bytes += key.len() + row.len() + REMOVED_BYTES;
                self.removed.push((key, row));
            }
            let (prev, next) = (self.prev[s], self.next[s]);
            if prev == NONE {
                self.heads[key_slot as usize] = next;
            } else {
                self.next[prev as usize] = next;
            }
            if next != NONE {
                self.prev[next as usize] = prev;
            }
            if self.heads[key_slot as usize] == NONE {
                self.keys.remove(key_slot);
            }
            self.key_of[s] = NONE;
            self.is_changed[s] = false;
            self.rows.remove(slot);
        }
        if self.changed.len() > 2 * self.rows.len() + 1024 {
            let is_changed = &self.is_changed;
            self.changed.retain(|s| is_changed[*s as usize]);
            self.changed.sort_unstable();
            self.changed.dedup();
        }
    }

    /// Drops rows, whatever their weight. Slots that hold no row are passed over.
    pub(crate) fn drop_rows(&mut self, slots: &[u32]) {
        for slot in slots {
            let s = *slot as usize;
            if self.key_of[s] != NONE {
                self.totals[self.key_of[s] as usize] -= self.weights[s];
                self.weights[s] = 0;
                self.zeros.push(*slot);
                if !self.is_changed[s] {
                    self.is_changed[s] = true;
                    self.changed.push(*slot);
                }
            }
        }
        self.sweep();
    }

    /// Drops the rows of a key.
    pub(crate) fn drop_key(&mut self, hash: u64, key: &[u8]) {
        if let Some(key) = self.key_slot(hash, key) {
            let slots: Vec<u32> = self.rows_of(key).collect();
            self.drop_rows(&slots);
        }
    }

    /// True if a slot holds a row.
    pub(crate) fn is_held(&self, slot: u32) -> bool {
        self.key_of[slot as usize] != NONE
    }

    /// The slot of a key.
    pub(crate) fn key_slot(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.keys.get(hash, key)
    }

    /// The row slots of a key, weight zero included.
    pub(crate) fn rows_of(&self, key_slot: u32) -> RowsOf<'_> {
        RowsOf { arrangement: self, at: self.heads[key_slot as usize] }
    }

    /// The sum of the weights of a key's rows.
    pub(crate) fn total(&self, hash: u64, key: &[u8]) -> i64 {
        self.keys.get(hash, key).map_or(0, |k| self.totals[k as usize])
    }

    pub(crate) fn weight(&self, slot: u32) -> i64 {
        self.weights[slot as usize]
    }

    pub(crate) fn row(&self, slot: u32) -> &[u8] {
        self.rows.key(slot)
    }

    pub(crate) fn key_of(&self, slot: u32) -> &[u8] {
        self.keys.key(self.key_of[slot as usize])
    }

    /// The slot of a row.
    pub(crate) fn row_slot(&self, row: &[u8]) -> Option<u32> {
        self.rows.get(super::bytes::hash_bytes(row), row)
    }

    /// The slot of a row's key.
    pub(crate) fn key_slot_of(&self, slot: u32) -> u32 {
        self.key_of[slot as usize]
    }

    pub(crate) fn row_hash(&self, slot: u32) -> u64 {
        self.rows.hash(slot)
    }

    /// True if a row has this hash.
    pub(crate) fn has_row_hash(&self, hash: u64) -> bool {
        self.rows.has_hash(hash)
    }

    /// True if a key has this hash.
    pub(crate) fn has_key_hash(&self, hash: u64) -> bool {
        self.keys.has_hash(hash)
    }

    /// The key in a key slot.
    pub(crate) fn key(&self, key_slot: u32) -> &[u8] {
        self.keys.key(key_slot)
    }

    /// The hash that the key in a key slot came with.
    pub(crate) fn key_hash(&self, key_slot: u32) -> u64 {
        self.keys.hash(key_slot)
    }

    /// All key slots, in no order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u32> + '_ {
        self.keys.iter()
    }

    /// The slots of the keys whose hash is in `part`.
    pub(crate) fn keys_in(&self, part: Part) -> impl Iterator<Item = u32> + '_ {
        self.keys.iter_part(part)
    }

    /// The slots of the rows whose hash is in `part`.
    pub(crate) fn rows_in(&self, part: Part) -> impl Iterator<Item = u32> + '_ {
        self.rows.iter_part(part)
    }

    /// All row slots, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.rows.iter()
    }

    /// Distinct rows held.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// One more than the highest row slot.
    pub(crate) fn slots(&self) -> usize {
        self.rows.slots()
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.bytes()
            + self.rows.bytes()
            + (self.heads.capacity() + self.key_of.capacity() + self.next.capacity() + self.prev.capacity()) * 4
            + (self.weights.capacity() + self.totals.capacity()) * 8
            + self.is_changed.capacity() * 2
            + self.changed.capacity() * 4
            + self.removed_bytes
    }

    /// `(key, row, weight)` of what changed since the last call; weight 0 says that the row is gone. With `full`, everything.
    pub(crate) fn take_changes(&mut self, full: bool) -> Vec<(Vec<u8>, Vec<u8>, i64)> {
        self.sweep();
        let slots = self.changed(full);
        let mut out = Vec::new();
        if !full {
            out.extend(std::mem::take(&mut self.removed).into_iter().map(|(k, r)| (k, r, 0)));
        }
        out.extend(slots.iter().map(|s| self.entry(*s)));
        self.set_saved(&slots);
        out
    }

    /// The slots of rows that changed since the last save, or of all rows, in order. Call [`Arrangement::sweep`] before.
    pub(crate) fn changed(&self, full: bool) -> Vec<u32> {
        if full {
            return (0..self.slots() as u32).filter(|slot| self.is_held(*slot)).collect();
        }
        let is_there = |s: &u32| self.is_changed[*s as usize] && self.key_of[*s as usize] != NONE;
        let mut slots: Vec<u32> = self.changed.iter().copied().filter(is_there).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// Rows that an earlier save has and that went since, as `(key, row)`. They may have come back.
    pub(crate) fn removed(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.removed
    }

    fn entry(&self, slot: u32) -> (Vec<u8>, Vec<u8>, i64) {
        (self.key_of(slot).to_vec(), self.row(slot).to_vec(), self.weight(slot))
    }

    /// Sets a row's weight to what [`Arrangement::take_changes`] gave; 0 removes it.
    pub(crate) fn restore(&mut self, key: &[u8], row: &[u8], weight: i64) {
        let (kh, rh) = (super::bytes::hash_bytes(key), super::bytes::hash_bytes(row));
        let now = self.rows.get(rh, row).map_or(0, |s| self.weights[s as usize]);
        if now == 0 && weight == 0 {
            return;
        }
        self.add(kh, key, rh, row, weight - now);
        self.sweep();
    }

    /// Sets a row's weight to what a run says, which is no change of it; 0 says that it is gone. Gives the slot of a row that is there.
    pub(crate) fn fetch(&mut self, key: &[u8], row: &[u8], weight: i64) -> Option<u32> {
        let (kh, rh) = (super::bytes::hash_bytes(key), super::bytes::hash_bytes(row));
        let now = self.rows.get(rh, row).map_or(0, |s| self.weights[s as usize]);
        if now == 0 && weight == 0 {
            return None;
        }
        let slot = self.add(kh, key, rh, row, weight - now).slot;
        let s = slot as usize;
        if std::mem::take(&mut self.is_changed[s]) && self.changed.last() == Some(&slot) {
            self.changed.pop();
        }
        self.is_saved[s] = weight != 0;
        if weight == 0 {
            self.sweep();
        }
        (weight != 0).then_some(slot)
    }

    /// Forgets what changed: it is saved.
    pub(crate) fn mark_saved(&mut self) {
        self.sweep();
        self.removed = vec![];
        self.removed_bytes = 0;
        for slot in std::mem::take(&mut self.changed) {
            let s = slot as usize;
            self.is_saved[s] |= std::mem::take(&mut self.is_changed[s]);
        }
    }

    fn set_saved(&mut self, slots: &[u32]) {
        self.removed = vec![];
        self.removed_bytes = 0;
        for s in std::mem::take(&mut self.changed) {
            self.is_changed[s as usize] = false;
        }
        for s in slots {
            self.is_saved[*s as usize] = true;
        }
    }
}

/// What a removed row takes beside its bytes.
const REMOVED_BYTES: usize = 48;

/// See [`Arrangement::rows_of`].
pub(crate) struct RowsOf<'a> {
    arrangement: &'a Arrangement,
    at: u32,
}

impl Iterator for RowsOf<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.at == NONE {
            return None;
        }
        let slot = self.at;
        self.at = self.arrangement.next[slot as usize];
        Some(slot)
    }
}
