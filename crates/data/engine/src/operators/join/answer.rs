//! The present answer of a join, from the rows of both sides: where all rows that it shows are held.

use fleuve_types::{Delta, Error, ErrorKind, Result};

use super::output::{Output, PAIRS_AT_ONCE, Rows};
use super::{Alone, Join, JoinSpec, Shard, lookup};
use crate::operators::{concat_deltas, evaluate};
use crate::state::{Arrangement, Part, absent_rows};

/// More pairs than this of one part are not made again: reading the inputs once more makes them a little at a time.
const MAX_PAIRS: u64 = 4 << 20;

impl JoinSpec {
    /// Rows whose key is NULL are shown by some joins and held by none, and a row that waited for its partner is not held either. With
    /// a condition, who has a partner is known for each row only.
    fn shows_what_it_holds(&self) -> bool {
        let one_side = match (self.left_alone, self.right_alone) {
            (Alone::No, Alone::No) => return self.pairs,
            (kind, Alone::No) | (Alone::No, kind) => kind,
            _ => return false,
        };
        let shows_others = matches!(one_side, Alone::Anti | Alone::Mark);
        let is_held = one_side == Alone::Semi || (shows_others && self.nulls_match);
        is_held && !self.pairs && self.filter.is_none() && !self.waits
    }

    /// True if the rows of one side at least are held: their keys are all that there can be pairs of.
    fn keeps_a_side(&self) -> bool {
        self.looked_up.iter().any(Option::is_none)
    }

    /// True if the rows' keys are those of the left columns.
    fn shows_left(&self) -> bool {
        self.pairs || self.left_alone != Alone::No
    }
}

impl Join {
    pub(super) fn has_answer(&self) -> bool {
        let by_time = !(self.close_by.is_empty() && self.left_times.is_empty() && self.right_times.is_empty());
        !by_time && !self.spec.key_types.is_empty() && self.spec.shows_what_it_holds() && self.spec.keeps_a_side()
    }

    pub(super) fn answer_in(&mut self, part: Part) -> Result<Delta> {
        let mut absent = absent_rows(&mut self.shards, self.pages.as_ref(), part)?;
        let answers = self.answers.clone();
        let answers = self.spec.given(&answers)?;
        let (spec, codecs) = (&self.spec, [&self.left_codec, &self.right_codec]);
        let mut pairs = 0;
        let mut tell = |shard: &mut Shard| {
            lookup::fill_part(shard, answers, codecs, part)?;
            pairs += if spec.pairs { pairs_of(shard, part) } else { 0 };
            if pairs > MAX_PAIRS {
                return Err(Error::new(ErrorKind::Limit, format!("a join has more than {MAX_PAIRS} rows at once")));
            }
            let mut output = Output::new(spec, codecs[0], codecs[1]);
            put_pairs(shard, part, &mut output)?;
            put_alone(shard, part, &mut output)?;
            // Pairs that the condition fails for were told when they came.
            Ok(output.finish()?.0)
        };
        let mut outs = vec![];
        for shard in absent.iter_mut().chain(&mut self.shards) {
            let told = tell(shard);
            // The join goes on, whatever came of this.
            lookup::let_go(shard, answers);
            outs.push(told?);
        }
        concat_deltas(&self.spec.schema, &outs)
    }

    pub(super) fn places_of(&self, rows: &Delta) -> Result<Vec<u64>> {
        let keys = if self.spec.shows_left() { &self.spec.left_keys } else { &self.spec.right_keys };
        let columns = keys.iter().map(|k| evaluate(k, &rows.batch)).collect::<Result<Vec<_>>>()?;
        Ok(self.key_codec.encode(&columns)?.hashes(rows.len()))
    }
}

/// The keys of a part that one side has and, if it has it, the slot of the other.
fn keys_of<'a>(
    own: &'a Arrangement,
    other: &'a Arrangement,
    part: Part,
) -> impl Iterator<Item = (u32, Option<u32>)> + 'a {
    own.keys_in(part).map(move |k| (k, other.key_slot(own.key_hash(k), own.key(k))))
}

fn pairs_of(shard: &Shard, part: Part) -> u64 {
    let (left, right) = (&shard.left.rows, &shard.right.rows);
    let rows = |of: &Arrangement, key: u32| of.rows_of(key).count() as u64;
    keys_of(left, right, part).filter_map(|(l, r)| Some(rows(left, l) * rows(right, r?))).sum()
}

fn put_pairs(shard: &Shard, part: Part, output: &mut Output<'_>) -> Result<()> {
    if !output.spec.pairs {
        return Ok(());
    }
    let (left, right) = (&shard.left.rows, &shard.right.rows);
    let (mut own, mut others, mut weights) = (vec![], vec![], vec![]);
    for (key, other) in keys_of(left, right, part) {
        let Some(other) = other else { continue };
        for l in left.rows_of(key) {
            for r in right.rows_of(other) {
                own.push(left.row(l));
                others.push(right.row(r));
                weights.push(left.weight(l) * right.weight(r));
                if weights.len() >= PAIRS_AT_ONCE {
                    let (l, r) = (Rows::Bytes(std::mem::take(&mut own)), Rows::Bytes(std::mem::take(&mut others)));
                    output.pairs(&l, &r, std::mem::take(&mut weights))?;
                }
            }
        }
    }
    if weights.is_empty() { Ok(()) } else { output.pairs(&Rows::Bytes(own), &Rows::Bytes(others), weights) }
}

fn put_alone(shard: &Shard, part: Part, output: &mut Output<'_>) -> Result<()> {
    let left = output.spec.left_alone != Alone::No;
    let (kind, own, other) = if left {
        (output.spec.left_alone, &shard.left.rows, &shard.right.rows)
    } else {
        (output.spec.right_alone, &shard.right.rows, &shard.left.rows)
    };
    let (mut rows, mut weights, mut marks) = (vec![], vec![], vec![]);
    for (key, _) in keys_of(own, other, part) {
        let is_matched = other.total(own.key_hash(key), own.key(key)) > 0;
        for slot in own.rows_of(key) {
            let shown = kind.shown(own.weight(slot), is_matched);
            if shown != 0 {
                rows.push(own.row(slot));
                weights.push(shown);
                marks.push(is_matched);
            }
        }
    }
    output.alone(&Rows::Bytes(rows), left, weights, marks)
}
