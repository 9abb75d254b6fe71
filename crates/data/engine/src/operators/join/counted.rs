//! A step of a join with a condition beyond key equality, in which rows are also shown alone: partners are counted per row.

use fleuve_types::Result;

use super::output::{Output, PAIRS_AT_ONCE, Rows, Shown};
use super::{Alone, Incoming, Shard, Side};
use crate::state::{Arrangement, FetchedKeys, hash_bytes};

/// A row that a step touched: what it was before.
struct Touched {
    slot: u32,
    old_weight: i64,
    old_partners: i64,
    is_new: bool,
}

/// The touched rows of one side, each once.
#[derive(Default)]
struct TouchedRows {
    rows: Vec<Touched>,
    /// By slot: its place in `rows` plus 1.
    place: Vec<u32>,
}

impl TouchedRows {
    fn touch(&mut self, partners: &[i64], slot: u32, old_weight: i64, is_new: bool) {
        if self.place.len() <= slot as usize {
            self.place.resize(slot as usize + 1, 0);
        }
        if self.place[slot as usize] == 0 {
            let old_partners = if is_new { 0 } else { partners[slot as usize] };
            self.rows.push(Touched { slot, old_weight, old_partners, is_new });
            self.place[slot as usize] = self.rows.len() as u32;
        }
    }
}

/// A pair to be looked at: slots of both sides, and what it does if the condition holds.
struct Pair {
    left: u32,
    right: u32,
    weight: i64,
    left_partners: i64,
    right_partners: i64,
}

pub(super) fn step(
    shard: &mut Shard,
    left: &Incoming,
    right: &Incoming,
    left_rows: &[u32],
    right_rows: &[u32],
    output: &mut Output<'_>,
) -> Result<()> {
    let mut left_touched = TouchedRows::default();
    let mut right_touched = TouchedRows::default();
    lonely(left, left_rows, true, output)?;
    lonely(right, right_rows, false, output)?;
    add(&mut shard.right, right, right_rows, &mut right_touched);
    // dR with L_old
    let mut sides = Sides::of(shard);
    let mut pairs = Vec::new();
    let came: Vec<_> = right_touched.rows.iter().map(|t| (t.slot, t.old_weight, t.is_new)).collect();
    for (slot, old_weight, is_new) in came {
        let change = sides.right.weight(slot) - old_weight;
        let key = sides.right.key_of(slot);
        let Some(key) = sides.left.key_slot(hash_bytes(key), key) else { continue };
        for l in sides.left.rows_of(key) {
            let weight = sides.left.weight(l);
            pairs.push(Pair {
                left: l,
                right: slot,
                weight: weight * change,
                left_partners: change,
                right_partners: if is_new { weight } else { 0 },
            });
            if pairs.len() >= PAIRS_AT_ONCE {
                settle(&mut sides, &mut pairs, &mut left_touched, &mut right_touched, output)?;
            }
        }
    }
    settle(&mut sides, &mut pairs, &mut left_touched, &mut right_touched, output)?;
    let mut arrived = TouchedRows::default();
    add(&mut shard.left, left, left_rows, &mut arrived);
    for t in &arrived.rows {
        left_touched.touch(&shard.left.partners, t.slot, t.old_weight, t.is_new);
    }
    // dL with R_new
    let mut sides = Sides::of(shard);
    for t in &arrived.rows {
        let change = sides.left.weight(t.slot) - t.old_weight;
        let key = sides.left.key_of(t.slot);
        let Some(key) = sides.right.key_slot(hash_bytes(key), key) else { continue };
        for r in sides.right.rows_of(key) {
            let weight = sides.right.weight(r);
            pairs.push(Pair {
                left: t.slot,
                right: r,
                weight: change * weight,
                left_partners: if t.is_new { weight } else { 0 },
                right_partners: change,
            });
            if pairs.len() >= PAIRS_AT_ONCE {
                settle(&mut sides, &mut pairs, &mut left_touched, &mut right_touched, output)?;
            }
        }
    }
    settle(&mut sides, &mut pairs, &mut left_touched, &mut right_touched, output)?;
    show(&shard.left, &left_touched, true, output)?;
    show(&shard.right, &right_touched, false, output)?;
    shard.left.rows.sweep();
    shard.right.rows.sweep();
    Ok(())
}

/// Rows whose key has a NULL: never a partner, so never kept.
fn lonely(incoming: &Incoming, rows: &[u32], left: bool, output: &mut Output<'_>) -> Result<()> {
    let kind = if left { output.spec.left_alone } else { output.spec.right_alone };
    let mut shown = Shown::default();
    for i in rows {
        if incoming.is_null_key(*i as usize) {
            shown.note(kind, *i as usize, (0, false), (incoming.delta.weight(*i as usize), false));
        }
    }
    let indices = shown.at.iter().map(|i| *i as u32).collect();
    output.alone(&Rows::Batch(&incoming.delta.batch, indices), left, shown.weights, shown.marks)
}

fn add(side: &mut Side, incoming: &Incoming, rows: &[u32], touched: &mut TouchedRows) {
    for i in rows {
        let i = *i as usize;
        if incoming.is_null_key(i) {
            continue;
        }
        let row = incoming.rows.row(i);
        let t =
            side.rows.add(incoming.key_hashes[i], incoming.keys.row(i), hash_bytes(row), row, incoming.delta.weight(i));
        if side.partners.len() < side.rows.slots() {
            side.partners.resize(side.rows.slots(), 0);
        }
        if t.is_new {
            side.partners[t.slot as usize] = 0;
            side.date(t.slot, incoming, i);
        }
        touched.touch(&side.partners, t.slot, t.old, t.is_new);
    }
}

/// A shard's rows to read and its counts of partners to change, at once.
struct Sides<'a> {
    left: &'a Arrangement,
    right: &'a Arrangement,
    left_partners: &'a mut [i64],
    right_partners: &'a mut [i64],
}

impl<'a> Sides<'a> {
    fn of(shard: &'a mut Shard) -> Self {
        Self {
            left: &shard.left.rows,
            right: &shard.right.rows,
            left_partners: &mut shard.left.partners,
            right_partners: &mut shard.right.partners,
        }
    }
}

/// Looks at pairs: those for which the condition holds are put out and counted.
fn settle(
    sides: &mut Sides<'_>,
    pairs: &mut Vec<Pair>,
    left_touched: &mut TouchedRows,
    right_touched: &mut TouchedRows,
    output: &mut Output<'_>,
) -> Result<()> {
    if pairs.is_empty() {
        return Ok(());
    }
    let all = std::mem::take(pairs);
    let left = Rows::Bytes(all.iter().map(|p| sides.left.row(p.left)).collect());
    let right = Rows::Bytes(all.iter().map(|p| sides.right.row(p.right)).collect());
    let holds = output.holds(&left, &right, all.iter().map(|p| p.weight).collect())?;
    let good: Vec<&Pair> =
        all.iter().enumerate().filter(|(i, _)| holds.as_ref().is_none_or(|h| h.value(*i))).map(|(_, p)| p).collect();
    if output.spec.pairs {
        let shown: Vec<&&Pair> = good.iter().filter(|p| p.weight != 0).collect();
        let left = Rows::Bytes(shown.iter().map(|p| sides.left.row(p.left)).collect());
        let right = Rows::Bytes(shown.iter().map(|p| sides.right.row(p.right)).collect());
        output.pairs(&left, &right, shown.iter().map(|p| p.weight).collect())?;
    }
    for pair in good {
        left_touched.touch(sides.left_partners, pair.left, sides.left.weight(pair.left), false);
        right_touched.touch(sides.right_partners, pair.right, sides.right.weight(pair.right), false);
        sides.left_partners[pair.left as usize] += pair.left_partners;
        sides.right_partners[pair.right as usize] += pair.right_partners;
    }
    Ok(())
}

fn show(side: &Side, touched: &TouchedRows, left: bool, output: &mut Output<'_>) -> Result<()> {
    let kind = if left { output.spec.left_alone } else { output.spec.right_alone };
    if kind == Alone::No {
        return Ok(());
    }
    let mut shown = Shown::default();
    for (i, t) in touched.rows.iter().enumerate() {
        let old = (t.old_weight, t.old_partners > 0);
        let new = (side.rows.weight(t.slot), side.partners[t.slot as usize] > 0);
        shown.note(kind, i, old, new);
    }
    let rows = Rows::Bytes(shown.at.iter().map(|i| side.rows.row(touched.rows[*i].slot)).collect());
    output.alone(&rows, left, shown.weights, shown.marks)
}

/// Counts all partners anew, after the rows were loaded from a checkpoint.
pub(super) fn recount_all(shard: &mut Shard, output: &mut Output<'_>) -> Result<()> {
    shard.left.partners = vec![0; shard.left.rows.slots()];
    shard.right.partners = vec![0; shard.right.rows.slots()];
    let slots = shard.left.rows.iter().collect();
    recount(shard, slots, output)
}

/// Counts the partners of rows that were fetched: they all are among those of their keys, which were fetched with them.
pub(super) fn recount_fetched(shard: &mut Shard, keys: &FetchedKeys, output: &mut Output<'_>) -> Result<()> {
    let mut left = vec![];
    for (table, key) in keys {
        let side = if *table == 0 { &mut shard.left } else { &mut shard.right };
        side.partners.resize(side.rows.slots(), 0);
        let Some(at) = side.rows.key_slot(hash_bytes(key), key) else { continue };
        for slot in side.rows.rows_of(at) {
            side.partners[slot as usize] = 0;
            if *table == 0 {
                left.push(slot);
            }
        }
    }
    if left.is_empty() { Ok(()) } else { recount(shard, left, output) }
}

/// Adds up the partners of left rows, on both sides.
fn recount(shard: &mut Shard, slots: Vec<u32>, output: &mut Output<'_>) -> Result<()> {
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    let mut slots = slots.into_iter().peekable();
    while let Some(l) = slots.next() {
        let key = shard.left.rows.key_of(l);
        if let Some(key) = shard.right.rows.key_slot(hash_bytes(key), key) {
            pairs.extend(shard.right.rows.rows_of(key).map(|r| (l, r)));
        }
        if pairs.len() < PAIRS_AT_ONCE && slots.peek().is_some() {
            continue;
        }
        let left = Rows::Bytes(pairs.iter().map(|p| shard.left.rows.row(p.0)).collect());
        let right = Rows::Bytes(pairs.iter().map(|p| shard.right.rows.row(p.1)).collect());
        // Pairs that were told when they came.
        let holds = output.holds(&left, &right, vec![0; pairs.len()])?;
        for (i, (l, r)) in pairs.drain(..).enumerate() {
            if holds.as_ref().is_none_or(|h| h.value(i)) {
                shard.left.partners[l as usize] += shard.right.rows.weight(r);
                shard.right.partners[r as usize] += shard.left.rows.weight(l);
            }
        }
    }
    Ok(())
}
