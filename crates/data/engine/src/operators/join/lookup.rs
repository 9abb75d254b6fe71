//! A side whose rows are not kept: for a step they are looked up in the answer of the view that they are the rows of, by the keys that
//! the step is about, and let go after it.
//!
//! The answer has the step's change of that side already. Without it the rows are those from before the step, and the step itself is
//! that of a join that keeps them. A step in which that side does not change needs no such rows: what is found is put out as it is.

use arrow::array::RecordBatch;
use fleuve_types::{Error, Result};

use super::output::{Output, PAIRS_AT_ONCE, Rows, Shown};
use super::{Alone, Incoming, JoinSpec, Shard, keyed};
use crate::output::Answer;
use crate::state::{Arrangement, Part, RowCodec, hash_bytes};

/// What one side takes in, in one shard.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) incoming: &'a Incoming<'a>,
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
    pub(super) fn given<'a>(&self, answers: &'a [Option<Answer>; 2]) -> Result<[Option<&'a Answer>; 2]> {
        for (answer, looked_up) in answers.iter().zip(&self.looked_up) {
            if let (None, Some(name)) = (answer, looked_up) {
                return Err(Error::bug(format!("a join was not given the answer of {name}")));
            }
        }
        Ok(answers.each_ref().map(Option::as_ref))
    }
}

/// A step of a shard of which a side is looked up.
pub(super) fn step(
    shard: &mut Shard,
    answers: [Option<&Answer>; 2],
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
    answer: &Answer,
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
    let mut row_of_key: Vec<Option<u32>> = vec![None; keys.len()];
    for (row, key) in (0..).zip(&found.keys) {
        row_of_key[*key] = Some(row);
    }
    let mut partners: Vec<Option<u32>> = vec![None; change.rows.len()];
    for (same, row) in by_key.chunk_by(|a, b| a.0 == b.0).zip(row_of_key) {
        same.iter().for_each(|(_, n)| partners[*n] = row);
    }
    put(change, &partners, &found.rows, is_left, output)?;
    if is_kept {
        let side = if is_left { &mut shard.left } else { &mut shard.right };
        keyed::add(side, change.incoming, change.rows);
        side.rows.sweep();
    }
    Ok(())
}

/// Puts out rows of one side, each with its partner if it has one, and as such rows are shown alone.
fn put(
    change: Change<'_>,
    partners: &[Option<u32>],
    others: &RecordBatch,
    is_left: bool,
    output: &mut Output<'_>,
) -> Result<()> {
    let delta = change.incoming.delta;
    let weight = |i: &u32| delta.weight(*i as usize);
    if output.spec.pairs {
        let with_partner = change.rows.iter().zip(partners).filter_map(|(i, partner)| Some((*i, (*partner)?)));
        let pairs: Vec<(u32, u32)> = with_partner.collect();
        for some in pairs.chunks(PAIRS_AT_ONCE) {
            let (own, other): (Vec<u32>, Vec<u32>) = some.iter().copied().unzip();
            let weights = own.iter().map(weight).collect();
            let (own, other) = (Rows::Batch(&delta.batch, own), Rows::Batch(others, other));
            let (left, right) = if is_left { (&own, &other) } else { (&other, &own) };
            output.pairs(left, right, weights)?;
        }
    }
    let kind = if is_left { output.spec.left_alone } else { output.spec.right_alone };
    let mut shown = Shown::default();
    for (i, partner) in change.rows.iter().zip(partners) {
        let matched = partner.is_some();
        shown.note(kind, *i as usize, (0, matched), (weight(i), matched));
    }
    let rows = shown.at.iter().map(|i| *i as u32).collect();
    output.alone(&Rows::Batch(&delta.batch, rows), is_left, shown.weights, shown.marks)
}

/// Brings into a shard the rows that its sides had before this step of the keys that it is about.
fn fill(
    shard: &mut Shard,
    answers: [Option<&Answer>; 2],
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
    answers: [Option<&Answer>; 2],
    codecs: [&RowCodec; 2],
    part: Part,
) -> Result<()> {
    for (side, answer) in answers.into_iter().enumerate() {
        let Some(answer) = answer else { continue };
        let (rows, others) = match side {
            0 => (&mut shard.left.rows, &shard.right.rows),
            _ => (&mut shard.right.rows, &shard.left.rows),
        };
        let own = others.keys().filter(|k| part.holds(others.key_hash(*k)));
        let mut keys: Vec<Key<'_>> = own.map(|k| (others.key_hash(k), others.key(k))).collect();
        keys.sort_unstable();
        bring(rows, answer, codecs[side], &keys)?;
    }
    Ok(())
}

fn bring(rows: &mut Arrangement, answer: &Answer, codec: &RowCodec, keys: &[Key<'_>]) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let found = answer.find(keys)?;
    let encoded = codec.encode(found.rows.columns())?;
    for (i, key) in found.keys.iter().enumerate() {
        let ((hash, key), row) = (keys[*key], encoded.row(i));
        rows.add(hash, key, hash_bytes(row), row, 1);
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
        return Err(Error::bug("the answer in which a join looks rows up lacks rows that came with this step"));
    }
    rows.sweep();
    Ok(())
}

/// Lets go of the rows of the sides that are not kept.
pub(super) fn let_go(shard: &mut Shard, answers: [Option<&Answer>; 2]) {
    for (answer, rows) in answers.into_iter().zip([&mut shard.left.rows, &mut shard.right.rows]) {
        if answer.is_some() {
            *rows = Arrangement::default();
        }
    }
}
