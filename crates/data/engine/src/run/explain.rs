//! What a view is doing, and what a replacement would keep and build before it does.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use fleuve_types::{Keeps, KeptState, ObjectId, Replacement, Result};

use super::ViewDefinition;
use super::core::Core;
use super::switch::same_columns;
use super::view::View;
use crate::circuit::NodeKind;
use crate::output::Output;

/// The answer of a view as one of its operators.
pub(super) fn of_answer(output: &Output) -> String {
    let schema = output.schema();
    let name = |at: &usize| schema.field(*at).name().as_str();
    match output.key() {
        Some(key) => format!("Answer: key [{}]", key.iter().map(name).collect::<Vec<_>>().join(", ")),
        None => "Answer: no key".into(),
    }
}

impl View {
    /// Its circuit with its figures, the answer above it. `decoding` is the time that epochs spent on each stream.
    pub(super) fn explain(&self, decoding: &HashMap<ObjectId, Duration>) -> Vec<String> {
        let figures = self.circuit.profile().operators();
        let mut out = vec![];
        if let Some(answer) = figures.get(self.circuit.nodes.len()) {
            let on_disk = match self.output.disk_bytes() {
                0 => String::new(),
                bytes => format!(", {bytes} bytes on disk"),
            };
            let (rows, bytes) = (self.output.rows(), self.answer_bytes());
            out.push(format!(
                "{} | {}{}, state {rows} rows, {bytes} bytes{on_disk}",
                answer.description,
                answer.done(),
                answer.share_of(&figures)
            ));
        }
        let note = |n: usize| {
            let NodeKind::Input(input) = &self.circuit.nodes[n].kind else { return String::new() };
            let spent = decoding.get(&self.inputs[*input].object).filter(|time| !time.is_zero());
            let told =
                |time: &Duration| format!("; epochs decoded it for all views in {:.1} ms", time.as_secs_f64() * 1e3);
            spent.map_or_else(String::new, told)
        };
        self.circuit.explain_node(self.circuit.root, out.len(), &figures, &note, &mut out);
        out
    }
}

impl Core {
    /// What replacing these views, one after the other, would come to.
    pub(super) fn replacements(
        &self,
        definitions: Vec<ViewDefinition>,
        below: &BTreeSet<ObjectId>,
    ) -> Result<Vec<Replacement>> {
        let mut planned: Vec<View> = vec![];
        let mut out: Vec<Replacement> = vec![];
        for definition in definitions {
            let view = self.plan_after(definition, &planned)?;
            let fate = |id: ObjectId| out.iter().find(|r| r.view == id).map(|r| &r.keeps);
            let changed: Vec<&View> = planned.iter().filter(|v| fate(v.id()) != Some(&Keeps::All)).collect();
            let index_goes_on = |id: ObjectId| matches!(fate(id), Some(Keeps::All | Keeps::AllUnlessRowsGo));
            let goes_on = below.contains(&view.id()).then(|| self.goes_on_below(&view, &changed, index_goes_on));
            let replacement = match goes_on.flatten() {
                Some(keeps) => Replacement { view: view.id(), circuit: view.circuit.explain(false), keeps },
                None => self.replacement(&view, &changed),
            };
            out.push(replacement);
            planned.push(view);
        }
        Ok(out)
    }

    /// What is kept of a view that goes on over the new columns of the one view that it reads of those that change; `None` if it does not.
    fn goes_on_below(&self, new: &View, changed: &[&View], index_goes_on: impl Fn(ObjectId) -> bool) -> Option<Keeps> {
        let mut read = changed.iter().filter(|v| new.inputs.iter().any(|i| i.object == v.id()));
        let (Some(replaced), None) = (read.next(), read.next()) else { return None };
        let old = self.find_view(replaced.id())?;
        let has_other_columns = !same_columns(old.output.schema(), replaced.output.schema());
        let goes_on = has_other_columns && self.can_go_on(new, replaced.id(), index_goes_on);
        goes_on.then(|| if old.output.is_append_only() { Keeps::AllUnlessRowsGo } else { Keeps::All })
    }

    fn replacement(&self, new: &View, planned: &[&View]) -> Replacement {
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
