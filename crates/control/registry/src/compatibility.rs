//! Which earlier schemas a new one must fit, and in which direction. Pure.

use serde::{Deserialize, Serialize};

use crate::avro::{Schema, check_readable};

/// A compatibility level, with Confluent's meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Compatibility {
    /// Nothing is checked.
    None,
    /// The new schema reads what the latest wrote.
    #[default]
    Backward,
    /// The new schema reads what all earlier ones wrote.
    BackwardTransitive,
    /// The latest schema reads what the new one writes.
    Forward,
    /// All earlier schemas read what the new one writes.
    ForwardTransitive,
    /// Both, with the latest.
    Full,
    /// Both, with all earlier ones.
    FullTransitive,
}

impl Compatibility {
    const ALL: [(&'static str, Self); 7] = [
        ("NONE", Self::None),
        ("BACKWARD", Self::Backward),
        ("BACKWARD_TRANSITIVE", Self::BackwardTransitive),
        ("FORWARD", Self::Forward),
        ("FORWARD_TRANSITIVE", Self::ForwardTransitive),
        ("FULL", Self::Full),
        ("FULL_TRANSITIVE", Self::FullTransitive),
    ];

    /// The level's word.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, level)| *level == self).map_or("", |(word, _)| word)
    }

    /// The level of a word, in any case.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, level)| *level)
    }

    /// True when all earlier schemas count and not only the latest.
    pub fn is_transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }

    fn is_backward(self) -> bool {
        matches!(self, Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive)
    }

    fn is_forward(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }

    /// Why `new` may not follow `old`; nothing when it may. Looks at this one earlier schema only.
    pub fn check(self, new: &Schema, old: &Schema) -> Vec<String> {
        let mut why = Vec::new();
        if self.is_backward() {
            why.extend(check_readable(new, old).iter().map(|m| format!("reader: new schema, writer: old schema: {m}")));
        }
        if self.is_forward() {
            why.extend(check_readable(old, new).iter().map(|m| format!("reader: old schema, writer: new schema: {m}")));
        }
        why
    }
}
