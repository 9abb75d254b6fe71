//! Changes of the catalog carried out: first decided and durable in the catalog, then made to run. What fails to run is taken back.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fleuve_catalog::{Changes, Command, Object};
use fleuve_engine::{ViewDefinition, ViewState};
use fleuve_formats::FormatSpec;
use fleuve_sql::{BoundObject, Change, ObjectSet, Spec, StreamSpec, Unapplied, Withdrawal};
use fleuve_types::{Error, ObjectId, Result};

use super::Platform;
use super::deciding::Deciding;
use super::open::Opener;
use super::relations::{Declared, Explained, indexes_of, limits_of};
use super::sink::mark_of;
use super::source::RunningSource;
use super::under_way::{Claim, Turn};

impl Platform {
    /// Applies changes of `from`, all or nothing. They are decided one after the other, and carried out beside each other where they do not
    /// meet.
    pub(super) async fn change(
        self: &Arc<Self>,
        from: &Arc<ObjectSet>,
        changes: Vec<Change>,
        withdrawal: Withdrawal,
    ) -> Result<(), Unapplied> {
        let Some(Deciding { one, before, changes }) = self.decide(from, changes, &withdrawal).await? else {
            return Ok(());
        };
        self.check(&before, &changes)?;
        self.check_sinks(&with(&before, &changes, &Changes::default()), &changes).await?;
        super::replaced::note(&self.log, &before, &changes).await.map_err(Unapplied::all)?;
        let altered = self.altered(&before, &changes);
        if !altered.is_empty() {
            // What was read by the old columns is not to be read again by the new ones.
            self.engine.checkpoint().await.map_err(Unapplied::all)?;
        }
        super::later::note(&self.log, &before, &changes).await.map_err(Unapplied::all)?;
        let commands = changes.iter().map(command).collect();
        let made = self.catalog.apply(commands).await.map_err(Unapplied::all)?;
        let after = Arc::new(with(&before, &changes, &made));
        *self.objects.write() = after.clone();
        let turn = self.under_way.begin(Claim::of(&before, &changes), withdrawal, self.clock.now_us());
        drop(one);
        let Err(error) = self.run_changes((&before, &after), &made, altered, &turn).await else {
            self.limit_views(&before, &changes).await.map_err(Unapplied::all)?;
            let replaced = made.replaced.iter().map(|r| r.after.id);
            return super::replaced::forget(&self.log, replaced).await.map_err(Unapplied::all);
        };
        if self.is_stopping.load(Ordering::SeqCst) {
            // As after a crash it is carried out at the next start.
            return Err(error);
        }
        tracing::warn!(error = ?error, "a change could not be made to run and is taken back");
        if let Err(e) = self.take_back(&before, &after, &made).await {
            tracing::error!(error = %e, "taking a change back failed");
        }
        Err(error)
    }

    /// Views that go on as they are, with other limits.
    async fn limit_views(&self, before: &ObjectSet, changes: &[Change]) -> Result<()> {
        for change in changes {
            let Change::Restate(BoundObject { object, spec: Spec::View(after) }) = change else { continue };
            match before.by_id(object.id).map(|old| &old.spec) {
                Some(Spec::View(old)) if old.limits != after.limits => {
                    self.engine.limit_view(object.id, limits_of(after)).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn opener(&self) -> Opener<'_> {
        Opener { config: &self.config, log: &self.log, registry: &self.registry, clock: &self.clock }
    }

    /// What can be known to fail before anything is done.
    fn check(&self, before: &ObjectSet, changes: &[Change]) -> Result<(), Unapplied> {
        let mut set = before.clone();
        for change in changes {
            let (Change::Create(bound) | Change::Replace(bound)) = change else { continue };
            let declared = Declared { objects: &set, engine: &self.engine };
            let checked = match &bound.spec {
                Spec::View(view) => self.engine.circuit(&view.plan, &declared, view.emit_on_close).map(drop),
                Spec::Source(source) => super::source::check(source).map(drop),
                Spec::Stream(stream) => {
                    FormatSpec::new(&stream.format, &stream.format_options, Some(stream.schema.clone())).map(drop)
                }
                Spec::Index(index) => self.engine.index_circuit(&index.view.plan, &declared, &index.by).map(drop),
                Spec::Sink(_) => Ok(()),
            };
            checked.map_err(Unapplied::of(bound.object.id))?;
            set.by_name.insert((bound.object.namespace.clone(), bound.object.name.clone()), Arc::new(bound.clone()));
        }
        Ok(())
    }

    /// A registry refuses the schema of what a sink would write before anything else is done: what one has written stays in its stream.
    async fn check_sinks(&self, after: &ObjectSet, changes: &[Change]) -> Result<(), Unapplied> {
        for change in changes {
            let (Change::Create(bound) | Change::Replace(bound)) = change else { continue };
            if let Spec::Sink(sink) = &bound.spec {
                let writer = self.opener().sink_writer(after, bound, sink).await;
                writer.map_err(Unapplied::of(bound.object.id))?;
            }
        }
        Ok(())
    }

    /// The changes, where each view that is made or becomes another one depends on the indexes that its joins use. One that is only
    /// made anew, because of what it reads, uses no others than before; none uses an index that becomes another one after it.
    pub(super) fn with_indexes(&self, before: &ObjectSet, mut changes: Vec<Change>) -> Result<Vec<Change>, Unapplied> {
        let mut set = before.clone();
        let mut new = vec![];
        let mut later: Vec<ObjectId> = changes.iter().filter_map(replaced_index).collect();
        for change in &mut changes {
            if let Some(index) = replaced_index(change) {
                later.retain(|id| *id != index);
            }
            let (Change::Create(bound) | Change::Replace(bound)) = change else { continue };
            if let Spec::View(view) = &bound.spec {
                let declared = Declared { objects: &set, engine: &self.engine };
                let running = Explained::new(declared);
                let same = before.by_id(bound.object.id).filter(|old| old.object.sql == bound.object.sql);
                let mut usable: Vec<ObjectId> = match same {
                    Some(old) => indexes_of(&set, &old.object),
                    None => running.running_indexes().into_iter().chain(new.iter().copied()).collect(),
                };
                usable.retain(|id| !later.contains(id));
                let circuit = self.engine.circuit(&view.plan, &running.with_indexes(usable), view.emit_on_close);
                let circuit = circuit.map_err(Unapplied::of(bound.object.id))?;
                let used = circuit.inputs().iter().filter_map(|i| i.lookup.as_ref()?.index);
                let used: BTreeSet<ObjectId> = used.collect();
                let unused: Vec<ObjectId> = indexes_of(&set, &bound.object);
                bound.object.depends_on.retain(|id| !unused.contains(id));
                bound.object.depends_on.extend(used);
            } else if matches!(bound.spec, Spec::Index(_)) {
                new.push(bound.object.id);
            }
            set.by_name.insert((bound.object.namespace.clone(), bound.object.name.clone()), Arc::new(bound.clone()));
        }
        Ok(changes)
    }

    /// The streams that get other columns, each with the views that read it as they go on: restated, or as they were.
    fn altered(&self, before: &ObjectSet, changes: &[Change]) -> BTreeMap<ObjectId, Vec<ViewDefinition>> {
        let mut out = BTreeMap::new();
        for change in changes {
            let Change::Replace(BoundObject { object, spec: Spec::Stream(new) }) = change else { continue };
            let Some(Spec::Stream(old)) = before.by_id(object.id).map(|b| &b.spec) else { continue };
            if old.schema != new.schema {
                out.insert(object.id, self.readers(before, changes, object.id));
            }
        }
        out
    }

    fn readers(&self, before: &ObjectSet, changes: &[Change], stream: ObjectId) -> Vec<ViewDefinition> {
        let restated = |id: ObjectId| {
            changes.iter().find_map(|c| match c {
                Change::Restate(bound) if bound.object.id == id => Some(bound),
                _ => None,
            })
        };
        let views = before.by_name.values().map(|b| restated(b.object.id).unwrap_or(b));
        let reads = |bound: &BoundObject| {
            let reader = self.opener().running_definition(before, bound)?;
            reader.inputs.values().any(|i| *i == stream).then_some(reader)
        };
        views.filter_map(reads).collect()
    }

    async fn run_changes(
        self: &Arc<Self>,
        (before, set): (&ObjectSet, &ObjectSet),
        made: &Changes,
        mut altered: BTreeMap<ObjectId, Vec<ViewDefinition>>,
        turn: &Turn<'_>,
    ) -> Result<(), Unapplied> {
        for object in &made.dropped {
            self.stop_object(object).await.map_err(Unapplied::of(object.id))?;
        }
        // Each after what it depends on: streams, views in order, then what connects them. What a sink writes as another one stays written,
        // so that these come when nothing else can fail any more.
        let mut created: Vec<&Arc<BoundObject>> = vec![];
        for object in made.replaced.iter().map(|r| &r.after).chain(&made.created) {
            created.extend(set.by_id(object.id));
        }
        let moves = |b: &BoundObject| made.replaced.iter().any(|r| r.after.id == b.object.id);
        let rank = |b: &BoundObject| match b.spec {
            Spec::Stream(_) => 0,
            Spec::View(_) | Spec::Index(_) => 1,
            Spec::Sink(_) if moves(b) => 4,
            Spec::Sink(_) => 2,
            Spec::Source(_) => 3,
        };
        created.sort_by_key(|b| rank(b));
        let created = in_order(created);
        // Sinks that were given what they write from now on together with their view.
        let mut handed = BTreeSet::new();
        for bound in created {
            let id = bound.object.id;
            turn.check().map_err(Unapplied::of(id))?;
            let done = match (&bound.spec, altered.remove(&bound.object.id)) {
                (Spec::Stream(spec), Some(readers)) => self.alter_stream(set, &bound, spec, readers).await,
                (Spec::View(_) | Spec::Index(_), _) => {
                    let build = self.replace_view((before, set), &bound);
                    turn.built(&self.engine, id, build).await.map(|sinks| handed.extend(sinks))
                }
                (Spec::Sink(_), _) if handed.contains(&bound.object.id) => Ok(()),
                _ => self.start_object(set, &bound).await,
            };
            done.map_err(Unapplied::of(id))?;
        }
        Ok(())
    }

    /// A running stream by other columns; `readers` are all views that read it.
    async fn alter_stream(
        self: &Arc<Self>,
        set: &ObjectSet,
        bound: &BoundObject,
        spec: &StreamSpec,
        readers: Vec<ViewDefinition>,
    ) -> Result<()> {
        let id = bound.object.id;
        let relation = self.opener().open_altered(set, bound, spec).await?;
        self.engine.alter_stream(id, relation.clone(), readers).await?;
        self.streams.write().insert(id, relation.clone());
        relation.columns_have_come().await?;
        for source in set.by_name.values().filter(|b| matches!(&b.spec, Spec::Source(s) if s.into == id)) {
            // It cuts its input by the stream's format.
            Box::pin(self.start_object(set, source)).await?;
        }
        Ok(())
    }

    /// Makes an object run, or run as it is defined now.
    pub(super) async fn start_object(self: &Arc<Self>, set: &ObjectSet, bound: &BoundObject) -> Result<()> {
        let id = bound.object.id;
        match &bound.spec {
            Spec::Stream(spec) => {
                let relation = self.opener().open_stream(set, bound, spec).await?;
                self.streams.write().insert(id, relation.clone());
                self.engine.add_stream(id, relation).await
            }
            Spec::View(_) | Spec::Index(_) => match self.opener().running_definition(set, bound) {
                Some(definition) => self.engine.create_view(definition).await,
                None => Err(Error::bug("a view without a definition")),
            },
            Spec::Sink(sink) => {
                // One that it replaces ends with it: before that it writes all that it has to.
                let writer = self.opener().sink_writer(set, bound, sink).await?;
                self.engine.add_sink(id, sink.from, Box::new(writer)).await
            }
            Spec::Source(_) if !self.runs_sources => Ok(()),
            Spec::Source(source) => {
                drop(self.sources.write().remove(&id));
                let relation = self
                    .relation(source.into)
                    .ok_or_else(|| Error::bug(format!("source {} feeds no stream", bound.object.name)))?;
                let running = RunningSource::start(
                    id,
                    source,
                    relation.format(),
                    self.log.clone(),
                    self.clock.clone(),
                    tokio::runtime::Handle::current(),
                )?;
                self.sources.write().insert(id, running);
                Ok(())
            }
        }
    }

    async fn stop_object(&self, object: &Object) -> Result<()> {
        use fleuve_catalog::ObjectKind;
        let id = object.id;
        // A mark that stays does no harm, as no id comes twice. To take the DROP back because of it would: the mark may go all the same,
        // and what it kept from happening twice would.
        let forget = |mark: String| async {
            if let Err(e) = self.log.append_atomic(vec![], vec![(mark, None)]).await {
                tracing::warn!(object = object.name, error = %e, "what a dropped object has noted stays in the log");
            }
        };
        match object.kind {
            ObjectKind::Stream => {
                // Its subscriptions end when the engine tells that it is gone.
                self.streams.write().remove(&id);
                self.engine.remove_stream(id).await?;
                if self.log.topic(id).is_some() {
                    self.log.delete_topic(id).await?;
                }
                for (mark, _) in self.log.marks_with_prefix(&format!("dead/{id}/")) {
                    forget(mark).await;
                }
                forget(super::later::mark_of(id)).await;
                Ok(())
            }
            ObjectKind::View => {
                self.engine.drop_view(id).await?;
                // A note of a replacement that stays is forgotten at the next start.
                if let Err(e) = super::replaced::forget(&self.log, [id]).await {
                    tracing::warn!(object = object.name, error = %e, "the note of a replacement stays in the log");
                }
                forget(super::dead::mark_of_view(id)).await;
                Ok(())
            }
            ObjectKind::Index => {
                self.engine.drop_view(id).await?;
                super::replaced::forget(&self.log, [id]).await
            }
            ObjectKind::Sink => {
                self.engine.drop_sink(id).await?;
                forget(mark_of(id)).await;
                forget(super::replaced::done(id).0).await;
                Ok(())
            }
            ObjectKind::Source => {
                let running = self.sources.write().remove(&id);
                tokio::task::spawn_blocking(move || drop(running)).await.map_err(|e| Error::bug(e.to_string()))?;
                forget(super::source::mark_of(id)).await;
                Ok(())
            }
        }
    }

    /// Goes on with replacements that a crash broke off; `running` are the objects as they run.
    pub(super) async fn replace_again(self: Arc<Self>, running: ObjectSet, objects: Vec<ObjectId>) {
        let one = self.changing.lock().await;
        let set = self.object_set();
        // Each is its own: one that is dropped meanwhile is no reason for the others to end.
        let begin = |id: &ObjectId| {
            let claim = Claim::building(&set, &running, *id);
            (*id, self.under_way.begin(claim, Withdrawal::never(), self.clock.now_us()))
        };
        let mut turns: BTreeMap<ObjectId, Turn<'_>> = objects.iter().map(begin).collect();
        drop(one);
        let bound: Vec<&Arc<BoundObject>> = objects.iter().filter_map(|id| set.by_id(*id)).collect();
        let (sinks, views): (Vec<_>, Vec<_>) = bound.into_iter().partition(|b| matches!(b.spec, Spec::Sink(_)));
        let mut handed = BTreeSet::new();
        for bound in in_order(views).iter().chain(sinks) {
            let Some(turn) = turns.remove(&bound.object.id) else { continue };
            let done = match &bound.spec {
                Spec::Sink(_) if handed.contains(&bound.object.id) => Ok(()),
                Spec::Sink(sink) => self.move_again(&set, bound, sink.from).await,
                _ => {
                    let build = self.replace_view((&running, &set), bound);
                    turn.built(&self.engine, bound.object.id, build).await.map(|sinks| handed.extend(sinks))
                }
            };
            let done = match done {
                Ok(()) => super::replaced::forget(&self.log, [bound.object.id]).await,
                Err(e) => Err(e),
            };
            if let Err(e) = done {
                let Object { kind, name, .. } = &bound.object;
                tracing::error!(%kind, name, error = %e, "it runs by its old definition: replacing it failed");
            }
        }
    }

    /// A sink becomes another one when its view is there, which may have been made in the same step.
    async fn move_again(self: &Arc<Self>, set: &ObjectSet, sink: &BoundObject, from: ObjectId) -> Result<()> {
        let runs = self.engine.published().status.get(&from).is_some_and(|s| s.state == ViewState::Running);
        if let Some(view) = set.by_id(from).filter(|_| !runs) {
            self.start_object(set, view).await?;
        }
        self.start_object(set, sink).await
    }

    /// Puts the catalog and what runs back to where it was, while the change has still its turn.
    async fn take_back(self: &Arc<Self>, before: &Arc<ObjectSet>, after: &ObjectSet, made: &Changes) -> Result<()> {
        let mut commands: Vec<Command> = made.created.iter().rev().map(|o| Command::Drop(o.id)).collect();
        commands.extend(made.replaced.iter().map(|r| Command::Replace(r.before.clone())));
        commands.extend(made.dropped.iter().map(|o| Command::Create(o.clone())));
        // Texts that were restated; a restated view may not be bound any more over a stream as it was.
        let restated = made.commented.iter().filter_map(|o| before.by_id(o.id).filter(|b| b.object.sql != o.sql));
        commands.extend(restated.map(|b| Command::Restate(b.object.clone())));
        // Dependants go before what they depend on.
        let rank = |id: ObjectId| {
            after.by_id(id).map_or(0, |b| match b.spec {
                Spec::Source(_) | Spec::Sink(_) => 0,
                Spec::View(_) | Spec::Index(_) => 1,
                Spec::Stream(_) => 2,
            })
        };
        commands.sort_by_key(|c| if let Command::Drop(id) = c { rank(*id) } else { 3 });
        let one = self.changing.lock().await;
        self.catalog.apply(commands).await?;
        let kept = self.catalog.objects().await?;
        let set = fleuve_sql::bind_all(kept)?;
        for new in set.unusable.iter().filter(|(key, _)| !before.unusable.contains_key(*key)).map(|(_, o)| o) {
            tracing::error!(object = new.object.name, error = %new.error, "an object cannot be bound any more");
        }
        let set = Arc::new(set);
        *self.objects.write() = set.clone();
        drop(one);
        for object in made.created.iter().rev() {
            if let Err(e) = self.stop_object(object).await {
                tracing::warn!(object = object.name, error = %e, "taking an object back");
            }
        }
        let replaced = made.replaced.iter().filter_map(|r| before.by_id(r.before.id));
        let (views, others): (Vec<_>, Vec<_>) =
            replaced.partition(|b| matches!(b.spec, Spec::View(_) | Spec::Index(_)));
        // A view that could not be built left the old one running, and goes on; one that took its place gives it back.
        let mut handed = BTreeSet::new();
        for bound in in_order(views) {
            match self.replace_view((after, &set), &bound).await {
                Ok(sinks) => handed.extend(sinks),
                Err(e) => tracing::error!(view = bound.object.name, error = %e, "a view does not run as it did"),
            }
        }
        for bound in others.into_iter().filter(|b| !handed.contains(&b.object.id)) {
            if matches!(bound.spec, Spec::Sink(_)) {
                if let Err(e) = self.put_sink_back(&set, bound).await {
                    tracing::error!(sink = bound.object.name, error = %e, "a sink does not run as it did");
                }
                continue;
            }
            let reads_otherwise =
                |spec: &StreamSpec| self.relation(bound.object.id).is_some_and(|r| *r.format().schema() != spec.schema);
            match &bound.spec {
                Spec::Stream(spec) if reads_otherwise(spec) => {
                    let readers = self.readers(&set, &[], bound.object.id);
                    self.alter_stream(&set, bound, spec, readers).await?;
                }
                _ => self.start_object(&set, bound).await?,
            }
        }
        Ok(())
    }

    /// A sink that has become another one by itself, or whose view went, is what it was again.
    async fn put_sink_back(self: &Arc<Self>, set: &ObjectSet, bound: &BoundObject) -> Result<()> {
        let id = bound.object.id;
        let runs = self.engine.published().sinks.get(&id).is_some_and(Option::is_none);
        if runs && super::replaced::has_not_moved(&self.log, id) {
            return super::replaced::forget(&self.log, [id]).await;
        }
        self.start_object(set, bound).await
    }
}

/// Views and indexes after what they depend on; the rest keeps its order.
pub(super) fn in_order(objects: Vec<&Arc<BoundObject>>) -> Vec<Arc<BoundObject>> {
    let ids: std::collections::HashSet<ObjectId> = objects.iter().map(|b| b.object.id).collect();
    let mut rest: Vec<Arc<BoundObject>> = objects.into_iter().cloned().collect();
    let mut placed = std::collections::HashSet::new();
    let mut out = vec![];
    while !rest.is_empty() {
        let ready = |b: &Arc<BoundObject>| match &b.spec {
            Spec::View(_) | Spec::Index(_) => {
                b.object.depends_on.iter().all(|i| placed.contains(i) || !ids.contains(i))
            }
            _ => true,
        };
        let at = rest.iter().position(ready).unwrap_or(0);
        let bound = rest.remove(at);
        placed.insert(bound.object.id);
        out.push(bound);
    }
    out
}

/// The index that a change makes another one.
fn replaced_index(change: &Change) -> Option<ObjectId> {
    match change {
        Change::Replace(BoundObject { object, spec: Spec::Index(_) }) => Some(object.id),
        _ => None,
    }
}

fn command(change: &Change) -> Command {
    match change {
        Change::Create(bound) => Command::Create(bound.object.clone()),
        Change::Replace(bound) => Command::Replace(bound.object.clone()),
        Change::Restate(bound) => Command::Restate(bound.object.clone()),
        Change::Drop(id) => Command::Drop(*id),
        Change::Comment(object) => Command::Comment(object.clone()),
    }
}

/// The objects after `changes`, with what the catalog made of them.
fn with(before: &ObjectSet, changes: &[Change], made: &Changes) -> ObjectSet {
    let mut set = before.clone();
    let kept: BTreeMap<ObjectId, &Object> = made
        .created
        .iter()
        .chain(made.replaced.iter().map(|r| &r.after))
        .chain(&made.commented)
        .map(|o| (o.id, o))
        .collect();
    for change in changes {
        match change {
            Change::Create(bound) | Change::Replace(bound) | Change::Restate(bound) => {
                let object = kept.get(&bound.object.id).map_or_else(|| bound.object.clone(), |o| (*o).clone());
                let key = (object.namespace.clone(), object.name.clone());
                set.unusable.remove(&key);
                set.by_name.insert(key, Arc::new(BoundObject { object, spec: bound.spec.clone() }));
            }
            Change::Drop(id) => {
                set.by_name.retain(|_, b| b.object.id != *id);
                set.unusable.retain(|_, b| b.object.id != *id);
            }
            Change::Comment(object) => {
                if let Some(bound) = set.by_id(object.id).cloned() {
                    let object = kept.get(&object.id).map_or_else(|| object.clone(), |o| (*o).clone());
                    let key = (object.namespace.clone(), object.name.clone());
                    set.by_name.insert(key, Arc::new(BoundObject { object, spec: bound.spec.clone() }));
                }
            }
        }
    }
    fleuve_sql::explain_unusable(&mut set);
    set
}
