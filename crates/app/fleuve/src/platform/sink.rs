//! Sinks from a view into a stream, exactly once.
//!
//! The last epoch that a sink has written is a mark of the log, set in the same atomic append as the records. After a crash the
//! engine repeats epochs as the journal has them; those that the mark covers are passed over. While the answer that a sink begins with
//! is written, an append for each of its pieces, the mark says which of them follows.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use fleuve_engine::{SinkPiece, SinkRecord, SinkWriter, ViewRows};
use fleuve_formats::Encoder;
use fleuve_log::Log;
use fleuve_log::batch::{BatchBuilder, NewRecord};
use fleuve_log::limits::APPEND_BYTES;
use fleuve_sql::SinkMode;
use fleuve_types::{Clock, Delta, Epoch, Error, ErrorKind, ObjectId, Result};

/// A record batch is closed at about this size.
const BATCH_BYTES: usize = 1 << 20;

/// What a record has beside its key and value, at most.
const RECORD_BYTES: usize = 32;

/// Writes one view's changes into one stream.
pub struct StreamSink {
    pub id: ObjectId,
    pub into: ObjectId,
    pub mode: SinkMode,
    /// Positions of the key columns in the view.
    pub key: Vec<usize>,
    /// The value's columns: the view's, and in changes mode `weight` and `epoch` after them.
    pub schema: SchemaRef,
    pub value: Encoder,
    pub key_encoder: Option<Encoder>,
    pub log: Log,
    pub clock: Arc<dyn Clock>,
    /// It is another sink than the one that its note is of, from the first piece of its answer on.
    pub takes_place: bool,
}

/// The mark that holds how far a sink has written.
pub fn mark_of(sink: ObjectId) -> String {
    format!("sink/{sink}")
}

/// How far a sink has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// All up to this epoch.
    Epoch(Epoch),
    /// Of the answer that it begins with all before this piece.
    Before(SinkPiece),
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Epoch(epoch) => write!(f, "epoch {epoch}"),
            Self::Before(SinkPiece { epoch, n, of }) => write!(f, "{n} of {of} pieces of the answer of epoch {epoch}"),
        }
    }
}

impl Written {
    /// When this piece is written.
    fn after(piece: SinkPiece) -> Self {
        piece.next().map_or(Self::Epoch(piece.epoch), Self::Before)
    }

    /// What the log says of a sink.
    pub fn of(log: &Log, sink: ObjectId) -> Option<Self> {
        Self::decode(&log.mark(&mark_of(sink))?)
    }

    /// An epoch alone, or with the number of a piece and of all of them.
    fn encode(self) -> Bytes {
        match self {
            Self::Epoch(epoch) => Bytes::copy_from_slice(&epoch.to_be_bytes()),
            Self::Before(SinkPiece { epoch, n, of }) => {
                let parts: [&[u8]; 3] = [&epoch.to_be_bytes(), &n.to_be_bytes(), &of.to_be_bytes()];
                Bytes::from(parts.concat())
            }
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (epoch, rest) = bytes.split_first_chunk()?;
        let epoch = Epoch::from_be_bytes(*epoch);
        if rest.is_empty() {
            return Some(Self::Epoch(epoch));
        }
        let (n, of) = rest.split_first_chunk()?;
        Some(Self::Before(SinkPiece { epoch, n: u32::from_be_bytes(*n), of: u32::from_be_bytes(of.try_into().ok()?) }))
    }
}

fn bug(e: impl std::fmt::Display) -> Error {
    Error::bug(e.to_string())
}

impl StreamSink {
    fn key_rows(&self, batch: &RecordBatch) -> Result<Vec<Bytes>> {
        match &self.key_encoder {
            None => Ok(vec![]),
            Some(encoder) => encoder.encode(&batch.project(&self.key).map_err(bug)?),
        }
    }

    /// Every record that a change makes.
    fn encoded(&self, epoch: Epoch, delta: &Delta) -> Result<Vec<SinkRecord>> {
        let record = |key, value| SinkRecord { key, value };
        match self.mode {
            SinkMode::Changes => {
                let mut columns: Vec<ArrayRef> = delta.batch.columns().to_vec();
                columns.push(Arc::new((0..delta.len()).map(|i| delta.weight(i)).collect::<Int64Array>()));
                columns.push(Arc::new(Int64Array::from(vec![epoch as i64; delta.len()])));
                let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(bug)?;
                let values = self.value.encode(&batch)?;
                let keys = self.key_rows(&delta.batch)?;
                Ok(values.into_iter().enumerate().map(|(i, v)| record(keys.get(i).cloned(), Some(v))).collect())
            }
            SinkMode::Upsert => {
                let came: Vec<u32> = (0..delta.len()).filter(|i| delta.weight(*i) > 0).map(|i| i as u32).collect();
                let went: Vec<u32> = (0..delta.len()).filter(|i| delta.weight(*i) < 0).map(|i| i as u32).collect();
                let rows = take_record_batch(&delta.batch, &UInt32Array::from(came)).map_err(bug)?;
                let rows = concat_batches(&self.schema, [&rename(&rows, &self.schema)?]).map_err(bug)?;
                let keys = self.key_rows(&rows)?;
                let still: HashSet<&Bytes> = keys.iter().collect();
                let gone = take_record_batch(&delta.batch, &UInt32Array::from(went)).map_err(bug)?;
                let gone: Vec<Bytes> = self.key_rows(&gone)?.into_iter().filter(|k| !still.contains(k)).collect();
                let values = self.value.encode(&rows)?;
                let mut out: Vec<_> = gone.into_iter().map(|k| record(Some(k), None)).collect();
                out.extend(keys.into_iter().zip(values).map(|(k, v)| record(Some(k), Some(v))));
                Ok(out)
            }
        }
    }
}

/// What was written last for a key, and whether that is still so.
struct Last {
    value: Option<Bytes>,
    stays: bool,
}

/// The records by which keys get other values: a tombstone for each that is not there any more, and each record that is not the one
/// that was written last for its key.
fn by_key(
    was: impl Iterator<Item = Result<Vec<SinkRecord>>>,
    is: impl Iterator<Item = Result<Vec<SinkRecord>>>,
) -> Result<Vec<SinkRecord>> {
    let mut written: HashMap<Option<Bytes>, Last> = HashMap::new();
    for records in was {
        let known = |SinkRecord { key, value }: SinkRecord| (key, Last { value, stays: false });
        written.extend(records?.into_iter().map(known));
    }
    // One without a key is of a sink that wrote in another mode: nothing can take it back.
    written.remove(&None);
    let mut new = vec![];
    for records in is {
        for record in records? {
            match written.get_mut(&record.key) {
                Some(last) if last.value == record.value => last.stays = true,
                last => {
                    if let Some(last) = last {
                        (last.value, last.stays) = (record.value.clone(), true);
                    }
                    new.push(record);
                }
            }
        }
    }
    let gone = written.into_iter().filter(|(_, last)| !last.stays).map(|(key, _)| SinkRecord { key, value: None });
    let mut gone: Vec<SinkRecord> = gone.collect();
    gone.sort_by(|a, b| a.key.cmp(&b.key));
    gone.append(&mut new);
    Ok(gone)
}

/// All records, if one append takes them.
fn fitting(parts: impl Iterator<Item = Result<Vec<SinkRecord>>>, limit_bytes: usize) -> Result<Vec<SinkRecord>> {
    let (mut all, mut bytes) = (vec![], 0);
    for part in parts {
        let mut part = part?;
        let of =
            |r: &SinkRecord| [&r.key, &r.value].into_iter().flatten().map(|b| b.len()).sum::<usize>() + RECORD_BYTES;
        bytes += part.iter().map(of).sum::<usize>();
        if bytes > limit_bytes {
            let error = Error::new(
                ErrorKind::Limit,
                format!("what a sink of it would have to write has more than the {limit_bytes} bytes of one append"),
            );
            return Err(
                error.hint("drop the sink, replace the view, and create the sink anew, into a stream of its own")
            );
        }
        all.append(&mut part);
    }
    Ok(all)
}

/// The same columns under the names of `schema`.
fn rename(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options).map_err(bug)
}

/// `schema` with every column nullable.
pub fn nullable(schema: &Schema) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    Arc::new(Schema::new(fields))
}

/// The partition of a key: FNV-1a, so that it is the same in every run.
fn partition_of(key: Option<&Bytes>, partitions: i32) -> i32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.into_iter().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash % partitions.max(1) as u64) as i32
}

/// Record batches of one atomic append, as they fill up.
struct Append {
    into: ObjectId,
    now_ms: i64,
    open: Vec<BatchBuilder>,
    parts: Vec<(ObjectId, i32, Bytes)>,
    /// The length of the parts.
    bytes: usize,
}

impl Append {
    fn push(&mut self, key: Option<&Bytes>, value: Option<&Bytes>) -> Result<()> {
        let partition = partition_of(key, self.open.len() as i32);
        let builder = &mut self.open[partition as usize];
        let (key, value) = (key.map(AsRef::as_ref), value.map(AsRef::as_ref));
        builder.push(&NewRecord { timestamp_ms: self.now_ms, key, value, headers: &[] }).map_err(bug)?;
        if builder.size_bytes() >= BATCH_BYTES {
            let full = std::mem::take(builder).build().map_err(bug)?;
            self.bytes += full.len();
            // Before all of it is in memory.
            if self.bytes > APPEND_BYTES {
                let message = format!("it has more than the {APPEND_BYTES} bytes of one append");
                return Err(Error::new(ErrorKind::Limit, message));
            }
            self.parts.push((self.into, partition, full));
        }
        Ok(())
    }

    fn end(mut self) -> Result<Vec<(ObjectId, i32, Bytes)>> {
        for (partition, builder) in self.open.into_iter().enumerate() {
            if !builder.is_empty() {
                self.parts.push((self.into, partition as i32, builder.build().map_err(bug)?));
            }
        }
        Ok(self.parts)
    }
}

impl StreamSink {
    /// One atomic append of all records, with the mark that says so. Nothing if the epoch is written already.
    fn append(&self, epoch: Epoch, records: impl Iterator<Item = Result<Vec<SinkRecord>>>) -> Result<()> {
        if self.last_epoch().is_some_and(|last| epoch <= last) {
            return Ok(());
        }
        self.append_with(vec![self.mark(Written::Epoch(epoch))], records)
    }

    fn mark(&self, written: Written) -> (String, Option<Bytes>) {
        (mark_of(self.id), Some(written.encode()))
    }

    fn append_with(
        &self,
        marks: Vec<(String, Option<Bytes>)>,
        records: impl Iterator<Item = Result<Vec<SinkRecord>>>,
    ) -> Result<()> {
        let partitions = self.log.topic(self.into).map_or(1, |t| t.partitions).max(1);
        let open = (0..partitions).map(|_| BatchBuilder::new()).collect();
        let mut append = Append { into: self.into, now_ms: self.clock.now_ms(), open, parts: vec![], bytes: 0 };
        for records in records {
            for SinkRecord { key, value } in records? {
                append.push(key.as_ref(), value.as_ref())?;
            }
        }
        // The order of appends is the order of epochs; a failed log refuses everything after, so nothing can be left out.
        self.log.append_atomic_nowait(append.end()?, marks).map(|_| ()).map_err(Error::from)
    }
}

/// What a limit means for a piece of the answer that a sink begins with.
fn unfit(error: Error, piece: SinkPiece) -> Error {
    if error.kind != ErrorKind::Limit {
        return error;
    }
    let of = format!("piece {} of {} of the answer that the sink begins with", piece.n + 1, piece.of);
    let advice = "make the sink of a view with one row where many are equal";
    Error::new(ErrorKind::Limit, format!("{of} cannot be written: {}", error.message)).hint(advice)
}

impl SinkWriter for StreamSink {
    fn write(&mut self, epoch: Epoch, delta: &Delta) -> Result<()> {
        if self.last_epoch().is_some_and(|last| epoch <= last) {
            return Ok(());
        }
        let records = self.encoded(epoch, delta)?;
        self.append(epoch, std::iter::once(Ok(records)))
    }

    fn start(&mut self, piece: SinkPiece, rows: ViewRows) -> Result<()> {
        let records = rows.map(|batch| self.encoded(piece.epoch, &Delta::insert(batch?)));
        let mut marks = vec![self.mark(Written::after(piece))];
        marks.extend((self.takes_place && piece.n == 0).then(|| super::replaced::done(self.id)));
        self.append_with(marks, records).map_err(|e| unfit(e, piece))
    }

    fn started(&self) -> Option<SinkPiece> {
        match Written::of(&self.log, self.id)? {
            Written::Before(piece) => Some(piece),
            Written::Epoch(_) => None,
        }
    }

    fn records(&self, epoch: Epoch, delta: &Delta) -> Result<Vec<SinkRecord>> {
        self.encoded(epoch, delta)
    }

    fn records_between(
        &self,
        epoch: Epoch,
        before: &dyn SinkWriter,
        was: ViewRows,
        is: ViewRows,
    ) -> Result<Vec<SinkRecord>> {
        let is = is.map(|batch| self.encoded(epoch, &Delta::insert(batch?)));
        match self.mode {
            SinkMode::Upsert => {
                let records = by_key(was.map(|batch| before.records(epoch, &Delta::insert(batch?))), is)?;
                fitting(std::iter::once(Ok(records)), APPEND_BYTES)
            }
            // The rows of before go, with the columns that they had, and those of now come.
            SinkMode::Changes => {
                let goes = |batch: RecordBatch| {
                    let weights = vec![-1; batch.num_rows()];
                    before.records(epoch, &Delta::weighted(batch, weights)?)
                };
                fitting(was.map(|batch| goes(batch?)).chain(is), APPEND_BYTES)
            }
        }
    }

    fn write_records(&mut self, epoch: Epoch, records: &[SinkRecord]) -> Result<()> {
        self.append(epoch, std::iter::once(Ok(records.to_vec())))
    }

    fn last_epoch(&self) -> Option<Epoch> {
        match Written::of(&self.log, self.id)? {
            Written::Epoch(epoch) => Some(epoch),
            Written::Before(_) => None,
        }
    }

    fn target(&self) -> ObjectId {
        self.into
    }

    fn follow(&mut self, epoch: Epoch, records: &[SinkRecord]) -> Result<()> {
        let marks = vec![self.mark(Written::Epoch(epoch)), super::replaced::done(self.id)];
        self.append_with(marks, std::iter::once(Ok(records.to_vec())))
    }

    fn begin_anew(&mut self) {
        self.takes_place = true;
    }
}
