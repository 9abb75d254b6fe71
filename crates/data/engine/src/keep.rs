//! What a circuit takes over from one that runs: operators that do the same with the same rows, with their state. Those above them
//! begin with what these have put out up to now, and no input is read again.
//!
//! Two operators are the same if lowering noted the same work of them (see [`crate::lower::share`]), over inputs that are the same,
//! down to the relations and which of their columns are read; names do not count. What cannot be told this way is built anew:
//! a difference that is only apparent costs a build, equality that is only apparent would cost the answer.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::UInt32Array;
use arrow::datatypes::DataType;
use fleuve_types::{Delta, Error, Result};

use crate::circuit::{Circuit, Node, NodeKind, in_names};
use crate::lower::share::Base;
use crate::operators::{Operator, concat_deltas};
use crate::output::consolidate;
use crate::profile::Counters;
use crate::state::{Pages, Part};

/// `(namespace, name)` of a relation.
type Table = (String, String);

/// What is kept of another circuit's operators. Places are those in the new circuit, then those in the old one.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Operators with whose present answers the new ones begin.
    pub(crate) cut: Vec<(usize, usize)>,
    /// Operators that move with their state: those, and what is under them.
    moved: Vec<(usize, usize)>,
    /// Operators that are new.
    fresh: BTreeSet<usize>,
}

impl Kept {
    /// The place in the old circuit of an operator that moves.
    pub(crate) fn old_place(&self, node: usize) -> Option<usize> {
        self.moved.iter().find(|(new, _)| *new == node).map(|(_, old)| *old)
    }
}

/// What the operators under the new ones put out in a step, by their places.
pub(crate) type Given = BTreeMap<usize, Delta>;

/// A step of some operators over what others are said to put out.
#[derive(Clone, Copy)]
pub(crate) struct Above<'a> {
    /// Those that take part in it.
    pub(crate) fresh: &'a BTreeSet<usize>,
    pub(crate) given: &'a Given,
}

impl Above<'_> {
    /// What an operator puts out that takes no part in the step; `None` if it does take part.
    pub(crate) fn out(&self, node: usize, own: &Node) -> Option<Delta> {
        if self.fresh.contains(&node) {
            return None;
        }
        Some(self.given.get(&node).cloned().unwrap_or_else(|| Delta::empty(own.schema.clone())))
    }
}

fn types(node: &Node) -> Vec<&DataType> {
    node.schema.fields().iter().map(|f| f.data_type()).collect()
}

/// Neither follows event time, which moves by itself, nor waits for it.
pub(crate) fn is_timeless(node: &Node) -> bool {
    node.times.is_empty() && node.close_by.is_empty() && node.horizons.is_empty() && !node.is_closed
}

fn stands_still(operator: &dyn Operator) -> bool {
    operator.inner().is_none() && !operator.follows_clock()
}

impl Circuit {
    /// True if the old circuit does all that this one does.
    pub(crate) fn is_like(&self, old: &Circuit, is_same: &dyn Fn(&Table, &Table) -> bool) -> bool {
        self.same_nodes(old, is_same).get(self.root) == Some(&Some(old.root))
    }

    /// True if this one, with all its state, does what a fresh one would that finds its columns elsewhere.
    pub(crate) fn can_read_as(&self, other: &Circuit) -> bool {
        let keys = |circuit: &Circuit| circuit.nodes.iter().map(|n| n.key.clone()).collect::<Vec<_>>();
        self.shape() == other.shape() && keys(self) == keys(other)
    }

    /// What this fresh circuit can take over from one that runs. `is_same` tells which relations are the same. Fails with the reason
    /// if inputs would have to be read all the same.
    pub(crate) fn keeps(
        &self,
        old: &Circuit,
        is_same: &dyn Fn(&Table, &Table) -> bool,
    ) -> std::result::Result<Kept, String> {
        if self.emits_on_close() || old.emits_on_close() {
            return Err("EMIT ON WINDOW CLOSE: closed windows are not told again".into());
        }
        if self.follows_clock() || old.follows_clock() {
            return Err("it follows now()".into());
        }
        let same = self.same_nodes(old, is_same);
        let (cut, fresh) = self.cut(old, &same)?;
        let mut moved = BTreeSet::new();
        let mut todo: Vec<usize> = cut.iter().copied().collect();
        while let Some(n) = todo.pop() {
            // One that is new, too, is fed by the same as the old one: it comes to the same state.
            if !fresh.contains(&n) && matches!(self.nodes[n].kind, NodeKind::Operator(_)) && moved.insert(n) {
                todo.extend(&self.nodes[n].inputs);
            }
        }
        let both = |nodes: BTreeSet<usize>| nodes.into_iter().filter_map(|n| Some((n, same[n]?))).collect();
        Ok(Kept { cut: both(cut), moved: both(moved), fresh })
    }

    /// By place: where the old circuit has the same.
    fn same_nodes(&self, old: &Circuit, is_same: &dyn Fn(&Table, &Table) -> bool) -> Vec<Option<usize>> {
        let mut same: Vec<Option<usize>> = Vec::with_capacity(self.nodes.len());
        let mut taken = BTreeSet::new();
        for n in 0..self.nodes.len() {
            let found = (0..old.nodes.len()).find(|m| !taken.contains(m) && self.is_same(n, old, *m, &same, is_same));
            taken.extend(found);
            same.push(found);
        }
        same
    }

    fn is_same(
        &self,
        n: usize,
        old: &Circuit,
        m: usize,
        same: &[Option<usize>],
        is_same: &dyn Fn(&Table, &Table) -> bool,
    ) -> bool {
        let (a, b) = (&self.nodes[n], &old.nodes[m]);
        let inputs = a.inputs.iter().map(|i| same[*i]).eq(b.inputs.iter().map(|i| Some(*i)));
        let alike = types(a) == types(b) && a.append_only == b.append_only && a.key == b.key;
        if !inputs || !alike || !is_timeless(a) || !is_timeless(b) {
            return false;
        }
        // The answer goes out under the names of its columns.
        let names = |node: &Node| node.schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
        if n == self.root && names(a) != names(b) {
            return false;
        }
        let base = |a: &Base, b: &Base| match (a, b) {
            (Base::Node(a), Base::Node(b)) => same.get(*a) == Some(&Some(*b)),
            (Base::Relation(a), Base::Relation(b)) => is_same(a, b),
            _ => false,
        };
        match (&a.kind, &b.kind) {
            (NodeKind::Input(i), NodeKind::Input(j)) => {
                let (a, b) = (&self.inputs[*i], &old.inputs[*j]);
                is_same(&a.table, &b.table) && a.columns == b.columns && a.lookup == b.lookup
            }
            (NodeKind::Operator(o), NodeKind::Operator(p)) => {
                let work = self.work.get(&n).zip(old.work.get(&m));
                stands_still(o.as_ref()) && stands_still(p.as_ref()) && work.is_some_and(|(a, b)| a.is_as(b, base))
            }
            _ => false,
        }
    }

    /// The operators whose answers the new ones begin with, each as near to the root as there is one, and those that are new.
    fn cut(
        &self,
        old: &Circuit,
        same: &[Option<usize>],
    ) -> std::result::Result<(BTreeSet<usize>, BTreeSet<usize>), String> {
        let (mut cut, mut fresh) = (BTreeSet::new(), BTreeSet::new());
        let (mut todo, mut again) = (vec![self.root], vec![]);
        while let Some(n) = todo.pop() {
            if cut.contains(&n) || fresh.contains(&n) {
                continue;
            }
            let answers = |m: usize| matches!(&old.nodes[m].kind, NodeKind::Operator(o) if o.can_answer());
            if same[n].is_some_and(answers) {
                cut.insert(n);
                continue;
            }
            match self.nodes[n].kind {
                NodeKind::Input(i) => again.push((same[n].is_some(), &self.inputs[i])),
                NodeKind::Operator(_) => {
                    fresh.insert(n);
                    todo.extend(&self.nodes[n].inputs);
                }
            }
        }
        // An input that is not what it was says more than one below a join with it.
        if let Some((is_same, input)) = again.into_iter().min_by_key(|(is_same, _)| *is_same) {
            let (namespace, name) = &input.table;
            let before = old.inputs.iter().find(|i| i.table == input.table);
            return Err(match before {
                Some(_) if is_same => {
                    format!("no operator over {namespace}.{name} does what it did before and can tell its answer")
                }
                Some(before) if before.columns != input.columns => {
                    format!("other columns of {namespace}.{name} are read")
                }
                Some(_) => format!("{namespace}.{name} is not read as it was"),
                None => format!("{namespace}.{name} was not read before"),
            });
        }
        if cut.is_empty() { Err("it reads nothing".into()) } else { Ok((cut, fresh)) }
    }

    /// A step of the operators that are new.
    ///
    /// # Errors
    /// As for [`Circuit::step`].
    pub(crate) fn step_above(&mut self, kept: &Kept, given: &Given) -> Result<Delta> {
        self.run(&[], &[], Some(Above { fresh: &kept.fresh, given }))
    }

    /// Notes from now on what these operators put out, and forgets what was noted.
    pub(crate) fn tap(&mut self, nodes: impl IntoIterator<Item = usize>) {
        self.taps = nodes.into_iter().map(|n| (n, vec![])).collect();
    }

    /// What was noted since the last call of rows whose place is in `part`, by operator.
    ///
    /// # Errors
    /// When the places of rows cannot be told.
    pub(crate) fn take_noted(&mut self, part: Part) -> Result<Vec<(usize, Delta)>> {
        let mut out = vec![];
        for (n, deltas) in &mut self.taps {
            let NodeKind::Operator(operator) = &self.nodes[*n].kind else { continue };
            for delta in std::mem::take(deltas) {
                let places = operator.places(&delta)?;
                let own = (0_u32..).zip(places).filter(|(_, p)| part.holds(*p)).map(|(i, _)| i);
                let own = delta.take(&own.collect::<UInt32Array>())?;
                if !own.is_empty() {
                    out.push((*n, own));
                }
            }
        }
        Ok(out)
    }

    /// What operators of this circuit have put out up to now, of the rows whose place is in `part`; by their places in the new one.
    ///
    /// # Errors
    /// When state cannot be read, or the answer is too large.
    pub(crate) fn answers(&mut self, kept: &Kept, part: Part) -> Result<Given> {
        let mut out = Given::new();
        for (new, old) in &kept.cut {
            let NodeKind::Operator(operator) = &mut self.nodes[*old].kind else {
                return Err(Error::bug("an input was taken for an operator with an answer"));
            };
            out.insert(*new, operator.present_answer(part).map_err(|e| in_names(&self.guards, e))?);
        }
        Ok(out)
    }

    /// Rows or groups that the operators of this circuit hold whose answers are told, about.
    pub(crate) fn rows_told(&self, kept: &Kept) -> u64 {
        let rows = |old: usize| match &self.nodes[old].kind {
            NodeKind::Operator(o) => o.state_rows() as u64,
            NodeKind::Input(_) => 0,
        };
        kept.cut.iter().map(|(_, old)| rows(*old)).sum()
    }

    /// Moves the kept operators here. What stood in their places stands in theirs, so that doing it again takes it back.
    pub(crate) fn take_over(&mut self, old: &mut Circuit, kept: &Kept) {
        for (n, m) in &kept.moved {
            std::mem::swap(&mut self.nodes[*n].kind, &mut old.nodes[*m].kind);
            Counters::swap(&self.profile.0[*n], &old.profile.0[*m]);
        }
        self.now_us = self.now_us.max(old.now_us);
        self.guards.extend(old.guards.iter().filter(|g| g.is_used()).cloned());
        self.fresh = false;
    }

    /// Begins with what a running circuit holds instead of its inputs from the start, and gives its answer, taken in so many parts. The
    /// old circuit must not be used any more. `None`, and nothing has changed, if that does not cover every input.
    ///
    /// # Errors
    /// As for [`Circuit::step`]; the old circuit can then go on.
    pub fn begin_with(&mut self, old: &mut Circuit, parts: u64) -> Result<Option<Delta>> {
        let Ok(kept) = self.keeps(old, &|a, b| a == b) else { return Ok(None) };
        let mut outs = vec![];
        for n in 0..parts {
            let given = old.answers(&kept, Part::nth(n, parts))?;
            outs.push(self.step_above(&kept, &given)?);
        }
        self.take_over(old, &kept);
        consolidate(concat_deltas(self.schema(), &outs)?).map(Some)
    }

    /// As [`Circuit::explain`], with what is kept of another circuit's state.
    pub(crate) fn explain_kept(&self, old: &Circuit, kept: &Kept) -> Vec<String> {
        let mut out = Vec::new();
        let note = |n: usize| {
            let node = kept.old_place(n).map(|m| &old.nodes[m]);
            let Some(NodeKind::Operator(o)) = node.map(|n| &n.kind) else { return String::new() };
            let disk = o.pages().map_or(0, Pages::disk_bytes);
            match (o.state_rows(), o.state_bytes() as u64 + disk) {
                (0, 0) => " | kept".into(),
                (rows, bytes) => format!(" | kept: {rows} rows, {bytes} bytes"),
            }
        };
        self.explain_node(self.root, 0, &[], &note, &mut out);
        out
    }

    /// Rows and bytes of the state that moves.
    pub(crate) fn kept_state(&self, kept: &Kept) -> (u64, u64) {
        let of = |(_, m): &(usize, usize)| match &self.nodes[*m].kind {
            NodeKind::Operator(o) => {
                let disk = o.pages().map_or(0, Pages::disk_bytes);
                (o.state_rows() as u64, o.state_bytes() as u64 + disk)
            }
            NodeKind::Input(_) => (0, 0),
        };
        kept.moved.iter().map(of).fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1))
    }
}
