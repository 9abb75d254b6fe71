//! Between two epochs a built view takes part, or the place of one that runs. Who stands on that one is given the difference between
//! their answers; where the columns are others, what each can take of it: a view below that reads none of them goes on with all its
//! state and finds its columns where they are now, a sink writes what its records lack, a subscription ends.
//!
//! The difference is not in the journal's epochs: nobody outside may see it before a checkpoint has it, or a crash would make it twice;
//! and a sink that has not written it by then gets it at the next start.

use std::collections::{BTreeSet, HashMap};

use arrow::datatypes::SchemaRef;
use fleuve_types::{ColumnPart, Delta, Epoch, ObjectId, Result};

use super::core::Core;
use super::keep::follows;
use super::lookups::places_of;
use super::sinks::Sink;
use super::stepping::EpochInput;
use super::unwritten::Unwritten;
use super::view::{View, ViewInput, project};
use super::{SinkWriter, ViewDefinition};
use crate::output::{ViewSnapshot, consolidate, difference, difference_of};

/// What becomes another one in the moment in which a view takes another one's place.
#[derive(Default)]
pub struct Below {
    /// Views and indexes that read it and mean the same over its new columns, by their definitions over these: they go on with all they hold.
    pub views: Vec<ViewDefinition>,
    /// Sinks of it that write other columns, or by another key, from then on.
    pub sinks: Vec<(ObjectId, Box<dyn SinkWriter>)>,
}

/// What of a replaced view is another one.
struct Cut {
    by_columns: bool,
    /// Rows were said to stay.
    by_rows: bool,
    /// Rows go.
    goes: bool,
}

/// The changes of some inputs of views, which are not those of what they read.
pub(super) type Given = HashMap<(ObjectId, usize), Delta>;

/// Whether the columns have the same names and types.
pub(super) fn same_columns(old: &SchemaRef, new: &SchemaRef) -> bool {
    let columns = |schema: &SchemaRef| {
        let fields = schema.fields().iter();
        fields.map(|f| (f.name().clone(), f.data_type().clone())).collect::<Vec<_>>()
    };
    columns(old) == columns(new)
}

/// Where the column at `at` of `new` stands in `old`, if it has the same name and type there.
fn place_before(old: &SchemaRef, new: &SchemaRef, at: usize) -> Option<usize> {
    let field = new.fields().get(at)?;
    let (place, before) = old.column_with_name(field.name())?;
    (before.data_type() == field.data_type()).then_some(place)
}

/// What a view is given of the change of `shared` columns of an object; `None` if it reads others, too.
fn given_to(view: &View, object: ObjectId, change: &Delta, shared: &[(usize, usize)]) -> Result<Option<Given>> {
    let mut given = Given::new();
    for (n, input) in view.inputs.iter().enumerate().filter(|(_, i)| i.object == object) {
        let at = |column: &ColumnPart| shared.iter().position(|(_, new)| *new == column.at);
        let Some(columns) = input.columns.iter().map(at).collect::<Option<Vec<_>>>() else { return Ok(None) };
        let own = consolidate(project(change, columns, &view.circuit.input_schema(n))?)?;
        given.insert((view.id(), n), own);
    }
    Ok(Some(given))
}

impl Core {
    /// A built view takes part from now on. One that replaces another hands on the difference between their answers.
    pub(super) fn join(&mut self, mut view: View) -> Result<()> {
        let id = view.id();
        view.save_all = true;
        // What was told at the end of its build may still be in memory.
        self.unmeasured = true;
        let dead = view.circuit.take_dead_rows();
        let below = self.below.remove(&id).unwrap_or_default();
        let Some(at) = self.views.iter().position(|v| v.id() == id) else {
            self.views.push(view);
            self.sort_views();
            self.write_otherwise(id, below.sinks);
            return self.tell_build(id, dead);
        };
        let (before, after) = (self.views[at].output.snapshot(self.epoch), view.output.snapshot(self.epoch));
        let has_same_types = self.views[at].output.types() == view.output.types();
        let has_same_columns = same_columns(before.schema(), after.schema());
        let change = has_same_types.then(|| difference(&before, &after)).transpose()?;
        let (mut view, going_on) = self.plan_below(view, below.views);
        let (going_on, given) = self.given_below(&self.views[at], going_on, &before, &after)?;
        let stays: BTreeSet<ObjectId> = going_on.iter().map(View::id).collect();
        let unwritten = self.records_between(id, self.epoch + 1, &below.sinks, &before, &after)?;
        let old = &mut self.views[at];
        view.take_over(old);
        let follows = follows(old, &view);
        let mut old = std::mem::replace(old, view);
        self.topology = None;
        self.epoch += 1;
        let noted = self.note_epoch(self.time_us, false, false);
        let new = &mut self.views[at];
        if let Err(e) = noted {
            new.take_over(&mut old);
            *new = old;
            self.topology = None;
            self.epoch -= 1;
            return Err(e);
        }
        new.kept = None;
        // With the state that it took over.
        new.measure();
        self.removed.push((id, old.take_names()));
        if has_same_columns {
            new.changes.extend(old.changes);
        } else {
            old.changes.end_by_columns();
        }
        for new in going_on {
            if let Some(reader) = self.views.iter_mut().find(|v| v.id() == new.id()) {
                reader.go_on_as(new);
                reader.save_all = true;
            }
        }
        // Now, or later.
        let goes = self.find_view(id).is_none_or(|new| !new.output.is_append_only())
            || change.as_ref().is_none_or(|change| (0..change.len()).any(|row| change.weight(row) < 0));
        self.cut_off_readers(id, &stays, Cut { by_columns: !has_same_columns, by_rows: !follows, goes });
        self.sort_views();
        if !has_same_columns {
            self.stop_others_than(id, &below.sinks, &before);
        }
        self.write_otherwise(id, below.sinks);
        self.withheld = (!self.sinks.is_empty()).then(Vec::new);
        if let Some(change) = change.as_ref().filter(|_| has_same_columns) {
            self.deliver(id, change);
        }
        // Without one it takes no step of its own in this epoch all the same.
        let outs = HashMap::from([(id, change.unwrap_or_else(|| Delta::empty(after.schema().clone())))]);
        self.step_views(&EpochInput { given, ..EpochInput::default() }, outs);
        match self.withheld.take() {
            Some(withheld) => self.hand_over(id, withheld, unwritten),
            // What was read by the old columns is not to be read again by the new ones.
            None if !stays.is_empty() && !self.checkpoint_now() => {
                tracing::warn!(view = %id, "the checkpoint after a change of columns failed: after a crash now what reads it is built anew");
            }
            None => {}
        }
        self.tell_build(id, dead)
    }

    /// The views that read one that was replaced, but for those that go on as other views by now, and cannot take the difference. Where what they
    /// hold does not follow from it they are not to be built upon. Where they cannot take it they wait, with the answer that they have, until
    /// they are built anew: by the places of before they would find other columns, and rows by another key than the one that there is; and
    /// rows may go that were said to stay.
    fn cut_off_readers(&mut self, replaced: ObjectId, stays: &BTreeSet<ObjectId>, cut: Cut) {
        for n in 0..self.views.len() {
            let reader = &self.views[n];
            if reader.failed.is_some() || stays.contains(&reader.id()) {
                continue;
            }
            let reads = reader.inputs.iter().any(|i| i.object == replaced);
            let finds_none = places_of(&reader.inputs).contains(&replaced) && self.answers_for(reader).is_err();
            if !(reads && (cut.by_columns || cut.by_rows) || finds_none) {
                continue;
            }
            let waits = cut.by_columns || finds_none || cut.goes;
            let id = reader.id();
            // Over other columns its query is for somebody else to mend.
            if waits && !reader.waits && !(reads && cut.by_columns) {
                self.to_follow.insert(id);
            }
            let reader = &mut self.views[n];
            (reader.is_cut_off, reader.save_all) = (true, true);
            // It may wait for another one already.
            reader.waits |= waits;
        }
    }

    /// The views of `definitions` that go on when `view` takes its place, planned over it, indexes first: others are planned by them. Gives
    /// the view back.
    pub(super) fn plan_below(&self, view: View, definitions: Vec<ViewDefinition>) -> (View, Vec<View>) {
        let id = view.id();
        let mut planned = vec![view];
        let (indexes, others): (Vec<_>, Vec<_>) = definitions.into_iter().partition(|d| d.index_by.is_some());
        for definition in indexes.into_iter().chain(others) {
            let reader = definition.id;
            match self.plan_after(definition, &planned) {
                Ok(new) if self.can_go_on(&new, id, |index| planned.iter().any(|v| v.id() == index)) => {
                    planned.push(new)
                }
                Ok(_) => {}
                Err(e) => tracing::warn!(view = %reader, error = %e, "a view cannot be planned over other columns"),
            }
        }
        let view = planned.remove(0);
        (view, planned)
    }

    /// True if what runs can go on as `new`, which is planned over other columns of `replaced`, with the indexes of it that go on.
    pub(super) fn can_go_on(&self, new: &View, replaced: ObjectId, index_goes_on: impl Fn(ObjectId) -> bool) -> bool {
        let is_sound = |old: &&View| {
            let is_same_kind = old.definition.dead_letters.is_some() == new.definition.dead_letters.is_some();
            is_same_kind && old.failed.is_none() && !old.is_cut_off && !self.building.contains_key(&old.id())
        };
        let Some(old) = self.find_view(new.id()).filter(is_sound) else { return false };
        let goes_on = |index: ObjectId| !self.is_below(index, replaced) || index_goes_on(index);
        let is_input_same = |(new, old): (&ViewInput, &ViewInput)| {
            let is_same = new.object == old.object && new.index() == old.index() && new.index().is_none_or(goes_on);
            is_same && (new.object == replaced || (new.columns == old.columns && new.lookup == old.lookup))
        };
        old.inputs.len() == new.inputs.len()
            && new.inputs.iter().zip(&old.inputs).all(is_input_same)
            && old.circuit.can_read_as(&new.circuit)
    }

    /// True if a view or index reads an object.
    fn is_below(&self, view: ObjectId, object: ObjectId) -> bool {
        self.find_view(view).is_some_and(|v| v.inputs.iter().any(|i| i.object == object))
    }

    /// Of the views that could go on those that can take the difference, with what each input is given of it: of the columns that it
    /// reads.
    fn given_below(
        &self,
        replaced: &View,
        planned: Vec<View>,
        before: &ViewSnapshot,
        after: &ViewSnapshot,
    ) -> Result<(Vec<View>, Given)> {
        let id = replaced.id();
        let (mut going_on, mut given): (Vec<View>, Given) = (vec![], Given::new());
        if planned.is_empty() {
            return Ok((going_on, given));
        }
        let read = planned.iter().flat_map(|v| &v.inputs).filter(|i| i.object == id).flat_map(|i| &i.columns);
        let read: BTreeSet<usize> = read.map(|c| c.at).collect();
        let place = |at: usize| place_before(before.schema(), after.schema(), at).map(|place| (place, at));
        let shared: Vec<(usize, usize)> = read.into_iter().filter_map(place).collect();
        let change = difference_of(before, after, &shared)?;
        for view in planned {
            let Some(own) = given_to(&view, id, &change, &shared)? else { continue };
            // Of rows that were said to stay none may go; and what a watermark has passed does not come any more.
            let goes = |d: &Delta| (0..d.len()).any(|row| d.weight(row) < 0);
            let is_taken = |d: &Delta| d.is_empty() || (!goes(d) && !view.circuit.emits_on_close());
            let is_lost = |index| self.is_below(index, id) && !going_on.iter().any(|v| v.id() == index);
            let is_whole = !view.inputs.iter().filter_map(ViewInput::index).any(is_lost);
            if is_whole && (!replaced.output.is_append_only() || own.values().all(is_taken)) {
                given.extend(own);
                going_on.push(view);
            }
        }
        Ok((going_on, given))
    }

    /// What sinks have to write so that it follows what they wrote before.
    ///
    /// # Errors
    /// It cannot be written.
    fn records_between(
        &self,
        view: ObjectId,
        epoch: Epoch,
        writers: &[(ObjectId, Box<dyn SinkWriter>)],
        before: &ViewSnapshot,
        after: &ViewSnapshot,
    ) -> Result<Vec<Unwritten>> {
        let sinks = self.sinks.iter().filter(|s| s.view == view && s.has_begun() && s.failed.is_none());
        let of = |sink: &Sink| {
            let (id, writer) = writers.iter().find(|(id, _)| *id == sink.id)?;
            let records = sink.records_until(epoch, writer.as_ref(), before, after);
            Some(records.map(|records| Unwritten { sink: *id, epoch, records }))
        };
        sinks.filter_map(of).collect()
    }

    /// Delivers the changes of this epoch, and what sinks of a view write instead, when they are in a checkpoint.
    fn hand_over(&mut self, view: ObjectId, withheld: Vec<(ObjectId, Delta)>, unwritten: Vec<Unwritten>) {
        let epoch = self.epoch;
        for (id, delta) in &withheld {
            let goes_out = self.sinks.iter().any(|s| s.view == *id);
            if let Some(view) = self.views.iter_mut().find(|v| v.id() == *id && goes_out) {
                view.undelivered = Some((epoch, delta.clone()));
            }
        }
        if let Some(view) = self.views.iter_mut().find(|v| v.id() == view) {
            view.unwritten = unwritten.iter().filter(|u| !u.records.is_empty()).cloned().collect();
        }
        if !self.checkpoint_now() {
            tracing::error!(
                "the checkpoint before a replaced view's difference failed: a crash now would give it to sinks again"
            );
        }
        self.write_records(unwritten);
        for (id, delta) in withheld {
            self.deliver(id, &delta);
        }
        for view in &mut self.views {
            (view.undelivered, view.unwritten) = (None, vec![]);
        }
    }

    /// Gives sinks what a crash kept from them.
    pub(super) fn deliver_late(&mut self) {
        let records = self.views.iter_mut().flat_map(|v| std::mem::take(&mut v.unwritten));
        let records: Vec<Unwritten> = records.collect();
        let late = |u: &Unwritten| self.sinks.iter().any(|s| s.id == u.sink && s.is_before(u.epoch));
        self.write_records(records.into_iter().filter(late).collect());
        let late: Vec<_> = self.views.iter_mut().filter_map(|v| Some((v.id(), v.undelivered.take()?))).collect();
        for (view, (epoch, delta)) in late {
            // One that has not written anything begins with the whole answer.
            let limit_bytes = self.options.sink_waiting_bytes;
            let is_late = |s: &&mut Sink| s.view == view && s.is_before(epoch) && !s.has_records_of(epoch);
            for sink in self.sinks.iter_mut().filter(is_late) {
                sink.take(epoch, &delta, limit_bytes);
            }
        }
    }

    fn write_records(&mut self, records: Vec<Unwritten>) {
        let limit_bytes = self.options.sink_waiting_bytes;
        for Unwritten { sink, epoch, records } in records {
            if let Some(sink) = self.sinks.iter_mut().find(|s| s.id == sink && s.failed.is_none()) {
                sink.take_records(epoch, records, limit_bytes);
            }
        }
    }

    /// Sinks of a view that gets other columns, and that have no writer for them.
    fn stop_others_than(&mut self, view: ObjectId, writers: &[(ObjectId, Box<dyn SinkWriter>)], before: &ViewSnapshot) {
        let is_left = |s: &&mut Sink| s.view == view && !writers.iter().any(|(id, _)| *id == s.id);
        self.sinks.iter_mut().filter(is_left).for_each(|sink| sink.stop_at(before));
    }

    /// Sinks of a view write by other writers from now on.
    fn write_otherwise(&mut self, view: ObjectId, writers: Vec<(ObjectId, Box<dyn SinkWriter>)>) {
        let mut writers: HashMap<ObjectId, Box<dyn SinkWriter>> = writers.into_iter().collect();
        if self.sinks.iter().any(|s| s.is_beginning() && writers.contains_key(&s.id)) {
            // What it begins with has the columns of before.
            self.wait_for_outside();
        }
        for sink in self.sinks.iter_mut().filter(|s| s.view == view) {
            if let Some(writer) = writers.remove(&sink.id) {
                sink.write_by(writer);
            }
        }
    }
}
