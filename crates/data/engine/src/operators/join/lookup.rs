//! A side whose rows are not kept: for a step they are looked up, by the keys that the step is about, in the answer of the view that they
//! are the rows of or in an index, and let go after it.
//!
//! What they are looked up in has the step's change of that side already. Without it the rows are those from before the step, and the step itself is
//! that of a join that keeps them. A step in which that side does not change needs no such rows: what is found is put out as it is.

use fleuve_types::{Error, Result};

use super::output::{Output, PAIRS_AT_ONCE, Rows, Shown};
use super::{Alone, Incoming, JoinSpec, Shard, keyed};
use crate::lookup::{Found, LookedIn};
use crate::state::{Arrangement, Part, RowCodec, hash_bytes};

/// What one side takes in, in one shard.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) incoming: &'a Incoming,
    pub(super) rows: &'a [u32],
}

type Key<'a> = (u64, &'a [u8]);

impl<'a> Change<'a> {
    /// The rows that can have a partner, each with its key.
    fn rows_by_key(self) -> impl Iterator<Item = (usize, Key<'a>)> {
        let Self { incoming, rows } = self;
        let rows = rows.iter().map(|i| *i as usize).filter(|i| !incoming.is_null_key(*i));
        rows.map(|i| (i, (incoming.key_hashes[i], incoming.keys.row(i))))
    }
}

impl JoinSpec {
    /// True if no side is looked up.
    pub(super) fn keeps_all(&self) -> bool {
        self.looked_up.iter().all(Option::is_none)
    }

    /// The answers that were given, of the left side and of the right one.
    pub(super) fn given<'a>(&self, answers: &'a [Option<LookedIn>; 2]) -> Result<[Option<&'a LookedIn>; 2]> {
        for (answer, looked_up) in answers.iter().zip(&self.looked_up) {
            if let (None, Some(name)) = (answer, looked_up) {
                return Err(Error::bug(format!("a join was not given {name}")));
            }
        }
        Ok(answers.each_ref().map(Option::as_ref))
    }
}

/// A step of a shard of which a side is looked up.
pub(super) fn step(
    shard: &mut Shard,
    answers: [Option<&LookedIn>; 2],
    codecs: [&RowCodec; 2],
    changes: [Change<'_>; 2],
    output: &mut Output<'_>,
) -> Result<()> {
    let alone = [output.spec.left_alone, output.spec.right_alone];
    for (side, answer) in answers.into_iter().enumerate() {
        if let Some(answer) = answer.filter(|_| changes[side].rows.is_empty() && alone[side] == Alone::No) {
            let other = 1 - side;
            let is_kept = answers[other].is_none();
            return step_of_one(shard, answer, (other == 0, changes[other], is_kept), output);
        }
    }
    fill(shard, answers, codecs, changes)?;
    let [left, right] = changes;
    keyed::step(shard, left.incoming, right.incoming, left.rows, right.rows, output)?;
    let_go(shard, answers);
    Ok(())
}

/// A step in which nothing changes of a side that is looked up and of which no row appears alone: the rows of the other side are put
/// beside those that are found, as they are.
fn step_of_one(
    shard: &mut Shard,
    answer: &LookedIn,
    (is_left, change, is_kept): (bool, Change<'_>, bool),
    output: &mut Output<'_>,
) -> Result<()> {
    let key_at = |(n, i): (usize, &u32)| {
        let (incoming, i) = (change.incoming, *i as usize);
        (!incoming.is_null_key(i)).then(|| ((incoming.key_hashes[i], incoming.keys.row(i)), n))
    };
    let mut by_key: Vec<(Key<'_>, usize)> = change.rows.iter().enumerate().filter_map(key_at).collect();
    by_key.sort_unstable();
    let mut keys: Vec<Key<'_>> = by_key.iter().map(|(key, _)| *key).collect();
    keys.dedup();
    let found = answer.find(&keys)?;
    let mut by_found: Vec<u32> = (0..found.keys.len() as u32).collect();
    by_found.sort_by_key(|row| found.keys[*row as usize]);
    let mut partners: Vec<&[u32]> = vec![&[]; change.rows.len()];
    let mut of_keys = by_found.chunk_by(|a, b| found.keys[*a as usize] == found.keys[*b as usize]).peekable();
    for (at, same) in by_key.chunk_by(|a, b| a.0 == b.0).enumerate() {
        if let Some(rows) = of_keys.next_if(|rows| found.keys[rows[0] as usize] == at) {
            same.iter().for_each(|(_, n)| partners[*n] = rows);
        }
    }
    put(change, &partners, &found, is_left, output)?;
    if is_kept {
        let side = if is_left { &mut shard.left } else { &mut shard.right };
        keyed::add(side, change.incoming, change.rows);
        side.rows.sweep();
    }
    Ok(())
}

/// Puts out rows of one side, each with its partners if it has some, and as such rows are shown alone.
fn put(change: Change<'_>, partners: &[&[u32]], found: &Found, is_left: bool, output: &mut Output<'_>) -> Result<()> {
    let delta = &change.incoming.delta;
    let weight = |i: &u32| delta.weight(*i as usize);
    if output.spec.pairs {
        let rows = change.rows.iter().zip(partners);
        let mut pairs = rows.flat_map(|(i, partners)| partners.iter().map(|other| (*i, *other))).peekable();
        while pairs.peek().is_some() {
            let (own, other): (Vec<u32>, Vec<u32>) = pairs.by_ref().take(PAIRS_AT_ONCE).unzip();
            let weights = own.iter().zip(&other).map(|(i, o)| weight(i) * found.weights[*o as usize]).collect();
            let (own, other) = (Rows::Batch(&delta.batch, own), Rows::Batch(&found.rows, other));
            let (left, right) = if is_left { (&own, &other) } else { (&other, &own) };
            output.pairs(left, right, weights)?;
        }
    }
    let kind = if is_left { output.spec.left_alone } else { output.spec.right_alone };
    let mut shown = Shown::default();
    for (i, partners) in change.rows.iter().zip(partners) {
        let matched = partners.iter().map(|row| found.weights[*row as usize]).sum::<i64>() > 0;
        shown.note(kind, *i as usize, (0, matched), (weight(i), matched));
    }
    let rows = shown.at.iter().map(|i| *i as u32).collect();
    output.alone(&Rows::Batch(&delta.batch, rows), is_left, shown.weights, shown.marks)
}

/// Brings into a shard the rows that its sides had before this step of the keys that it is about.
fn fill(
    shard: &mut Shard,
    answers: [Option<&LookedIn>; 2],
    codecs: [&RowCodec; 2],
    changes: [Change<'_>; 2],
) -> Result<()> {
    let neither_is_kept = answers.iter().all(Option::is_some);
    for (side, answer) in answers.into_iter().enumerate() {
        let Some(answer) = answer else { continue };
        let (own, other) = (changes[side], changes[1 - side]);
        let (rows, others) = match side {
            0 => (&mut shard.left.rows, &shard.right.rows),
            _ => (&mut shard.right.rows, &shard.left.rows),
        };
        if rows.len() > 0 {
            // Of a step that failed.
            *rows = Arrangement::default();
        }
        // What changes under keys that the other side has no rows of is of no consequence.
        let is_asked = |(hash, key): &Key<'_>| neither_is_kept || others.key_slot(*hash, key).is_some();
        let own_keys = own.rows_by_key().map(|(_, key)| key).filter(is_asked);
        let mut keys: Vec<Key<'_>> = other.rows_by_key().map(|(_, key)| key).chain(own_keys).collect();
        keys.sort_unstable();
        keys.dedup();
        bring(rows, answer, codecs[side], &keys)?;
        take_back(rows, own, &keys)?;
    }
    Ok(())
}

/// Brings into a shard the rows that its sides have now of the keys of a part that the other side has.
pub(super) fn fill_part(
    shard: &mut Shard,
    answers: [Option<&LookedIn>; 2],
    codecs: [&RowCodec; 2],
    part: Part,
) -> Result<()> {
    for (side, answer) in answers.into_iter().enumerate() {
        let Some(answer) = answer else { continue };
        let (rows, others) = match side {
            0 => (&mut shard.left.rows, &shard.right.rows),
            _ => (&mut shard.right.rows, &shard.left.rows),
        };
        let own = others.keys_in(part);
        let mut keys: Vec<Key<'_>> = own.map(|k| (others.key_hash(k), others.key(k))).collect();
        keys.sort_unstable();
        bring(rows, answer, codecs[side], &keys)?;
    }
    Ok(())
}

fn bring(rows: &mut Arrangement, answer: &LookedIn, codec: &RowCodec, keys: &[Key<'_>]) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let found = answer.find(keys)?;
    let encoded = codec.encode(found.rows.columns())?;
    for (i, key) in found.keys.iter().enumerate() {
        let ((hash, key), row) = (keys[*key], encoded.row(i));
        rows.add(hash, key, hash_bytes(row), row, found.weights[i]);
    }
    Ok(())
}

/// Takes the change of a side out of its rows.
fn take_back(rows: &mut Arrangement, own: Change<'_>, keys: &[Key<'_>]) -> Result<()> {
    let mut touched = vec![];
    for (i, (hash, key)) in own.rows_by_key() {
        if keys.binary_search(&(hash, key)).is_ok() {
            let row = own.incoming.rows.row(i);
            touched.push(rows.add(hash, key, hash_bytes(row), row, -own.incoming.delta.weight(i)).slot);
        }
    }
    if touched.iter().any(|slot| rows.weight(*slot) < 0) {
        return Err(Error::bug("what a join looks rows up in lacks rows that came with this step"));
    }
    rows.sweep();
    Ok(())
}

/// Lets go of the rows of the sides that are not kept.
pub(super) fn let_go(shard: &mut Shard, answers: [Option<&LookedIn>; 2]) {
    for (answer, rows) in answers.into_iter().zip([&mut shard.left.rows, &mut shard.right.rows]) {
        if answer.is_some() {
            *rows = Arrangement::default();
        }
    }
}
