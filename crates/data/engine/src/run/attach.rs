//! How views come to take part in epochs: planned, built beside the others, caught up, joined.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use fleuve_types::{Delta, Error, ErrorKind, Frontier, ObjectId, Result};

use super::build::{self, Building, Built, READING, Round, first_of, needed, positions, read_range};
use super::core::Core;
use super::keep::Next;
use super::lookups::places_of;
use super::progress::Progress;
use super::times::AllTimes;
use super::view::{View, project};
use super::{Reply, ViewDefinition};
use crate::lookup::{Answers, LookedIn};
use crate::operators::{DeadRow, caught, concat_deltas};

/// What a build takes in at the beginning of a round that is not its first.
struct Changes {
    /// Of views.
    views: HashMap<ObjectId, Delta>,
    /// Of streams whose rows are looked up, by the number of the input.
    looked_up: HashMap<usize, Delta>,
}

/// What a user calls it, and the statement that lists those.
fn kind_and_list(definition: &ViewDefinition) -> (&'static str, &'static str) {
    match definition.index_by {
        Some(_) => ("index", "SHOW INDEXES"),
        None => ("view", "SHOW VIEWS"),
    }
}

/// What changed in indexes of streams while a round went on.
fn changes_of(indexes: Answers) -> Result<HashMap<usize, Delta>> {
    let of = |(n, place): (usize, LookedIn)| match place {
        LookedIn::Index(index) => index.changes_since().map(|changes| Some((n, changes))),
        LookedIn::Answer(_) => Ok(None),
    };
    indexes.into_iter().map(of).filter_map(Result::transpose).collect()
}

/// Why a view was not built.
#[derive(Clone, Copy, PartialEq)]
enum Cause {
    /// It failed.
    Own,
    /// What it reads stopped.
    Input,
    /// Somebody ended the build.
    Ended,
}

/// A build goes another round beside the live views while it is this many records behind.
const ROUND_RECORDS: i64 = 100_000;

impl Core {
    pub(super) fn create(&mut self, definition: ViewDefinition, replies: Vec<Reply<()>>) {
        self.create_from(definition, replies, true);
    }

    /// As [`Core::create`]; of a view that runs it keeps what it can if it `may_keep`.
    pub(super) fn create_from(&mut self, definition: ViewDefinition, replies: Vec<Reply<()>>, may_keep: bool) {
        let there = |id: &ObjectId| self.streams.contains_key(id) || self.views.iter().any(|v| v.id() == *id);
        let coming =
            |id: &ObjectId| self.building.contains_key(id) || self.waiting.iter().any(|(other, _)| other.id == *id);
        if definition.needs().any(|id| !there(&id) && coming(&id)) {
            self.waiting.push((definition, replies));
            return;
        }
        if let Some(error) = self.stopped_input(&definition) {
            return self.not_built(definition, &error, replies, Cause::Input);
        }
        let id = definition.id;
        let runs = |v: &View| v.definition.version == definition.version && v.failed.is_none() && !v.is_cut_off;
        if may_keep && self.find_view(id).is_some_and(runs) {
            // It is what runs: another one did not take its place, or it went on when what it reads was replaced.
            return self.goes_on(definition, replies);
        }
        let again = definition.clone();
        let view = match self.plan(definition) {
            Ok(view) => view,
            Err(e) => return self.not_built(again, &e, replies, Cause::Own),
        };
        if may_keep && self.is_unchanged(&view, &[]) {
            return self.goes_on(view.definition, replies);
        }
        if may_keep && let Ok(kept) = self.keeps(&view, &[]) {
            return self.begin_keeping(view, kept, replies);
        }
        let (progress, profile) = (Progress::begin(), view.circuit.profile());
        let times = self.times_to_build(&view);
        match self.begin_round(view, Frontier::default(), None, &progress, times) {
            Ok(indexes) => {
                let mut building = Building::new(&again, progress, profile, replies);
                building.looks_up_in(indexes);
                self.building.insert(id, building);
                self.forget_taps(id);
                self.publish_now();
            }
            Err(e) => self.not_built(again, &e, replies, Cause::Own),
        }
    }

    /// What keeps a view from being built, if one that it reads stopped.
    fn stopped_input(&self, definition: &ViewDefinition) -> Option<Error> {
        let is_input = |v: &&View| v.failed.is_some() && definition.needs().any(|id| id == v.id());
        let (namespace, name) = &self.views.iter().find(is_input)?.definition.name;
        let error = Error::new(ErrorKind::Retry, format!("it reads {namespace}.{name}, which stopped"));
        Some(error.hint(format!("ALTER MATERIALIZED VIEW {namespace}.{name} RESUME, or replace it")))
    }

    /// A view that could not be built: who asked is told. One that nobody waits for was there before the start, and is shown as
    /// failed.
    fn not_built(&mut self, definition: ViewDefinition, error: &Error, replies: Vec<Reply<()>>, cause: Cause) {
        let (id, by_input) = (definition.id, cause == Cause::Input);
        self.forget_taps(id);
        self.below.remove(&id);
        tracing::error!(view = %id, error = %error, "a view could not be built");
        if let Some(n) = self.views.iter().position(|v| v.id() == id && v.waits) {
            // What it was built over has other columns by now.
            self.stop_view(n, &error.to_string(), by_input);
        }
        match self.views.iter_mut().find(|v| v.id() == id) {
            Some(view)
                if view.failed.is_some() && view.definition.version == definition.version && cause != Cause::Ended =>
            {
                let before = view.failed.take();
                let since_us = before.as_ref().and_then(|f| f.since_us);
                view.fail(error.to_string(), by_input, since_us, before.map(|f| f.frontier).unwrap_or_default());
            }
            Some(_) => {}
            None if replies.is_empty() => match self.plan(definition) {
                Ok(mut view) => {
                    view.fail(error.to_string(), by_input, Some(self.time_us), Frontier::default());
                    self.views.push(view);
                    self.sort_views();
                }
                Err(e) => tracing::error!(view = %id, error = %e, "a view cannot be planned"),
            },
            None => {}
        }
        self.publish_now();
        for reply in replies {
            let _ = reply.send(Err(error.clone()));
        }
    }

    /// Ends the build of a view, if there is one.
    pub(super) fn end_build(&mut self, id: ObjectId, why: Error) {
        if let Some(building) = self.building.get(&id) {
            return building.progress.end(why);
        }
        if let Some(at) = self.waiting.iter().position(|(waits, _)| waits.id == id) {
            let (definition, replies) = self.waiting.remove(at);
            self.not_built(definition, &why, replies, Cause::Ended);
        }
    }

    /// Builds a view that failed anew.
    pub(super) fn resume(&mut self, id: ObjectId, reply: Reply<()>) {
        let is_coming = self.building.contains_key(&id) || self.waiting.iter().any(|(other, _)| other.id == id);
        let again = self.view(id).and_then(|view| match &view.failed {
            _ if is_coming => {
                let (what, list) = kind_and_list(&view.definition);
                let error = Error::new(ErrorKind::Retry, format!("the {what} is being built already"));
                Err(error.hint(format!("{list} says how far it is")))
            }
            Some(failure) if failure.by_input => {
                Err(Error::input(failure.reason.clone()).hint("resume that one, and this one follows"))
            }
            Some(_) => Ok(view.definition.clone()),
            None => {
                let (what, _) = kind_and_list(&view.definition);
                Err(Error::input(format!("the {what} runs; there is nothing to resume")))
            }
        });
        match again {
            Ok(definition) => self.create(definition, vec![reply]),
            Err(e) => drop(reply.send(Err(e))),
        }
    }

    /// Views that stopped because of one that runs again, or wait since one was replaced; those above others that wait come after these.
    pub(super) fn follow(&mut self) {
        let stopped = |id: &ObjectId| self.views.iter().any(|v| v.id() == *id && (v.failed.is_some() || v.waits));
        let ready = |v: &&View| {
            let is_due = match &v.failed {
                Some(failure) => failure.by_input,
                None => v.waits && self.to_follow.contains(&v.id()),
            };
            is_due && !self.building.contains_key(&v.id()) && !v.needed().any(|id| stopped(&id))
        };
        let again: Vec<ViewDefinition> = self.views.iter().filter(ready).map(|v| v.definition.clone()).collect();
        for definition in again {
            self.to_follow.remove(&definition.id);
            self.create(definition, vec![]);
        }
    }

    /// The event times of what a view reads, to be read from the start. None for a view that does not follow them.
    fn times_to_build(&self, view: &View) -> AllTimes {
        if !view.circuit.emits_on_close() {
            return AllTimes::new();
        }
        let timed = |id: &ObjectId| self.streams.get(id).is_some_and(|s| s.event_time().is_some());
        let objects = view.inputs.iter().map(|i| i.object).filter(timed);
        let again = |id: &ObjectId| {
            let reader = self.streams.get(id)?;
            let start = |partition| reader.bounds(partition).ok().map(|(start, _)| start);
            Some(self.times.get(id)?.to_read_again(start))
        };
        objects.map(|id| (id, again(&id).unwrap_or_default())).collect()
    }

    /// Begins a round of a build; `changes` are those of the views that it reads, and of its inputs that are looked up in an index, since
    /// the one before. Gives what has to be kept for it until the round is done.
    fn begin_round(
        &self,
        view: View,
        from: Frontier,
        changes: Option<Changes>,
        progress: &Arc<Progress>,
        times: AllTimes,
    ) -> Result<Answers> {
        let (views, changes) = changes.map_or((None, None), |c| (Some(c.views), Some(c.looked_up)));
        let mut inputs = BTreeSet::new();
        inputs.extend(view.inputs.iter().map(|i| i.object));
        let mut answers = HashMap::new();
        if views.is_none() {
            let taken_in = view.inputs.iter().filter(|i| !self.streams.contains_key(&i.object) && i.is_taken_in());
            for id in taken_in.map(|i| i.object) {
                answers.insert(id, self.view(id)?.output.snapshot(self.epoch));
            }
        }
        let as_it_is = |(n, place): &(usize, LookedIn)| (*n, place.as_it_is());
        let looked_up: Answers = self.answers_for(&view)?.iter().map(as_it_is).collect();
        let is_index = |(_, place): &&(usize, LookedIn)| matches!(place, LookedIn::Index(_));
        let kept: Answers = looked_up.iter().filter(is_index).cloned().collect();
        let streams: HashMap<_, _> =
            self.streams.iter().filter(|(id, _)| inputs.contains(id)).map(|(id, r)| (*id, r.clone())).collect();
        let mut to = Frontier::default();
        for ((stream, partition), offset) in &self.frontier.offsets {
            if streams.contains_key(stream) {
                to.advance(*stream, *partition, *offset);
            }
        }
        let marks = inputs.iter().map(|id| (*id, self.marks_of_object(*id))).collect();
        let round = Round {
            times,
            marks,
            view,
            streams,
            from,
            to,
            answers,
            views: views.unwrap_or_default(),
            changes,
            looked_up,
            epoch: self.epoch,
            time_us: self.time_us,
            batch_bytes: self.options.epoch_bytes,
            limits: self.limits.clone(),
            progress: progress.clone(),
        };
        build::begin(move || round.run(), self.commands.clone(), self.options.stepped)?;
        Ok(kept)
    }

    /// A build has reached where the engine stood when its round began: go on, or join the epochs.
    pub(super) fn attach(&mut self, mut built: Built) {
        let id = built.view.id();
        // Dropped or begun anew meanwhile: what was noted since is for another round.
        if self.building.get(&id).is_none_or(|b| !Arc::ptr_eq(&b.progress, &built.progress)) {
            return;
        }
        let Some(mut building) = self.building.remove(&id) else { return };
        if let Some(limits) = building.limits {
            built.view.definition.limits = limits;
        }
        let definition = built.view.definition.clone();
        let was_stopped = self.view(id).is_ok_and(|v| v.failed.is_some());
        // What it reads may have stopped while it was built.
        if let Some(error) = self.stopped_input(&definition) {
            self.not_built(definition, &error, std::mem::take(&mut building.replies), Cause::Input);
            return self.create_waiting();
        }
        let result = built.result.and_then(|()| building.progress.check()).and_then(|()| {
            // Nothing of the engine is half changed by a panic here: only the new view and what was kept for it.
            caught("the end of the build", || match building.keeping {
                Some(_) => self.go_on_keeping(built.view, &mut building),
                None => self.catch_up(built.view, built.frontier, &mut building, built.times),
            })
        });
        let failed = match result {
            Ok(Next::Round) => {
                self.building.insert(id, building);
                return;
            }
            Ok(Next::Join(view)) => self.join(*view),
            Ok(Next::Anew) => {
                self.create_from(definition, std::mem::take(&mut building.replies), false);
                return self.create_waiting();
            }
            Err(e) => Err(e),
        };
        let replies = std::mem::take(&mut building.replies);
        match failed {
            Ok(()) => {
                if building.outlives_input && !self.checkpoint_now() {
                    self.pace.hurry();
                    tracing::warn!(view = %id, "a view has read records that have gone, and the checkpoint with it failed: a crash now would build it without them");
                } else if was_stopped && !self.checkpoint_now() {
                    self.pace.hurry();
                    tracing::warn!(view = %id, "the checkpoint with a view that runs again failed: after a crash now it would be stopped as before");
                }
                if self.pace.built(building.progress.now().done) {
                    self.limits.build_is_done();
                }
                // What is shown first is of now, not of the last epoch, which may be long ago.
                if self.view(id).is_ok_and(|v| v.circuit.follows_clock()) {
                    self.live_epoch();
                }
                self.start_sinks_of(id);
                self.publish_now();
                replies.into_iter().for_each(|reply| drop(reply.send(Ok(()))));
                self.follow();
            }
            Err(e) => {
                let cause = if building.progress.is_ended() { Cause::Ended } else { Cause::Own };
                self.not_built(definition, &e, replies, cause);
            }
        }
        self.create_waiting();
    }

    /// What waited for a view.
    fn create_waiting(&mut self) {
        for (definition, replies) in std::mem::take(&mut self.waiting) {
            self.create(definition, replies);
        }
    }

    /// The step from the build's frontier to the engine's. If that is too far another round is begun.
    pub(super) fn catch_up(
        &mut self,
        mut view: View,
        from: Frontier,
        building: &mut Building,
        mut times: AllTimes,
    ) -> Result<Next> {
        for (id, times) in &mut times {
            if let Some(live) = self.times.get(id) {
                times.learn(live);
            }
        }
        // One that it looks rows up in was replaced: it has to be planned anew.
        let Ok(answers) = self.answers_for(&view) else { return Ok(Next::Anew) };
        self.note_use(&places_of(&view.inputs));
        let inputs = view.inputs.clone();
        let mut views = HashMap::new();
        building.retained_bytes = 0;
        let mut indexes = std::mem::take(&mut building.indexes);
        let is_there = |(n, place): &(usize, LookedIn)| answers.iter().any(|(m, now)| m == n && now.is_of(place));
        if !indexes.iter().all(is_there) {
            // One that was built again has noted nothing for this build.
            return Ok(Next::Anew);
        }
        indexes.retain(|(n, _)| self.streams.contains_key(&inputs[*n].object));
        let looked_up = changes_of(indexes)?;
        for (id, deltas) in std::mem::take(&mut building.retained) {
            if let Some(first) = deltas.first() {
                views.insert(id, concat_deltas(&first.batch.schema(), &deltas)?);
            }
        }
        let mut behind = 0;
        for ((stream, partition), to) in &self.frontier.offsets {
            if inputs.iter().any(|i| i.object == *stream) {
                behind += (to - from.get(*stream, *partition).unwrap_or(0)).max(0);
            }
        }
        if behind > ROUND_RECORDS {
            let changes = Some(Changes { views, looked_up });
            let indexes = self.begin_round(view, from, changes, &building.progress, times)?;
            building.looks_up_in(indexes);
            return Ok(Next::Round);
        }
        let read = || inputs.iter().filter(|i| i.index().is_none());
        let ids: BTreeSet<ObjectId> = read().map(|i| i.object).filter(|i| self.streams.contains_key(i)).collect();
        let mut columns = needed(read(), &ids);
        let mut rows: HashMap<ObjectId, Vec<Delta>> = HashMap::new();
        let is_read: Vec<bool> = inputs.iter().map(|i| i.index().is_none()).collect();
        for ((stream, partition), to) in &self.frontier.offsets {
            let Some(columns) = columns.get_mut(stream) else { continue };
            let reader = self.streams[stream].as_ref();
            let mut at = from.get(*stream, *partition).unwrap_or(reader.bounds(*partition)?.0);
            let start = Instant::now();
            while at < *to {
                let range = (*partition, at, *to);
                let most = self.options.epoch_bytes;
                let read = || read_range(*stream, reader, range, most, columns, &mut times, &|_| ());
                let (read, next) = caught(READING, read)?;
                rows.entry(*stream).or_default().extend(read);
                at = next;
            }
            if let Some(n) = first_of(&inputs, &is_read, *stream) {
                view.circuit.took_in(n, start.elapsed());
            }
        }
        let deltas = inputs
            .iter()
            .enumerate()
            .map(|(n, input)| {
                let schema = view.circuit.input_schema(n);
                if let Some(delta) = views.get(&input.object) {
                    return project(delta, input.columns.iter().map(|c| c.at), &schema);
                }
                if input.index().is_some() {
                    return Ok(looked_up.get(&n).cloned().unwrap_or_else(|| Delta::empty(schema)));
                }
                let Some(parts) = rows.get(&input.object) else { return Ok(Delta::empty(schema)) };
                let at = positions(&columns[&input.object], &input.columns);
                let parts =
                    parts.iter().map(|d| project(d, at.iter().copied(), &schema)).collect::<Result<Vec<_>>>()?;
                concat_deltas(&schema, &parts)
            })
            .collect::<Result<Vec<_>>>()?;
        let marks = self.marks_of(&view);
        view.circuit.tell_time(self.time_us);
        view.step(self.epoch, &deltas, &marks, &answers)?;
        view.measure();
        Ok(Next::Join(Box::new(view)))
    }

    /// Tells the rows that a build left out. First view and rows are in a checkpoint, or a crash would make both once more.
    pub(super) fn tell_build(&mut self, id: ObjectId, dead: Vec<DeadRow>) -> Result<()> {
        let epoch = self.epoch;
        let Some(view) = self.views.iter_mut().find(|v| v.id() == id && v.definition.dead_letters.is_some()) else {
            return Ok(());
        };
        view.pending = (!dead.is_empty()).then_some((epoch, dead));
        view.save_all = true;
        let told = if self.checkpoint_now() {
            self.views.iter_mut().find(|v| v.id() == id).map_or(Ok(()), View::tell_pending)
        } else {
            Err(Error::new(ErrorKind::Retry, "the checkpoint before its dead letters failed"))
        };
        if let (Err(e), Some(n)) = (&told, self.views.iter().position(|v| v.id() == id)) {
            self.fail_view(n, &e.to_string());
        }
        told
    }

    pub(super) fn sort_views(&mut self) {
        self.topology = None;
        let mut rest = std::mem::take(&mut self.views);
        let ids: BTreeSet<ObjectId> = rest.iter().map(View::id).collect();
        let mut placed = BTreeSet::new();
        while !rest.is_empty() {
            let before = placed.len();
            for view in std::mem::take(&mut rest) {
                let ready = view.needed().all(|id| placed.contains(&id) || !ids.contains(&id));
                if ready {
                    placed.insert(view.id());
                    self.views.push(view);
                } else {
                    rest.push(view);
                }
            }
            if placed.len() == before {
                // Views cannot read each other in a circle; if they did, they would not be lost.
                self.views.append(&mut rest);
            }
        }
    }
}
