//! What a replacement would keep and what it would build, before it does.

use fleuve_types::{Keeps, KeptState, Replacement, Result};

use super::ViewDefinition;
use super::core::Core;
use super::view::View;

impl Core {
    /// What replacing these views, one after the other, would come to.
    pub(super) fn replacements(&self, definitions: Vec<ViewDefinition>) -> Result<Vec<Replacement>> {
        let mut planned: Vec<View> = vec![];
        let mut out = vec![];
        for definition in definitions {
            let view = self.plan_after(definition, &planned)?;
            out.push(self.replacement(&view, &planned));
            planned.push(view);
        }
        Ok(out)
    }

    fn replacement(&self, new: &View, planned: &[View]) -> Replacement {
        let view = new.id();
        if self.is_unchanged(new, planned) {
            return Replacement { view, circuit: new.circuit.explain(false), keeps: Keeps::All };
        }
        let (circuit, keeps) = match (self.keeps(new, planned), self.find_view(view)) {
            (Ok(kept), Some(old)) => {
                let (state_rows, state_bytes) = old.circuit.kept_state(&kept);
                let state = KeptState { rows: old.circuit.rows_told(&kept), state_rows, state_bytes };
                (new.circuit.explain_kept(&old.circuit, &kept), Keeps::Some(state))
            }
            (Err(why), _) => (new.circuit.explain(false), Keeps::None(why)),
            (Ok(_), None) => (new.circuit.explain(false), Keeps::None("there is no such view".into())),
        };
        Replacement { view, circuit, keeps }
    }
}
