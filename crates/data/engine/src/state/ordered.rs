//! The rows of each key in the order of their bytes, with their positions. Derived state: rebuilt from a checkpoint or from the
//! log.

use std::cmp::Ordering;

use super::arrangement::Arrangement;
use super::bytes::{NONE, hash_bytes};
use super::growth::resize;

/// An arrangement in which the rows of a key are also a treap (Seidel and Aragon, "Randomized Search Trees", 1996): a search
/// tree by the rows' bytes and a heap by their hashes, so that its shape follows from its rows alone. Every node knows the
/// weight of its subtree, which makes positions and the row at a position a matter of the tree's depth.
///
/// Rows count from 0; a row of weight `n` takes `n` positions.
#[derive(Default)]
pub(crate) struct Ordered {
    rows: Arrangement,
    /// By key slot.
    roots: Vec<u32>,
    /// By row slot.
    nodes: Vec<Node>,
    /// Rows looked at: what the work in here is in proportion to.
    #[cfg(test)]
    pub(crate) visited: std::cell::Cell<u64>,
}

#[derive(Clone, Copy)]
struct Node {
    left: u32,
    right: u32,
    /// The row's weight in the tree; 0 when it is not in it.
    weight: i64,
    /// The weight of the subtree.
    sum: i64,
}

const OUT: Node = Node { left: NONE, right: NONE, weight: 0, sum: 0 };

/// A row in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) slot: u32,
    /// Of its first copy.
    pub(crate) position: u64,
    /// How many copies.
    pub(crate) weight: u64,
}

impl Ordered {
    /// Adds `weight` copies of a row and gives its slot, which stays valid until [`Ordered::sweep`] also if the row went.
    pub(crate) fn add(&mut self, key_hash: u64, key: &[u8], row: &[u8], weight: i64) -> u32 {
        let slot = self.rows.add(key_hash, key, hash_bytes(row), row, weight).slot;
        self.settle(slot);
        slot
    }

    /// Brings the tree up to what the arrangement says about a row.
    fn settle(&mut self, slot: u32) {
        if self.nodes.len() < self.rows.slots() {
            resize(&mut self.nodes, self.rows.slots(), OUT);
        }
        let key = self.rows.key_slot_of(slot);
        if self.roots.len() <= key as usize {
            resize(&mut self.roots, key as usize + 1, NONE);
        }
        let (old, new) = (self.nodes[slot as usize].weight, self.rows.weight(slot).max(0));
        let root = self.roots[key as usize];
        self.roots[key as usize] = match (old, new) {
            (0, 0) => root,
            (0, _) => {
                self.nodes[slot as usize] = Node { weight: new, sum: new, ..OUT };
                self.insert(root, slot)
            }
            (_, 0) => {
                let root = self.remove(root, slot);
                self.nodes[slot as usize] = OUT;
                root
            }
            _ => {
                self.nodes[slot as usize].weight = new;
                self.change(root, slot, new - old);
                root
            }
        };
    }

    fn node(&self, slot: u32) -> Node {
        #[cfg(test)]
        self.visited.set(self.visited.get() + 1);
        self.nodes[slot as usize]
    }

    fn sum(&self, slot: u32) -> i64 {
        if slot == NONE { 0 } else { self.nodes[slot as usize].sum }
    }

    fn add_up(&mut self, slot: u32) {
        let node = self.nodes[slot as usize];
        self.nodes[slot as usize].sum = node.weight + self.sum(node.left) + self.sum(node.right);
    }

    fn order(&self, a: u32, b: u32) -> Ordering {
        self.rows.row(a).cmp(self.rows.row(b))
    }

    /// Puts a node into the subtree at `at` and gives the subtree's new root.
    fn insert(&mut self, at: u32, new: u32) -> u32 {
        if at == NONE {
            return new;
        }
        let node = self.node(at);
        if self.rows.row_hash(new) > self.rows.row_hash(at) {
            let (left, right) = self.split(at, new);
            self.nodes[new as usize].left = left;
            self.nodes[new as usize].right = right;
            self.add_up(new);
            return new;
        }
        if self.order(new, at) == Ordering::Less {
            self.nodes[at as usize].left = self.insert(node.left, new);
        } else {
            self.nodes[at as usize].right = self.insert(node.right, new);
        }
        self.add_up(at);
        at
    }

    /// The subtree at `at` as what comes before the row `by` and what comes after it.
    fn split(&mut self, at: u32, by: u32) -> (u32, u32) {
        if at == NONE {
            return (NONE, NONE);
        }
        let node = self.node(at);
        if self.order(at, by) == Ordering::Less {
            let (left, right) = self.split(node.right, by);
            self.nodes[at as usize].right = left;
            self.add_up(at);
            (at, right)
        } else {
            let (left, right) = self.split(node.left, by);
            self.nodes[at as usize].left = right;
            self.add_up(at);
            (left, at)
        }
    }

    fn remove(&mut self, at: u32, gone: u32) -> u32 {
        let node = self.node(at);
        if at == gone {
            return self.merge(node.left, node.right);
        }
        if self.order(gone, at) == Ordering::Less {
            self.nodes[at as usize].left = self.remove(node.left, gone);
        } else {
            self.nodes[at as usize].right = self.remove(node.right, gone);
        }
        self.add_up(at);
        at
    }

    /// One tree of two, all of whose rows on the left come before those on the right.
    fn merge(&mut self, left: u32, right: u32) -> u32 {
        if left == NONE || right == NONE {
            return if left == NONE { right } else { left };
        }
        let top = if self.rows.row_hash(left) > self.rows.row_hash(right) {
            let inner = self.node(left).right;
            self.nodes[left as usize].right = self.merge(inner, right);
            left
        } else {
            let inner = self.node(right).left;
            self.nodes[right as usize].left = self.merge(left, inner);
            right
        };
        self.add_up(top);
        top
    }

    fn change(&mut self, mut at: u32, slot: u32, weight: i64) {
        loop {
            let node = self.node(at);
            self.nodes[at as usize].sum += weight;
            match self.order(slot, at) {
                Ordering::Less => at = node.left,
                Ordering::Equal => return,
                Ordering::Greater => at = node.right,
            }
        }
    }

    fn root(&self, key_slot: u32) -> u32 {
        self.roots.get(key_slot as usize).copied().unwrap_or(NONE)
    }

    /// The slot of a key.
    pub(crate) fn key_slot(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.rows.key_slot(hash, key)
    }

    /// The slots of all keys, in no order.
    pub(crate) fn keys(&self) -> Vec<u32> {
        self.rows.keys().collect()
    }

    /// The slot of a row.
    pub(crate) fn slot(&self, row: &[u8]) -> Option<u32> {
        self.rows.row_slot(row)
    }

    /// How many copies of a row there are.
    pub(crate) fn weight(&self, slot: u32) -> u64 {
        self.nodes[slot as usize].weight as u64
    }

    /// How many rows of a key, copies counted, are less than `bytes`.
    pub(crate) fn count_before(&self, key_slot: u32, bytes: &[u8]) -> u64 {
        self.count(key_slot, |row| row < bytes)
    }

    /// How many rows of a key, copies counted, are less than `bytes` or begin with them.
    pub(crate) fn count_through(&self, key_slot: u32, bytes: &[u8]) -> u64 {
        self.count(key_slot, |row| row < bytes || row.starts_with(bytes))
    }

    /// How many rows of a key are `counted`, which all are up to some place.
    fn count(&self, key_slot: u32, counted: impl Fn(&[u8]) -> bool) -> u64 {
        let mut at = self.root(key_slot);
        let mut before = 0;
        while at != NONE {
            let node = self.node(at);
            if counted(self.rows.row(at)) {
                before += self.sum(node.left) + node.weight;
                at = node.right;
            } else {
                at = node.left;
            }
        }
        before as u64
    }

    /// How many rows a key has, copies counted.
    pub(crate) fn total(&self, key_slot: u32) -> u64 {
        self.sum(self.root(key_slot)) as u64
    }

    /// The bytes of a row, also of one that went since the last [`Ordered::sweep`].
    pub(crate) fn row(&self, slot: u32) -> &[u8] {
        self.rows.row(slot)
    }

    /// The last row of a key.
    pub(crate) fn last(&self, key_slot: u32) -> Option<u32> {
        let mut at = self.root(key_slot);
        if at == NONE {
            return None;
        }
        loop {
            let right = self.node(at).right;
            if right == NONE {
                return Some(at);
            }
            at = right;
        }
    }

    /// The rows of a key from the one that holds `position` on, in order.
    pub(crate) fn from(&self, key_slot: u32, position: u64) -> FromPosition<'_> {
        let mut path = Vec::new();
        let mut at = self.root(key_slot);
        let mut before = 0;
        let mut start = 0;
        while at != NONE {
            let node = self.node(at);
            let left = before + self.sum(node.left) as u64;
            if position < left {
                path.push(at);
                at = node.left;
            } else if position < left + node.weight as u64 {
                path.push(at);
                start = left;
                break;
            } else {
                before = left + node.weight as u64;
                start = before;
                at = node.right;
            }
        }
        FromPosition { ordered: self, path, position: start }
    }

    /// Drops the rows of a key; gives their slots, which may be given to others now.
    pub(crate) fn drop_key(&mut self, hash: u64, key: &[u8]) -> Vec<u32> {
        let Some(key) = self.key_slot(hash, key) else { return vec![] };
        let slots: Vec<u32> = self.rows.rows_of(key).collect();
        for slot in &slots {
            self.nodes[*slot as usize] = OUT;
        }
        self.roots[key as usize] = NONE;
        self.rows.drop_rows(&slots);
        slots
    }

    /// Drops rows; slots that hold no row are passed over.
    pub(crate) fn drop_rows(&mut self, slots: &[u32]) {
        for slot in slots {
            if self.nodes[*slot as usize].weight > 0 {
                let key = self.rows.key_slot_of(*slot) as usize;
                self.roots[key] = self.remove(self.roots[key], *slot);
                self.nodes[*slot as usize] = OUT;
            }
        }
        self.rows.drop_rows(slots);
    }

    /// An arrangement of the same rows.
    pub(crate) fn arrangement(&self) -> &Arrangement {
        &self.rows
    }

    /// Distinct rows held.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes() + self.roots.capacity() * 4 + self.nodes.capacity() * size_of::<Node>()
    }

    /// Lets go of rows whose weight is zero; their slots may be given to others afterwards.
    pub(crate) fn sweep(&mut self) {
        self.rows.sweep();
    }

    /// See [`Arrangement::take_changes`].
    pub(crate) fn take_changes(&mut self, full: bool) -> Vec<(Vec<u8>, Vec<u8>, i64)> {
        self.rows.take_changes(full)
    }

    /// Sets a row's weight to what [`Ordered::take_changes`] gave; 0 removes it.
    pub(crate) fn restore(&mut self, key: &[u8], row: &[u8], weight: i64) {
        let now = self.rows.row_slot(row).map_or(0, |s| self.rows.weight(s));
        if now != weight {
            self.add(hash_bytes(key), key, row, weight - now);
            self.sweep();
        }
    }

    /// See [`Arrangement::fetch`].
    pub(crate) fn fetch(&mut self, key: &[u8], row: &[u8], weight: i64) {
        if weight == 0 {
            if let Some(slot) = self.rows.row_slot(row).filter(|s| self.nodes[*s as usize].weight > 0) {
                let at = self.rows.key_slot_of(slot) as usize;
                self.roots[at] = self.remove(self.roots[at], slot);
                self.nodes[slot as usize] = OUT;
            }
            self.rows.fetch(key, row, 0);
            return;
        }
        self.rows.fetch(key, row, weight);
        if let Some(slot) = self.rows.row_slot(row) {
            self.settle(slot);
        }
    }

    /// Forgets what changed; called after a restore.
    pub(crate) fn mark_saved(&mut self) {
        self.rows.mark_saved();
    }
}

/// See [`Ordered::from`].
pub(crate) struct FromPosition<'a> {
    ordered: &'a Ordered,
    /// The next row, and above it the rows whose left side it is in.
    path: Vec<u32>,
    position: u64,
}

impl Iterator for FromPosition<'_> {
    type Item = Placed;

    fn next(&mut self) -> Option<Placed> {
        let slot = self.path.pop()?;
        let node = self.ordered.node(slot);
        let mut at = node.right;
        while at != NONE {
            self.path.push(at);
            at = self.ordered.node(at).left;
        }
        let placed = Placed { slot, position: self.position, weight: node.weight as u64 };
        self.position += placed.weight;
        Some(placed)
    }
}
