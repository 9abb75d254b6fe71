//! Deletions: first a mark, which can be undone by registering again, then for good. A record can still name what is deleted for
//! good, so a schema that nobody has any more is retired: gone for clients, there for decoders.

use super::read::{subject_not_found, version_not_found};
use super::{MAX_RETIRED, MAX_RETIRED_BYTES, State, VersionRef, Write};
use crate::{Code, RegistryError, Result};

impl State {
    /// What deleting a subject does, and the versions that it concerns.
    pub(crate) fn delete_subject(&self, subject: &str, permanent: bool) -> Result<(Vec<Write>, Vec<i32>)> {
        let all: Vec<i32> = self.slots(subject, true).map(|(version, _)| version).collect();
        let live: Vec<i32> = self.slots(subject, false).map(|(version, _)| version).collect();
        if all.is_empty() {
            return Err(subject_not_found(subject));
        }
        if permanent && !live.is_empty() {
            return Err(RegistryError::new(
                Code::SubjectNotSoftDeleted,
                format!("Subject '{subject}' was not deleted first before being permanently deleted"),
            ));
        }
        if !permanent && live.is_empty() {
            return Err(RegistryError::new(
                Code::SubjectSoftDeleted,
                format!("Subject '{subject}' was soft deleted. Set permanent=true to delete permanently"),
            ));
        }
        let concerned = if permanent { all } else { live };
        let mut writes = self.remove(subject, &concerned, permanent)?;
        if self.own_level(subject).is_some() {
            writes.push(Write::Level { subject: subject.into(), level: None });
        }
        Ok((writes, concerned))
    }

    /// What deleting one version does, and its number.
    pub(crate) fn delete_version(
        &self,
        subject: &str,
        version: VersionRef,
        permanent: bool,
    ) -> Result<(Vec<Write>, i32)> {
        if self.slots(subject, permanent).next().is_none() {
            return Err(subject_not_found(subject));
        }
        let found = match version {
            VersionRef::Latest => self.slots(subject, permanent).last(),
            VersionRef::Number(n) => self.slots(subject, true).find(|(version, _)| *version == n),
        };
        let (number, slot) = found.ok_or_else(|| match version {
            VersionRef::Number(n) => version_not_found(n),
            VersionRef::Latest => subject_not_found(subject),
        })?;
        if permanent && !slot.deleted {
            return Err(RegistryError::new(
                Code::VersionNotSoftDeleted,
                format!("Subject '{subject}' Version {number} was not deleted first before being permanently deleted"),
            ));
        }
        if !permanent && slot.deleted {
            return Err(RegistryError::new(
                Code::VersionSoftDeleted,
                format!(
                    "Subject '{subject}' Version {number} was soft deleted. Set permanent=true to delete permanently"
                ),
            ));
        }
        Ok((self.remove(subject, &[number], permanent)?, number))
    }

    fn remove(&self, subject: &str, versions: &[i32], permanent: bool) -> Result<Vec<Write>> {
        let mut writes = Vec::new();
        for (version, slot) in self.slots(subject, true).filter(|(version, _)| versions.contains(version)) {
            // A schema that goes with the same call does not hold the others back; one that stays, even marked, does.
            let referring = self.referring(subject, version, permanent);
            if let Some(id) = referring.iter().find(|id| !self.only_within(**id, subject, versions)) {
                let message = format!(
                    "One or more references exist to the schema {{subject={subject},version={version}}}: schema id {id}"
                );
                return Err(RegistryError::new(Code::ReferenceExists, message));
            }
            let subject = subject.to_string();
            writes.push(match permanent {
                true => Write::RemoveVersion { subject, version },
                false => Write::Version { subject, version, id: slot.id, deleted: true },
            });
        }
        if permanent {
            let mut gone: Vec<i32> = self
                .slots(subject, true)
                .filter(|(version, slot)| versions.contains(version) && self.only_within(slot.id, subject, versions))
                .map(|(_, slot)| slot.id)
                .collect();
            gone.sort();
            gone.dedup();
            self.check_room(&gone)?;
            writes.extend(gone.into_iter().map(Write::Retire));
        }
        Ok(writes)
    }

    /// # Errors
    /// `NotPermitted`: with these schemas, more would be retired than may be.
    fn check_room(&self, gone: &[i32]) -> Result<()> {
        let more: usize = gone.iter().filter_map(|id| self.schemas.get(id)).map(|stored| stored.whole.len()).sum();
        let (schemas, bytes) = (self.retired.len() + gone.len(), self.retired_bytes + more);
        if schemas <= MAX_RETIRED && bytes <= MAX_RETIRED_BYTES {
            return Ok(());
        }
        let message = format!(
            "Schemas deleted for good are kept for the records that name them, and no more can be: at most {MAX_RETIRED} of {MAX_RETIRED_BYTES} bytes. What is deleted without permanent=true is gone for clients, too"
        );
        Err(RegistryError::new(Code::NotPermitted, message))
    }

    /// True when a schema is used by these versions of the subject alone.
    fn only_within(&self, id: i32, subject: &str, versions: &[i32]) -> bool {
        self.subjects.iter().all(|(name, slots)| {
            slots.iter().all(|(version, slot)| slot.id != id || (name == subject && versions.contains(version)))
        })
    }
}
