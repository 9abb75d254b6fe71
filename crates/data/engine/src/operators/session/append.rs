//! Sessions of rows that only come. Nothing falls apart, so rows need not be found by time: those of a key that are near each other are
//! taken in together, and rows that are the same in what is read of them as one.

use std::ops::Bound::{Excluded, Included, Unbounded};

use arrow::array::Array;
use fleuve_types::{Delta, Result};

use super::{Incoming, Output, Place, SessionSpec, Shard, is_near, parts, place};
use crate::state::RowCodec;

/// The hash of a row's key, its time, its number.
type Timed = (u64, i64, u32);

impl Shard {
    /// A step where rows only come: those of a key that are near each other are taken in together.
    pub(super) fn append(
        &mut self,
        spec: &SessionSpec,
        codec: &RowCodec,
        incoming: &Incoming<'_>,
        rows: &[u32],
    ) -> Result<Delta> {
        let mut out = Output::default();
        let mut timed: Vec<Timed> = Vec::with_capacity(rows.len());
        for i in rows {
            let row = *i as usize;
            if incoming.times.is_valid(row) {
                timed.push((incoming.hashes[row], incoming.times.value(row), *i));
            } else {
                out.put(incoming.rows.row(row), None, incoming.delta.weight(row));
            }
        }
        let key = |row: u32| incoming.keys.row(row as usize);
        timed.sort_unstable_by(|a, b| (a.0, key(a.2), a.1).cmp(&(b.0, key(b.2), b.1)));
        let are_together = |a: &Timed, b: &Timed| a.0 == b.0 && is_near(a.1, b.1, spec.gap) && key(a.2) == key(b.2);
        for near in timed.chunk_by(are_together) {
            self.append_near(incoming, near, spec.gap, &mut out);
        }
        let out = out.finish(spec, codec)?;
        self.contents.sweep();
        Ok(out)
    }

    /// Takes in rows `(hash, time, row)` of one key, in the order of their times, that belong to one session.
    fn append_near(&mut self, incoming: &Incoming<'_>, near: &[Timed], gap: i64, out: &mut Output) {
        let (Some((_, from, row)), Some((_, to, _))) = (near.first(), near.last()) else { return };
        let key = incoming.keys.row(*row as usize);
        let within = self.sessions_within(key, (*from, *to), gap);
        let first = within.iter().map(|(place, _)| parts(place).1).chain([*from]).min().unwrap_or(*from);
        let last = within.iter().map(|(_, last)| *last).chain([*to]).max().unwrap_or(*to);
        let target = place(key, first);
        let is_as_before = within.len() == 1 && within[0] == (target.clone(), last);
        if !is_as_before {
            for (old, end) in within {
                self.sessions.remove(&old);
                for (row, weight) in self.rows_of_session(&old, end).into_iter().filter(|(_, weight)| *weight != 0) {
                    out.put(&row, Some((parts(&old).1, end)), -weight);
                    self.add(&old, end, &row, -weight);
                    self.add(&target, last, &row, weight);
                }
            }
            self.sessions.insert(target.clone(), last);
        }
        let row = |of: &Timed| incoming.rows.row(of.2 as usize);
        for same in near.chunk_by(|a, b| row(a) == row(b)) {
            let weight = same.iter().map(|of| incoming.delta.weight(of.2 as usize)).sum();
            if is_as_before {
                out.put(row(&same[0]), Some((first, last)), weight);
            }
            self.add(&target, last, row(&same[0]), weight);
        }
        if !is_as_before {
            self.show(&target, last, 1, out);
        }
    }

    /// The sessions of a key that rows between two times are in or near.
    fn sessions_within(&self, key: &[u8], (from, to): (i64, i64), gap: i64) -> Vec<(Place, i64)> {
        let (at, reach) = (place(key, from), place(key, to.saturating_add(gap)));
        let before = self.sessions.range::<[u8], _>((Unbounded, Included(&at[..]))).next_back();
        let before =
            before.filter(|(first, last)| parts(first).0 == key && (from <= **last || is_near(**last, from, gap)));
        let after = self.sessions.range::<[u8], _>((Excluded(&at[..]), Included(&reach[..])));
        before.into_iter().chain(after).map(|(first, last)| (first.clone(), *last)).collect()
    }
}
