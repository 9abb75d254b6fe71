//! A step of a join in which having a partner is a property of the key.

use std::collections::HashMap;

use fleuve_types::Result;
use rayon::prelude::*;

use super::output::{Output, PAIRS_AT_ONCE, Rows, Shown};
use super::{Alone, Incoming, Shard, Side};
use crate::state::hash_bytes;

pub(super) fn step(
    shard: &mut Shard,
    left: &Incoming,
    right: &Incoming,
    left_rows: &[u32],
    right_rows: &[u32],
    output: &mut Output<'_>,
) -> Result<()> {
    let spec = output.spec;
    if spec.pairs {
        pairs_with(&shard.left, right, right_rows, output, false)?;
    }
    // Whether a key has partners, before and after, decides how the other side's rows are shown.
    let left_turned = changes_of(&shard.left, left, left_rows, spec.right_alone);
    let right_turned = changes_of(&shard.right, right, right_rows, spec.left_alone);
    turn(&shard.left, &right_turned, spec.left_alone, true, output)?;
    add(&mut shard.right, right, right_rows);
    let Shard { left: left_side, right: right_side, .. } = &mut *shard;
    let mut to_left = || add(left_side, left, left_rows);
    if spec.pairs && output.is_hot {
        // Both at once, so that the hot shard is done sooner.
        rayon::join(to_left, || pairs_with(right_side, left, left_rows, output, true)).1?;
    } else {
        to_left();
        if spec.pairs {
            pairs_with(right_side, left, left_rows, output, true)?;
        }
    }
    arrive(&shard.right, left, left_rows, spec.left_alone, true, output)?;
    // The right side's rows: those that were there turn by dL, those of dR arrive under the new left side.
    turn_old(shard, &left_turned, right, right_rows, output)?;
    arrive(&shard.left, right, right_rows, spec.right_alone, false, output)?;
    shard.left.rows.sweep();
    shard.right.rows.sweep();
    Ok(())
}

/// So many rows are looked at before they are added.
const LOOKED_AT: usize = 32;

pub(super) fn add(side: &mut Side, incoming: &Incoming, rows: &[u32]) {
    let mut hashes = [0; LOOKED_AT];
    for rows in rows.chunks(LOOKED_AT) {
        // A row's place is hardly ever in a cache, and a core can wait for many of them at once.
        for (hash, i) in hashes.iter_mut().zip(rows) {
            *hash = hash_bytes(incoming.rows.row(*i as usize));
            side.rows.prefetch_row(*hash);
        }
        for (row_hash, i) in hashes.iter().zip(rows) {
            let i = *i as usize;
            if !incoming.is_null_key(i) {
                let (hash, weight) = (incoming.key_hashes[i], incoming.delta.weight(i));
                let touched = side.rows.add(hash, incoming.keys.row(i), *row_hash, incoming.rows.row(i), weight);
                if touched.is_new {
                    side.date(touched.slot, incoming, i);
                }
            }
        }
    }
}

/// So many rows look for their partners at once; more are spread over the cores.
const PROBE_ROWS: usize = 2_048;

/// Pairs of `incoming`'s rows with the rows that `side` holds. `incoming_is_left` tells which columns come first.
///
/// The rows of a key are all in one shard, and a hot key makes that one the slowest: cores that have less to do help it here, where
/// nothing is changed. Other shards are worked on by one core each: while it waited for what another one does for it, it would begin
/// with the next shard, and end neither.
fn pairs_with(
    side: &Side,
    incoming: &Incoming,
    rows: &[u32],
    output: &mut Output<'_>,
    incoming_is_left: bool,
) -> Result<()> {
    if !output.is_hot || rows.len() < 2 * PROBE_ROWS || rayon::current_num_threads() == 1 {
        return pairs_of(side, incoming, rows, output, incoming_is_left);
    }
    let empty = output.beside();
    let piece = |rows: &[u32]| {
        let mut output = empty.beside();
        pairs_of(side, incoming, rows, &mut output, incoming_is_left).map(|()| output)
    };
    // In the order of the rows, the first failure too.
    let pieces: Vec<Result<Output<'_>>> = rows.par_chunks(PROBE_ROWS).map(piece).collect();
    pieces.into_iter().try_for_each(|piece| piece.map(|piece| output.extend(piece)))
}

fn pairs_of(
    side: &Side,
    incoming: &Incoming,
    rows: &[u32],
    output: &mut Output<'_>,
    incoming_is_left: bool,
) -> Result<()> {
    let mut indices: Vec<u32> = Vec::new();
    let mut bytes: Vec<&[u8]> = Vec::new();
    let mut weights = Vec::new();
    let flush = |indices: &mut Vec<u32>, bytes: &mut Vec<&[u8]>, weights: &mut Vec<i64>, output: &mut Output<'_>| {
        let new = Rows::Batch(&incoming.delta.batch, std::mem::take(indices));
        let old = Rows::Bytes(std::mem::take(bytes));
        let weights = std::mem::take(weights);
        if incoming_is_left { output.pairs(&new, &old, weights) } else { output.pairs(&old, &new, weights) }
    };
    for i in rows {
        let at = *i as usize;
        if incoming.is_null_key(at) {
            continue;
        }
        let Some(key) = side.rows.key_slot(incoming.key_hashes[at], incoming.keys.row(at)) else { continue };
        for slot in side.rows.rows_of(key) {
            let weight = side.rows.weight(slot) * incoming.delta.weight(at);
            if weight != 0 {
                indices.push(*i);
                bytes.push(side.rows.row(slot));
                weights.push(weight);
                if weights.len() >= PAIRS_AT_ONCE {
                    flush(&mut indices, &mut bytes, &mut weights, output)?;
                }
            }
        }
    }
    if !weights.is_empty() {
        flush(&mut indices, &mut bytes, &mut weights, output)?;
    }
    Ok(())
}

/// Keys whose "has rows" turns by this change, with what it was before. Empty if nobody asks.
fn changes_of<'a>(side: &Side, incoming: &'a Incoming, rows: &[u32], asked: Alone) -> HashMap<&'a [u8], bool> {
    if asked == Alone::No {
        return HashMap::new();
    }
    let mut change: HashMap<&[u8], (i64, i64)> = HashMap::new();
    for i in rows {
        let i = *i as usize;
        if !incoming.is_null_key(i) {
            let key = incoming.keys.row(i);
            let entry = change.entry(key).or_insert_with(|| (side.rows.total(incoming.key_hashes[i], key), 0));
            entry.1 += incoming.delta.weight(i);
        }
    }
    change
        .into_iter()
        .filter(|(_, (old, delta))| (*old > 0) != (old + delta > 0))
        .map(|(key, (old, _))| (key, old > 0))
        .collect()
}

/// The rows of `side` under keys whose partners came or went.
fn turn(side: &Side, turned: &HashMap<&[u8], bool>, kind: Alone, left: bool, output: &mut Output<'_>) -> Result<()> {
    let mut shown = Shown::default();
    let mut bytes: Vec<&[u8]> = Vec::new();
    let mut keys: Vec<(&[u8], bool)> = turned.iter().map(|(k, v)| (*k, *v)).collect();
    keys.sort_unstable();
    for (key, was) in keys {
        let Some(key) = side.rows.key_slot(hash_bytes(key), key) else { continue };
        for slot in side.rows.rows_of(key) {
            let weight = side.rows.weight(slot);
            shown.note(kind, bytes.len(), (weight, was), (weight, !was));
            bytes.push(side.rows.row(slot));
        }
    }
    put(&bytes, shown, left, output)
}

/// As [`turn`] for the right side, which already holds its own change: what came with it is left to [`arrive`].
fn turn_old(
    shard: &Shard,
    turned: &HashMap<&[u8], bool>,
    right: &Incoming,
    right_rows: &[u32],
    output: &mut Output<'_>,
) -> Result<()> {
    let kind = output.spec.right_alone;
    if kind == Alone::No || turned.is_empty() {
        return Ok(());
    }
    let mut new: HashMap<&[u8], i64> = HashMap::new();
    for i in right_rows {
        let i = *i as usize;
        if !right.is_null_key(i) && turned.contains_key(right.keys.row(i)) {
            *new.entry(right.rows.row(i)).or_default() += right.delta.weight(i);
        }
    }
    let side = &shard.right;
    let mut shown = Shown::default();
    let mut bytes: Vec<&[u8]> = Vec::new();
    let mut keys: Vec<(&[u8], bool)> = turned.iter().map(|(k, v)| (*k, *v)).collect();
    keys.sort_unstable();
    for (key, was) in keys {
        let Some(key) = side.rows.key_slot(hash_bytes(key), key) else { continue };
        for slot in side.rows.rows_of(key) {
            let row = side.rows.row(slot);
            let weight = side.rows.weight(slot) - new.get(row).copied().unwrap_or(0);
            shown.note(kind, bytes.len(), (weight, was), (weight, !was));
            bytes.push(row);
        }
    }
    put(&bytes, shown, false, output)
}

fn put(bytes: &[&[u8]], shown: Shown, left: bool, output: &mut Output<'_>) -> Result<()> {
    let rows = Rows::Bytes(shown.at.iter().map(|i| bytes[*i]).collect());
    output.alone(&rows, left, shown.weights, shown.marks)
}

/// Arriving rows, shown by whether the other side has partners for them now.
fn arrive(
    other: &Side,
    incoming: &Incoming,
    rows: &[u32],
    kind: Alone,
    left: bool,
    output: &mut Output<'_>,
) -> Result<()> {
    if kind == Alone::No {
        return Ok(());
    }
    let mut shown = Shown::default();
    for i in rows {
        let at = *i as usize;
        let matched = !incoming.is_null_key(at) && other.rows.total(incoming.key_hashes[at], incoming.keys.row(at)) > 0;
        shown.note(kind, at, (0, matched), (incoming.delta.weight(at), matched));
    }
    let indices = shown.at.iter().map(|i| *i as u32).collect();
    output.alone(&Rows::Batch(&incoming.delta.batch, indices), left, shown.weights, shown.marks)
}
