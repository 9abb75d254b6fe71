//! A replacement that keeps state: the operators above what stays are built beside the running view, from the present answers of what
//! stays, and no log is read. When they have caught up, what stays moves into the new view, which takes the old one's place.
//!
//! What stays goes on stepping in the old view meanwhile. Its answer is told a part at a time, between epochs, by the hashes that its
//! rows are kept by: a change of a part that was told is handed on, one of a part still to come is in that part.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleuve_types::{Delta, Epoch, Error, Frontier, ObjectId, Result};

use super::build::{self, Building, Built};
use super::core::Core;
use super::memory::Limits;
use super::progress::Progress;
use super::times::AllTimes;
use super::view::View;
use super::{Reply, ViewDefinition};
use crate::keep::{Given, Kept};
use crate::lookup::Answers;
use crate::operators::{caught, concat_deltas};
use crate::state::Part;

/// With more rows of changes than this the new operators go another round beside the running views.
const ROUND_ROWS: usize = 65_536;

/// How far what stays has been told to what is new.
pub(super) struct Keeping {
    kept: Arc<Kept>,
    /// So many parts there are, and were told.
    parts: u64,
    told: u64,
    /// Changes of what was told, by the operator's place in the new circuit.
    changes: BTreeMap<usize, Vec<Delta>>,
    rows: usize,
    /// Its changes could not be told.
    is_broken: bool,
}

/// What follows after a round of a build.
pub(super) enum Next {
    /// It goes on, beside the running views.
    Round,
    /// It takes its place.
    Join(Box<View>),
    /// It has to begin again, from its inputs.
    Anew,
}

/// A round of such a build.
struct Round {
    view: View,
    kept: Arc<Kept>,
    given: Given,
    epoch: Epoch,
    time_us: i64,
    limits: Arc<Limits>,
    progress: Arc<Progress>,
}

impl Round {
    fn step(&mut self) -> Result<()> {
        let rows: usize = self.given.values().map(Delta::len).sum();
        self.view.circuit.tell_time(self.time_us);
        self.view.step_above(self.epoch, &self.kept, &self.given)?;
        self.progress.advance(rows as u64);
        self.progress.check()?;
        self.limits.build().fit(&mut self.view)
    }

    fn run(mut self) -> Built {
        let result = caught("the build", || self.step());
        let (frontier, times) = (Frontier::default(), AllTimes::new());
        Built { view: self.view, progress: self.progress, frontier, times, result }
    }
}

impl Keeping {
    pub(super) fn new(kept: Kept, rows: u64, part_rows: u64) -> Self {
        let parts = rows.div_ceil(part_rows.max(1)).max(1);
        Self { kept: Arc::new(kept), parts, told: 0, changes: BTreeMap::new(), rows: 0, is_broken: false }
    }

    /// Notes what the operators that stay put out in an epoch; gives the memory that it takes.
    pub(super) fn note(&mut self, old: &mut View) -> usize {
        let Some(told) = Part::up_to(self.told, self.parts) else { return 0 };
        let noted = match caught("the changes of kept state", || old.circuit.take_noted(told)) {
            Ok(noted) => noted,
            Err(e) => {
                tracing::warn!(view = %old.id(), error = %e, "changes of kept state cannot be told");
                self.is_broken = true;
                return 0;
            }
        };
        let mut bytes = 0;
        for (old, delta) in noted {
            bytes += delta.memory_bytes();
            self.rows += delta.len();
            for (new, _) in self.kept.cut.iter().filter(|(_, place)| *place == old) {
                self.changes.entry(*new).or_default().push(delta.clone());
            }
        }
        bytes
    }

    fn has_more(&self) -> bool {
        self.told < self.parts || self.rows > ROUND_ROWS
    }

    /// What is to be told next: the changes since, and the next part if there is one.
    fn next(&mut self, old: &mut View, answers: &Answers) -> Result<Given> {
        let mut given = std::mem::take(&mut self.changes);
        self.rows = 0;
        if self.told < self.parts {
            let part = Part::nth(self.told, self.parts);
            old.circuit.look_up_in(answers);
            let told = caught("the answer of kept state", || old.circuit.answers(&self.kept, part));
            old.circuit.look_nothing_up();
            for (n, rows) in told? {
                given.entry(n).or_default().push(rows);
            }
            self.told += 1;
        }
        let joined = |(n, deltas): (usize, Vec<Delta>)| {
            let first = deltas.first().map(|d| d.batch.schema());
            first.map(|schema| concat_deltas(&schema, &deltas).map(|d| (n, d)))
        };
        given.into_iter().filter_map(joined).collect()
    }
}

impl Core {
    /// The view that another replaces if its state can be built upon, or why it cannot. `planned` are replacements that come before it.
    fn sound(&self, new: &View, planned: &[&View]) -> std::result::Result<&View, String> {
        let old = self.find_view(new.id()).ok_or("there is no such view yet")?;
        if let Some(failure) = &old.failed {
            return Err(format!("the running view stopped: {}", failure.reason));
        }
        if old.definition.dead_letters.is_some() != new.definition.dead_letters.is_some() {
            return Err("it does something else with rows that an expression fails for".into());
        }
        let replaced = |id: &ObjectId| planned.iter().find(|v| v.id() == *id);
        let before = |id: &ObjectId| self.find_view(*id);
        let lost = |id: &ObjectId| replaced(id).zip(before(id)).is_some_and(|(new, old)| !follows(old, new));
        if old.is_cut_off || old.inputs.iter().any(|i| lost(&i.object)) {
            return Err("a view that it reads was replaced, and its state does not follow from the difference".into());
        }
        if old.pending.is_some() {
            return Err("rows that its build left out are not told yet".into());
        }
        Ok(old)
    }

    /// What a view that replaces another can keep of it, or why nothing. `planned` are replacements that come before it.
    pub(super) fn keeps(&self, new: &View, planned: &[&View]) -> std::result::Result<Kept, String> {
        let old = self.sound(new, planned)?;
        new.circuit.keeps(&old.circuit, &same_objects(new, old))
    }

    /// True if what runs is all that a new definition asks for: its state is that of this one after a restart, too.
    pub(super) fn is_unchanged(&self, new: &View, planned: &[&View]) -> bool {
        self.sound(new, planned).is_ok_and(|old| {
            old.manifest.shape == new.manifest.shape
                && old.circuit.schema() == new.circuit.schema()
                && old.circuit.key() == new.circuit.key()
                && new.circuit.is_like(&old.circuit, &same_objects(new, old))
        })
    }

    /// Begins to build a view over what it keeps of the one that runs. Gives the view back if that cannot be.
    pub(super) fn begin_keeping(&mut self, view: View, kept: Kept, replies: Vec<Reply<()>>) {
        let (id, definition) = (view.id(), view.definition.clone());
        let (progress, profile) = (Progress::begin(), view.circuit.profile());
        // One that is under way counts on what is noted for it.
        self.building.remove(&id);
        let mut rows = 0;
        if let Some(old) = self.views.iter_mut().find(|v| v.id() == id) {
            old.circuit.tap(kept.cut.iter().map(|(_, place)| *place));
            rows = old.circuit.rows_told(&kept);
        }
        progress.expect(rows);
        let mut building = Building::new(&definition, progress, profile, replies);
        building.keeping = Some(Keeping::new(kept, rows, self.options.part_rows));
        match self.next_round(view, &mut building) {
            Ok(()) => {
                self.building.insert(id, building);
                self.publish_now();
            }
            Err(e) => {
                tracing::warn!(view = %id, error = %e, "kept state cannot be told; the view is built from its inputs");
                self.create_from(definition, std::mem::take(&mut building.replies), false);
            }
        }
    }

    fn next_round(&mut self, view: View, building: &mut Building) -> Result<()> {
        building.retained_bytes = 0;
        let id = view.id();
        let place = self.views.iter().position(|v| v.id() == id);
        let answers = place.map_or_else(|| Ok(Answers::new()), |n| self.looked_up_by(n))?;
        let old = self.views.iter_mut().find(|v| v.id() == id);
        let (Some(keeping), Some(old)) = (&mut building.keeping, old) else {
            return Err(Error::bug("there is nothing to keep"));
        };
        let round = Round {
            given: keeping.next(old, &answers)?,
            view,
            kept: keeping.kept.clone(),
            epoch: self.epoch,
            time_us: self.time_us,
            limits: self.limits.clone(),
            progress: building.progress.clone(),
        };
        // Of indexes as much may be in memory now as the part has rows.
        self.stepped(self.options.part_rows);
        build::begin(move || round.run(), self.commands.clone(), self.options.stepped)
    }

    /// What follows after a round.
    pub(super) fn go_on_keeping(&mut self, mut view: View, building: &mut Building) -> Result<Next> {
        let id = view.id();
        let marks = self.marks_of(&view);
        let old = self.views.iter_mut().find(|v| v.id() == id && v.failed.is_none() && !v.is_cut_off);
        let (Some(keeping), Some(old)) = (&mut building.keeping, old) else { return Ok(Next::Anew) };
        if keeping.is_broken {
            return Ok(Next::Anew);
        }
        if keeping.has_more() {
            return Ok(match self.next_round(view, building) {
                Ok(()) => Next::Round,
                Err(e) => {
                    tracing::warn!(view = %id, error = %e, "kept state cannot be told; the view is built from its inputs");
                    Next::Anew
                }
            });
        }
        // All parts are told: nothing is looked up for one.
        let given = keeping.next(old, &Answers::new())?;
        view.circuit.tell_time(self.time_us);
        view.step_above(self.epoch, &keeping.kept, &given)?;
        view.marks = marks;
        view.measure();
        view.kept = Some(keeping.kept.clone());
        Ok(Next::Join(Box::new(view)))
    }

    /// What a view's operators put out is not noted any more if nobody builds upon it.
    pub(super) fn forget_taps(&mut self, id: ObjectId) {
        if self.building.get(&id).is_some_and(|b| b.keeping.is_some()) {
            return;
        }
        if let Some(view) = self.views.iter_mut().find(|v| v.id() == id) {
            view.circuit.tap([]);
        }
    }

    /// A definition that comes to the same circuit: what runs goes on.
    pub(super) fn goes_on(&mut self, definition: ViewDefinition, replies: Vec<Reply<()>>) {
        self.building.remove(&definition.id);
        self.forget_taps(definition.id);
        // Before its new version is in a checkpoint: a crash in between finds both as they were.
        let below = self.below.remove(&definition.id).unwrap_or_default();
        let written = self.write_on(definition.id, below.sinks);
        if let Some(view) = self.views.iter_mut().find(|v| v.id() == definition.id) {
            view.definition = definition;
            // Its version is new.
            view.save_all = true;
        }
        // After a crash before that is in a checkpoint the view would be built anew, and sinks would lack what changes until then.
        if !self.sinks.is_empty() && !self.checkpoint_now() {
            tracing::error!("the checkpoint of a view's new version failed: after a crash now sinks may lack changes");
        }
        self.publish_now();
        replies.into_iter().for_each(|reply| drop(reply.send(written.clone())));
    }
}

/// Whether names in the plan of a view and in that of another one are of the same object.
fn same_objects(new: &View, old: &View) -> impl Fn(&(String, String), &(String, String)) -> bool {
    |a, b| {
        let (a, b) = (new.definition.inputs.get(a), old.definition.inputs.get(b));
        a.is_some() && a == b
    }
}

/// True if a view that reads `old` can take the difference to `new` as one more change.
pub(super) fn follows(old: &View, new: &View) -> bool {
    // Rows may go that were said to stay.
    old.output.types() == new.output.types() && !old.output.is_append_only()
}
