//! New schemas and levels.

use std::sync::Arc;

use super::{Draft, MAX_SCHEMAS, MAX_SUBJECT_BYTES, MAX_TOTAL_BYTES, State, Stored, Versioned, Write, size};
use crate::{Code, Compatibility, RegistryError, Result};

impl State {
    /// What registering `draft` under `subject` does; nothing if it is there already.
    pub(crate) fn register(&self, subject: &str, draft: &Draft) -> Result<(Vec<Write>, Versioned)> {
        check_subject(subject)?;
        let (draft, schema) = self.read_draft(draft)?;
        let known = self.ids.get(&super::identity(&draft)).copied();
        if let Some(id) = known
            && let Some((version, slot)) = self.slots(subject, false).filter(|(_, slot)| slot.id == id).last()
        {
            return Ok((Vec::new(), self.versioned(subject, version, slot)?));
        }
        let level = self.level(subject);
        let why = self.check(subject, level, &draft, schema.as_ref(), &self.earlier(subject, level)?)?;
        if !why.is_empty() {
            let message = format!(
                "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: [{}]",
                why.join(", ")
            );
            return Err(RegistryError::new(Code::Incompatible, message));
        }
        let mut writes = Vec::new();
        let stored = match known {
            Some(id) => self.schema(id)?,
            None => {
                let whole = schema.map_or_else(|| draft.text.clone(), |s| s.whole());
                let stored = self.store(draft, whole)?;
                writes.push(Write::Schema(stored.clone()));
                stored
            }
        };
        let version = self.slots(subject, true).last().map_or(1, |(version, _)| version + 1);
        writes.push(Write::Version { subject: subject.into(), version, id: stored.id, deleted: false });
        Ok((writes, Versioned { subject: subject.into(), version, schema: stored, deleted: false }))
    }

    fn store(&self, draft: Draft, whole: String) -> Result<Arc<Stored>> {
        let full = |what: String| {
            let message = format!("The registry is full: {what}; delete schemas that are not used (permanently)");
            RegistryError::new(Code::NotPermitted, message)
        };
        if self.schemas.len() >= MAX_SCHEMAS {
            return Err(full(format!("{MAX_SCHEMAS} schemas")));
        }
        let id = self.last_id.checked_add(1).ok_or_else(|| full("all ids are given out".into()))?;
        let stored = Stored { id, draft, whole };
        if self.text_bytes + size(&stored) > MAX_TOTAL_BYTES {
            return Err(full(format!("{MAX_TOTAL_BYTES} bytes of schemas")));
        }
        Ok(Arc::new(stored))
    }

    /// What setting or taking away a level does; the empty subject is the level for all.
    pub(crate) fn set_level(&self, subject: &str, level: Option<Compatibility>) -> Result<Vec<Write>> {
        if !subject.is_empty() {
            check_subject(subject)?;
        }
        if self.own_level(subject) == level {
            return Ok(Vec::new());
        }
        Ok(vec![Write::Level { subject: subject.into(), level }])
    }
}

fn check_subject(subject: &str) -> Result<()> {
    if subject.is_empty() || subject.len() > MAX_SUBJECT_BYTES || subject.chars().any(char::is_control) {
        let message = format!(
            "The specified subject '{}' is not valid: 1 to {MAX_SUBJECT_BYTES} bytes, no control characters",
            subject.escape_debug().take(80).collect::<String>()
        );
        return Err(RegistryError::new(Code::InvalidSubject, message));
    }
    Ok(())
}
