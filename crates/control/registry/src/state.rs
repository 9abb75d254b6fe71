//! What the registry knows, and what a request does to it: pure functions. **Derived state** (the tables are the ground).

mod check;
mod delete;
mod read;
mod register;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Code, Compatibility, RegistryError, Result};

/// Most schemas in the registry.
pub const MAX_SCHEMAS: usize = 100_000;
/// Most bytes of schema text in the registry; all of it is held in memory.
pub const MAX_TOTAL_BYTES: usize = 256 << 20;
/// Most schemas that are kept for records alone after they were deleted for good.
pub const MAX_RETIRED: usize = 100_000;
/// Most bytes of their text; all of it is held in memory.
pub const MAX_RETIRED_BYTES: usize = 256 << 20;
/// Longest subject, in bytes.
pub const MAX_SUBJECT_BYTES: usize = 1024;
/// Most schemas that one schema refers to, those of its references counted too.
pub const MAX_REFERENCES: usize = 1000;

/// The language of a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SchemaKind {
    /// Apache Avro; the default where none is said.
    #[default]
    Avro,
    /// JSON Schema.
    Json,
    /// Protocol Buffers.
    Protobuf,
}

impl SchemaKind {
    /// The kind's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Avro => "AVRO",
            Self::Json => "JSON",
            Self::Protobuf => "PROTOBUF",
        }
    }

    /// The kind of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Avro, Self::Json, Self::Protobuf].into_iter().find(|k| k.as_str().eq_ignore_ascii_case(word))
    }
}

/// That a schema uses what another subject's version defines.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// For Avro, the full name of the type.
    pub name: String,
    /// Where it is defined.
    pub subject: String,
    /// Which version of it.
    pub version: i32,
}

/// A schema that somebody sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// Its language.
    pub kind: SchemaKind,
    /// Its text.
    pub text: String,
    /// What it refers to.
    pub references: Vec<Reference>,
}

impl Draft {
    /// An Avro schema without references.
    pub fn avro(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// A schema under its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The global id, from 1.
    pub id: i32,
    /// The schema; for Avro its text is the normal form.
    pub draft: Draft,
    /// For decoders: the Avro schema with its references put in; else the text.
    pub whole: String,
}

/// A schema as a version of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The subject.
    pub subject: String,
    /// The version, from 1.
    pub version: i32,
    /// The schema.
    pub schema: Arc<Stored>,
    /// Deleted, but not permanently.
    pub deleted: bool,
}

/// Which version somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionRef {
    /// The newest that is there.
    Latest,
    /// This one.
    Number(i32),
}

impl VersionRef {
    /// `latest`, `-1`, or a number from 1.
    ///
    /// # Errors
    /// `InvalidVersion` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        match text.parse::<i32>() {
            _ if text == "latest" => Ok(Self::Latest),
            Ok(-1) => Ok(Self::Latest),
            Ok(n) if n > 0 => Ok(Self::Number(n)),
            _ => Err(RegistryError::new(
                Code::InvalidVersion,
                format!(
                    "The specified version '{text}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""
                ),
            )),
        }
    }
}

/// One durable step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// A new schema, under the next id.
    Schema(Arc<Stored>),
    /// A version is there, or its mark of deletion changes.
    Version { subject: String, version: i32, id: i32, deleted: bool },
    /// A version is gone for good.
    RemoveVersion { subject: String, version: i32 },
    /// A schema that no version has any more: it stays for the records that name it.
    Retire(i32),
    /// The level of a subject (empty: of all); `None` takes it away.
    Level { subject: String, level: Option<Compatibility> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) id: i32,
    pub(crate) deleted: bool,
}

/// What makes two schemas the same.
type Identity = (SchemaKind, String, Vec<Reference>);

/// All that the registry holds.
#[derive(Clone, Debug, Default)]
pub struct State {
    schemas: BTreeMap<i32, Arc<Stored>>,
    /// What was deleted for good, as decoders read it: no client sees it, and records of its id stay rows.
    retired: BTreeMap<i32, Arc<str>>,
    ids: HashMap<Identity, i32>,
    subjects: BTreeMap<String, BTreeMap<i32, Slot>>,
    /// By subject; the empty name is the level for all.
    levels: BTreeMap<String, Compatibility>,
    /// Ids up to this one were given out.
    last_id: i32,
    text_bytes: usize,
    retired_bytes: usize,
}

impl State {
    /// A state with nothing in it that gives out ids after `last_id`.
    pub(crate) fn after(last_id: i32) -> Self {
        Self { last_id, ..Self::default() }
    }

    pub(crate) fn apply(&mut self, writes: &[Write]) {
        for write in writes {
            match write {
                Write::Schema(stored) => {
                    self.last_id = self.last_id.max(stored.id);
                    self.text_bytes += size(stored);
                    self.ids.insert(identity(&stored.draft), stored.id);
                    self.schemas.insert(stored.id, stored.clone());
                }
                Write::Version { subject, version, id, deleted } => {
                    let slot = Slot { id: *id, deleted: *deleted };
                    self.subjects.entry(subject.clone()).or_default().insert(*version, slot);
                }
                Write::RemoveVersion { subject, version } => {
                    if let Some(versions) = self.subjects.get_mut(subject) {
                        versions.remove(version);
                        if versions.is_empty() {
                            self.subjects.remove(subject);
                        }
                    }
                }
                Write::Retire(id) => self.retire(*id),
                Write::Level { subject, level: Some(level) } => {
                    self.levels.insert(subject.clone(), *level);
                }
                Write::Level { subject, level: None } => {
                    self.levels.remove(subject);
                }
            }
        }
    }

    /// Retires every schema that no version has.
    pub(crate) fn retire_unused(&mut self) {
        let used: HashSet<i32> = self.subjects.values().flat_map(|slots| slots.values().map(|slot| slot.id)).collect();
        let unused: Vec<i32> = self.schemas.keys().copied().filter(|id| !used.contains(id)).collect();
        unused.into_iter().for_each(|id| self.retire(id));
    }

    fn retire(&mut self, id: i32) {
        let Some(stored) = self.schemas.remove(&id) else { return };
        self.text_bytes -= size(&stored);
        // The same schema may have come back under a new id since.
        let identity = identity(&stored.draft);
        if self.ids.get(&identity) == Some(&id) {
            self.ids.remove(&identity);
        }
        self.retired_bytes += stored.whole.len();
        self.retired.insert(id, stored.whole.as_str().into());
    }

    /// Highest id that was given out.
    #[cfg(test)]
    pub(crate) fn last_id(&self) -> i32 {
        self.last_id
    }
}

fn size(stored: &Stored) -> usize {
    stored.draft.text.len() + stored.whole.len()
}

fn identity(draft: &Draft) -> Identity {
    (draft.kind, draft.text.clone(), draft.references.clone())
}

#[cfg(test)]
mod tests;
