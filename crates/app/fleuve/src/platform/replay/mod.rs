//! A view run again from the start of its streams to some point, beside the server and in memory.
//!
//! Its circuit, and those of the views that it reads, are made anew and fed from the log through the same decoders as the running ones.
//! Nothing of the running server is touched: the log is read as any consumer reads it. The same log and point give the same answer:
//! a batch's size has no influence on it, and where the order between partitions shows (each change of a row), records come in the
//! order of their times, then of streams, partitions and offsets.

mod answer;
mod source;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, Int32Array, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use fleuve_engine::{Circuit, Mark, Published};
use fleuve_sql::{BoundObject, ObjectSet, OnError, Replay, Replayed, Spec, Until};
use fleuve_types::{ColumnPart, Delta, Error, ErrorKind, ObjectId, Result, narrow_struct};

use super::Platform;
use super::observe::shown;
use super::relations::Declared;
use answer::{Answer, Told, Watched};
use source::{Source, source};

/// Records that a replay takes in one by one, to tell each change of a row.
const MAX_WATCHED_RECORDS: u64 = 2_000_000;

fn bug(e: impl std::fmt::Display) -> Error {
    Error::bug(format!("a replay: {e}"))
}

/// What a view shows, and the rows of its replay: the first with 0, the others with 1 in a first column `_side`.
fn beside(published: &Published, bound: &BoundObject, replayed: &RecordBatch) -> Result<RecordBatch> {
    let missing = || Error::new(ErrorKind::Retry, format!("\"{}\" is being built", bound.object.name));
    let shown = published.views.get(&bound.object.id).ok_or_else(missing)?;
    let schema = replayed.schema();
    let mut parts = vec![];
    for (side, rows) in shown.batches()?.iter().map(|rows| (0, rows)).chain([(1, replayed)]) {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![side; rows.num_rows()]))];
        for (column, field) in rows.columns().iter().zip(schema.fields()) {
            columns.push(cast(column, field.data_type()).map_err(bug)?);
        }
        parts.push(columns);
    }
    let mut fields = vec![Arc::new(Field::new("_side", DataType::Int32, true))];
    fields.extend(schema.fields().iter().cloned());
    let schema = Arc::new(Schema::new(fields));
    let parts: Vec<RecordBatch> =
        parts.into_iter().map(|p| RecordBatch::try_new(schema.clone(), p)).collect::<Result<_, _>>().map_err(bug)?;
    concat_batches(&schema, &parts).map_err(bug)
}

struct Running {
    id: ObjectId,
    circuit: Circuit,
    inputs: Vec<(ObjectId, Vec<ColumnPart>)>,
    schemas: Vec<SchemaRef>,
}

/// One record, or the records of a batch.
struct Taken {
    source: usize,
    partition: i32,
    rows: RecordBatch,
}

/// A replay under way.
struct Run {
    sources: Vec<Source>,
    views: Vec<Running>,
    answer: Answer,
    /// The watermarks that the views were told.
    told: Vec<Vec<Mark>>,
    steps: u64,
    records: u64,
    /// What `now()` is in views, microseconds.
    now_us: i64,
}

impl Platform {
    /// Runs a view again. Blocks.
    ///
    /// # Errors
    /// A point that is not in the log, a row that fails as it does in the running view, and limits.
    pub(super) fn replay(&self, asked: &Replay, stop: &AtomicBool) -> Result<Replayed> {
        let set = self.object_set();
        let bound = set.by_id(asked.view).ok_or_else(|| Error::not_found("there is no such view"))?;
        let Spec::View(view) = &bound.spec else { return Err(Error::input("only a view can be replayed")) };
        let watched = if asked.watch.is_empty() { None } else { Some(Watched::new(bound, view, &asked.watch)?) };
        if asked.compare && (asked.until != Until::Now || watched.is_some()) {
            return Err(Error::input("only the whole answer of now is compared with the view"));
        }
        let published = self.engine.published();
        let mut run = self.prepare(&set, bound, &published)?;
        let end_us = self.set_ends(&set, &published, &mut run.sources, &asked.until)?;
        if watched.is_none() {
            // The time of the point; of one that is still to come, the time by now.
            run.now_us = end_us.min(self.clock.now_us());
        }
        let left: u64 = run.sources.iter().flat_map(|s| &s.cursors).map(|c| (c.end - c.at).max(0) as u64).sum();
        if watched.is_some() && left > MAX_WATCHED_RECORDS {
            let message =
                format!("{left} records are too many to tell each change of a row; at most {MAX_WATCHED_RECORDS}");
            return Err(Error::new(ErrorKind::Limit, message).hint("leave --watch away, or replay to an earlier point"));
        }
        let ends = run.sources.iter().flat_map(|s| s.cursors.iter().map(|c| (s.name.clone(), c.partition, c.end)));
        let ends: Vec<_> = ends.collect();
        let rows = match watched {
            Some(watched) => run.one_by_one(&watched, stop)?,
            None => run.in_batches(stop)?,
        };
        let rows = if asked.compare { beside(&published, bound, &rows)? } else { rows };
        Ok(Replayed { rows, steps: run.steps, records: run.records, ends })
    }

    /// The circuits of a view and of those that it reads, each after its inputs, and their streams.
    fn prepare(&self, set: &ObjectSet, bound: &Arc<BoundObject>, published: &Published) -> Result<Run> {
        let mut order: Vec<Arc<BoundObject>> = vec![];
        let mut todo = vec![(bound.clone(), false)];
        while let Some((object, after)) = todo.pop() {
            if order.iter().any(|o| o.object.id == object.object.id) {
                continue;
            }
            match (&object.spec, after) {
                (Spec::View(view), false) => {
                    todo.push((object.clone(), true));
                    let inputs = view.inputs.values().filter_map(|id| set.by_id(*id)).cloned();
                    todo.extend(inputs.map(|o| (o, false)));
                }
                _ => order.push(object.clone()),
            }
        }
        let (mut sources, mut views) = (vec![], vec![]);
        let mut schemas: HashMap<ObjectId, SchemaRef> = HashMap::new();
        for object in &order {
            let id = object.object.id;
            match &object.spec {
                Spec::Stream(_) => {
                    let relation = self.relation(id).ok_or_else(|| Error::not_found("there is no such stream"))?;
                    schemas.insert(id, relation.schema().clone());
                    let floors = published.times.get(&id).map(|times| times.floors.clone()).unwrap_or_default();
                    sources.push(source(object, relation, &floors)?);
                }
                Spec::View(view) => {
                    let declared = Declared { objects: set, engine: &self.engine };
                    let circuit = self.engine.circuit(&view.plan, &declared, view.emit_on_close)?;
                    if view.on_error == OnError::Skip {
                        circuit.skip_failing_rows();
                    }
                    let mut running = Running { id, circuit, inputs: vec![], schemas: vec![] };
                    for input in running.circuit.inputs() {
                        let of =
                            view.inputs.get(&input.table).copied().ok_or_else(|| bug("an input without a name"))?;
                        let whole = schemas.get(&of).ok_or_else(|| bug("an input that is not there"))?;
                        let fields = input.columns.iter().map(|c| c.field(whole.field(c.at)).with_nullable(true));
                        running.schemas.push(Arc::new(Schema::new(fields.collect::<Vec<_>>())));
                        running.inputs.push((of, input.columns.clone()));
                    }
                    schemas.insert(id, running.circuit.schema().clone());
                    views.push(running);
                }
                Spec::Source(_) | Spec::Sink(_) | Spec::Index(_) => {}
            }
        }
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        let schema = views.last().map(|v| v.circuit.schema().clone()).ok_or_else(|| bug("no view"))?;
        // The names of the view's columns; the plan's may have lost theirs.
        let Spec::View(view) = &bound.spec else { return Err(bug("no view")) };
        let named = view.schema.fields().iter().zip(schema.fields());
        let named = named.map(|(n, f)| Field::new(n.name(), f.data_type().clone(), true)).collect::<Vec<_>>();
        let answer = Answer::new(Arc::new(Schema::new(named)))?;
        Ok(Run { sources, views, answer, told: vec![], steps: 0, records: 0, now_us: i64::MIN })
    }

    /// Where each partition ends: at the point itself, and elsewhere before the first record that is later than it. Gives its time in
    /// microseconds.
    fn set_ends(&self, set: &ObjectSet, published: &Published, sources: &mut [Source], until: &Until) -> Result<i64> {
        for source in sources.iter_mut() {
            for cursor in &mut source.cursors {
                cursor.end = published.frontier.get(source.id, cursor.partition).unwrap_or(cursor.at).max(cursor.at);
            }
        }
        let (time, place) = match until {
            Until::Time(ms) => (*ms, None),
            Until::Now => {
                for source in sources {
                    source.last_mark = published.times.get(&source.id).map(|times| times.watermark);
                }
                return Ok(published.time_us);
            }
            Until::Offset { stream, partition, offset } => {
                let name = set.by_id(*stream).map_or_else(|| stream.to_string(), |b| shown(b));
                let source = sources.iter().find(|s| s.id == *stream);
                let source = source.ok_or_else(|| Error::input(format!("the view does not read the stream {name}")))?;
                let cursor = source.cursors.iter().find(|c| c.partition == *partition);
                let cursor = cursor.ok_or_else(|| Error::input(format!("{name} has no partition {partition}")))?;
                if *offset < cursor.at || *offset >= cursor.end {
                    let message =
                        format!("{name} has no offset {offset} in partition {partition} that the view has taken in");
                    let hint = format!("it has {} to {}", cursor.at, cursor.end - 1);
                    return Err(Error::input(message).hint(hint));
                }
                (source.time_up_to(cursor, *offset)?, Some((*stream, *partition, *offset)))
            }
        };
        for source in sources.iter_mut() {
            for n in 0..source.cursors.len() {
                let cursor = &source.cursors[n];
                let end = match place {
                    Some((stream, partition, offset)) if stream == source.id && partition == cursor.partition => {
                        offset + 1
                    }
                    _ => source.end_at(cursor, time)?,
                };
                let cursor = &mut source.cursors[n];
                cursor.goes_on = end < cursor.end;
                cursor.end = end;
            }
        }
        Ok(time.saturating_mul(1000))
    }
}

impl Running {
    fn step(
        &mut self,
        outs: &HashMap<ObjectId, (Delta, Delta)>,
        marks: &HashMap<ObjectId, Vec<Mark>>,
    ) -> Result<Delta> {
        let on_close = self.circuit.emits_on_close();
        let mut inputs = vec![];
        for ((object, columns), schema) in self.inputs.iter().zip(&self.schemas) {
            let Some((all, on_time)) = outs.get(object) else {
                inputs.push(Delta::empty(schema.clone()));
                continue;
            };
            let delta = if on_close { on_time } else { all };
            let parts = columns.iter().zip(schema.fields());
            let arrays = parts.map(|(c, f)| narrow_struct(delta.batch.column(c.at), f.data_type()));
            let arrays: Vec<ArrayRef> = arrays.collect::<Result<_>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(delta.len()));
            let batch = RecordBatch::try_new_with_options(schema.clone(), arrays, &options).map_err(bug)?;
            inputs.push(Delta { batch, weights: delta.weights.clone() });
        }
        let marks: Vec<Vec<Mark>> =
            self.inputs.iter().map(|(object, _)| marks.get(object).cloned().unwrap_or_default()).collect();
        let delta = self.circuit.step_at(&inputs, &marks)?;
        self.circuit.take_dead_rows();
        Ok(delta)
    }
}

impl Run {
    /// Feeds records to all views; gives the change of the answer.
    fn step(&mut self, taken: Vec<Taken>) -> Result<Vec<(Vec<u8>, i64)>> {
        let mut outs: HashMap<ObjectId, (Delta, Delta)> = HashMap::new();
        let mut parts: HashMap<ObjectId, (Vec<RecordBatch>, Vec<RecordBatch>)> = HashMap::new();
        for Taken { source, partition, rows } in taken {
            self.records += rows.num_rows() as u64;
            let source = &mut self.sources[source];
            let on_time = source.on_time(partition, &rows)?;
            let part = parts.entry(source.id).or_default();
            part.0.push(rows);
            part.1.push(on_time);
        }
        for (id, (all, on_time)) in parts {
            let schema = all.first().map(RecordBatch::schema).ok_or_else(|| bug("no rows"))?;
            let together = |rows: &[RecordBatch]| concat_batches(&schema, rows).map(Delta::insert).map_err(bug);
            outs.insert(id, (together(&all)?, together(&on_time)?));
        }
        self.told = self.sources.iter().map(Source::marks).collect();
        let ids = self.sources.iter().map(|s| s.id);
        let mut marks: HashMap<ObjectId, Vec<Mark>> = ids.zip(self.told.iter().cloned()).collect();
        let mut last = None;
        for view in &mut self.views {
            if self.now_us > i64::MIN {
                view.circuit.tell_time(self.now_us);
            }
            let delta = view.step(&outs, &marks)?;
            marks.insert(view.id, view.circuit.marks());
            last = Some(delta.clone());
            outs.insert(view.id, (delta.clone(), delta));
        }
        self.steps += 1;
        match last {
            Some(delta) => self.answer.take(&delta),
            None => Ok(vec![]),
        }
    }

    /// What follows from there being no more records.
    fn end(&mut self) -> Result<Vec<(Vec<u8>, i64)>> {
        let is_known = self.sources.iter().map(Source::marks).eq(self.told.iter().cloned());
        if is_known { Ok(vec![]) } else { self.step(vec![]) }
    }

    fn stopped(stop: &AtomicBool) -> Result<()> {
        match stop.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Retry, "the replay was given up")),
            false => Ok(()),
        }
    }

    /// As fast as it goes: the answer does not depend on how records are batched.
    fn in_batches(&mut self, stop: &AtomicBool) -> Result<RecordBatch> {
        self.step(vec![])?;
        loop {
            Self::stopped(stop)?;
            let mut taken = vec![];
            for (n, source) in self.sources.iter_mut().enumerate() {
                for c in 0..source.cursors.len() {
                    source.fill(c)?;
                    let partition = source.cursors[c].partition;
                    let rows = std::mem::take(&mut source.cursors[c].rows);
                    taken.extend(rows.into_iter().rev().map(|rows| Taken { source: n, partition, rows }));
                }
            }
            if taken.is_empty() {
                self.end()?;
                return self.answer.rows();
            }
            self.step(taken)?;
        }
    }

    /// The next record of all.
    fn next(&mut self) -> Result<Option<Taken>> {
        let mut first: Option<(i64, usize, usize)> = None;
        for n in 0..self.sources.len() {
            let time_at = self.sources[n].hidden("_timestamp")?;
            for c in 0..self.sources[n].cursors.len() {
                self.sources[n].fill(c)?;
                let cursor = &self.sources[n].cursors[c];
                let Some(batch) = cursor.rows.last() else { continue };
                let time = Source::numbers(&batch.slice(cursor.taken, 1), time_at)?.value(0).max(cursor.time);
                if first.is_none_or(|f| (time, n, c) < f) {
                    first = Some((time, n, c));
                }
            }
        }
        let Some((time, n, c)) = first else { return Ok(None) };
        self.now_us = self.now_us.max(time.saturating_mul(1000));
        let cursor = &mut self.sources[n].cursors[c];
        cursor.time = time;
        let Some(batch) = cursor.rows.last() else { return Ok(None) };
        let rows = batch.slice(cursor.taken, 1);
        cursor.taken += 1;
        if cursor.taken == batch.num_rows() {
            cursor.rows.pop();
            cursor.taken = 0;
        }
        Ok(Some(Taken { source: n, partition: cursor.partition, rows }))
    }

    /// Record by record: each change of the watched row, with the record that made it.
    fn one_by_one(&mut self, watched: &Watched, stop: &AtomicBool) -> Result<RecordBatch> {
        let mut told = Told::default();
        let begun = self.step(vec![])?;
        told.changes(&self.answer, watched, &begun, self.steps, None)?;
        while let Some(taken) = self.next()? {
            if self.steps.is_multiple_of(1024) {
                Self::stopped(stop)?;
            }
            let source = &self.sources[taken.source];
            let offset = Source::numbers(&taken.rows, source.hidden("_offset")?)?.value(0);
            let place = Some((source.name.clone(), taken.partition, offset));
            let changes = self.step(vec![taken])?;
            told.changes(&self.answer, watched, &changes, self.steps, place)?;
        }
        let ended = self.end()?;
        told.changes(&self.answer, watched, &ended, self.steps, None)?;
        told.to_batch(&self.answer)
    }
}
