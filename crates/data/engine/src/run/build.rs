//! A new view takes in what was there before it, on a thread of its own, while epochs go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use fleuve_types::{Delta, Epoch, Frontier, ObjectId, Result};

use super::core::MEASURE;
use super::times::{AllTimes, TimeAt, mark, with_time};
use super::view::{View, input_schema, project};
use super::{BuildProgress, Command, EventTime, Reply, StreamReader};
use crate::event_time::Mark;
use crate::operators::concat_deltas;
use crate::profile::Profile;

/// A build under way, as the engine keeps it.
pub(super) struct Building {
    /// Changes of the views that it reads, since the round began.
    pub(super) retained: HashMap<ObjectId, Vec<Delta>>,
    pub(super) progress: Arc<Progress>,
    /// The figures of the view's operators.
    pub(super) profile: Arc<Profile>,
    pub(super) replies: Vec<Reply<()>>,
    /// The definition's version, so that a later replacement wins.
    pub(super) version: u32,
}

/// One round of a build: from where the view stands to where the engine stood when the round began.
pub(super) struct Round {
    pub(super) view: View,
    pub(super) streams: HashMap<ObjectId, Arc<dyn StreamReader>>,
    /// Where the view stands. A stream that is absent is read from its start.
    pub(super) from: Frontier,
    pub(super) to: Frontier,
    /// Changes of views to take in with the first step.
    pub(super) views: HashMap<ObjectId, Delta>,
    /// Event times where the view stands, and the watermarks where the round ends; of the views that it reads, too. Only for
    /// a view that follows them.
    pub(super) times: AllTimes,
    pub(super) marks: HashMap<ObjectId, Vec<Mark>>,
    pub(super) epoch: Epoch,
    pub(super) batch_bytes: usize,
    /// The view's state may not pass this.
    pub(super) limit_bytes: usize,
    pub(super) progress: Arc<Progress>,
}

/// How far a build is; it tells, anyone reads.
pub(super) struct Progress {
    since: Instant,
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    pub(super) fn begin() -> Arc<Self> {
        Arc::new(Self { since: Instant::now(), done: AtomicU64::new(0), total: AtomicU64::new(0) })
    }

    pub(super) fn now(&self) -> BuildProgress {
        BuildProgress {
            done: self.done.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            elapsed: self.since.elapsed(),
        }
    }
}

/// What a round gives back.
pub(crate) struct Built {
    pub(super) view: View,
    pub(super) frontier: Frontier,
    pub(super) times: AllTimes,
    pub(super) result: Result<()>,
}

/// Runs a round and tells the engine.
pub(super) fn spawn(mut round: Round, commands: SyncSender<Command>) -> Result<()> {
    std::thread::Builder::new()
        .name("build".into())
        .spawn(move || {
            let result = round.run();
            let built = Built { view: round.view, frontier: round.to, times: round.times, result };
            // The engine is gone only when the process ends.
            let _ = commands.send(Command::Built(Box::new(built)));
        })
        .map(|_| ())
        .map_err(|e| fleuve_types::Error::io("start a build", e))
}

impl Round {
    /// The watermarks of each input when `unread` is still to come.
    fn marks_now(&self, unread: &[(ObjectId, i32, i64, i64)]) -> Vec<Vec<Mark>> {
        if !self.view.circuit.emits_on_close() {
            return vec![];
        }
        let of = |id: &ObjectId| {
            let end = self.marks.get(id).cloned().unwrap_or_default();
            let event = self.streams.get(id).and_then(|s| s.event_time());
            let (Some(event), Some(times)) = (event, self.times.get(id)) else { return end };
            let unread = unread.iter().filter(|r| r.0 == *id).map(|r| r.1);
            mark(&event, times.building(unread, end.first().map(|m| m.1)))
        };
        self.view.inputs.iter().map(|i| of(&i.object)).collect()
    }

    fn run(&mut self) -> Result<()> {
        let inputs = self.view.inputs.clone();
        let schemas: Vec<_> = (0..inputs.len()).map(|i| input_schema(&self.view.circuit, i)).collect();
        let mut ranges: Vec<(ObjectId, i32, i64, i64)> = vec![];
        for ((stream, partition), to) in &self.to.offsets {
            if let Some(reader) = self.streams.get(stream) {
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
        let rows: usize = self.views.values().map(Delta::len).sum();
        self.progress.total.fetch_add(records.max(0) as u64 + rows as u64, Ordering::Relaxed);
        let mut first = self.view.circuit.fresh;
        let mut measured = Instant::now();
        let empty: Vec<Delta> = schemas.iter().map(|s| Delta::empty(s.clone())).collect();
        let mut pending = empty.clone();
        for (n, input) in inputs.iter().enumerate() {
            if let Some(delta) = self.views.get(&input.object) {
                pending[n] = project(delta, &input.columns, &schemas[n])?;
                first = true;
            }
        }
        let mut done = rows as u64;
        while first || !ranges.is_empty() {
            first = false;
            let streams: std::collections::BTreeSet<ObjectId> = ranges.iter().map(|r| r.0).collect();
            let share = self.batch_bytes / ranges.len().max(1);
            let mut rows: HashMap<ObjectId, Vec<Delta>> = HashMap::new();
            let mut columns = needed(&inputs, &streams);
            for (stream, partition, from, to) in &mut ranges {
                let reader = self.streams[stream].as_ref();
                let columns = columns.entry(*stream).or_default();
                let at = (*partition, *from, *to);
                let (read, next) = read_range(*stream, reader, at, share.max(1 << 20), columns, &mut self.times)?;
                done += (next - *from).max(0) as u64;
                *from = next;
                rows.entry(*stream).or_default().extend(read);
            }
            ranges.retain(|r| r.2 < r.3);
            for (n, input) in inputs.iter().enumerate() {
                if let Some(deltas) = rows.get(&input.object) {
                    let at = positions(&columns[&input.object], &input.columns);
                    let parts = deltas.iter().map(|d| project(d, &at, &schemas[n])).collect::<Result<Vec<_>>>()?;
                    pending[n] = concat_deltas(&schemas[n], &parts)?;
                }
            }
            let marks = self.marks_now(&ranges);
            self.view.step(self.epoch, &pending, &marks)?;
            pending.clone_from(&empty);
            self.progress.done.fetch_add(std::mem::take(&mut done), Ordering::Relaxed);
            if measured.elapsed() > MEASURE {
                let bytes = self.view.measure();
                if bytes > self.limit_bytes {
                    return Err(super::view::over_limit(bytes, self.limit_bytes, "view_memory_bytes"));
                }
                measured = Instant::now();
            }
        }
        Ok(())
    }
}

/// Reads a piece `(partition, from, to)` of a stream and gives the offset after it. Of a stream in `times`, which stands at
/// `from`, late rows are left out.
pub(super) fn read_range(
    stream: ObjectId,
    reader: &dyn StreamReader,
    (partition, from, to): (i32, i64, i64),
    max_bytes: usize,
    columns: &mut Vec<usize>,
    times: &mut AllTimes,
) -> Result<(Vec<Delta>, i64)> {
    let event = reader.event_time().map(|e| EventTime { offsets: None, ..e });
    let (Some(event), Some(times)) = (event, times.get_mut(&stream)) else {
        let (batches, next) = reader.read(partition, from, to, max_bytes, columns)?;
        return Ok((batches.into_iter().map(Delta::insert).collect(), next));
    };
    with_time(columns, &event);
    let to = times.next_floor(partition, from).map_or(to, |floor| floor.min(to));
    let (batches, next) = reader.read(partition, from, to, max_bytes, columns)?;
    let rows: Vec<Delta> = batches.into_iter().map(Delta::insert).collect();
    let sorted = times.sort_out(partition, from, &rows, TimeAt::of(&event, columns)?)?;
    times.take(partition, &sorted, 0);
    Ok((sorted.on_time, next))
}

/// The columns of each stream that any of `inputs` asks for.
pub(super) fn needed<'i>(
    inputs: impl IntoIterator<Item = &'i super::view::ViewInput>,
    streams: &std::collections::BTreeSet<ObjectId>,
) -> HashMap<ObjectId, Vec<usize>> {
    let mut columns: HashMap<ObjectId, Vec<usize>> = streams.iter().map(|s| (*s, vec![])).collect();
    for input in inputs {
        if let Some(list) = columns.get_mut(&input.object) {
            list.extend(&input.columns);
        }
    }
    for list in columns.values_mut() {
        list.sort_unstable();
        list.dedup();
    }
    columns
}

/// Where `wanted` columns stand among `given` ones.
pub(super) fn positions(given: &[usize], wanted: &[usize]) -> Vec<usize> {
    wanted.iter().map(|w| given.iter().position(|g| g == w).unwrap_or(0)).collect()
}
