//! The rows of a state in the order of the entries of a run: by hash, then by table, key and row.
//!
//! Most hashes have one key and few rows, and then the hash is all that is looked at. The rows of a hot key all have the same one: they are
//! compared by eight of their bytes, which lie side by side in memory, before they are compared whole.

use rayon::prelude::*;

/// Where an entry to be written comes from.
pub(super) struct Item {
    pub(super) hash: u64,
    pub(super) source: u32,
    /// A row's slot, or the place among those that are gone.
    pub(super) at: u32,
}

/// More items than this are sorted by all cores.
const PARALLEL_ITEMS: usize = 1 << 14;
/// More rows of a hash than this are compared by some of their bytes first.
const MANY_ROWS: usize = 32;

/// Sorts by hash, then by what `content` gives: the table, the key (a shorter one first) and the row.
pub(super) fn sort<'a, C>(items: &mut [Item], content: C)
where
    C: Fn(&Item) -> (u8, &'a [u8], &'a [u8]) + Sync,
{
    if items.len() < PARALLEL_ITEMS {
        items.sort_unstable_by_key(|item| item.hash);
        items.chunk_by_mut(|a, b| a.hash == b.hash).for_each(|rows| sort_hash(rows, &content));
    } else {
        items.par_sort_unstable_by_key(|item| item.hash);
        items.par_chunk_by_mut(|a, b| a.hash == b.hash).for_each(|rows| sort_hash(rows, &content));
    }
}

/// Sorts the items of one hash.
fn sort_hash<'a, C>(items: &mut [Item], content: &C)
where
    C: Fn(&Item) -> (u8, &'a [u8], &'a [u8]) + Sync,
{
    let key = |item: &Item| {
        let (part, key, _) = content(item);
        (part, key.len(), key)
    };
    if items.len() <= MANY_ROWS {
        items.sort_unstable_by(|a, b| (key(a), content(a).2).cmp(&(key(b), content(b).2)));
        return;
    }
    items.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    items.chunk_by_mut(|a, b| key(a) == key(b)).for_each(|rows| sort_rows(rows, content));
}

/// Sorts the items of one key: by what follows the bytes that all rows begin with.
fn sort_rows<'a, C>(items: &mut [Item], content: &C)
where
    C: Fn(&Item) -> (u8, &'a [u8], &'a [u8]) + Sync,
{
    let Some(hash) = items.first().map(|item| item.hash) else { return };
    let row = |item: &Item| content(item).2;
    let first = items.first().map(row).unwrap_or_default();
    let shared = |item: &Item| first.iter().zip(row(item)).take_while(|(a, b)| a == b).count();
    let skipped = items.iter().map(shared).min().unwrap_or_default();
    // All have the same hash: its place holds the bytes meanwhile.
    items.iter_mut().for_each(|item| item.hash = next_bytes(row(item), skipped));
    let order = |a: &Item, b: &Item| a.hash.cmp(&b.hash).then_with(|| row(a).cmp(row(b)));
    if items.len() < PARALLEL_ITEMS {
        items.sort_unstable_by(order);
    } else {
        items.par_sort_unstable_by(order);
    }
    items.iter_mut().for_each(|item| item.hash = hash);
}

/// Eight bytes of a row as a number of their order; a row that ends sooner goes on with zeros.
fn next_bytes(row: &[u8], skipped: usize) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(row.iter().skip(skipped)) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests;
