//! Views whose replacement has not taken their place yet. Ground state, as marks of the log.
//!
//! The catalog has the new definition as soon as a change is accepted; the view runs by the old one until the new one is built. After
//! a crash in between, it goes on by the old definition, with its state and what its sinks have, and is then replaced as it would have
//! been: so sinks get the difference once, and what keeps state keeps it.

use std::collections::BTreeMap;

use bytes::Bytes;
use fleuve_catalog::{Catalog, Object, ObjectKind};
use fleuve_log::Log;
use fleuve_sql::{Change, ObjectSet, Spec};
use fleuve_types::{Error, ObjectId, Result};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "replaced/";

/// What a definition was.
#[derive(Serialize, Deserialize)]
struct Before {
    version: u32,
    sql: String,
    depends_on: Vec<String>,
    #[serde(default)]
    edition: u32,
}

fn mark_of(view: ObjectId) -> String {
    format!("{PREFIX}{view}")
}

/// Notes the definitions of the views and indexes that `changes` replace, durably. One that is noted already is the one that still runs.
pub(super) async fn note(log: &Log, before: &ObjectSet, changes: &[Change]) -> Result<()> {
    let mut marks = vec![];
    for change in changes {
        let Change::Replace(new) = change else { continue };
        let Some(old) = before.by_id(new.object.id).filter(|b| matches!(b.spec, Spec::View(_) | Spec::Index(_))) else {
            continue;
        };
        if log.mark(&mark_of(old.object.id)).is_some() {
            continue;
        }
        let depends_on = old.object.depends_on.iter().map(ToString::to_string).collect();
        let Object { version, sql, edition, .. } = old.object.clone();
        let text = Before { version, sql, depends_on, edition };
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

/// The objects as the engine's state knows them: with the old definitions of the views that the checkpoint holds by these. And
/// which views have to be replaced: those, and all that read them, since a new answer need not be a change of the old one.
pub(super) async fn running(log: &Log, catalog: &Catalog, set: &ObjectSet) -> Result<(ObjectSet, Vec<ObjectId>)> {
    let saved: BTreeMap<ObjectId, u32> = match catalog.load_checkpoint().await? {
        Some(checkpoint) => checkpoint.views.into_iter().map(|(id, version, _)| (id, version)).collect(),
        None => BTreeMap::new(),
    };
    let (mut old, mut done) = (BTreeMap::new(), vec![]);
    for (name, value) in log.marks_with_prefix(PREFIX) {
        let Ok(id) = name[PREFIX.len()..].parse::<ObjectId>() else { continue };
        let before: Option<Before> = serde_json::from_slice(&value).ok();
        let current = set.by_id(id).map(|b| b.object.clone());
        match (before, current) {
            (Some(before), Some(current))
                if saved.get(&id) == Some(&before.version) && before.version < current.version =>
            {
                let depends_on = before.depends_on.iter().filter_map(|d| d.parse().ok()).collect();
                let Before { version, sql, edition, .. } = before;
                old.insert(id, Object { version, sql, depends_on, edition, ..current });
            }
            _ => done.push(id),
        }
    }
    forget(log, done).await?;
    if old.is_empty() {
        return Ok((set.clone(), vec![]));
    }
    let objects = set.by_name.values().map(|b| old.get(&b.object.id).unwrap_or(&b.object).clone()).collect();
    let running = fleuve_sql::bind_all(objects)?;
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
