//! A view that takes part in epochs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::SessionState;
use fleuve_profile::Label;
use fleuve_types::{ColumnPart, Delta, Epoch, Error, ErrorKind, Frontier, ObjectId, Result, narrow_struct};
use serde::{Deserialize, Serialize};

use super::memory::coldest_first;
use super::subscribers::{QueueLimits, Subscribers};
use super::unwritten::Unwritten;
use super::{EngineOptions, ViewDefinition, ViewState, ViewStatus};
use crate::circuit::Circuit;
use crate::event_time::Mark;
use crate::keep::{Given, Kept};
use crate::lookup::{Answers, LookUp};
use crate::lower::{Relations, lower, lower_index, lower_on_close};
use crate::operators::{DeadRow, caught};
use crate::output::{Output, SavedRows, SavedRuns, consolidate};
use crate::paging::{self, Evictable, StateRuns};
use crate::session::optimize;
use crate::state::runs::Space;
use crate::state::{Part, Room, Section, hash_bytes, read_run, write_run};

/// State larger than this is kept in runs: a checkpoint writes what changed of it, and a start does not read it.
const PAGE_FROM_BYTES: usize = 32 << 20;

/// Among what can leave memory, the answer.
pub(super) const ANSWER: usize = usize::MAX;
/// The section number of a view's answer in its runs.
const OUTPUT_SECTION: u32 = u32::MAX;
/// That of the rows that its build left out.
const DEAD_SECTION: u32 = u32::MAX - 1;
/// That of a change that sinks may not have yet.
const UNDELIVERED_SECTION: u32 = u32::MAX - 2;
/// Says that what earlier files hold of the answer does not count; its batch has no rows.
const ANEW_SECTION: u32 = u32::MAX - 3;
/// That of records that sinks may not have written yet.
const RECORDS_SECTION: u32 = u32::MAX - 4;
/// Epochs whose dead letters may wait to be taken.
const UNTOLD_EPOCHS: usize = 10_000;

/// What a checkpoint knows about a view: the files that make up its state, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub(super) struct Manifest {
    /// Hash of the circuit's shape: state fits only the same shape.
    pub(super) shape: u64,
    pub(super) files: Vec<StateFile>,
    /// What of the state is read as needed.
    #[serde(default)]
    pub(super) runs: StateRuns,
    /// The answer, if it lies on disk: then what the files say of it does not count.
    #[serde(default)]
    pub(super) answer: Option<SavedRuns>,
    /// The view has failed; of its state there is only the answer.
    #[serde(default)]
    pub(super) failed: Option<SavedFailure>,
    /// See [`View::is_cut_off`].
    #[serde(default)]
    pub(super) is_cut_off: bool,
    /// See [`View::waits`].
    #[serde(default)]
    pub(super) waits: bool,
}

impl Manifest {
    /// The names of all its files.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let answer = self.answer.iter().flat_map(SavedRuns::names);
        self.files.iter().map(|f| f.name.as_str()).chain(self.runs.names()).chain(answer)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(super) struct SavedFailure {
    reason: String,
    by_input: bool,
    epoch: Epoch,
    frontier: Vec<u8>,
    #[serde(default)]
    since_us: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(super) struct StateFile {
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// One input of a view: the object and its columns.
#[derive(Clone, Debug)]
pub(super) struct ViewInput {
    pub(super) object: ObjectId,
    pub(super) columns: Vec<ColumnPart>,
    /// How its rows are found, if they are looked up in the object's answer or in an index of it.
    pub(super) lookup: Option<LookUp>,
}

impl ViewInput {
    /// True if a build takes in what the object holds.
    pub(super) fn is_taken_in(&self) -> bool {
        self.lookup.as_ref().is_none_or(|lookup| lookup.is_taken_in)
    }

    /// The index in which its rows are looked up.
    pub(super) fn index(&self) -> Option<ObjectId> {
        self.lookup.as_ref()?.index
    }
}

/// Why a view takes no part in epochs.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// It stopped because one that it reads did.
    pub(super) by_input: bool,
    /// The time of the epoch in which that was, if it is known.
    pub(super) since_us: Option<i64>,
    /// The input that its answer includes.
    pub(super) frontier: Frontier,
}

pub(super) struct View {
    pub(super) definition: ViewDefinition,
    pub(super) circuit: Circuit,
    pub(super) output: Output,
    pub(super) inputs: Vec<ViewInput>,
    pub(super) failed: Option<Failure>,
    pub(super) changes: Subscribers,
    pub(super) manifest: Manifest,
    /// The next checkpoint has to write everything.
    pub(super) save_all: bool,
    pub(super) rows_out: u64,
    pub(super) epoch: Epoch,
    pub(super) state_bytes: usize,
    pub(super) disk_bytes: u64,
    /// It has taken steps since its memory was measured.
    pub(super) is_unmeasured: bool,
    /// The step of its circuit in which the answer last changed.
    answer_touched: u64,
    /// The last epoch in which others looked rows up in the answer.
    pub(super) looked_up: Epoch,
    /// The watermarks that its last step was given.
    pub(super) marks: Vec<Vec<Mark>>,
    /// The rows that its build left out, and the epoch in which they are told: part of its state until they are.
    pub(super) pending: Option<(Epoch, Vec<DeadRow>)>,
    /// Rows that were left out and that the dead letters could not take yet, in their order.
    pub(super) untold: VecDeque<(Epoch, Vec<DeadRow>)>,
    /// The change of an epoch that is no step of the journal (it took another view's place), until sinks have it.
    pub(super) undelivered: Option<(Epoch, Delta)>,
    /// What sinks write in such an epoch instead, as the columns of the change are not those of before.
    pub(super) unwritten: Vec<Unwritten>,
    /// What it reads has other columns by now: it takes no step until it is built anew.
    pub(super) waits: bool,
    /// A view that it reads was replaced, and what this one holds does not follow from the difference: it is not to be built upon.
    pub(super) is_cut_off: bool,
    /// What it takes over of the view whose place it takes.
    pub(super) kept: Option<Arc<Kept>>,
    /// What a profile shows for the time that it takes.
    label: Label,
}

impl View {
    /// Plans and builds an empty view.
    pub(super) fn new(
        mut definition: ViewDefinition,
        state: &SessionState,
        relations: &dyn Relations,
        options: &EngineOptions,
        space: &Arc<Space>,
    ) -> Result<Self> {
        let plan = optimize(&definition.plan, state)?;
        let mut circuit = match &definition.index_by {
            Some(by) => lower_index(&plan, state, relations, options.shards, by)?,
            None if definition.emit_on_close => lower_on_close(&plan, state, relations, options.shards)?,
            None => lower(&plan, state, relations, options.shards)?,
        };
        let place = definition.id.to_string();
        circuit.page_in_space(space, &place);
        if definition.dead_letters.is_some() {
            circuit.skip_failing_rows();
        }
        let inputs: Vec<ViewInput> = circuit
            .inputs()
            .iter()
            .map(|i| {
                let object = definition.inputs.get(&i.table).copied().ok_or_else(|| {
                    Error::bug(format!("the plan reads {}.{}, which nobody named", i.table.0, i.table.1))
                })?;
                Ok(ViewInput { object, columns: i.columns.clone(), lookup: i.lookup.clone() })
            })
            .collect::<Result<_>>()?;
        // Names are those of the query; the optimizer may have dropped qualifiers only.
        let mut output =
            Output::new(circuit.schema().clone(), circuit.key().map(<[usize]>::to_vec), circuit.is_append_only())?;
        output.page_in_space(space, &place);
        if definition.index_by.is_none() {
            circuit.count_answer(super::explain::of_answer(&output));
        }
        let shape = hash_bytes(circuit.shape().as_bytes());
        let label = Label::of(&format!("view {}.{}", definition.name.0, definition.name.1));
        // Those that no join uses are nothing to it.
        definition.indexes.retain(|id| inputs.iter().any(|i| i.index() == Some(*id)));
        Ok(Self {
            definition,
            circuit,
            output,
            inputs,
            failed: None,
            changes: Subscribers::new(QueueLimits::of(options)),
            manifest: Manifest { shape, ..Manifest::default() },
            save_all: true,
            rows_out: 0,
            epoch: 0,
            state_bytes: 0,
            disk_bytes: 0,
            is_unmeasured: true,
            answer_touched: 0,
            looked_up: 0,
            marks: vec![],
            pending: None,
            untold: VecDeque::new(),
            undelivered: None,
            unwritten: vec![],
            waits: false,
            is_cut_off: false,
            kept: None,
            label,
        })
    }

    pub(super) fn id(&self) -> ObjectId {
        self.definition.id
    }

    /// True if it stands on an object: reads it, or looks rows up in it.
    pub(super) fn needs(&self, id: ObjectId) -> bool {
        self.inputs.iter().any(|i| i.object == id || i.index() == Some(id))
    }

    /// What it stands on.
    pub(super) fn needed(&self) -> impl Iterator<Item = ObjectId> {
        self.inputs.iter().flat_map(|i| [Some(i.object), i.index()]).flatten()
    }

    /// Takes one step: the change of each input and its watermarks in, the consolidated change of the answer out. A failure of
    /// any kind, a panic of a function included, stops this view and nothing else. `answers` are those of [`super::core::Core::answers_for`],
    /// after the change.
    pub(super) fn step(
        &mut self,
        epoch: Epoch,
        inputs: &[Delta],
        marks: &[Vec<Mark>],
        answers: &Answers,
    ) -> Result<Delta> {
        self.circuit.look_up_in(answers);
        let delta = self.step_by(epoch, |circuit| circuit.step_at(inputs, marks));
        self.circuit.look_nothing_up();
        let delta = delta?;
        self.marks = marks.to_vec();
        Ok(delta)
    }

    /// As [`View::step`], of the operators above those that are kept, which put out what is given.
    pub(super) fn step_above(&mut self, epoch: Epoch, kept: &Kept, given: &Given) -> Result<Delta> {
        self.step_by(epoch, |circuit| circuit.step_above(kept, given))
    }

    /// The operators above one that holds back take in a part of what it holds.
    pub(super) fn tell_held(&mut self, epoch: Epoch, node: usize, part: Part, answers: &Answers) -> Result<Delta> {
        self.circuit.look_up_in(answers);
        let delta = self.step_by(epoch, |circuit| circuit.tell_held(node, part));
        self.circuit.look_nothing_up();
        delta
    }

    fn step_by(&mut self, epoch: Epoch, step: impl FnOnce(&mut Circuit) -> Result<Delta>) -> Result<Delta> {
        self.is_unmeasured = true;
        let (circuit, output) = (&mut self.circuit, &mut self.output);
        let _shown = fleuve_profile::enter(self.label);
        let delta: Delta = caught("an operator", || {
            let change = step(circuit)?;
            let (start, came) = (Instant::now(), change.len());
            let delta = consolidate(change)?;
            output.apply(&delta)?;
            if let Some(answer) = circuit.answer_counters().filter(|_| came > 0) {
                answer.stepped(came, delta.len(), start.elapsed());
            }
            Ok(delta)
        })?;
        if !delta.is_empty() {
            self.answer_touched = self.circuit.steps;
        }
        self.rows_out += delta.len() as u64;
        self.epoch = epoch;
        Ok(delta)
    }

    /// Takes over from the view whose place it takes; doing it again takes that back.
    pub(super) fn take_over(&mut self, old: &mut View) {
        let Some(kept) = &self.kept else { return };
        self.circuit.take_over(&mut old.circuit, kept);
        std::mem::swap(&mut self.untold, &mut old.untold);
        self.is_unmeasured = true;
    }

    /// Goes on with its state by another definition, which has the same circuit: what it reads may stand elsewhere.
    pub(super) fn go_on_as(&mut self, new: View) {
        self.circuit.read_as(new.circuit);
        self.inputs = new.inputs;
        self.definition = new.definition;
    }

    pub(super) fn measure(&mut self) -> usize {
        if !std::mem::take(&mut self.is_unmeasured) && self.untold.is_empty() {
            return self.state_bytes;
        }
        let answer = self.answer_bytes();
        self.state_bytes = self.circuit.measure() + answer;
        self.disk_bytes = self.circuit.disk_bytes() + self.output.disk_bytes();
        if let Some(counters) = self.circuit.answer_counters() {
            counters.holds(self.output.rows(), answer, self.output.disk_bytes());
        }
        self.state_bytes
    }

    /// Merges what is to be merged of what lies on disk, beside the steps. Tells if there was anything.
    pub(super) fn tend(&mut self) -> bool {
        let any = self.disk_bytes > 0 && self.failed.is_none();
        let any = any && (self.circuit.tend_runs() | self.output.tend_runs());
        self.is_unmeasured |= any;
        any
    }

    /// A merge of its runs is under way.
    pub(super) fn is_merging(&self) -> bool {
        self.failed.is_none() && (self.circuit.is_merging() || self.output.is_merging())
    }

    /// Begins to make what lies on disk as small as it can be, or `wait`s until it is. Tells if there is anything to wait for.
    pub(super) fn compact(&mut self, wait: bool) -> bool {
        let any = self.circuit.compact_runs(wait) | self.output.compact_runs(wait);
        self.is_unmeasured |= any;
        any
    }

    /// Bytes on disk and in memory that it takes however its runs are merged, about.
    pub(super) fn least_bytes(&self) -> u64 {
        self.circuit.least_disk_bytes() + self.output.least_disk_bytes() + self.state_bytes as u64
    }

    /// Memory of its answer, and of the rows that were left out and wait to be told.
    pub(super) fn answer_bytes(&self) -> usize {
        let untold: usize = self.untold.iter().flat_map(|(_, rows)| rows).map(DeadRow::memory_bytes).sum();
        self.output.bytes() + self.circuit.dead_bytes() + untold
    }

    /// The names of all its files, now that it goes.
    pub(super) fn take_names(&mut self) -> Vec<String> {
        let mut names = self.take_stale();
        names.extend(self.manifest.names().map(str::to_string));
        // Those that only a checkpoint named that failed.
        names.extend(self.named_runs().map(str::to_string));
        names.sort();
        names.dedup();
        names
    }

    /// Its runs whose files stay when nobody reads them any more.
    pub(super) fn named_runs(&self) -> impl Iterator<Item = &str> {
        self.circuit.named_runs().chain(self.output.named_runs())
    }

    /// Lets state leave memory, the coldest first, until no more than `to` bytes are held or nothing is left that can.
    pub(super) fn shrink(&mut self, to: usize) -> Result<()> {
        for out in coldest_first(self.evictable()) {
            if self.state_bytes <= to {
                break;
            }
            self.evict(out.node, self.state_bytes - to)?;
        }
        Ok(())
    }

    /// What can leave memory: the states of its operators and its answer.
    pub(super) fn evictable(&self) -> Vec<Evictable> {
        let mut all = self.circuit.evictable();
        let (bytes, idle) = (self.output.bytes_that_can_leave(), self.circuit.steps - self.answer_touched);
        all.push(Evictable { node: ANSWER, bytes, idle });
        all
    }

    /// Lets the state of a node leave memory; of the answer only so many bytes.
    pub(super) fn evict(&mut self, node: usize, bytes: usize) -> Result<()> {
        self.is_unmeasured = true;
        let left = match node {
            ANSWER => self.output.shrink(self.output.bytes_that_can_leave().saturating_sub(bytes)),
            _ => self.circuit.evict(node),
        };
        self.measure();
        left
    }

    /// Files that a checkpoint named and the next one does not.
    pub(super) fn take_stale(&mut self) -> Vec<String> {
        let mut stale = self.circuit.take_stale_runs();
        stale.extend(self.output.take_stale());
        stale
    }

    /// Copies what changed of the state that lies in runs, as far as there is room; the rest is written.
    pub(super) fn begin_flush(&mut self, room: &mut Room) -> Result<paging::Unwritten> {
        // A step that failed leaves the operators in the middle of it.
        if self.failed.is_some() {
            return Ok(paging::Unwritten::nothing());
        }
        self.is_unmeasured = true;
        self.circuit.begin_flush(PAGE_FROM_BYTES, room)
    }

    /// Takes in what was written beside the steps.
    pub(super) fn settle(&mut self) {
        self.circuit.settle();
        self.is_unmeasured = true;
    }

    pub(super) fn status(&self) -> ViewStatus {
        ViewStatus {
            state: match &self.failed {
                Some(failure) if failure.by_input => ViewState::Stopped(failure.reason.clone()),
                Some(failure) => ViewState::Failed(failure.reason.clone()),
                None => ViewState::Running,
            },
            frontier: self.failed.as_ref().map(|f| f.frontier.clone()),
            profile: self.circuit.profile(),
            rows: if self.definition.index_by.is_some() { self.circuit.state_rows() } else { self.output.rows() },
            state_bytes: self.state_bytes,
            disk_bytes: self.disk_bytes,
            rows_out: self.rows_out,
            epoch: self.failed.as_ref().map(|_| self.epoch),
            stopped_us: self.failed.as_ref().and_then(|f| f.since_us),
        }
    }

    /// Its failure as a checkpoint keeps it.
    pub(super) fn saved_failure(&self) -> Option<SavedFailure> {
        self.failed.as_ref().map(|f| SavedFailure {
            reason: f.reason.clone(),
            by_input: f.by_input,
            epoch: self.epoch,
            frontier: f.frontier.encode(),
            since_us: f.since_us,
        })
    }

    /// Takes no part in epochs any more; shows its last answer.
    pub(super) fn fail(&mut self, reason: String, by_input: bool, since_us: Option<i64>, frontier: Frontier) {
        self.failed = Some(Failure { reason, by_input, since_us, frontier });
        self.save_all = true;
        if let Some(told) = self.stopped() {
            self.changes.stop(&told);
        }
    }

    /// That it has stopped, in words.
    pub(super) fn stopped(&self) -> Option<String> {
        let (namespace, name) = &self.definition.name;
        self.failed.as_ref().map(|f| format!("view {namespace}.{name} stopped: {}", f.reason))
    }

    /// Hands over the rows that the last steps left out.
    pub(super) fn tell_dead_rows(&mut self, epoch: Epoch) -> Result<()> {
        let rows = self.circuit.take_dead_rows();
        self.tell(epoch, rows)
    }

    /// Hands over the rows that its build left out. They have to be in a checkpoint before.
    pub(super) fn tell_pending(&mut self) -> Result<()> {
        match self.pending.take() {
            Some((epoch, rows)) => self.tell(epoch, rows),
            None => Ok(()),
        }
    }

    fn tell(&mut self, epoch: Epoch, rows: Vec<DeadRow>) -> Result<()> {
        if self.definition.dead_letters.is_none() || rows.is_empty() {
            return Ok(());
        }
        self.untold.push_back((epoch, rows));
        self.tell_waiting()?;
        if self.untold.len() > UNTOLD_EPOCHS {
            return Err(Error::new(ErrorKind::Limit, format!("the dead letters of {UNTOLD_EPOCHS} epochs wait")));
        }
        Ok(())
    }

    /// Hands over what the dead letters could not take before.
    pub(super) fn tell_waiting(&mut self) -> Result<()> {
        let Some(writer) = self.definition.dead_letters.clone() else { return Ok(()) };
        while let Some((epoch, rows)) = self.untold.front() {
            match caught("writing dead letters", || writer.write(*epoch, rows)) {
                Ok(()) => drop(self.untold.pop_front()),
                Err(e) if e.kind == ErrorKind::Retry => return Ok(()),
                Err(e) => {
                    self.untold.clear();
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// What changed of the state that a checkpoint's file holds; everything if `full`. `None` if there is nothing. With the answer's runs,
    /// if it lies on disk.
    pub(super) fn save(&mut self, full: bool) -> Result<(Option<Unencoded>, Option<SavedRuns>)> {
        // A step that failed leaves the operators in the middle of it; the answer is that of the last one that did not.
        let mut sections = if self.failed.is_some() { vec![] } else { self.circuit.save(full)? };
        if let Some((epoch, rows)) = self.pending.as_ref().filter(|_| full) {
            sections.push(Section { node: DEAD_SECTION, batch: super::dead::to_batch(*epoch, rows)? });
        }
        if let Some((epoch, delta)) = &self.undelivered {
            sections.push(Section { node: UNDELIVERED_SECTION, batch: with_epoch(*epoch, delta)? });
        }
        for unwritten in &self.unwritten {
            sections.push(Section { node: RECORDS_SECTION, batch: unwritten.to_batch()? });
        }
        let answer = self.output.save(full)?;
        let is_nothing = sections.is_empty() && answer.rows.is_empty() && !full;
        if matches!(answer.rows, SavedRows::All(_)) {
            sections.push(Section { node: ANEW_SECTION, batch: RecordBatch::new_empty(self.output.schema().clone()) });
        }
        let unencoded = Unencoded { sections, answer: answer.rows };
        Ok(((!is_nothing).then_some(unencoded), answer.runs))
    }

    /// Takes in runs that [`View::save`] gave, oldest first.
    pub(super) fn load(&mut self, runs: &[Vec<u8>], epoch: Epoch) -> Result<()> {
        for run in runs {
            for section in read_run(run)? {
                if section.node == ANEW_SECTION {
                    self.output.forget_loaded();
                } else if section.node == OUTPUT_SECTION {
                    self.output.load(&section.batch)?;
                } else if section.node == DEAD_SECTION {
                    self.pending = super::dead::from_batch(&section.batch)?;
                } else if section.node == UNDELIVERED_SECTION {
                    self.undelivered = Some(of_epoch(&section.batch)?);
                } else if section.node == RECORDS_SECTION {
                    self.unwritten.push(Unwritten::from_batch(&section.batch)?);
                } else {
                    self.circuit.load(&section)?;
                }
            }
        }
        self.circuit.loaded()?;
        self.epoch = epoch;
        self.is_cut_off = self.manifest.is_cut_off;
        if let Some(saved) = self.manifest.failed.clone() {
            let frontier = Frontier::decode(&saved.frontier).unwrap_or_default();
            self.fail(saved.reason, saved.by_input, saved.since_us, frontier);
            self.epoch = saved.epoch;
        } else if self.manifest.waits {
            // A crash came before it was built anew. Its answer stays, for the difference.
            let reason = "what it reads was replaced, and it was not built anew";
            self.fail(reason.into(), true, None, Frontier::default());
        }
        self.save_all = false;
        Ok(())
    }
}

/// What a checkpoint's file of a view will hold.
pub(super) struct Unencoded {
    sections: Vec<Section>,
    answer: SavedRows,
}

impl Unencoded {
    /// The bytes of the file.
    pub(super) fn encode(self) -> Result<Vec<u8>> {
        let Self { mut sections, answer } = self;
        sections.extend(answer.batches()?.into_iter().map(|batch| Section { node: OUTPUT_SECTION, batch }));
        write_run(&sections)
    }
}

/// A change as a batch: its rows, their weights, its epoch.
fn with_epoch(epoch: Epoch, delta: &Delta) -> Result<RecordBatch> {
    let weights: Int64Array = (0..delta.len()).map(|i| delta.weight(i)).collect();
    let epochs: UInt64Array = std::iter::repeat_n(epoch, delta.len()).collect();
    let own = delta.batch.schema();
    let mut fields: Vec<Field> =
        own.fields().iter().map(|f| Field::new(f.name(), f.data_type().clone(), true)).collect();
    fields.extend([Field::new("__weight", DataType::Int64, false), Field::new("__epoch", DataType::UInt64, false)]);
    let mut columns = delta.batch.columns().to_vec();
    columns.extend([Arc::new(weights) as ArrayRef, Arc::new(epochs)]);
    crate::state::batch_of(&Arc::new(Schema::new(fields)), columns, delta.len())
}

fn of_epoch(batch: &RecordBatch) -> Result<(Epoch, Delta)> {
    let damaged = || Error::bug("a saved change is damaged");
    let own = batch.num_columns().checked_sub(2).ok_or_else(damaged)?;
    let weights = batch.column(own).as_any().downcast_ref::<Int64Array>().ok_or_else(damaged)?;
    let epochs = batch.column(own + 1).as_any().downcast_ref::<UInt64Array>().ok_or_else(damaged)?;
    let epoch = epochs.values().first().copied().unwrap_or_default();
    let rows = batch.project(&(0..own).collect::<Vec<_>>()).map_err(|e| Error::bug(e.to_string()))?;
    Ok((epoch, Delta::weighted(rows, weights.values().to_vec())?))
}

/// The columns of `delta` that an input asks for; structs lose the fields that it does not.
pub(super) fn project(delta: &Delta, columns: impl IntoIterator<Item = usize>, schema: &SchemaRef) -> Result<Delta> {
    let columns = columns.into_iter().zip(schema.fields());
    let arrays = columns.map(|(c, f)| narrow_struct(delta.batch.column(c), f.data_type())).collect::<Result<_>>()?;
    let batch = crate::state::batch_of(schema, arrays, delta.len())?;
    Ok(Delta { batch, weights: delta.weights.clone() })
}

/// Why a view stops that holds too much.
pub(super) fn over_limit(bytes: u64, limit: u64, of: &str) -> Error {
    let what = format!("its state of {bytes} bytes passes the limit of {limit} bytes ({of})");
    Error::new(
        ErrorKind::Limit,
        format!("{what}: raise it; a view that is there goes on with ALTER MATERIALIZED VIEW … RESUME then"),
    )
}
