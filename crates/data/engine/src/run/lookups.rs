//! Views whose joins look rows up in the answers of others, or in indexes.

use fleuve_types::{Error, ObjectId, Result};

use super::core::Core;
use super::view::{View, ViewInput};
use crate::lookup::{Answers, LookUp, LookedIn};
use crate::output::Answer;

/// The views and indexes in which rows of these inputs are looked up.
pub(super) fn places_of(inputs: &[ViewInput]) -> Vec<ObjectId> {
    inputs.iter().filter_map(|input| Some(input.lookup.as_ref()?.index.unwrap_or(input.object))).collect()
}

impl Core {
    /// The answers and indexes in which a view's joins look rows up, as they are now.
    ///
    /// # Errors
    /// When one of them is not there, or has another key or other columns than the view was planned with.
    pub(super) fn answers_for(&self, view: &View) -> Result<Answers> {
        let looked_up = view.inputs.iter().enumerate().filter_map(|(n, i)| Some((n, i, i.lookup.as_ref()?)));
        let answer = |(n, input, lookup): (usize, &ViewInput, &LookUp)| {
            let of = self.find_view(lookup.index.unwrap_or(input.object));
            let of = of.ok_or_else(|| Error::bug("a view looks rows up in one that is not there"))?;
            let schema = view.circuit.input_schema(n);
            if lookup.index.is_none() {
                let answer = Answer::new(of.output.snapshot(self.epoch), &lookup.key, &input.columns, schema)?;
                return Ok((n, LookedIn::Answer(answer)));
            }
            Ok((n, of.circuit.looked_up_as(lookup, &input.columns, schema)?))
        };
        looked_up.map(answer).collect()
    }

    /// As [`Core::answers_for`] of a view that takes a step: what it looks up is in use.
    pub(super) fn looked_up_by(&mut self, n: usize) -> Result<Answers> {
        if self.views[n].inputs.iter().all(|input| input.lookup.is_none()) {
            return Ok(Answers::new());
        }
        let used = places_of(&self.views[n].inputs);
        self.note_use(&used);
        self.answers_for(&self.views[n])
    }

    /// Rows are looked up in these.
    pub(super) fn note_use(&mut self, used: &[ObjectId]) {
        let topology = self.topology();
        let places: Vec<usize> = used.iter().filter_map(|id| topology.place(*id)).collect();
        for place in places {
            let view = &mut self.views[place];
            view.looked_up = self.epoch;
            // What is read of an index stays in memory.
            view.is_unmeasured |= view.definition.index_by.is_some();
        }
    }
}
