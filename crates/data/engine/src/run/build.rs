//! A new view takes in what was there before it, on a thread of its own, while epochs go on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

use arrow::array::Array;
use arrow::datatypes::SchemaRef;
use fleuve_types::{ColumnPart, Delta, Epoch, Error, Frontier, ObjectId, Result};

use super::keep::Keeping;
use super::memory::{BuildShare, Limits};
use super::progress::Progress;
use super::times::{AllTimes, TimeAt, mark, with_time};
use super::view::{View, ViewInput, project};
use super::{Command, EventTime, Reply, StreamReader, ViewDefinition, ViewLimits};
use crate::event_time::Mark;
use crate::held::{PartSize, Telling};
use crate::lookup::{Answers, LookedIn};
use crate::operators::{caught, concat_deltas};
use crate::output::ViewSnapshot;
use crate::profile::Profile;
use crate::state::Part;

/// What a panic of a reader is said to be of.
pub(super) const READING: &str = "reading its input";
/// A build takes in the answers of other views in steps of this many rows.
const ANSWER_ROWS: usize = 65_536;
/// And the rows of an index in steps of about as many, but not in more than this: all that is in memory is looked at for each.
const MOST_PARTS: usize = 64;

/// A build under way, as the engine keeps it.
pub(super) struct Building {
    /// Changes of the views that it reads, since the round began.
    pub(super) retained: HashMap<ObjectId, Vec<Delta>>,
    pub(super) retained_bytes: usize,
    /// The indexes in which it looks rows up of streams, as they were when the round began, with the numbers of its inputs; and what
    /// they note for it that was counted already.
    pub(super) indexes: Answers,
    indexes_bytes: usize,
    /// What it reads.
    pub(super) reads: BTreeSet<ObjectId>,
    pub(super) progress: Arc<Progress>,
    /// The figures of the view's operators.
    pub(super) profile: Arc<Profile>,
    pub(super) replies: Vec<Reply<()>>,
    /// Limits that the view was given since its build began.
    pub(super) limits: Option<ViewLimits>,
    /// Records that it may have read have gone since: no later build finds them.
    pub(super) outlives_input: bool,
    /// It begins with kept state instead of its inputs.
    pub(super) keeping: Option<Keeping>,
}

impl Building {
    pub(super) fn new(
        definition: &ViewDefinition,
        progress: Arc<Progress>,
        profile: Arc<Profile>,
        replies: Vec<Reply<()>>,
    ) -> Self {
        Self {
            retained: HashMap::new(),
            retained_bytes: 0,
            indexes: vec![],
            indexes_bytes: 0,
            reads: definition.inputs.values().copied().collect(),
            progress,
            profile,
            replies,
            limits: None,
            outlives_input: false,
            keeping: None,
        }
    }

    pub(super) fn take_replies(mut self) -> Vec<Reply<()>> {
        std::mem::take(&mut self.replies)
    }

    /// A round began, with these indexes.
    pub(super) fn looks_up_in(&mut self, indexes: Answers) {
        (self.indexes, self.indexes_bytes) = (indexes, 0);
    }

    /// By how much that grew which indexes note for it.
    pub(super) fn indexes_grew(&mut self) -> usize {
        let now = self.indexes.iter().map(|(_, place)| place.bytes_since()).sum();
        let before = std::mem::replace(&mut self.indexes_bytes, now);
        now.saturating_sub(before)
    }

    /// What waits for it grew; if that is too much, it cannot end well, and what waits would only grow.
    pub(super) fn waits_for(&mut self, bytes: usize, limit_bytes: usize) {
        self.retained_bytes += bytes;
        if self.retained_bytes > limit_bytes {
            self.progress.stop();
            self.retained.clear();
            self.retained_bytes = 0;
            self.looks_up_in(vec![]);
            self.keeping = None;
        }
    }
}

/// Nobody waits for it any more: its round ends, and with it what is noted for that round.
impl Drop for Building {
    fn drop(&mut self) {
        self.progress.abandon();
    }
}

/// One round of a build: from where the view stands to where the engine stood when the round began.
pub(super) struct Round {
    pub(super) view: View,
    pub(super) streams: HashMap<ObjectId, Arc<dyn StreamReader>>,
    /// Where the view stands. A stream that is absent is read from its start.
    pub(super) from: Frontier,
    pub(super) to: Frontier,
    /// Answers of views to take in before anything else.
    pub(super) answers: HashMap<ObjectId, ViewSnapshot>,
    /// Changes of views to take in with the first step after that.
    pub(super) views: HashMap<ObjectId, Delta>,
    /// And of streams whose rows are looked up, by the number of the input; `None` in the first round, in which such rows count as there
    /// from the beginning, or are taken in.
    pub(super) changes: Option<HashMap<usize, Delta>>,
    /// What rows are looked up in: answers and indexes as they are where the round ends, after those changes.
    pub(super) looked_up: Answers,
    /// Event times where the view stands, and the watermarks where the round ends; of the views that it reads, too. Only for
    /// a view that follows them.
    pub(super) times: AllTimes,
    pub(super) marks: HashMap<ObjectId, Vec<Mark>>,
    pub(super) epoch: Epoch,
    /// What `now()` is when the round begins.
    pub(super) time_us: i64,
    pub(super) batch_bytes: usize,
    pub(super) limits: Arc<Limits>,
    pub(super) progress: Arc<Progress>,
}

/// What a round gives back.
pub(crate) struct Built {
    pub(super) view: View,
    /// Of the build that it is a round of.
    pub(super) progress: Arc<Progress>,
    pub(super) frontier: Frontier,
    pub(super) times: AllTimes,
    pub(super) result: Result<()>,
}

/// Runs a round of a build and tells the engine: on a thread of its own, unless the engine is `stepped`.
pub(super) fn begin(
    round: impl FnOnce() -> Built + Send + 'static,
    commands: SyncSender<Command>,
    stepped: bool,
) -> Result<()> {
    let work = move || {
        // The engine is gone only when the process ends.
        let _ = commands.send(Command::Built(Box::new(round())));
    };
    if stepped {
        work();
        return Ok(());
    }
    let begun = std::thread::Builder::new().name("build".into()).stack_size(crate::STACK_BYTES).spawn(work);
    begun.map(|_| ()).map_err(|e| Error::io("start a build", e))
}

impl Round {
    pub(super) fn run(mut self) -> Built {
        let result = caught("the build", || {
            // The first round ends with a whole answer, and what comes after it is a change of that.
            if self.changes.is_none() {
                self.view.circuit.hold_back();
            }
            self.read()?;
            self.tell_held()
        });
        Built { view: self.view, progress: self.progress, frontier: self.to, times: self.times, result }
    }

    fn read(&mut self) -> Result<()> {
        let inputs = self.view.inputs.clone();
        let schemas: Vec<_> = (0..inputs.len()).map(|i| self.view.circuit.input_schema(i)).collect();
        let is_first = self.changes.is_none();
        let is_read: Vec<bool> = inputs.iter().map(|i| i.index().is_none() || (is_first && i.is_taken_in())).collect();
        let of_read = || inputs.iter().zip(&is_read).filter(|(_, is_read)| **is_read).map(|(input, _)| input.object);
        let mut ranges: Vec<(ObjectId, i32, i64, i64)> = vec![];
        for ((stream, partition), to) in &self.to.offsets {
            if let Some(reader) = self.streams.get(stream).filter(|_| of_read().any(|id| id == *stream)) {
                let from = match self.from.get(*stream, *partition) {
                    Some(from) => from,
                    None => reader.bounds(*partition)?.0,
                };
                if from < *to {
                    ranges.push((*stream, *partition, from, *to));
                }
            }
        }
        let records: i64 = ranges.iter().map(|r| r.3 - r.2).sum();
        let answers: usize = self.answers.values().map(ViewSnapshot::num_rows).sum();
        let rows: usize = answers + self.views.values().map(Delta::len).sum::<usize>();
        self.progress.expect(records.max(0) as u64 + rows as u64);
        let mut first = self.view.circuit.fresh;
        let mut share = self.limits.build();
        let empty: Vec<Delta> = schemas.iter().map(|s| Delta::empty(s.clone())).collect();
        self.view.circuit.tell_time(self.time_us);
        first |= self.take_answers(&schemas, &empty)?;
        if is_first {
            first |= self.take_indexed(&empty)?;
        }
        let mut pending = empty.clone();
        for (n, input) in inputs.iter().enumerate() {
            if let Some(delta) = self.views.get(&input.object) {
                pending[n] = project(delta, input.columns.iter().map(|c| c.at), &schemas[n])?;
                first = true;
            }
        }
        for (n, delta) in self.changes.take().into_iter().flatten().filter(|(_, delta)| !delta.is_empty()) {
            pending[n] = delta;
            first = true;
        }
        let follows = self.view.circuit.emits_on_close();
        let profile = self.view.circuit.profile();
        let nodes: Vec<usize> = (0..inputs.len()).filter_map(|n| self.view.circuit.input_node(n)).collect();
        let Round { view, streams, times, marks, progress, epoch, batch_bytes, looked_up, .. } = self;
        let mut reading = Reading {
            inputs: &inputs,
            is_read: &is_read,
            schemas: &schemas,
            streams,
            ranges,
            times,
            marks,
            follows,
            batch_bytes: *batch_bytes,
            progress,
            profile: &profile,
            nodes: &nodes,
        };
        let mut changed = rows.saturating_sub(answers) as u64;
        if reading.ranges.is_empty() && first {
            view.step(*epoch, &pending, &reading.marks_now(), looked_up)?;
            progress.advance(changed);
            return Ok(());
        }
        // The next rows are read and decoded while the view takes in those before.
        let (sender, batches) = sync_channel(1);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while let Some(batch) = caught(READING, || reading.next()).transpose() {
                    let failed = batch.is_err();
                    // A reader that panicked is not asked again.
                    if sender.send(batch).is_err() || failed {
                        break;
                    }
                }
            });
            // Goes with this closure, however it ends, and so tells the reader to stop.
            let batches = batches;
            for batch in &batches {
                let batch: Batch = batch?;
                for (n, delta) in batch.rows {
                    pending[n] = delta;
                }
                view.circuit.watcher = Some(Box::new(progress.step(batch.records)));
                view.step(*epoch, &pending, &batch.marks, looked_up)?;
                pending.clone_from(&empty);
                progress.advance(std::mem::take(&mut changed));
                progress.check()?;
                share.hold(view, batch.records)?;
                while let Some(telling) = view.circuit.held_in_vain(part_size(*batch_bytes)) {
                    tell(view, &telling, *epoch, looked_up, progress, &mut share)?;
                }
            }
            Ok(())
        })
    }

    /// The operators that held back tell what they hold to those above them.
    fn tell_held(&mut self) -> Result<()> {
        let (mut share, size) = (self.limits.build(), part_size(self.batch_bytes));
        while let Some(telling) = self.view.circuit.next_held(size) {
            // What it holds may be much already.
            share.fit(&mut self.view)?;
            tell(&mut self.view, &telling, self.epoch, &self.looked_up, &self.progress, &mut share)?;
        }
        Ok(())
    }

    /// Takes in the answers of the views that it reads, a batch at a time; tells if there was any. No watermark moves with them:
    /// that would close windows whose rows are still to come.
    fn take_answers(&mut self, schemas: &[SchemaRef], empty: &[Delta]) -> Result<bool> {
        let inputs = self.view.inputs.clone();
        let mut share = self.limits.build();
        let mut any = false;
        for (id, answer) in std::mem::take(&mut self.answers) {
            for batch in answer.rows().batches_of(ANSWER_ROWS) {
                let delta = Delta::insert(batch?);
                let mut step = empty.to_vec();
                for (n, input) in inputs.iter().enumerate().filter(|(_, i)| i.object == id && i.is_taken_in()) {
                    step[n] = project(&delta, input.columns.iter().map(|c| c.at), &schemas[n])?;
                }
                self.view.step(self.epoch, &step, &[], &self.looked_up)?;
                self.progress.advance(delta.len() as u64);
                self.progress.check()?;
                share.hold(&mut self.view, delta.len() as u64)?;
                any = true;
            }
        }
        Ok(any)
    }

    /// Takes in the rows that indexes of streams hold on sides of which a build takes in the rows; tells if there was any. The log may
    /// have lost some of them, which are found in the index all the same when others join to them.
    fn take_indexed(&mut self, empty: &[Delta]) -> Result<bool> {
        let mut share = self.limits.build();
        let mut any = false;
        for (n, place) in self.looked_up.clone() {
            let LookedIn::Index(index) = place else { continue };
            let input = &self.view.inputs[n];
            if !input.is_taken_in() || !self.streams.contains_key(&input.object) {
                continue;
            }
            let rows = index.rows();
            self.progress.expect(rows as u64);
            let parts = (rows / ANSWER_ROWS + 1).min(MOST_PARTS) as u64;
            for part in (0..parts).map(|part| Part::nth(part, parts)) {
                let delta = index.part(part)?;
                if delta.is_empty() {
                    continue;
                }
                let rows = delta.len() as u64;
                let mut step = empty.to_vec();
                step[n] = delta;
                self.view.step(self.epoch, &step, &[], &self.looked_up)?;
                self.progress.advance(rows);
                self.progress.check()?;
                share.hold(&mut self.view, rows)?;
                any = true;
            }
        }
        Ok(any)
    }
}

/// What is told at once where batches of `batch_bytes` are taken in: state is larger than what it comes from.
fn part_size(batch_bytes: usize) -> PartSize {
    PartSize { rows: ANSWER_ROWS as u64, bytes: 4 * batch_bytes as u64 }
}

/// An operator tells what it held back to those above it, and puts its changes out from then on.
fn tell(
    view: &mut View,
    telling: &Telling,
    epoch: Epoch,
    looked_up: &Answers,
    progress: &Progress,
    share: &mut BuildShare,
) -> Result<()> {
    let Telling { node, rows, parts } = *telling;
    progress.expect(rows);
    for n in 0..parts {
        let change = view.tell_held(epoch, node, Part::nth(n, parts), looked_up)?;
        let told = rows / parts + u64::from(n < rows % parts);
        progress.advance(told);
        progress.check()?;
        share.hold(view, told + change.len() as u64)?;
    }
    view.circuit.all_told(node);
    Ok(())
}

/// Of an index read as it was only the rows count whose key has a NULL, as it does not hold them: the others were taken in from it.
fn without_key(delta: Delta, input: &ViewInput) -> Result<Delta> {
    let Some(lookup) = input.lookup.as_ref().filter(|lookup| lookup.index.is_some()) else { return Ok(delta) };
    let at = |key: &usize| input.columns.iter().position(|column| column.at == *key);
    let keys = lookup.key.iter().map(at).collect::<Option<Vec<_>>>();
    let keys = keys.ok_or_else(|| Error::bug("a view looks rows up by a column that it does not read"))?;
    let nulls: Vec<_> = keys.iter().filter_map(|at| delta.batch.column(*at).logical_nulls()).collect();
    let wanted = (0..delta.len()).filter(|row| nulls.iter().any(|n| n.is_null(*row))).map(|row| row as u32);
    delta.take(&wanted.collect::<Vec<_>>().into())
}

/// What is left to read of a round.
struct Reading<'a> {
    inputs: &'a [ViewInput],
    /// Of each whether its rows are read, if it is a stream.
    is_read: &'a [bool],
    schemas: &'a [SchemaRef],
    streams: &'a HashMap<ObjectId, Arc<dyn StreamReader>>,
    /// `(stream, partition, from, to)`.
    ranges: Vec<(ObjectId, i32, i64, i64)>,
    times: &'a mut AllTimes,
    marks: &'a HashMap<ObjectId, Vec<Mark>>,
    /// Whether the view follows event time.
    follows: bool,
    batch_bytes: usize,
    progress: &'a Progress,
    profile: &'a Profile,
    /// The operators that the inputs are.
    nodes: &'a [usize],
}

/// What a view takes in at once.
struct Batch {
    /// By the number of the input; those that are not here have no rows.
    rows: Vec<(usize, Delta)>,
    /// How many records they come from.
    records: u64,
    /// The watermarks of each input after them.
    marks: Vec<Vec<Mark>>,
}

impl Reading<'_> {
    fn next(&mut self) -> Result<Option<Batch>> {
        if self.ranges.is_empty() {
            return Ok(None);
        }
        let streams: BTreeSet<ObjectId> = self.ranges.iter().map(|r| r.0).collect();
        let share = (self.batch_bytes / self.ranges.len()).max(1 << 20);
        let mut rows: HashMap<ObjectId, Vec<Delta>> = HashMap::new();
        let read = self.inputs.iter().zip(self.is_read).filter(|(_, is_read)| **is_read).map(|(input, _)| input);
        let mut columns = needed(read, &streams);
        let mut records = 0;
        for (stream, partition, from, to) in &mut self.ranges {
            let reader = self.streams[stream].as_ref();
            let columns = columns.entry(*stream).or_default();
            let at = (*partition, *from, *to);
            let told = AtomicU64::new(0);
            let decoded = |records| {
                told.fetch_add(records, Ordering::Relaxed);
                self.progress.decoded(records);
            };
            let start = Instant::now();
            let (read, next) = read_range(*stream, reader, at, share, columns, self.times, &decoded)?;
            if let Some(n) = first_of(self.inputs, self.is_read, *stream) {
                self.profile.spent(self.nodes[n], start.elapsed());
            }
            let passed = (next - *from).max(0) as u64;
            // Records that are not there any more are passed, too.
            self.progress.decoded(passed.saturating_sub(told.into_inner()));
            records += passed;
            *from = next;
            rows.entry(*stream).or_default().extend(read);
        }
        self.ranges.retain(|r| r.2 < r.3);
        let mut batch = Batch { rows: vec![], records, marks: self.marks_now() };
        for (n, input) in self.inputs.iter().enumerate() {
            if let Some(deltas) = rows.get(&input.object).filter(|_| self.is_read[n]) {
                let (schema, start) = (&self.schemas[n], Instant::now());
                let at = positions(&columns[&input.object], &input.columns);
                let parts =
                    deltas.iter().map(|d| project(d, at.iter().copied(), schema)).collect::<Result<Vec<_>>>()?;
                batch.rows.push((n, without_key(concat_deltas(schema, &parts)?, input)?));
                self.profile.spent(self.nodes[n], start.elapsed());
            }
        }
        Ok(Some(batch))
    }

    /// The watermarks of each input when what is left is still to come.
    fn marks_now(&self) -> Vec<Vec<Mark>> {
        if !self.follows {
            return vec![];
        }
        let of = |id: &ObjectId| {
            let end = self.marks.get(id).cloned().unwrap_or_default();
            let event = self.streams.get(id).and_then(|s| s.event_time());
            let (Some(event), Some(times)) = (event, self.times.get(id)) else { return end };
            let unread = self.ranges.iter().filter(|r| r.0 == *id).map(|r| r.1);
            mark(&event, times.building(unread, end.first().map(|m| m.1)))
        };
        self.inputs.iter().map(|i| of(&i.object)).collect()
    }
}

/// The first input of those that are read that is this stream: its records are decoded once, for all of them.
pub(super) fn first_of(inputs: &[ViewInput], is_read: &[bool], stream: ObjectId) -> Option<usize> {
    inputs.iter().zip(is_read).position(|(input, is_read)| *is_read && input.object == stream)
}

/// Reads a piece `(partition, from, to)` of a stream and gives the offset after it. Of a stream in `times`, which stands at
/// `from`, late rows are left out. `decoded` is told as [`StreamReader::read_telling`] says.
pub(super) fn read_range(
    stream: ObjectId,
    reader: &dyn StreamReader,
    (partition, from, to): (i32, i64, i64),
    max_bytes: usize,
    columns: &mut Vec<ColumnPart>,
    times: &mut AllTimes,
    decoded: &(dyn Fn(u64) + Sync),
) -> Result<(Vec<Delta>, i64)> {
    let event = reader.event_time().map(|e| EventTime { offsets: None, ..e });
    let (Some(event), Some(times)) = (event, times.get_mut(&stream)) else {
        let (batches, next) = reader.read(partition, from, to, max_bytes, columns, decoded)?;
        return Ok((batches.into_iter().map(Delta::insert).collect(), next));
    };
    with_time(columns, &event);
    let mut to = times.next_floor(partition, from).map_or(to, |floor| floor.min(to));
    let (batches, next) = loop {
        let (batches, next) = reader.read(partition, from, to, max_bytes, columns, decoded)?;
        match times.learn_raised(partition, from, next) {
            Some(floor) => to = floor,
            None => break (batches, next),
        }
    };
    let rows: Vec<Delta> = batches.into_iter().map(Delta::insert).collect();
    let sorted = times.sort_out(partition, from, &rows, TimeAt::of(&event, columns)?)?;
    times.take(partition, next, &sorted, 0);
    Ok((sorted.on_time, next))
}

/// The columns of each stream that any of `inputs` asks for.
pub(super) fn needed<'i>(
    inputs: impl IntoIterator<Item = &'i ViewInput>,
    streams: &BTreeSet<ObjectId>,
) -> HashMap<ObjectId, Vec<ColumnPart>> {
    let mut columns: HashMap<ObjectId, BTreeMap<usize, ColumnPart>> =
        streams.iter().map(|s| (*s, BTreeMap::new())).collect();
    for input in inputs {
        if let Some(parts) = columns.get_mut(&input.object) {
            for part in &input.columns {
                let together = parts.remove(&part.at).map_or_else(|| part.clone(), |p| p.with(part));
                parts.insert(part.at, together);
            }
        }
    }
    columns.into_iter().map(|(stream, parts)| (stream, parts.into_values().collect())).collect()
}

/// Where `wanted` columns stand among `given` ones.
pub(super) fn positions(given: &[ColumnPart], wanted: &[ColumnPart]) -> Vec<usize> {
    wanted.iter().map(|w| given.iter().position(|g| g.at == w.at).unwrap_or(0)).collect()
}
