//! Views whose joins look rows up in the answers of others.

use fleuve_types::{Error, ObjectId, Result};

use super::core::Core;
use super::view::{View, ViewInput, input_schema};
use crate::lookup::{Answers, LookUp};
use crate::output::Answer;

impl Core {
    /// The answers in which a view's joins look rows up, as they are now.
    ///
    /// # Errors
    /// When one of them has another key or other columns than the view was planned with.
    pub(super) fn answers_for(&self, view: &View) -> Result<Answers> {
        let looked_up = view.inputs.iter().enumerate().filter_map(|(n, i)| Some((n, i, i.lookup.as_ref()?)));
        let answer = |(n, input, lookup): (usize, &ViewInput, &LookUp)| {
            let of = self.find_view(input.object);
            let of = of.ok_or_else(|| Error::bug("a view looks rows up in one that is not there"))?;
            let snapshot = of.output.snapshot(self.epoch);
            let schema = input_schema(&view.circuit, n);
            Ok((n, Answer::new(snapshot, &lookup.key, &input.columns, schema)?))
        };
        looked_up.map(answer).collect()
    }

    /// As [`Core::answers_for`] of a view that takes a step: what it looks up is in use.
    pub(super) fn looked_up_by(&mut self, n: usize) -> Result<Answers> {
        if self.views[n].inputs.iter().all(|input| input.lookup.is_none()) {
            return Ok(Answers::new());
        }
        let topology = self.topology();
        let looked_up = self.views[n].inputs.iter().filter(|input| input.lookup.is_some());
        let places: Vec<usize> = looked_up.filter_map(|input| topology.place(input.object)).collect();
        for place in places {
            self.views[place].looked_up = self.epoch;
        }
        self.answers_for(&self.views[n])
    }

    /// A view was replaced: those that can no longer look rows up in its answer stop. They are built again, by what it is now, if it
    /// `has_same_columns`; else their queries are for somebody else to mend.
    pub(super) fn stop_without_answer(&mut self, id: ObjectId, has_same_columns: bool) {
        for n in 0..self.views.len() {
            let view = &self.views[n];
            let looks = view.inputs.iter().any(|input| input.object == id && input.lookup.is_some());
            if !looks || view.failed.is_some() {
                continue;
            }
            if let Err(e) = self.answers_for(view) {
                self.stop_view(n, &e.to_string(), has_same_columns);
            }
        }
    }
}
