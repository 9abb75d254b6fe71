//! A step of a semi join of rows that only come: a row that has a partner is shown and need not be kept, and of the other side the keys
//! are enough.

use fleuve_types::Result;

use super::output::{Output, Rows};
use super::{Incoming, Shard};

pub(super) fn step(
    shard: &mut Shard,
    left: &Incoming,
    right: &Incoming,
    left_rows: &[u32],
    right_rows: &[u32],
    output: &mut Output<'_>,
) -> Result<()> {
    for i in right_rows {
        let i = *i as usize;
        let (hash, key) = (right.key_hashes[i], right.keys.row(i));
        if right.is_null_key(i) || shard.right.rows.total(hash, key) > 0 {
            continue;
        }
        shard.right.rows.add(hash, key, hash, key, 1);
        let Some(slot) = shard.left.rows.key_slot(hash, key) else { continue };
        let slots: Vec<u32> = shard.left.rows.rows_of(slot).collect();
        let rows = &shard.left.rows;
        let weights: Vec<i64> = slots.iter().map(|s| rows.weight(*s)).collect();
        let marks = vec![true; weights.len()];
        output.alone(&Rows::Bytes(slots.iter().map(|s| rows.row(*s)).collect()), true, weights, marks)?;
        shard.left.rows.drop_rows(&slots);
    }
    let (mut shown, mut weights) = (vec![], vec![]);
    for i in left_rows {
        let at = *i as usize;
        if left.is_null_key(at) {
            continue;
        }
        let (hash, key, weight) = (left.key_hashes[at], left.keys.row(at), left.delta.weight(at));
        if shard.right.rows.total(hash, key) > 0 {
            shown.push(*i);
            weights.push(weight);
        } else {
            let row = left.rows.row(at);
            shard.left.rows.add(hash, key, crate::state::hash_bytes(row), row, weight);
        }
    }
    let marks = vec![true; weights.len()];
    output.alone(&Rows::Batch(&left.delta.batch, shown), true, weights, marks)?;
    shard.left.rows.sweep();
    shard.right.rows.sweep();
    Ok(())
}
