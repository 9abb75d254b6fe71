//! Streams as rows: the log's records decoded by the stream's format, for the engine and for queries.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use fleuve_engine::{EventTime, LateRow, StreamReader};
use fleuve_formats::{Decoder, FormatSpec, Headers, RecordRef, SchemaLookup, pseudo_columns};
use fleuve_log::batch::{Batch, Batches, RecordRef as LogRecord, Records};
use fleuve_log::{AppendError, Log, ReadError, ReadSlice};
use fleuve_sql::{BoundObject, StreamSpec};
use fleuve_types::{ColumnPart, Error, ErrorKind, KNOWN_MS, ObjectId, Result, far_ms, pseudo_fields};
use parking_lot::{Mutex, RwLock};
use rayon::prelude::*;

use super::dead::{BadRecord, DeadLetters};
use super::later::LaterColumns;
use super::relations::event_column;

/// Records below this number are decoded on the calling thread.
const PARALLEL_RECORDS: usize = 8_192;
/// More are cut into so many pieces for each core: one that is done with its own helps the others.
const PIECES_PER_CORE: usize = 4;
/// Values are decoded in pieces of at most this size.
const PIECE_BYTES: usize = 32 << 20;
/// A read takes at most this much of the log, whatever it was asked for.
const READ_AT_MOST: usize = 64 << 20;
/// Reads of at least this much at once go on with the next while they are decoded.
const READ_AHEAD_FROM: usize = 256 << 10;
/// Remembered ranges with bad records that the epoch loop has not passed yet.
const REMEMBERED: usize = 64;
/// And what their bad records may take.
const REMEMBERED_BYTES: usize = 16 << 20;

/// A stream's log and format together.
pub struct StreamRelation {
    id: ObjectId,
    name: String,
    log: Log,
    format: FormatSpec,
    own: SchemaRef,
    schema: SchemaRef,
    checks: Vec<(String, Arc<dyn PhysicalExpr>)>,
    lookup: Arc<dyn SchemaLookup>,
    event_time: Option<EventTime>,
    dead: Option<DeadLetters>,
    /// Whoever reads has looked at it before it became another, or reads by the other.
    later: RwLock<Arc<LaterColumns>>,
    /// `(partition, from) -> (next, bad records)` of ranges read but not passed.
    bad: Mutex<ReadRanges>,
    /// By partition: what follows the last large read of it. One that is not asked for stays until the next.
    ahead: Mutex<HashMap<i32, Ahead>>,
}

/// A piece of the log on its way into memory.
struct Ahead {
    from: i64,
    max_bytes: usize,
    slice: Receiver<std::result::Result<ReadSlice, ReadError>>,
}

/// `(partition, from) -> (next, bad records)`.
type ReadRanges = HashMap<(i32, i64), (i64, Vec<BadRecord>)>;

/// Records one after the other that are decoded together.
type Piece<'r> = Vec<&'r [LogRecord<'r>]>;

/// One range of a partition, decoded.
pub struct DecodedRange {
    pub rows: Vec<RecordBatch>,
    pub bad: Vec<BadRecord>,
    /// The offset after the last record looked at.
    pub next: i64,
}

impl StreamRelation {
    /// The relation of a bound stream. `dead` is where its bad records go.
    pub fn new(
        bound: &BoundObject,
        spec: &StreamSpec,
        log: Log,
        lookup: Arc<dyn SchemaLookup>,
        dead: Option<ObjectId>,
    ) -> Result<Self> {
        let format = FormatSpec::new(&spec.format, &spec.format_options, Some(spec.schema.clone()))?;
        let checks = fleuve_sql::check_expressions(spec)?;
        let checks = spec.checks.iter().cloned().zip(checks).collect();
        // Rows are not refused for NULL here (the decoder does that): queries and state see every column as nullable.
        let own: Vec<Field> =
            spec.schema.fields().iter().map(|f| Field::new(f.name(), f.data_type().clone(), true)).collect();
        let mut all = own.clone();
        all.extend(pseudo_fields().iter().map(|f| Field::new(f.name(), f.data_type().clone(), true)));
        Ok(Self {
            id: bound.object.id,
            name: format!("{}.{}", bound.object.namespace, bound.object.name),
            dead: dead.map(|dead| DeadLetters::new(log.clone(), bound.object.id, dead)),
            later: RwLock::new(Arc::new(LaterColumns::of(&log, bound.object.id)?)),
            log,
            format,
            event_time: event_time(spec)?,
            own: Arc::new(Schema::new(own)),
            schema: Arc::new(Schema::new(all)),
            checks,
            lookup,
            bad: Mutex::default(),
            ahead: Mutex::default(),
        })
    }

    /// Columns that were coming have come: the records that are there are older than they, and no later ones.
    ///
    /// # Errors
    /// The log took nothing.
    pub async fn columns_have_come(&self) -> Result<()> {
        loop {
            let written = {
                // Records are read up to what was durable before: so by the lock no reader is ahead of these ends.
                let mut later = self.later.write();
                if !later.are_coming(self.format.schema()) {
                    return Ok(());
                }
                let ends = (0..self.partitions()).map(|p| Ok(self.bounds(p)?.1)).collect::<Result<Vec<_>>>()?;
                let come = later.come(self.format.schema(), &ends);
                // Queued before any epoch that goes by it.
                let written = self.log.append_atomic_nowait(vec![], vec![come.mark(self.id)?]);
                if written.is_ok() {
                    *later = Arc::new(come);
                }
                written
            };
            match written {
                Ok(pending) => return pending.await.map(|_| ()).map_err(Error::from),
                // An append that is waited for goes through when there is room again.
                Err(AppendError::Busy) => {
                    self.log.append_atomic(vec![], vec![("settled".into(), None)]).await.map(drop)?
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// How its bytes become rows.
    pub fn format(&self) -> &FormatSpec {
        &self.format
    }

    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// All columns, pseudo-columns last.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn dead_letters(&self) -> Option<ObjectId> {
        self.dead.as_ref().map(DeadLetters::stream)
    }

    pub fn bounds(&self, partition: i32) -> Result<(i64, i64)> {
        self.log
            .offsets(self.id, partition)
            .ok_or_else(|| Error::not_found(format!("stream {} has no partition {partition}", self.name)))
    }

    pub fn partitions(&self) -> i32 {
        self.log.topic(self.id).map_or(0, |t| t.partitions)
    }

    /// What holds the records `from..to` of a partition (or the first of them, of about `max_bytes`), decompressed, and the offset
    /// after them. There may be records before `from` and behind `to` in it.
    fn bodies(&self, partition: i32, from: i64, to: i64, max_bytes: usize) -> Result<(Vec<Records>, i64)> {
        let slice = match self.slice(partition, from, max_bytes) {
            Ok(slice) => slice,
            Err(ReadError::OffsetOutOfRange { .. }) => {
                // Retention took the beginning away since the range was made.
                let (start, _) = self.bounds(partition)?;
                if start >= to {
                    return Ok((vec![], to));
                }
                let again = start.max(from);
                self.log
                    .read(self.id, partition, again, max_bytes)
                    .map_err(|e| self.unreadable(partition, again, &e))?
            }
            Err(e) => return Err(self.unreadable(partition, from, &e)),
        };
        let mut batches = vec![];
        let mut next = from;
        'slice: for bytes in slice.batches {
            for batch in Batches::new(bytes) {
                let batch = batch.map_err(|e| self.unreadable(partition, next, &e))?;
                next = (batch.header().last_offset() + 1).min(to);
                batches.push(batch);
                if next >= to {
                    break 'slice;
                }
            }
        }
        let opened =
            |batch: &Batch| batch.records().map_err(|e| self.unreadable(partition, batch.header().base_offset, &e));
        let bodies = batches.par_iter().map(opened).collect::<Result<Vec<_>>>()?;
        // Nothing readable although the range is not at its end: it was deleted meanwhile.
        Ok((bodies, if next == from { to } else { next }))
    }

    /// A piece of the log, perhaps already on its way.
    fn slice(&self, partition: i32, from: i64, max_bytes: usize) -> std::result::Result<ReadSlice, ReadError> {
        let is_it = |ahead: &mut Ahead| ahead.from == from && ahead.max_bytes == max_bytes;
        let ahead = self.ahead.lock().extract_if(|of, ahead| *of == partition && is_it(ahead)).next();
        match ahead.and_then(|(_, ahead)| ahead.slice.recv().ok()) {
            Some(Ok(slice)) => Ok(slice),
            // What went wrong then may not now.
            _ => self.log.read(self.id, partition, from, max_bytes),
        }
    }

    /// Begins to read what follows, while what is here is decoded.
    fn read_ahead(&self, partition: i32, from: i64, max_bytes: usize) {
        let (log, id) = (self.log.clone(), self.id);
        let (sender, slice) = sync_channel(1);
        let read = move || drop(sender.send(log.read(id, partition, from, max_bytes)));
        if std::thread::Builder::new().name("ahead".into()).spawn(read).is_ok() {
            self.ahead.lock().insert(partition, Ahead { from, max_bytes, slice });
        }
    }

    /// The records of each body that are in `from..to`.
    fn records<'a>(
        &self,
        partition: i32,
        bodies: &'a [Records],
        (from, to): (i64, i64),
    ) -> Result<Vec<Vec<LogRecord<'a>>>> {
        let of = |body: &'a Records| {
            let mut records = Vec::with_capacity(body.remaining());
            for record in body.refs() {
                let record = record.map_err(|e| self.unreadable(partition, from, &e))?;
                if (from..to).contains(&record.offset) {
                    records.push(record);
                }
            }
            Ok(records)
        };
        bodies.iter().map(of).collect()
    }

    fn unreadable(&self, partition: i32, offset: i64, e: &dyn std::fmt::Display) -> Error {
        Error::io(format!("read stream {} partition {partition} at offset {offset}", self.name), e)
    }

    /// Decodes records `from..to` of a partition (or fewer, at about `max_bytes`, or up to where a column came); `columns` are
    /// positions in the schema.
    pub fn decode(
        &self,
        partition: i32,
        from: i64,
        to: i64,
        max_bytes: usize,
        columns: &[ColumnPart],
    ) -> Result<DecodedRange> {
        self.decode_telling((partition, from, to), max_bytes, columns, &|_| ())
    }

    /// As [`StreamRelation::decode`]; `told` are the records of each piece when it is done.
    fn decode_telling(
        &self,
        (partition, from, to): (i32, i64, i64),
        max_bytes: usize,
        columns: &[ColumnPart],
        told: &(dyn Fn(u64) + Sync),
    ) -> Result<DecodedRange> {
        let max_bytes = max_bytes.min(READ_AT_MOST);
        let (newer, until) = self.later.read().newer_than(self.format.schema(), partition, from);
        let to = to.min(until);
        let (bodies, next) = self.bodies(partition, from, to, max_bytes)?;
        if next < to && max_bytes >= READ_AHEAD_FROM {
            self.read_ahead(partition, next, max_bytes);
        }
        let all: usize = bodies.iter().map(Records::remaining).sum();
        let pieces = PIECES_PER_CORE * rayon::current_num_threads();
        let most = if all < PARALLEL_RECORDS { all } else { all.div_ceil(pieces).max(PARALLEL_RECORDS / 2) };
        // What is made of records is decoded, and let go, where they are read.
        let decoded = |bodies: &[Records]| {
            let records = self.records(partition, bodies, (from, to))?;
            let one = |piece: Piece<'_>| {
                let decoded = self.decode_piece(partition, &piece, columns, &newer);
                told(piece.iter().map(|records| records.len() as u64).sum());
                decoded
            };
            pieces_of(&records, most).into_par_iter().map(one).collect::<Result<Vec<_>>>()
        };
        let groups: Vec<&[Records]> = groups(&bodies, most);
        let decoded = groups.into_par_iter().map(decoded).collect::<Result<Vec<_>>>()?;
        let mut range = DecodedRange { rows: vec![], bad: vec![], next };
        for (rows, bad) in decoded.into_iter().flatten() {
            range.rows.push(rows);
            range.bad.extend(bad);
        }
        Ok(range)
    }

    fn decode_piece(
        &self,
        partition: i32,
        piece: &Piece<'_>,
        columns: &[ColumnPart],
        newer: &[usize],
    ) -> Result<(RecordBatch, Vec<BadRecord>)> {
        let own = self.own.fields().len();
        let headers_at = own + 4;
        let wants_headers = columns.iter().any(|c| c.at == headers_at);
        let mut refs: Vec<RecordRef<'_>> = piece
            .iter()
            .copied()
            .flatten()
            .map(|r| RecordRef {
                headers: if wants_headers { Headers::Pairs(&r.headers) } else { Headers::None },
                ..plain(r)
            })
            .collect();
        // No row can have it as its `_timestamp`, whether that is read or not.
        let far: Vec<RecordRef<'_>> = refs.extract_if(.., |r| !KNOWN_MS.contains(&r.timestamp_ms)).collect();
        // Checks look at any column, so with them all are built.
        let built: Vec<ColumnPart> = if self.checks.is_empty() {
            columns.iter().filter(|c| c.at < own).cloned().collect()
        } else {
            (0..own).map(ColumnPart::whole).collect()
        };
        let decoder = Decoder::with_parts(&self.format, self.own_declared(), &built, Some(self.lookup.clone()))?;
        let mut decoder = decoder.before(newer.iter().copied());
        let decoded = decoder.decode(&refs)?;
        let mut bad: Vec<BadRecord> =
            decoded.bad.into_iter().map(|(i, reason)| bad_record(partition, &refs[i as usize], reason)).collect();
        bad.extend(far.iter().map(|r| bad_record(partition, r, far_timestamp(r))));
        let (mut batch, mut rows) = (decoded.batch, decoded.rows);
        if !self.checks.is_empty() {
            (batch, rows) = self.check(partition, &refs, batch, rows, &mut bad)?;
        }
        bad.sort_by_key(|b| b.offset);
        let pseudo: Vec<usize> = columns.iter().filter(|c| c.at >= own).map(|c| c.at - own).collect();
        let mut pseudo_arrays = pseudo_columns(&refs, &rows, partition, &pseudo)?.into_iter();
        let mut arrays: Vec<ArrayRef> = vec![];
        for c in columns {
            if c.at >= own {
                arrays.extend(pseudo_arrays.next());
            } else if let Some(at) = built.iter().position(|b| b.at == c.at) {
                arrays.push(batch.column(at).clone());
            }
        }
        // With checks, structs are whole although less was asked for.
        let fields = columns.iter().zip(&arrays).map(|(c, array)| {
            let field = self.schema.field(c.at);
            field.clone().with_data_type(array.data_type().clone())
        });
        let schema = Schema::new(fields.collect::<Vec<_>>());
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options)
            .map_err(|e| Error::bug(format!("decoded rows of {}: {e}", self.name)))?;
        Ok((batch, bad))
    }

    /// An event time, counted as its column does, as text.
    pub fn show_time(&self, time: i64) -> String {
        let column = self.event_time.as_ref().map(|e| self.schema.field(e.column).data_type());
        let value = column.and_then(|c| ScalarValue::Int64(Some(time)).cast_to(c).ok()?.to_array().ok());
        value.and_then(|v| array_value_to_string(&v, 0).ok()).unwrap_or_else(|| time.to_string())
    }

    /// A value of the event time in seconds since 1970.
    pub fn seconds(&self, time: i64) -> Option<f64> {
        let per_second = match self.schema.field(self.event_time.as_ref()?.column).data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => 1.0,
            DataType::Timestamp(TimeUnit::Millisecond, _) => 1e3,
            DataType::Timestamp(TimeUnit::Microsecond, _) => 1e6,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => 1e9,
            _ => return None,
        };
        Some(time as f64 / per_second)
    }

    /// The records of rows that came late.
    fn late_records(&self, partition: i32, (from, to): (i64, i64), late: &[&LateRow]) -> Result<Vec<BadRecord>> {
        let (mut out, mut at) = (vec![], from);
        while at < to {
            let (bodies, next) = self.bodies(partition, at, to, super::READ_BYTES)?;
            for record in self.records(partition, &bodies, (at, to))?.iter().flatten().map(plain) {
                if let Some(row) = late.iter().find(|l| l.offset == record.offset) {
                    let reason = format!(
                        "late: its time {} is behind the watermark {}",
                        self.show_time(row.time),
                        self.show_time(row.watermark)
                    );
                    out.push(bad_record(partition, &record, reason));
                }
            }
            at = next;
        }
        Ok(out)
    }

    fn own_declared(&self) -> SchemaRef {
        self.format.schema().clone()
    }

    /// Takes out the rows for which a CHECK is false or fails (NULL passes, as in SQL).
    fn check(
        &self,
        partition: i32,
        records: &[RecordRef<'_>],
        batch: RecordBatch,
        rows: Vec<u32>,
        bad: &mut Vec<BadRecord>,
    ) -> Result<(RecordBatch, Vec<u32>)> {
        let mut keep = vec![true; batch.num_rows()];
        for (text, expr) in &self.checks {
            for (i, failure) in fleuve_sql::refused_rows(expr, &batch)? {
                if std::mem::take(&mut keep[i]) {
                    let why = failure.map_or("is false".into(), |e| format!("cannot be computed: {e}"));
                    bad.push(bad_record(partition, &records[rows[i] as usize], format!("CHECK ({text}) {why}")));
                }
            }
        }
        let kept = rows.into_iter().zip(&keep).filter(|(_, k)| **k).map(|(r, _)| r).collect();
        let batch = arrow::compute::filter_record_batch(&batch, &BooleanArray::from(keep))
            .map_err(|e| Error::bug(e.to_string()))?;
        Ok((batch, kept))
    }
}

/// Neighbours that have together about so many records; one that has more is alone.
fn groups(bodies: &[Records], most: usize) -> Vec<&[Records]> {
    let mut out = vec![];
    let (mut from, mut held) = (0, 0);
    for (at, body) in bodies.iter().enumerate() {
        if at > from && held + body.remaining() > most {
            out.push(&bodies[from..at]);
            (from, held) = (at, 0);
        }
        held += body.remaining();
    }
    out.push(&bodies[from..]);
    out
}

/// Records cut into pieces to decode of at most so many, none larger than a decoder takes.
fn pieces_of<'r>(records: &'r [Vec<LogRecord<'r>>], most: usize) -> Vec<Piece<'r>> {
    let all: usize = records.iter().map(Vec::len).sum();
    // All of about the same size.
    let most = all.div_ceil(all.div_ceil(most.max(1)).max(1));
    let mut out = vec![];
    let (mut piece, mut held, mut bytes): (Piece<'r>, usize, usize) = (vec![], 0, 0);
    for part in records {
        let mut from = 0;
        for (i, record) in part.iter().enumerate() {
            let len = record.value.map_or(0, <[u8]>::len);
            if held > 0 && (held >= most || bytes + len > PIECE_BYTES) {
                piece.push(&part[from..i]);
                out.push(std::mem::take(&mut piece));
                (from, held, bytes) = (i, 0, 0);
            }
            held += 1;
            bytes += len;
        }
        piece.push(&part[from..]);
    }
    if held > 0 || out.is_empty() {
        out.push(piece);
    }
    out
}

/// The event time of a stream as the engine counts it: in the unit of its column.
fn event_time(spec: &StreamSpec) -> Result<Option<EventTime>> {
    let (Some(watermark), Some(column)) = (&spec.watermark, event_column(spec)) else { return Ok(None) };
    let DataType::Timestamp(unit, _) = spec.schema.field(column).data_type() else {
        return Err(Error::bug("an event time is a timestamp"));
    };
    let us = watermark.delay_us;
    let delay = match unit {
        TimeUnit::Second => us.saturating_add(999_999) / 1_000_000,
        TimeUnit::Millisecond => us.saturating_add(999) / 1_000,
        TimeUnit::Microsecond => us,
        TimeUnit::Nanosecond => us.saturating_mul(1_000),
    };
    // The offset is the second of the columns behind a stream's own.
    let offset = spec.schema.fields().len() + 1;
    Ok(Some(EventTime {
        column,
        delay,
        idle_timeout_us: watermark.idle_timeout_us,
        offsets: watermark.late_to_dead_letters.then_some(offset),
    }))
}

/// A record of the log, without its headers.
fn plain<'a>(record: &LogRecord<'a>) -> RecordRef<'a> {
    let LogRecord { offset, timestamp_ms, key, value, .. } = *record;
    RecordRef { offset, timestamp_ms, key, value, headers: Headers::None }
}

fn far_timestamp(record: &RecordRef<'_>) -> String {
    format!("the record's timestamp: {}", far_ms(record.timestamp_ms).unwrap_or_default())
}

fn bad_record(partition: i32, record: &RecordRef<'_>, reason: String) -> BadRecord {
    BadRecord {
        reason,
        partition,
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        key: record.key.map(Bytes::copy_from_slice),
        value: Bytes::copy_from_slice(record.value.unwrap_or_default()),
    }
}

impl StreamReader for StreamRelation {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn partitions(&self) -> i32 {
        self.partitions()
    }

    fn bounds(&self, partition: i32) -> Result<(i64, i64)> {
        self.bounds(partition)
    }

    fn read(
        &self,
        partition: i32,
        from: i64,
        to: i64,
        max_bytes: usize,
        columns: &[ColumnPart],
        decoded: &(dyn Fn(u64) + Sync),
    ) -> Result<(Vec<RecordBatch>, i64)> {
        let range = self.decode_telling((partition, from, to), max_bytes, columns, decoded)?;
        let mut bad = self.bad.lock();
        // A range that does not fit is decoded once more when it is passed.
        let bytes = |bad: &[BadRecord]| bad.iter().map(BadRecord::memory_bytes).sum::<usize>();
        let held: usize = bad.values().map(|(_, held)| bytes(held)).sum();
        if bad.len() < REMEMBERED && held + bytes(&range.bad) <= REMEMBERED_BYTES {
            bad.insert((partition, from), (range.next, range.bad));
        } else {
            bad.clear();
        }
        Ok((range.rows, range.next))
    }

    fn event_time(&self) -> Option<EventTime> {
        self.event_time.clone()
    }

    fn passed(&self, partition: i32, from: i64, to: i64, late: &[LateRow]) -> Result<()> {
        let Some(dead) = &self.dead else { return Ok(()) };
        let mut at = from;
        while at < to {
            let remembered = self.bad.lock().remove(&(partition, at)).filter(|(next, _)| *next <= to);
            let (next, mut bad) = match remembered {
                Some(known) => known,
                None => {
                    let range = self.decode(partition, at, to, super::READ_BYTES, &[])?;
                    (range.next, range.bad)
                }
            };
            let late: Vec<&LateRow> = late.iter().filter(|l| (at..next).contains(&l.offset)).collect();
            if !late.is_empty() {
                bad.extend(self.late_records(partition, (at, next), &late)?);
                bad.sort_by_key(|b| b.offset);
            }
            dead.write(partition, next, &bad)?;
            if next <= at {
                return Err(Error::new(ErrorKind::Bug, "a range of the log did not move on"));
            }
            at = next;
        }
        Ok(())
    }
}
