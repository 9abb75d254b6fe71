//! The rows of a step by partition, each partition's in its order.

use fleuve_types::Delta;
use hashbrown::HashTable;

use super::order::Encoded;

/// What all shards of one step share.
pub(crate) struct Arrivals<'a> {
    pub(crate) delta: &'a Delta,
    pub(crate) keys: &'a crate::state::Encoded,
    pub(crate) hashes: &'a [u64],
    pub(crate) rows: &'a Encoded,
}

/// The rows of a step that belong to one partition.
pub(crate) struct Partition {
    /// A row of it.
    first: u32,
    rows: Vec<u32>,
}

impl<'a> Arrivals<'a> {
    pub(crate) fn key(&self, row: usize) -> (u64, &'a [u8]) {
        (self.hashes[row], self.keys.row(row))
    }

    /// `rows` by partition, in the order in which partitions appear, without those that are not to be kept.
    pub(crate) fn partitions(&self, rows: &[u32], keep: impl Fn(usize) -> bool) -> Vec<Partition> {
        let mut partitions: Vec<Partition> = vec![];
        let mut found: HashTable<u32> = HashTable::new();
        for i in rows {
            if !keep(*i as usize) {
                continue;
            }
            let (hash, key) = self.key(*i as usize);
            let same = |p: &u32| self.keys.row(partitions[*p as usize].first as usize) == key;
            if let Some(p) = found.find(hash, same) {
                partitions[*p as usize].rows.push(*i);
                continue;
            }
            let hash_of = |p: &u32| self.hashes[partitions[*p as usize].first as usize];
            found.insert_unique(hash, partitions.len() as u32, hash_of);
            partitions.push(Partition { first: *i, rows: vec![*i] });
        }
        partitions
    }

    /// The hash and the bytes of a partition's key.
    pub(crate) fn key_of(&self, partition: &Partition) -> (u64, &'a [u8]) {
        self.key(partition.first as usize)
    }

    /// A partition's rows in their order with their weights: equal ones as one, none that comes to nothing.
    pub(crate) fn sorted(&self, partition: Partition) -> Vec<(&'a [u8], i64)> {
        let mut rows = partition.rows;
        let bytes = |i: u32| self.rows.row(i as usize);
        if rows.len() > 1 {
            rows.sort_unstable_by(|a, b| bytes(*a).cmp(bytes(*b)).then(a.cmp(b)));
        }
        let mut out: Vec<(&[u8], i64)> = Vec::with_capacity(rows.len());
        for i in rows {
            let weight = self.delta.weight(i as usize);
            match out.last_mut() {
                Some((last, sum)) if *last == bytes(i) => *sum += weight,
                _ => out.push((bytes(i), weight)),
            }
        }
        out.retain(|(_, w)| *w != 0);
        out
    }
}
