//! Questions.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::{Draft, SchemaKind, Slot, State, Stored, VersionRef, Versioned};
use crate::{Code, Compatibility, RegistryError, Result};

pub(super) fn subject_not_found(subject: &str) -> RegistryError {
    RegistryError::new(Code::SubjectNotFound, format!("Subject '{subject}' not found."))
}

pub(super) fn version_not_found(version: i32) -> RegistryError {
    RegistryError::new(Code::VersionNotFound, format!("Version {version} not found."))
}

impl State {
    /// The schema of an id.
    ///
    /// # Errors
    /// `SchemaNotFound`.
    pub fn schema(&self, id: i32) -> Result<Arc<Stored>> {
        let found = self.schemas.get(&id).cloned();
        found.ok_or_else(|| RegistryError::new(Code::SchemaNotFound, format!("Schema {id} not found")))
    }

    /// What a decoder reads records of this id by: the schema with its references put in, even if it is deleted for good.
    pub fn whole(&self, id: i32) -> Option<&str> {
        let live = self.schemas.get(&id).map(|stored| stored.whole.as_str());
        live.or_else(|| self.retired.get(&id).map(|whole| &**whole))
    }

    /// The subjects whose names begin with `prefix`; with `deleted`, those too of which all versions are deleted.
    pub fn subjects(&self, prefix: &str, deleted: bool) -> Vec<String> {
        let from = self.subjects.range(prefix.to_string()..).take_while(|(name, _)| name.starts_with(prefix));
        from.filter(|(_, versions)| deleted || versions.values().any(|s| !s.deleted))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The version numbers of a subject.
    ///
    /// # Errors
    /// `SubjectNotFound`.
    pub fn versions(&self, subject: &str, deleted: bool) -> Result<Vec<i32>> {
        let versions: Vec<i32> = self.slots(subject, deleted).map(|(version, _)| version).collect();
        if versions.is_empty() { Err(subject_not_found(subject)) } else { Ok(versions) }
    }

    /// One version of a subject.
    ///
    /// # Errors
    /// `SubjectNotFound`, `VersionNotFound`.
    pub fn version(&self, subject: &str, version: VersionRef, deleted: bool) -> Result<Versioned> {
        if self.slots(subject, deleted).next().is_none() {
            return Err(subject_not_found(subject));
        }
        let found = match version {
            VersionRef::Latest => self.slots(subject, deleted).last(),
            VersionRef::Number(n) => self.slots(subject, deleted).find(|(version, _)| *version == n),
        };
        let (version, slot) = found.ok_or_else(|| match version {
            VersionRef::Number(n) => version_not_found(n),
            VersionRef::Latest => subject_not_found(subject),
        })?;
        self.versioned(subject, version, slot)
    }

    /// All versions of the subjects that begin with `prefix`, or only each subject's latest.
    pub fn all(&self, prefix: &str, deleted: bool, latest_only: bool) -> Vec<Versioned> {
        let mut out = Vec::new();
        for subject in self.subjects(prefix, deleted) {
            let slots: Vec<_> = self.slots(&subject, deleted).collect();
            let from = if latest_only { slots.len().saturating_sub(1) } else { 0 };
            out.extend(
                slots[from..].iter().filter_map(|(version, slot)| self.versioned(&subject, *version, *slot).ok()),
            );
        }
        out
    }

    /// Where a schema of this id is used: subjects and versions.
    ///
    /// # Errors
    /// `SchemaNotFound`.
    pub fn uses(&self, id: i32, deleted: bool) -> Result<Vec<(String, i32)>> {
        self.schema(id)?;
        let uses = self.subjects.iter().flat_map(|(subject, versions)| {
            let here = versions.iter().filter(|(_, slot)| slot.id == id && (deleted || !slot.deleted));
            here.map(|(version, _)| (subject.clone(), *version))
        });
        Ok(uses.collect())
    }

    /// The version of `subject` that is this schema (its text in normal form).
    ///
    /// # Errors
    /// `SubjectNotFound`, `SchemaNotFound`, `InvalidSchema`.
    pub fn find(&self, subject: &str, draft: &Draft, deleted: bool) -> Result<Versioned> {
        if self.slots(subject, deleted).next().is_none() {
            return Err(subject_not_found(subject));
        }
        let draft = self.read_draft(draft)?.0;
        let id = self.ids.get(&super::identity(&draft));
        let found = id.and_then(|id| self.slots(subject, deleted).filter(|(_, slot)| slot.id == *id).last());
        let (version, slot) =
            found.ok_or_else(|| RegistryError::new(Code::SchemaNotFound, "Schema not found".to_string()))?;
        self.versioned(subject, version, slot)
    }

    /// What the record of a subject's latest schema is called; `None` where that is no Avro record.
    pub fn record_name(&self, subject: &str) -> Option<String> {
        let (_, slot) = self.slots(subject, false).last()?;
        let draft = &self.schemas.get(&slot.id)?.draft;
        let schema: Value = (draft.kind == SchemaKind::Avro).then(|| serde_json::from_str(&draft.text).ok())??;
        let text = |key: &str| schema.get(key).and_then(Value::as_str);
        let name = text("name").filter(|_| text("type") == Some("record"))?;
        Some(match text("namespace").filter(|space| !space.is_empty() && !name.contains('.')) {
            Some(space) => format!("{space}.{name}"),
            None => name.into(),
        })
    }

    /// The ids of the schemas that refer to this version.
    ///
    /// # Errors
    /// `SubjectNotFound`, `VersionNotFound`.
    pub fn referenced_by(&self, subject: &str, version: VersionRef) -> Result<Vec<i32>> {
        let version = self.version(subject, version, true)?.version;
        Ok(self.referring(subject, version, false).into_iter().collect())
    }

    /// Ids of schemas with a reference to a version, as long as a version of theirs is there (`deleted`: or marked as deleted).
    pub(super) fn referring(&self, subject: &str, version: i32, deleted: bool) -> BTreeSet<i32> {
        let used: BTreeSet<i32> = self
            .subjects
            .values()
            .flat_map(|versions| versions.values().filter(|slot| deleted || !slot.deleted).map(|slot| slot.id))
            .collect();
        let refers =
            |stored: &Stored| stored.draft.references.iter().any(|r| r.subject == subject && r.version == version);
        used.into_iter().filter(|id| self.schemas.get(id).is_some_and(|s| refers(s))).collect()
    }

    /// The level that counts for a subject: its own, else the one for all.
    pub fn level(&self, subject: &str) -> Compatibility {
        self.own_level(subject).unwrap_or_else(|| self.own_level("").unwrap_or_default())
    }

    /// The level that a subject has of its own; the empty name is the level for all.
    pub fn own_level(&self, subject: &str) -> Option<Compatibility> {
        self.levels.get(subject).copied()
    }

    /// The highest id in use.
    pub fn max_id(&self) -> Option<i32> {
        self.schemas.last_key_value().map(|(id, _)| *id)
    }

    pub(super) fn slots(&self, subject: &str, deleted: bool) -> impl Iterator<Item = (i32, Slot)> {
        let versions = self.subjects.get(subject).into_iter().flatten();
        versions.map(|(version, slot)| (*version, *slot)).filter(move |(_, slot)| deleted || !slot.deleted)
    }

    pub(super) fn versioned(&self, subject: &str, version: i32, slot: Slot) -> Result<Versioned> {
        let schema = self.schema(slot.id)?;
        Ok(Versioned { subject: subject.into(), version, schema, deleted: slot.deleted })
    }
}
