//! What a replacement would keep and what it would build, before it does.

use fleuve_types::{ObjectId, Result};

use super::ViewDefinition;
use super::core::Core;
use super::view::{Known, View};
use crate::operators::caught;

/// What replacing a view would come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The view.
    pub view: ObjectId,
    /// Its new circuit as text lines; operators that are kept say so, with their state.
    pub circuit: Vec<String>,
    /// What is kept.
    pub kept: Kept,
}

/// What a replacement keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Everything: the circuit is the one that runs, and nothing is built.
    All,
    /// The state of some operators, which the others begin with.
    Some(KeptState),
    /// Nothing, and why: its inputs are read from the start.
    None(String),
}

/// State that a replacement keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptState {
    /// Rows and groups of the operators whose present answers the new ones begin with, about.
    pub rows: u64,
    /// Rows and groups of all operators that are kept.
    pub state_rows: u64,
    /// Their bytes, in memory and on disk.
    pub state_bytes: u64,
}

impl Core {
    /// What replacing these views, one after the other, would come to.
    pub(super) fn replacements(&self, definitions: Vec<ViewDefinition>) -> Result<Vec<Replacement>> {
        let mut planned: Vec<View> = vec![];
        let mut out = vec![];
        for definition in definitions {
            let known = Known::of(&definition, self.views.iter().chain(&planned), &self.streams);
            let new = || View::new(definition, &self.state, &known, &self.options, &self.space);
            let view = caught("planning", new)?;
            out.push(self.replacement(&view, &planned));
            planned.push(view);
        }
        Ok(out)
    }

    fn replacement(&self, new: &View, planned: &[View]) -> Replacement {
        let view = new.id();
        if self.is_unchanged(new, planned) {
            return Replacement { view, circuit: new.circuit.explain(false), kept: Kept::All };
        }
        let (circuit, kept) = match (self.keeps(new, planned), self.find_view(view)) {
            (Ok(kept), Some(old)) => {
                let (state_rows, state_bytes) = old.circuit.kept_state(&kept);
                let state = KeptState { rows: old.circuit.rows_told(&kept), state_rows, state_bytes };
                (new.circuit.explain_kept(&old.circuit, &kept), Kept::Some(state))
            }
            (Err(why), _) => (new.circuit.explain(false), Kept::None(why)),
            (Ok(_), None) => (new.circuit.explain(false), Kept::None("there is no such view".into())),
        };
        Replacement { view, circuit, kept }
    }
}
