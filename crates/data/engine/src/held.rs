//! What a build holds back. Nobody sees an answer before it is complete: operators whose answer changes again and again while rows come
//! take in what there is and put out nothing. In the end each tells its present answer, a part at a time and those nearest to the
//! inputs first, and the operators above take that in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Instant;

use fleuve_types::{Delta, Error, Result};

use crate::circuit::{Circuit, NodeKind};
use crate::keep::{Above, is_timeless};
use crate::state::{Pages, Part};

/// State that is all in memory is told in at most so many parts: all of it is looked at for each.
const MOST_PARTS: u64 = 16;
/// Holding back pays if what is held came about so often.
const PAYS: u64 = 2;

/// An operator that holds back, and about how many rows or groups; its answer is told in so many parts.
pub(crate) struct Held {
    pub(crate) node: usize,
    pub(crate) rows: u64,
    pub(crate) parts: u64,
}

impl Circuit {
    /// Lets operators hold back what they put out, from the first step on, until [`Circuit::tell_all_held`]. The circuit must not be
    /// saved before that. Gives how many do.
    pub fn hold_back(&mut self) -> usize {
        if self.fresh && !self.on_close {
            self.held = (0..self.nodes.len()).filter(|n| self.can_wait(*n)).collect();
        }
        self.held.len()
    }

    /// True if a node can hold back what it puts out, and it pays: rows that stay are put out once anyway, and where an operator above
    /// takes rows back when others come (an outer join that has padded them), it would first put out what is no answer to anything.
    fn can_wait(&self, node: usize) -> bool {
        let own = &self.nodes[node];
        let NodeKind::Operator(operator) = &own.kind else { return false };
        let above = self.above(node);
        let adds = |n: &usize| {
            let NodeKind::Operator(operator) = &self.nodes[*n].kind else { return false };
            let inputs = &self.nodes[*n].inputs;
            let mut told = (0..inputs.len()).filter(|i| inputs[*i] == node || above.contains(&inputs[*i]));
            inputs.len() == 1 || told.all(|i| operator.only_adds(i))
        };
        operator.can_hold_back() && !own.append_only && is_timeless(own) && above.iter().all(adds)
    }

    /// The nodes that a node's change comes to.
    fn above(&self, node: usize) -> BTreeSet<usize> {
        let mut above = BTreeSet::new();
        for n in node + 1..self.nodes.len() {
            if self.nodes[n].inputs.iter().any(|i| *i == node || above.contains(i)) {
                above.insert(n);
            }
        }
        above
    }

    /// The operator whose answer is told next, in parts of about so many rows; `None` if nothing is held back.
    pub(crate) fn next_held(&mut self, part_rows: u64) -> Option<Held> {
        if self.fresh {
            // It has taken no step.
            self.held.clear();
        }
        self.held_at(*self.held.first()?, part_rows)
    }

    /// An operator that had better not hold back any longer: its state has left memory, from where all of it would have to be read
    /// again, and most of what it holds came but once.
    pub(crate) fn held_in_vain(&self, part_rows: u64) -> Option<Held> {
        let in_vain = |n: &&usize| {
            let NodeKind::Operator(o) = &self.nodes[**n].kind else { return false };
            let came = self.profile.0[**n].rows_in.load(Ordering::Relaxed);
            o.pages().is_some_and(Pages::is_active) && came < PAYS * o.state_rows() as u64
        };
        self.held_at(*self.held.iter().find(in_vain)?, part_rows)
    }

    fn held_at(&self, node: usize, part_rows: u64) -> Option<Held> {
        let NodeKind::Operator(operator) = &self.nodes[node].kind else { return None };
        let rows = operator.state_rows() as u64;
        // What a join makes of a row are about as many as others that it holds.
        let joins = self.above(node).into_iter().any(|n| self.nodes[n].inputs.len() > 1);
        let made = if joins { self.state_rows() as u64 } else { rows };
        let parts = made.div_ceil(part_rows.max(1)).max(1);
        let is_paged = operator.pages().is_some_and(Pages::is_active);
        Some(Held { node, rows, parts: if is_paged { parts } else { parts.min(MOST_PARTS) } })
    }

    /// The operators above one take in a part of what it held back. Gives the change of the answer.
    ///
    /// # Errors
    /// As for [`Circuit::step`], and when state cannot be read.
    pub(crate) fn tell_held(&mut self, node: usize, part: Part) -> Result<Delta> {
        let above = self.above(node);
        let NodeKind::Operator(operator) = &mut self.nodes[node].kind else {
            return Err(Error::bug("an input was taken for an operator that holds back"));
        };
        let start = Instant::now();
        let told = operator.present_answer(part)?;
        self.profile.0[node].spent(start.elapsed());
        let given = BTreeMap::from([(node, told)]);
        self.run(&[], &[], Some(Above { fresh: &above, given: &given }))
    }

    /// Everything that an operator held back is told: it puts its changes out from now on.
    pub(crate) fn all_told(&mut self, node: usize) {
        self.held.remove(&node);
    }

    /// Tells all that is held back, each operator's in parts of about so many rows. Gives the changes of the answer.
    ///
    /// # Errors
    /// As for [`Circuit::step`].
    pub fn tell_all_held(&mut self, part_rows: u64) -> Result<Vec<Delta>> {
        let mut out = vec![];
        while let Some(Held { node, parts, .. }) = self.next_held(part_rows) {
            for n in 0..parts {
                out.push(self.tell_held(node, Part::nth(n, parts))?);
            }
            self.all_told(node);
        }
        Ok(out)
    }
}
