//! A circuit's state in runs: which operators' state may leave memory, what a checkpoint names, what is opened again.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleuve_types::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::circuit::{Circuit, NodeKind};
use crate::operators::Operator;
use crate::state::runs::{RunFiles, RunRef, Space};
use crate::state::{Flush, Paged, Pages, Room, begin_flush, evict, open};

/// The runs that hold the state of a circuit's operators, by the operator's number, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRuns(pub(crate) BTreeMap<u32, Vec<RunRef>>);

impl StateRuns {
    /// True if it has operators that `before` has not.
    pub(crate) fn is_of_more(&self, before: &Self) -> bool {
        self.0.keys().any(|node| !before.0.contains_key(node))
    }

    /// True if a file of that name is among them.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names().any(|n| n == name)
    }

    /// The names of their files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.values().flatten().map(|r| r.name.as_str())
    }
}

/// The runs of a circuit, of which the newest are still to be written. Dropped, their entries come with the next.
pub struct Unwritten {
    written: StateRuns,
    flushes: Vec<(u32, Flush)>,
}

impl Unwritten {
    /// None, and nothing to write.
    pub(crate) fn nothing() -> Self {
        Self { written: StateRuns::default(), flushes: vec![] }
    }

    /// True if all that there is is there.
    pub(crate) fn is_nothing(&self) -> bool {
        self.flushes.is_empty()
    }

    /// The runs that are there.
    pub(crate) fn written(&self) -> &StateRuns {
        &self.written
    }

    /// Writes the others, and tells the names of their files.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`]
    pub(crate) fn write_each(&mut self, mut tell: impl FnMut(&str)) -> Result<()> {
        for (node, flush) in self.flushes.drain(..) {
            if let Some(run) = flush.write()? {
                tell(&run.name);
                let runs = self.written.0.entry(node).or_default();
                let passed = runs.first().map_or_else(Vec::new, |run| run.passed.clone());
                runs.insert(0, RunRef { passed, ..run });
            }
        }
        Ok(())
    }

    /// Writes the others; gives all.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`]
    pub fn write(mut self) -> Result<StateRuns> {
        self.write_each(|_| ())?;
        Ok(self.written)
    }
}

/// A state that can leave memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evictable {
    pub(crate) node: usize,
    /// What that would free, about.
    pub(crate) bytes: usize,
    /// Steps since it was last touched.
    pub(crate) idle: u64,
}

impl Circuit {
    /// Lets state leave memory for files of `files`, in the folder `place`. Call once, before the first step.
    ///
    /// # Errors
    /// When the files cannot be listed.
    pub fn page_to(&mut self, files: Arc<dyn RunFiles>, place: &str) -> Result<()> {
        self.page_in_space(&Space::open(files, false)?, place);
        Ok(())
    }

    pub(crate) fn page_in_space(&mut self, space: &Arc<Space>, place: &str) {
        for (_, operator) in self.operators_mut() {
            if let Some(paged) = operator.paged() {
                *paged.pages() = Some(Pages::new(space.clone(), place));
            }
        }
        self.space = Some((space.clone(), place.into()));
    }

    fn operators_mut(&mut self) -> impl Iterator<Item = (usize, &mut Box<dyn Operator>)> {
        self.nodes.iter_mut().enumerate().filter_map(|(n, node)| match &mut node.kind {
            NodeKind::Operator(o) => Some((n, o)),
            NodeKind::Input(_) => None,
        })
    }

    fn paged(&mut self) -> impl Iterator<Item = (usize, usize, &mut dyn Paged)> {
        self.operators_mut().filter_map(|(n, o)| {
            let (bytes, can) = (o.state_bytes(), o.pages().is_some());
            o.paged().filter(|_| can).map(|p| (n, bytes, p))
        })
    }

    /// Copies what changed of the states that lie in runs, as far as there is room, and writes the rest. Those that hold more than
    /// `from_bytes` lie in runs from now on. The caller writes what was copied, while steps go on; then [`Circuit::settle`].
    ///
    /// # Errors
    /// When a file cannot be written; what it would have held is written with the next.
    pub(crate) fn begin_flush(&mut self, from_bytes: usize, room: &mut Room) -> Result<Unwritten> {
        let mut flushes = vec![];
        for (n, bytes, state) in self.paged() {
            if state.pages().as_ref().is_some_and(Pages::is_active) || bytes >= from_bytes {
                flushes.extend(begin_flush(state, room)?.map(|flush| (n as u32, flush)));
                state.pages().iter_mut().for_each(Pages::tidy);
            }
        }
        Ok(Unwritten { written: self.state_runs(), flushes })
    }

    /// Takes in what was written beside the steps.
    pub fn settle(&mut self) {
        for (_, _, state) in self.paged() {
            if let Some(pages) = state.pages() {
                pages.settle(false);
            }
        }
    }

    /// Merges what is to be merged of the runs, beside the steps. Tells if there was anything.
    pub(crate) fn tend_runs(&mut self) -> bool {
        let tend = |any: bool, pages: &mut Pages| pages.tend() || any;
        self.paged().filter_map(|(_, _, state)| state.pages().as_mut()).fold(false, tend)
    }

    /// Some are being merged.
    pub(crate) fn is_merging(&self) -> bool {
        self.operators().filter_map(|(_, o)| o.pages()).any(Pages::is_merging)
    }

    /// Begins to merge all runs of each state into one, or `wait`s until they are. Tells if there is anything to wait for.
    pub(crate) fn compact_runs(&mut self, wait: bool) -> bool {
        let compact = |any: bool, pages: &mut Pages| pages.compact(wait) || any;
        self.paged().filter_map(|(_, _, state)| state.pages().as_mut()).fold(false, compact)
    }

    /// The runs for a manifest: their files stay from now on.
    pub(crate) fn state_runs(&mut self) -> StateRuns {
        let mut out = StateRuns::default();
        for (n, _, state) in self.paged() {
            if let Some(pages) = state.pages().as_ref().filter(|p| p.is_active()) {
                out.0.insert(n as u32, pages.name_all());
            }
        }
        out
    }

    /// Files that [`Circuit::state_runs`] named once and does not any more: they can go when no checkpoint names them.
    pub(crate) fn take_stale_runs(&mut self) -> Vec<String> {
        self.paged().flat_map(|(_, _, s)| s.pages().as_mut().map_or(vec![], Pages::take_stale)).collect()
    }

    /// Those runs of its operators whose files stay when nobody reads them any more.
    pub(crate) fn named_runs(&self) -> impl Iterator<Item = &str> {
        self.operators().filter_map(|(_, o)| o.pages()).flat_map(Pages::named)
    }

    /// # Errors
    /// When an operator has too many runs, because they cannot be merged.
    pub(crate) fn check_runs(&self) -> Result<()> {
        self.operators().filter_map(|(_, o)| o.pages()).try_for_each(Pages::check)
    }

    /// True if a file of that name is a part of its state.
    pub(crate) fn has_run(&self, name: &str) -> bool {
        self.operators().filter_map(|(_, o)| o.pages()).any(|pages| pages.has_run(name))
    }

    /// Opens the runs of a manifest, in a fresh circuit of the same plan. States up to `eager_bytes` are read whole.
    ///
    /// # Errors
    /// When a run is damaged, not there, or of another plan.
    pub(crate) fn open_pages(&mut self, runs: &StateRuns, eager_bytes: u64) -> Result<()> {
        let Some((space, place)) = self.space.clone() else {
            return if runs.0.is_empty() { Ok(()) } else { Err(Error::bug("a circuit without a place for its runs")) };
        };
        for (node, refs) in &runs.0 {
            let state = self.paged().find(|(n, ..)| *n == *node as usize).map(|(_, _, state)| state);
            let state = state.ok_or_else(|| Error::input("a state run belongs to an operator that has none"))?;
            open(state, &space, &place, refs, eager_bytes)?;
        }
        Ok(())
    }

    /// Bytes of its states on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.operators().filter_map(|(_, o)| o.pages()).map(Pages::disk_bytes).sum()
    }

    /// Of these what merging its runs cannot save.
    pub(crate) fn least_disk_bytes(&self) -> u64 {
        self.operators().filter_map(|(_, o)| o.pages()).map(Pages::least_disk_bytes).sum()
    }

    /// The states that can leave memory now.
    pub(crate) fn evictable(&self) -> Vec<Evictable> {
        let of = |(node, o): (usize, &dyn Operator)| {
            let pages = o.pages()?;
            let bytes = o.state_bytes().saturating_sub(pages.bytes());
            Some(Evictable { node, bytes, idle: self.steps - self.touched[node] })
        };
        self.operators().filter_map(of).collect()
    }

    /// Lets the state of one operator leave memory.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn evict(&mut self, node: usize) -> Result<()> {
        self.paged().find(|(n, ..)| *n == node).map_or(Ok(()), |(_, _, state)| evict(state))
    }

    /// Lets all state leave memory that can.
    ///
    /// # Errors
    /// As for a file that cannot be written.
    pub fn evict_all(&mut self) -> Result<()> {
        self.paged().try_for_each(|(_, _, state)| evict(state))
    }

    /// Its state as bytes (see [`Circuit::save_all`]), and the runs that hold the rest of it.
    ///
    /// # Errors
    /// Arrow's, or that of a file that cannot be written.
    pub fn checkpoint(&mut self, full: bool) -> Result<(Vec<u8>, StateRuns)> {
        let (bytes, unwritten) = self.begin_checkpoint(full)?;
        let runs = unwritten.write()?;
        self.settle();
        Ok((bytes, runs))
    }

    /// As [`Circuit::checkpoint`], of which the runs are still to be written: steps may go on meanwhile.
    ///
    /// # Errors
    /// As there.
    pub fn begin_checkpoint(&mut self, full: bool) -> Result<(Vec<u8>, Unwritten)> {
        let unwritten = self.begin_flush(usize::MAX, &mut Room::of(usize::MAX))?;
        Ok((self.save_all(full)?, unwritten))
    }

    /// Restores a fresh circuit of the same plan from what [`Circuit::checkpoint`] gave: all bytes, oldest first, and the last
    /// runs. States whose runs are no longer than `eager_bytes` are read whole.
    ///
    /// # Errors
    /// When something is damaged or belongs to another plan.
    pub fn restore(&mut self, saved: &[Vec<u8>], runs: &StateRuns, eager_bytes: u64) -> Result<()> {
        self.open_pages(runs, eager_bytes)?;
        self.load_all(saved)
    }
}
