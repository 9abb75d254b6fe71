//! Work split by key hash, one shard per core.

use fleuve_types::{Error, Result};

/// Below this many rows a step is taken on the calling thread: handing over would cost more.
const PARALLEL_ROWS: usize = 4096;

/// The shard of a key.
pub(crate) fn shard_of(hash: u64, shards: usize) -> usize {
    ((hash >> 32) as usize) % shards
}

/// The rows of each shard.
pub(crate) fn split(hashes: &[u64], shards: usize) -> Vec<Vec<u32>> {
    if shards == 1 {
        return vec![(0..hashes.len() as u32).collect()];
    }
    let mut rows = vec![Vec::with_capacity(hashes.len() / shards + 16); shards];
    for (i, hash) in hashes.iter().enumerate() {
        rows[shard_of(*hash, shards)].push(i as u32);
    }
    rows
}

/// Runs `work(shard index, shard)` for every shard, in parallel when `rows` is worth it; results in shard order.
pub(crate) fn for_each<S: Send, R: Send>(
    shards: &mut [S],
    rows: usize,
    work: impl Fn(usize, &mut S) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    use rayon::prelude::*;
    if shards.len() == 1 || rows < PARALLEL_ROWS {
        return shards.iter_mut().enumerate().map(|(i, s)| work(i, s)).collect();
    }
    let label = fleuve_profile::current();
    let labelled = |(i, s): (usize, &mut S)| {
        let _shown = fleuve_profile::enter(label);
        work(i, s)
    };
    shards.par_iter_mut().enumerate().map(labelled).collect()
}

/// As [`for_each`], with the rows of each shard. The one with the most begins first: where a key is hot, the others are done beside it.
pub(crate) fn for_each_by<S: Send, R: Send>(
    shards: &mut [S],
    rows: &[usize],
    work: impl Fn(usize, &mut S) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    if shards.len() == 1 || rows.iter().sum::<usize>() < PARALLEL_ROWS {
        return shards.iter_mut().enumerate().map(|(i, s)| work(i, s)).collect();
    }
    let mut results: Vec<Option<Result<R>>> = shards.iter().map(|_| None).collect();
    let mut tasks: Vec<_> = shards.iter_mut().zip(&mut results).enumerate().collect();
    tasks.sort_by_key(|(i, _)| std::cmp::Reverse(rows.get(*i).copied()));
    let label = fleuve_profile::current();
    let work = &work;
    rayon::scope_fifo(|scope| {
        for (i, (shard, result)) in tasks {
            scope.spawn_fifo(move |_| {
                let _shown = fleuve_profile::enter(label);
                *result = Some(work(i, shard));
            });
        }
    });
    results.into_iter().map(|r| r.unwrap_or_else(|| Err(Error::bug("a shard was not worked on")))).collect()
}

/// Does two things, at the same time when `rows` is worth it.
pub(crate) fn both<A: Send, B: Send>(
    rows: usize,
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    if rows < PARALLEL_ROWS { (first(), second()) } else { rayon::join(first, second) }
}
