//! What changed of an answer since it was saved. Derived state: a checkpoint takes it.
//!
//! Changes are kept as long as they are fewer than the rows of the answer. Where the same few rows change again and again they
//! soon are more, and then the answer itself is less to keep and to write than all that has happened to it.

use fleuve_types::Delta;

pub(super) enum Unsaved {
    /// These changes, with so many rows.
    Changes(Vec<Delta>, usize),
    /// More than the answer has rows: it is saved whole.
    Everything,
}

impl Unsaved {
    pub(super) fn nothing() -> Self {
        Self::Changes(vec![], 0)
    }

    /// Takes note of a change after which the answer has `answer_rows` rows.
    pub(super) fn note(&mut self, delta: &Delta, answer_rows: usize) {
        let Self::Changes(deltas, rows) = self else { return };
        *rows += delta.len();
        if *rows > answer_rows {
            *self = Self::Everything;
        } else {
            deltas.push(delta.clone());
        }
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Changes(deltas, _) => deltas.iter().map(|d| d.batch.get_array_memory_size()).sum(),
            Self::Everything => 0,
        }
    }
}
