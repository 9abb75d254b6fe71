//! Reading a draft, following its references, and checking it against earlier versions.

use std::collections::HashSet;

use super::{Draft, MAX_REFERENCES, Reference, SchemaKind, State, VersionRef, Versioned};
use crate::avro::{MAX_SCHEMA_BYTES, Schema};
use crate::{Code, Compatibility, RegistryError, Result};

fn invalid(message: impl Into<String>) -> RegistryError {
    RegistryError::new(Code::InvalidSchema, message)
}

impl State {
    /// The draft in normal form and, for Avro, the schema.
    pub(super) fn read_draft(&self, draft: &Draft) -> Result<(Draft, Option<Schema>)> {
        if draft.text.len() > MAX_SCHEMA_BYTES {
            return Err(invalid(format!("The schema has {} bytes; the limit is {MAX_SCHEMA_BYTES}", draft.text.len())));
        }
        match draft.kind {
            SchemaKind::Avro => {
                let schema = self.avro(draft).map_err(|e| invalid(format!("Invalid AVRO schema: {}", e.message)))?;
                Ok((Draft { text: schema.normal(), ..draft.clone() }, Some(schema)))
            }
            SchemaKind::Json => {
                let json: serde_json::Result<serde::de::IgnoredAny> = serde_json::from_str(&draft.text);
                json.map_err(|e| invalid(format!("Invalid JSON schema: not JSON: {e}")))?;
                self.referenced(&draft.references)?;
                Ok((draft.clone(), None))
            }
            SchemaKind::Protobuf if draft.text.trim().is_empty() => Err(invalid("Empty schema")),
            SchemaKind::Protobuf => {
                self.referenced(&draft.references)?;
                Ok((draft.clone(), None))
            }
        }
    }

    fn avro(&self, draft: &Draft) -> Result<Schema> {
        let references = self.referenced(&draft.references)?;
        if let Some(other) = references.iter().find(|r| r.kind != SchemaKind::Avro) {
            return Err(invalid(format!("it refers to a schema of type {}", other.kind.as_str())));
        }
        let texts: Vec<&str> = references.iter().map(|r| r.text.as_str()).collect();
        Schema::parse(&draft.text, &texts).map_err(invalid)
    }

    /// The schemas referred to, directly or not, each once and after those that it uses itself.
    fn referenced(&self, references: &[Reference]) -> Result<Vec<&Draft>> {
        let mut out = Vec::new();
        let mut seen = HashSet::new();
        // A stack instead of recursion: (reference, its own references are done).
        let mut todo: Vec<(&Reference, bool)> = references.iter().rev().map(|r| (r, false)).collect();
        while let Some((reference, done)) = todo.pop() {
            let slot = self.slots(&reference.subject, true).find(|(version, _)| *version == reference.version);
            let stored = slot.and_then(|(_, slot)| self.schemas.get(&slot.id)).ok_or_else(|| {
                invalid(format!(
                    "No schema reference found for subject \"{}\" and version {}",
                    reference.subject, reference.version
                ))
            })?;
            if done {
                out.push(&stored.draft);
            } else if seen.insert(stored.id) {
                if seen.len() > MAX_REFERENCES {
                    return Err(invalid(format!("more than {MAX_REFERENCES} schemas referred to")));
                }
                todo.push((reference, true));
                todo.extend(stored.draft.references.iter().rev().map(|r| (r, false)));
            }
        }
        Ok(out)
    }

    /// Why `draft` may not become a version of `subject`; nothing when it may. With `against` only that version counts,
    /// else what the level asks for.
    ///
    /// # Errors
    /// `InvalidSchema`, `VersionNotFound`; `NotPermitted` for a language that can't be checked yet.
    pub fn compatibility(&self, subject: &str, draft: &Draft, against: Option<VersionRef>) -> Result<Vec<String>> {
        let (draft, schema) = self.read_draft(draft)?;
        let level = self.level(subject);
        let earlier: Vec<Versioned> = match against {
            Some(VersionRef::Latest) => self.version(subject, VersionRef::Latest, false).into_iter().collect(),
            Some(number) => vec![self.version(subject, number, false)?],
            None => self.earlier(subject, level)?,
        };
        self.check(subject, level, &draft, schema.as_ref(), &earlier)
    }

    /// The versions that a new one is checked against.
    pub(super) fn earlier(&self, subject: &str, level: Compatibility) -> Result<Vec<Versioned>> {
        let slots: Vec<_> = self.slots(subject, false).collect();
        let from = if level.is_transitive() { 0 } else { slots.len().saturating_sub(1) };
        // The newest first: the likeliest to say no.
        slots[from..].iter().rev().map(|(version, slot)| self.versioned(subject, *version, *slot)).collect()
    }

    pub(super) fn check(
        &self,
        subject: &str,
        level: Compatibility,
        draft: &Draft,
        schema: Option<&Schema>,
        earlier: &[Versioned],
    ) -> Result<Vec<String>> {
        if level == Compatibility::None {
            return Ok(Vec::new());
        }
        let Some(schema) = schema else {
            let message = format!(
                "{} schemas can't be checked yet; to store them without checks, set the compatibility of subject '{subject}' to NONE",
                draft.kind.as_str()
            );
            return Err(RegistryError::new(Code::NotPermitted, message));
        };
        for old in earlier {
            if old.schema.draft.kind != draft.kind {
                return Ok(vec![format!(
                    "the schema is of type {}, version {} of type {}",
                    draft.kind.as_str(),
                    old.version,
                    old.schema.draft.kind.as_str()
                )]);
            }
            let read = self.avro(&old.schema.draft).map_err(|e| {
                RegistryError::new(Code::Store, format!("version {} can't be read: {}", old.version, e.message))
            })?;
            let mut why = level.check(schema, &read);
            if !why.is_empty() {
                why.push(format!("{{oldSchemaVersion: {}}}", old.version));
                why.push(format!("{{oldSchema: '{}'}}", old.schema.draft.text));
                why.push(format!("{{compatibility: '{}'}}", level.as_str()));
                return Ok(why);
            }
        }
        Ok(Vec::new())
    }
}
