//! What a build holds back. Nobody sees an answer before it is complete: operators whose answer changes again and again while rows come
//! take in what there is and put out nothing. In the end each tells its present answer, a part at a time and those nearest to the
//! inputs first, and the operators above take that in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Instant;

use fleuve_types::{Delta, Error, Result};

use crate::circuit::{Circuit, NodeKind, in_names};
use crate::keep::{Above, is_timeless};
use crate::operators::Operator;
use crate::state::{Pages, Part};

/// State that is all in memory is told in at most so many parts, or by bytes: all of it is looked at for each.
const MOST_PARTS: u64 = 16;
/// Holding back pays if what is held came about so often.
const PAYS: u64 = 2;

/// How much is told at once, about.
#[derive(Clone, Copy, Debug)]
pub struct PartSize {
    /// Rows or groups.
    pub rows: u64,
    /// What their state takes.
    pub bytes: u64,
}

/// An operator that holds back, and about how many rows or groups; its answer is told in so many parts.
pub(crate) struct Telling {
    pub(crate) node: usize,
    pub(crate) rows: u64,
    pub(crate) parts: u64,
}

impl Circuit {
    /// Lets operators hold back what they put out, from the first step on, until [`Circuit::tell_all_held`]. The circuit must not be
    /// saved before that. Gives how many do.
    pub fn hold_back(&mut self) -> usize {
        if self.fresh && !self.on_close {
            for node in (0..self.nodes.len()).rev() {
                if self.can_wait(node) {
                    self.held.insert(node, false);
                }
            }
        }
        self.held.len()
    }

    /// True if a node can hold back what it puts out, and it pays: rows that stay are put out once anyway. Its answer is told in parts, and not
    /// together with those of others. So between it and the answer, or the next one that holds back, there must be none that puts
    /// something out for a part of its input, or takes it back when the rest comes: that would be no answer to anything.
    fn can_wait(&self, node: usize) -> bool {
        let own = &self.nodes[node];
        let NodeKind::Operator(operator) = &own.kind else { return false };
        operator.can_hold_back() && !own.append_only && is_timeless(own) && self.only_adds_above(node)
    }

    fn only_adds_above(&self, node: usize) -> bool {
        let mut reached = BTreeSet::from([node]);
        for n in node + 1..self.nodes.len() {
            let NodeKind::Operator(operator) = &self.nodes[n].kind else { continue };
            let inputs = &self.nodes[n].inputs;
            let mut told = (0..inputs.len()).filter(|i| reached.contains(&inputs[*i])).peekable();
            if told.peek().is_none() || self.held.contains_key(&n) {
                continue;
            }
            if !told.all(|i| operator.only_adds(i)) {
                return false;
            }
            reached.insert(n);
        }
        true
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

    /// The operator whose answer is told next; `None` if nothing is held back.
    pub(crate) fn next_held(&mut self, size: PartSize) -> Option<Telling> {
        if self.fresh {
            // It has taken no step.
            self.held.clear();
        }
        let (node, _) = self.held.first_key_value()?;
        self.telling_of(*node, size)
    }

    /// An operator that had better not hold back any longer: its state has left memory for the first time, from where all of it would have to
    /// be read again, and most of what it holds came but once.
    pub(crate) fn held_in_vain(&mut self, size: PartSize) -> Option<Telling> {
        let judged = self.held.iter().find(|(n, is_judged)| !**is_judged && self.is_paged(**n)).map(|(n, _)| *n)?;
        self.held.insert(judged, true);
        let NodeKind::Operator(operator) = &self.nodes[judged].kind else { return None };
        let came = self.profile.0[judged].rows_in.load(Ordering::Relaxed);
        // What others still hold back comes to it in parts.
        let is_last = self.held.keys().all(|n| !self.above(*n).contains(&judged));
        if is_last && came < PAYS * operator.state_rows() as u64 { self.telling_of(judged, size) } else { None }
    }

    fn is_paged(&self, node: usize) -> bool {
        matches!(&self.nodes[node].kind, NodeKind::Operator(o) if o.pages().is_some_and(Pages::is_active))
    }

    fn telling_of(&self, node: usize, size: PartSize) -> Option<Telling> {
        let NodeKind::Operator(operator) = &self.nodes[node].kind else { return None };
        let bytes_of = |o: &dyn Operator| o.state_bytes() as u64 + o.pages().map_or(0, Pages::disk_bytes);
        let rows = operator.state_rows() as u64;
        // What a join makes of a row are about as many as others that it holds.
        let joins = self.above(node).into_iter().any(|n| self.nodes[n].inputs.len() > 1);
        let (made, bytes) = if joins {
            (self.state_rows() as u64, self.operators().map(|(_, o)| bytes_of(o)).sum())
        } else {
            (rows, bytes_of(operator.as_ref()))
        };
        let by_rows = made.div_ceil(size.rows.max(1)).max(1);
        let by_rows = if self.is_paged(node) { by_rows } else { by_rows.min(MOST_PARTS) };
        Some(Telling { node, rows, parts: by_rows.max(bytes.div_ceil(size.bytes.max(1))) })
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
        let told = operator.present_answer(part).map_err(|e| in_names(&self.guards, e))?;
        self.profile.0[node].spent(start.elapsed());
        // What it has still to tell leaves memory last.
        self.touched[node] = self.steps + 1;
        let given = BTreeMap::from([(node, told)]);
        self.run(&[], &[], Some(Above { fresh: &above, given: &given }))
    }

    /// Everything that an operator held back is told: it puts its changes out from now on.
    pub(crate) fn all_told(&mut self, node: usize) {
        self.held.remove(&node);
    }

    /// Tells all that is held back, in parts. Gives the changes of the answer.
    ///
    /// # Errors
    /// As for [`Circuit::step`].
    pub fn tell_all_held(&mut self, size: PartSize) -> Result<Vec<Delta>> {
        let mut out = vec![];
        while let Some(Telling { node, parts, .. }) = self.next_held(size) {
            for n in 0..parts {
                out.push(self.tell_held(node, Part::nth(n, parts))?);
            }
            self.all_told(node);
        }
        Ok(out)
    }
}
