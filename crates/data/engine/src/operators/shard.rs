//! Work split by key hash, one shard per core or a few.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use fleuve_types::{Delta, Error, Result};

use crate::state::batch_of;

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

/// Rows that are dealt out at once. A piece fits into a core's cache.
const DEALT_ROWS: usize = 8_192;

/// A change with the keys of its rows, their hashes, and the rows of each shard.
pub(crate) struct Dealt {
    pub(crate) delta: Delta,
    pub(crate) keys: Vec<ArrayRef>,
    pub(crate) hashes: Vec<u64>,
    pub(crate) parts: Vec<Vec<u32>>,
}

/// Deals many rows out to shards, in another order: in each piece of them those of a shard are side by side, in the order that they had among
/// each other. What a core makes of them another one reads in a few runs then; of rows that lie anywhere, each shard would load most of the
/// cache lines (partitioning before the work: Balkesen et al., "Main-Memory Hash Joins on Multi-Core CPUs", ICDE 2013).
///
/// `None` if there are too few for that to pay.
pub(crate) fn deal(delta: &Delta, keys: &[ArrayRef], hashes: &[u64], shards: usize) -> Result<Option<Dealt>> {
    use rayon::prelude::*;
    if shards == 1 || hashes.len() < 2 * DEALT_ROWS {
        return Ok(None);
    }
    let mut parts = vec![vec![]; shards];
    let mut order = Vec::with_capacity(hashes.len());
    let mut piece = vec![vec![]; shards];
    for (row, hash) in hashes.iter().enumerate() {
        piece[shard_of(*hash, shards)].push(row as u32);
        if (row + 1) % DEALT_ROWS == 0 || row + 1 == hashes.len() {
            for (rows, part) in piece.iter_mut().zip(&mut parts) {
                part.extend(order.len() as u32..(order.len() + rows.len()) as u32);
                order.append(rows);
            }
        }
    }
    let order = UInt32Array::from(order);
    let taken = |column: &ArrayRef| take(column, &order, None).map_err(|e| Error::bug(e.to_string()));
    let columns: Vec<ArrayRef> = delta.batch.columns().par_iter().map(taken).collect::<Result<_>>()?;
    let key = |key: &ArrayRef| match delta.batch.columns().iter().position(|column| Arc::ptr_eq(column, key)) {
        Some(at) => Ok(columns[at].clone()),
        None => taken(key),
    };
    let keys = keys.iter().map(key).collect::<Result<_>>()?;
    let weights = delta.weights.as_ref().map(|w| order.values().iter().map(|row| w[*row as usize]).collect());
    let batch: RecordBatch = batch_of(&delta.batch.schema(), columns, order.len())?;
    let hashes = order.values().iter().map(|row| hashes[*row as usize]).collect();
    Ok(Some(Dealt { delta: Delta { batch, weights }, keys, hashes, parts }))
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
