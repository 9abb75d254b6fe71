//! Which views read what, so that an epoch looks at the views that it is about and at no others. Follows from the views; made anew
//! when one comes, goes, or stops.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use fleuve_types::{ColumnPart, ObjectId};

use super::build::needed;
use super::core::Core;
use super::view::View;

/// The views that run, by their places in [`Core::views`].
pub(super) struct Topology {
    place: HashMap<ObjectId, usize>,
    /// By place: one more than that of the views that it reads, and of the indexes that it looks rows up in. Views of one level do not
    /// read each other.
    levels: Vec<usize>,
    /// By object: who reads it.
    readers: HashMap<ObjectId, Vec<usize>>,
    /// By object: the columns that any reader asks for.
    columns: HashMap<ObjectId, Vec<ColumnPart>>,
    /// Views that may have something to do although no row came: those that follow event time or the clock.
    timed: Vec<usize>,
    /// Somebody outside is told of epochs by a view: of closed windows, of what the time was, or of rows that it leaves out.
    tells: bool,
}

fn is_timed(view: &View) -> bool {
    view.circuit.emits_on_close() || view.circuit.follows_clock()
}

impl Topology {
    fn of(views: &[View]) -> Self {
        let running = || views.iter().enumerate().filter(|(_, v)| v.failed.is_none());
        let mut readers: HashMap<ObjectId, Vec<usize>> = HashMap::new();
        for (n, view) in running() {
            let objects: BTreeSet<ObjectId> = view.inputs.iter().map(|i| i.object).collect();
            for object in objects {
                readers.entry(object).or_default().push(n);
            }
        }
        let read: BTreeSet<ObjectId> = readers.keys().copied().collect();
        let place: HashMap<ObjectId, usize> = views.iter().enumerate().map(|(n, v)| (v.id(), n)).collect();
        let mut levels: Vec<usize> = Vec::with_capacity(views.len());
        for view in views {
            // Those that it reads stand before it.
            let inputs = view.needed().filter_map(|id| levels.get(*place.get(&id)?));
            let level = inputs.max().map_or(0, |l| l + 1);
            levels.push(level);
        }
        Self {
            levels,
            place,
            columns: needed(running().flat_map(|(_, v)| &v.inputs), &read),
            readers,
            tells: views.iter().any(|v| is_timed(v) || v.definition.dead_letters.is_some()),
            timed: running().filter(|(_, v)| is_timed(v)).map(|(n, _)| n).collect(),
        }
    }

    /// Where a view stands, running or not.
    pub(super) fn place(&self, view: ObjectId) -> Option<usize> {
        self.place.get(&view).copied()
    }

    /// How many views there are below a view, at most, one on the other.
    pub(super) fn level(&self, place: usize) -> usize {
        self.levels[place]
    }

    /// Who reads an object.
    pub(super) fn readers(&self, object: ObjectId) -> &[usize] {
        self.readers.get(&object).map_or(&[], Vec::as_slice)
    }

    /// The columns of an object that any view asks for; `None` if no view reads it.
    pub(super) fn columns(&self, object: ObjectId) -> Option<&Vec<ColumnPart>> {
        self.columns.get(&object)
    }

    /// True if what an epoch was has to be written down because of a view.
    pub(super) fn tells(&self) -> bool {
        self.tells
    }

    /// Views that follow event time or the clock.
    pub(super) fn timed(&self) -> &[usize] {
        &self.timed
    }
}

impl Core {
    /// Who reads what now.
    pub(super) fn topology(&mut self) -> Arc<Topology> {
        self.topology.get_or_insert_with(|| Arc::new(Topology::of(&self.views))).clone()
    }

    /// The view of that id, running or not.
    pub(super) fn find_view(&self, id: ObjectId) -> Option<&View> {
        match &self.topology {
            Some(topology) => topology.place(id).map(|n| &self.views[n]),
            None => self.views.iter().find(|v| v.id() == id),
        }
    }
}
