//! Views and sinks whose replacement has not taken their place yet. Ground state, as marks of the log.
//!
//! The catalog has the new definition as soon as a change is accepted; the view runs by the old one until the new one is built. After
//! a crash in between, it goes on by the old definition, with its state and what its sinks have, and is then replaced as it would have
//! been: so sinks get the difference once, and what keeps state keeps it. A sink that becomes another one takes its note away with the
//! records by which it does.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fleuve_catalog::{Catalog, Object, ObjectKind};
use fleuve_log::Log;
use fleuve_sql::{BoundObject, Change, ObjectSet, Spec};
use fleuve_types::{Error, ObjectId, Result};
use serde::{Deserialize, Serialize};

use super::below::is_handed;

const PREFIX: &str = "replaced/";

/// What a definition was.
#[derive(Serialize, Deserialize)]
struct Before {
    version: u32,
    sql: String,
    depends_on: Vec<String>,
    #[serde(default)]
    edition: u32,
    /// Of a sink: it becomes another one in the moment in which its view does.
    #[serde(default)]
    is_handed: bool,
}

fn mark_of(object: ObjectId) -> String {
    format!("{PREFIX}{object}")
}

/// What takes the note of an object away, to be appended with what ends its replacement.
pub(super) fn done(object: ObjectId) -> (String, Option<Bytes>) {
    (mark_of(object), None)
}

/// Whether a sink that is to become another one by itself is still what it was.
pub(super) fn has_not_moved(log: &Log, sink: ObjectId) -> bool {
    let before = log.mark(&mark_of(sink)).and_then(|note| serde_json::from_slice::<Before>(&note).ok());
    before.is_some_and(|before| !before.is_handed)
}

/// Whether a sink gets its new writer together with its view, which `changes` replace.
fn goes_with_its_view(before: &ObjectSet, changes: &[Change], sink: (&BoundObject, &BoundObject)) -> bool {
    let (Spec::Sink(old), Spec::Sink(new)) = (&sink.0.spec, &sink.1.spec) else { return false };
    let Some(Spec::View(view)) = before.by_id(old.from).map(|b| &b.spec) else { return false };
    changes.iter().any(|change| match change {
        Change::Replace(BoundObject { object, spec: Spec::View(after) }) => {
            object.id == new.from && is_handed((view, after), (old, new))
        }
        _ => false,
    })
}

/// Notes the definitions of the views, indexes and sinks that `changes` replace, durably. One that is noted already is the one that still runs.
pub(super) async fn note(log: &Log, before: &ObjectSet, changes: &[Change]) -> Result<()> {
    let mut marks = vec![];
    for change in changes {
        let Change::Replace(new) = change else { continue };
        let is_noted = |b: &&Arc<BoundObject>| matches!(b.spec, Spec::View(_) | Spec::Index(_) | Spec::Sink(_));
        let Some(old) = before.by_id(new.object.id).filter(is_noted) else { continue };
        if log.mark(&mark_of(old.object.id)).is_some() {
            continue;
        }
        let depends_on = old.object.depends_on.iter().map(ToString::to_string).collect();
        let Object { version, sql, edition, .. } = old.object.clone();
        let is_handed = goes_with_its_view(before, changes, (old, new));
        let text = Before { version, sql, depends_on, edition, is_handed };
        let bytes = serde_json::to_vec(&text).map_err(|e| Error::bug(e.to_string()))?;
        marks.push((mark_of(old.object.id), Some(Bytes::from(bytes))));
    }
    if marks.is_empty() { Ok(()) } else { log.append_atomic(vec![], marks).await.map(|_| ()).map_err(Error::from) }
}

/// Forgets them, when the new ones run, or the view is gone.
pub(super) async fn forget(log: &Log, views: impl IntoIterator<Item = ObjectId>) -> Result<()> {
    let marks: Vec<_> = views.into_iter().map(mark_of).filter(|m| log.mark(m).is_some()).map(|m| (m, None)).collect();
    if marks.is_empty() { Ok(()) } else { log.append_atomic(vec![], marks).await.map(|_| ()).map_err(Error::from) }
}

/// The objects as the engine's state knows them: with the old definitions of the views that the checkpoint holds by these, and of the
/// sinks that have not written that they are others. And which objects have to be replaced: those, and the views that read them, since a
/// new answer need not be a change of the old one.
pub(super) async fn running(log: &Log, catalog: &Catalog, set: &ObjectSet) -> Result<(ObjectSet, Vec<ObjectId>)> {
    let saved: BTreeMap<ObjectId, u32> = match catalog.load_checkpoint().await? {
        Some(checkpoint) => checkpoint.views.into_iter().map(|(id, version, _)| (id, version)).collect(),
        None => BTreeMap::new(),
    };
    let (mut old, mut done) = (BTreeMap::<ObjectId, Object>::new(), vec![]);
    let noted = log.marks_with_prefix(PREFIX).into_iter().filter_map(|(name, value)| {
        let id = name[PREFIX.len()..].parse::<ObjectId>().ok()?;
        Some((id, serde_json::from_slice::<Before>(&value).ok(), set.by_id(id)))
    });
    let is_sink = |bound: &&Arc<BoundObject>| matches!(bound.spec, Spec::Sink(_));
    // Of some sinks it depends on their view.
    let (sinks, views): (Vec<_>, Vec<_>) = noted.partition(|(_, _, bound)| bound.is_some_and(|b| is_sink(&b)));
    for (id, before, bound) in views.into_iter().chain(sinks) {
        let runs = |before: &Before| match bound.map(|b| &b.spec) {
            Some(Spec::Sink(sink)) => !before.is_handed || old.contains_key(&sink.from),
            _ => saved.get(&id) == Some(&before.version),
        };
        match (before.filter(runs), bound.map(|b| b.object.clone())) {
            (Some(before), Some(current)) if before.version < current.version => {
                let depends_on = before.depends_on.iter().filter_map(|d| d.parse().ok()).collect();
                let Before { version, sql, edition, .. } = before;
                old.insert(id, Object { version, sql, depends_on, edition, ..current });
            }
            _ => done.push(id),
        }
    }
    forget(log, done).await?;
    let mut running = bound_as(set, &old)?;
    // The view of a sink may run as another one by now, without columns that it wrote.
    let lost: Vec<ObjectId> = set.by_name.values().filter(is_sink).map(|b| b.object.id).collect();
    let lost: Vec<ObjectId> =
        lost.into_iter().filter(|id| old.contains_key(id) && running.by_id(*id).is_none()).collect();
    if !lost.is_empty() {
        tracing::error!(sinks = ?lost, "sinks that were becoming others go on as these: what they had to write for it is missing");
        old.retain(|id, _| !lost.contains(id));
        forget(log, lost).await?;
        running = bound_as(set, &old)?;
    }
    if old.is_empty() {
        return Ok((set.clone(), vec![]));
    }
    if let Some(failed) = running.unusable.values().next() {
        // Its input went with it, say. What can be is that the sinks lack the difference.
        tracing::error!(object = failed.object.name, error = %failed.error, "a view that was being replaced cannot go on by its old definition");
        forget(log, old.into_keys()).await?;
        return Ok((set.clone(), vec![]));
    }
    let is_kept = |o: &Object| matches!(o.kind, ObjectKind::View | ObjectKind::Index);
    let readers = set.dependents(old.keys().copied(), is_kept);
    Ok((running, old.into_keys().chain(readers.iter().map(|o| o.id)).collect()))
}

/// The objects of `set`, some by other definitions.
fn bound_as(set: &ObjectSet, old: &BTreeMap<ObjectId, Object>) -> Result<ObjectSet> {
    let objects = set.by_name.values().map(|b| old.get(&b.object.id).unwrap_or(&b.object).clone()).collect();
    fleuve_sql::bind_all(objects)
}
