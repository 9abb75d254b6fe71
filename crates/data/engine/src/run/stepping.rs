//! One epoch's steps. Views step side by side, each when those that it reads have; what they put out is handed on in one order,
//! whatever the order in which they were done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use fleuve_types::{ColumnPart, Delta, ObjectId, Result};
use rayon::prelude::*;

use super::build::positions;
use super::core::Core;
use super::switch::Given;
use super::view::{View, project};
use crate::event_time::Mark;
use crate::lookup::Answers;
use crate::operators::{caught, concat_deltas};

/// What an epoch takes in.
#[derive(Default)]
pub(super) struct EpochInput {
    pub(super) rows: HashMap<ObjectId, Vec<Delta>>,
    /// Of streams with an event time: without the late rows.
    pub(super) on_time: HashMap<ObjectId, Vec<Delta>>,
    /// The columns that were read.
    pub(super) columns: HashMap<ObjectId, Vec<ColumnPart>>,
    /// Changes of inputs, in place of those of what they read.
    pub(super) given: Given,
}

/// A view that takes a step, with its place, the watermarks of its inputs, and the answers that it looks rows up in.
type Work<'v> = (usize, &'v mut View, Vec<Vec<Mark>>, Result<Answers>);

impl Core {
    /// Steps the views that have something to do, each after those that it reads. `outs` holds changes that are known already.
    pub(super) fn step_views(&mut self, input: &EpochInput, mut outs: HashMap<ObjectId, Delta>) {
        let epoch = self.epoch;
        let topology = self.topology();
        let rows = input.rows.iter().filter(|(_, deltas)| deltas.iter().any(|d| !d.is_empty())).map(|(id, _)| id);
        let mut fed: BTreeSet<usize> = rows.chain(outs.keys()).flat_map(|id| topology.readers(*id)).copied().collect();
        let with_level = |n: usize| (topology.level(n), n);
        let mut due: BTreeSet<(usize, usize)> = fed.iter().chain(topology.timed()).map(|n| with_level(*n)).collect();
        while let Some((level, _)) = due.first().copied() {
            let later = due.split_off(&(level + 1, 0));
            let wave = std::mem::replace(&mut due, later);
            let stepped = self.step_wave(wave.into_iter().map(|(_, n)| n), &fed, input, &outs);
            for (n, result) in stepped {
                let view = &mut self.views[n];
                let id = view.id();
                self.shown.touched.insert(id);
                match result.and_then(|delta| view.tell_dead_rows(epoch).map(|()| delta)) {
                    Ok(delta) => {
                        if !delta.is_empty() {
                            self.deliver(id, &delta);
                            outs.insert(id, delta);
                            due.extend(topology.readers(id).iter().map(|n| with_level(*n)));
                            fed.extend(topology.readers(id));
                        }
                    }
                    Err(e) => self.fail_view(n, &e.to_string()),
                }
            }
        }
        self.keep_for_builds(&outs);
        self.stepped(input.rows.values().flatten().map(|d| d.len() as u64).sum());
    }

    /// Steps views that do not read each other, side by side. Gives what each made of it, in their order.
    fn step_wave(
        &mut self,
        wave: impl Iterator<Item = usize>,
        fed: &BTreeSet<usize>,
        input: &EpochInput,
        outs: &HashMap<ObjectId, Delta>,
    ) -> Vec<(usize, Result<Delta>)> {
        let epoch = self.epoch;
        let mut due: BTreeMap<usize, (Vec<Vec<Mark>>, Result<Answers>)> = BTreeMap::new();
        for n in wave {
            let (time_us, now) = (self.time_us, self.marks_of(&self.views[n]));
            let view = &mut self.views[n];
            view.circuit.tell_time(time_us);
            let is_due = view.circuit.due_us().is_some_and(|at| at <= time_us);
            let is_idle = !fed.contains(&n) && view.marks == now && !is_due;
            if view.failed.is_none() && !view.waits && !outs.contains_key(&view.id()) && !is_idle {
                // Of views that have taken their steps.
                due.insert(n, (now, self.looked_up_by(n)));
            }
        }
        let mut work: Vec<Work<'_>> = Vec::with_capacity(due.len());
        // The views of the wave are cut out of all views, one after the other.
        let (mut rest, mut passed) = (self.views.as_mut_slice(), 0);
        for (n, (marks, answers)) in due {
            let (_, from) = rest.split_at_mut(n - passed);
            let Some((view, after)) = from.split_first_mut() else { break };
            work.push((n, view, marks, answers));
            (rest, passed) = (after, n + 1);
        }
        let step = |(n, view, marks, answers): &mut Work<'_>| {
            let inputs = caught("an input", || inputs_of(view, input, outs));
            let answers = std::mem::replace(answers, Ok(Answers::new()));
            let step = |(inputs, answers): (Vec<Delta>, Answers)| view.step(epoch, &inputs, marks, &answers);
            (*n, inputs.and_then(|inputs| Ok((inputs, answers?))).and_then(step))
        };
        // Handing over costs more than a step that takes nothing in.
        if work.iter().filter(|(n, ..)| fed.contains(n)).count() > 1 {
            work.par_iter_mut().map(step).collect()
        } else {
            work.iter_mut().map(step).collect()
        }
    }

    /// Builds that read views take in later what these put out now.
    fn keep_for_builds(&mut self, outs: &HashMap<ObjectId, Delta>) {
        for (view, building) in self.building.iter_mut().filter(|(_, b)| !b.progress.is_stopped()) {
            let mut bytes = 0;
            if let Some(keeping) = &mut building.keeping {
                let old = self.views.iter_mut().find(|v| v.id() == *view);
                bytes += old.map_or(0, |old| keeping.note(old));
            } else {
                for (id, delta) in outs.iter().filter(|(id, d)| building.reads.contains(id) && !d.is_empty()) {
                    bytes += delta.memory_bytes();
                    building.retained.entry(*id).or_default().push(delta.clone());
                }
            }
            bytes += building.indexes_grew();
            building.waits_for(bytes, self.options.view_bytes);
            if building.progress.is_stopped()
                && let Some(old) = self.views.iter_mut().find(|v| v.id() == *view)
            {
                old.circuit.tap([]);
            }
        }
    }
}

/// The change of each input of a view.
fn inputs_of(view: &View, epoch: &EpochInput, outs: &HashMap<ObjectId, Delta>) -> Result<Vec<Delta>> {
    let of = |n: usize| {
        let start = Instant::now();
        let change = change_of(view, n, epoch, outs)?;
        if !change.is_empty() {
            view.circuit.took_in(n, start.elapsed());
        }
        Ok(change)
    };
    (0..view.inputs.len()).map(of).collect()
}

fn change_of(view: &View, n: usize, epoch: &EpochInput, outs: &HashMap<ObjectId, Delta>) -> Result<Delta> {
    let (input, schema) = (&view.inputs[n], view.circuit.input_schema(n));
    if let Some(given) = epoch.given.get(&(view.id(), n)) {
        return Ok(given.clone());
    }
    if let Some(delta) = outs.get(&input.object) {
        return project(delta, input.columns.iter().map(|c| c.at), &schema);
    }
    let on_time = epoch.on_time.get(&input.object).filter(|_| view.circuit.emits_on_close());
    let Some(deltas) = on_time.or_else(|| epoch.rows.get(&input.object)) else {
        return Ok(Delta::empty(schema));
    };
    let at = positions(&epoch.columns[&input.object], &input.columns);
    let parts = deltas.iter().map(|d| project(d, at.iter().copied(), &schema)).collect::<Result<Vec<_>>>()?;
    concat_deltas(&schema, &parts)
}
