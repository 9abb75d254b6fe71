//! What outlives the engine, as disks do, in memory: streams, a place for checkpoints, a journal, a sink, dead letters.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampSecondArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use fleuve_engine::{
    CheckpointStore, DeadLetterWriter, DeadRow, EpochEntry, EventTime, Journal, LateRow, MemoryFiles, RunFile,
    RunFileWriter, RunFiles, SavedCheckpoint, SinkPiece, SinkRecord, SinkWriter, StreamReader, ViewRows,
};
use fleuve_types::{ColumnPart, Delta, Epoch, Error, ErrorKind, ObjectId, Result};
use parking_lot::{Condvar, Mutex, MutexGuard};

pub const PARTITIONS: usize = 2;
/// How far the streams' watermarks stay behind.
pub const DELAY_S: i64 = 5;
/// When a partition is idle.
pub const IDLE_US: i64 = 1_000_000;

/// `k`, `v`, and the event time in seconds.
pub type Row = (i64, i64, i64);

/// A stream of rows in partitions.
#[derive(Default)]
pub struct Memory {
    pub rows: Mutex<[Vec<Row>; PARTITIONS]>,
    /// Rows before these offsets are gone.
    pub start: Mutex<[i64; PARTITIONS]>,
    /// What happens when a row with this `v` is read.
    pub fault: Mutex<Option<(i64, Fault)>>,
    /// More rows than a few at a time.
    pub more_at_once: Mutex<i64>,
    /// Rows that were read.
    pub reads: Mutex<usize>,
    /// Whoever reads from the start, as builds do, waits for its turn.
    pub turns: Mutex<Turns>,
    pub next_turn: Condvar,
    /// Builds wait when half of a piece is decoded.
    pub is_held_within: Mutex<bool>,
    pub go_on_within: Condvar,
}

#[derive(Default)]
pub struct Turns {
    /// So many came.
    pub came: usize,
    /// So many of them may go on; all if it does not say.
    pub may: Option<usize>,
}

/// Why a row cannot be read.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The decoder panics.
    Panic,
    /// The decoder gives up.
    Refuse,
    /// It works later.
    Retry,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Second, None), true),
    ]))
}

pub fn batch(rows: &[Row]) -> RecordBatch {
    let k: Int64Array = rows.iter().map(|r| r.0).collect();
    let v: Int64Array = rows.iter().map(|r| r.1).collect();
    let ts: TimestampSecondArray = rows.iter().map(|r| Some(r.2)).collect();
    RecordBatch::try_new(schema(), vec![Arc::new(k), Arc::new(v), Arc::new(ts)]).unwrap()
}

impl Memory {
    pub fn kept(&self) -> Vec<Vec<Row>> {
        let start = self.start.lock();
        self.rows.lock().iter().zip(start.iter()).map(|(rows, from)| rows[*from as usize..].to_vec()).collect()
    }

    fn wait_for_turn(&self) {
        let mut turns = self.turns.lock();
        let own = turns.came;
        turns.came += 1;
        self.next_turn.wait_while(&mut turns, |turns| turns.may.is_some_and(|may| own >= may));
    }
}

impl StreamReader for Memory {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn partitions(&self) -> i32 {
        PARTITIONS as i32
    }

    fn bounds(&self, partition: i32) -> Result<(i64, i64)> {
        let start = self.start.lock()[partition as usize];
        Ok((start, self.rows.lock()[partition as usize].len() as i64))
    }

    fn read(
        &self,
        partition: i32,
        from: i64,
        to: i64,
        _: usize,
        columns: &[ColumnPart],
        decoded: &(dyn Fn(u64) + Sync),
    ) -> Result<(Vec<RecordBatch>, i64)> {
        // What the engine reads between two epochs is no build.
        let is_engine = std::thread::current().name() == Some("engine");
        if from == self.start.lock()[partition as usize] && !is_engine {
            self.wait_for_turn();
        }
        // A little at a time, so that a range takes several reads.
        let next = to.min(from + *self.more_at_once.lock() + 5.max((to - from) / 16));
        let kept = self.start.lock()[partition as usize].clamp(from, next);
        let rows = self.rows.lock()[partition as usize][kept as usize..next as usize].to_vec();
        *self.reads.lock() += rows.len();
        let fault = *self.fault.lock();
        if let Some((_, fault)) = fault.filter(|(bad, _)| rows.iter().any(|r| r.1 == *bad)) {
            match fault {
                Fault::Panic => panic!("the decoder of the test"),
                Fault::Refuse => return Err(Error::input("the decoder gives up")),
                Fault::Retry => return Err(Error::new(ErrorKind::Retry, "not now")),
            }
        }
        let rows = batch(&rows);
        let columns: Vec<usize> = columns.iter().map(|c| c.at).collect();
        let (all, half) = ((next - from) as u64, (next - from) as u64 / 2);
        decoded(half);
        if !is_engine {
            self.go_on_within.wait_while(&mut self.is_held_within.lock(), |held| *held);
        }
        decoded(all - half);
        Ok((vec![rows.project(&columns).unwrap()], next))
    }

    fn passed(&self, _: i32, _: i64, _: i64, _: &[LateRow]) -> Result<()> {
        Ok(())
    }

    fn event_time(&self) -> Option<EventTime> {
        Some(EventTime { column: 2, delay: DELAY_S, idle_timeout_us: IDLE_US, offsets: None })
    }
}

/// The columns of a stream in their order: those of [`Row`], and others, which are NULL.
pub type Columns = &'static [&'static str];
/// Those that a stream has first.
pub const ROW: Columns = &["k", "v", "ts"];

/// Rows by other columns.
pub fn by_columns(rows: &RecordBatch, columns: Columns) -> RecordBatch {
    let schema = rows.schema();
    let of = |name: &&str| match schema.column_with_name(name) {
        Some((at, field)) => (field.clone(), rows.column(at).clone()),
        None => (Field::new(*name, DataType::Int64, true), new_null_array(&DataType::Int64, rows.num_rows())),
    };
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.iter().map(of).unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

/// A stream as it is read: by some columns.
pub struct Reader {
    pub memory: Arc<Memory>,
    pub columns: Columns,
}

fn whole() -> Vec<ColumnPart> {
    (0..ROW.len()).map(ColumnPart::whole).collect()
}

impl StreamReader for Reader {
    fn schema(&self) -> SchemaRef {
        by_columns(&batch(&[]), self.columns).schema()
    }

    fn partitions(&self) -> i32 {
        self.memory.partitions()
    }

    fn bounds(&self, partition: i32) -> Result<(i64, i64)> {
        self.memory.bounds(partition)
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
        let (rows, next) = self.memory.read(partition, from, to, max_bytes, &whole(), decoded)?;
        let columns: Vec<usize> = columns.iter().map(|c| c.at).collect();
        Ok((rows.iter().map(|r| by_columns(r, self.columns).project(&columns).unwrap()).collect(), next))
    }

    fn passed(&self, partition: i32, from: i64, to: i64, late: &[LateRow]) -> Result<()> {
        self.memory.passed(partition, from, to, late)
    }

    fn event_time(&self) -> Option<EventTime> {
        let column = self.columns.iter().position(|c| *c == "ts")?;
        Some(EventTime { column, ..self.memory.event_time()? })
    }
}

#[derive(Default)]
pub struct Store {
    /// Which run of the engine it belongs to now.
    pub run: Mutex<u64>,
    pub files: Mutex<HashMap<String, Vec<u8>>>,
    /// Those that are read in parts.
    pub runs: MemoryFiles,
    /// Those of them that a crash leaves.
    pub synced: Mutex<HashSet<String>>,
    pub last: Mutex<Option<SavedCheckpoint>>,
    /// Nothing can be written.
    pub is_full: AtomicBool,
    /// No run can be begun, while other files can be written.
    pub has_no_runs: AtomicBool,
    /// The next commit happens, and says that it did not.
    pub seems_to_fail: AtomicBool,
    /// The thread that writes a checkpoint waits before each run.
    pub is_held: Mutex<bool>,
    pub let_go: Condvar,
}

impl Store {
    fn wait_while_held(&self) {
        if std::thread::current().name() == Some("checkpoint") {
            let mut is_held = self.is_held.lock();
            self.let_go.wait_while(&mut is_held, |held| *held);
        }
    }
}

/// The store as one run of the engine has it. What a halted run still writes when the next one has begun is lost: its process
/// would be dead.
#[derive(Clone)]
pub struct RunStore {
    pub store: Arc<Store>,
    pub run: u64,
    pub life: Life,
}

/// How many more writes a process lives for. What it writes afterwards is lost.
#[derive(Clone)]
pub struct Life(pub Arc<AtomicI64>);

impl Life {
    fn goes_on(&self) -> bool {
        self.0.fetch_sub(1, Ordering::SeqCst) > 0
    }
}

impl Default for Life {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MAX)))
    }
}

fn dead() -> Error {
    Error::io("write", "the process is dead")
}

impl RunStore {
    /// Keeps the next run from beginning while it is held.
    fn alive(&self) -> Result<MutexGuard<'_, u64>> {
        let run = self.store.run.lock();
        if *run == self.run && self.life.goes_on() { Ok(run) } else { Err(dead()) }
    }
}

impl CheckpointStore for RunStore {
    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let _alive = self.alive()?;
        if self.store.is_full.load(Ordering::SeqCst) {
            return Err(Error::io("write", "the disk is full"));
        }
        self.store.files.lock().insert(name.into(), bytes.to_vec());
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.store.files.lock().get(name).cloned().ok_or_else(|| Error::not_found(name))
    }

    fn remove(&self, names: &[String]) {
        let Ok(_alive) = self.alive() else { return };
        names.iter().for_each(|n| drop(self.store.files.lock().remove(n)));
        self.store.runs.remove(names);
    }

    fn files(&self) -> Arc<dyn RunFiles> {
        Arc::new(self.clone())
    }

    fn commit(&self, new: SavedCheckpoint) -> Result<()> {
        let _alive = self.alive()?;
        if self.store.is_full.load(Ordering::SeqCst) {
            return Err(Error::io("commit", "the disk is full"));
        }
        let mut last = self.store.last.lock();
        let mut views = last.take().map(|l| l.views).unwrap_or_default();
        views.retain(|v| !new.removed.contains(&v.id) && !new.views.iter().any(|n| n.id == v.id));
        views.extend(new.views.clone());
        *last = Some(SavedCheckpoint { views, removed: vec![], ..new });
        if self.store.seems_to_fail.swap(false, Ordering::SeqCst) {
            return Err(Error::io("commit", "the answer was lost"));
        }
        Ok(())
    }

    fn load(&self) -> Result<Option<SavedCheckpoint>> {
        Ok(self.store.last.lock().clone())
    }
}

impl RunFiles for RunStore {
    fn create(&self, name: &str) -> Result<Box<dyn RunFileWriter>> {
        self.store.wait_while_held();
        let _alive = self.alive()?;
        if self.store.has_no_runs.load(Ordering::SeqCst) {
            return Err(Error::io("write", "there is no room for runs"));
        }
        Ok(Box::new(RunWriter(self.clone(), self.store.runs.create(name)?)))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn RunFile>> {
        self.store.runs.open(name)
    }

    fn sync(&self, names: &[String]) -> Result<()> {
        let _alive = self.alive()?;
        self.store.synced.lock().extend(names.iter().cloned());
        Ok(())
    }

    fn remove(&self, names: &[String]) {
        if let Ok(_alive) = self.alive() {
            names.iter().for_each(|n| drop(self.store.files.lock().remove(n)));
            self.store.runs.remove(names);
        }
    }

    fn list(&self) -> Result<Vec<String>> {
        let mut names = self.store.runs.list()?;
        names.extend(self.store.files.lock().keys().cloned());
        Ok(names)
    }
}

struct RunWriter(RunStore, Box<dyn RunFileWriter>);

impl RunFileWriter for RunWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.1.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let _alive = self.0.alive()?;
        self.1.finish()
    }
}

pub type Entries = Arc<Mutex<BTreeMap<Epoch, EpochEntry>>>;

/// Whether something takes nothing now.
pub type Busy = Arc<AtomicBool>;

fn check(busy: &Busy) -> Result<()> {
    let is_busy = busy.load(Ordering::SeqCst);
    if is_busy { Err(Error::new(ErrorKind::Retry, "it takes nothing now")) } else { Ok(()) }
}

pub struct MemoryJournal {
    pub entries: Entries,
    pub busy: Busy,
    pub life: Life,
}

impl Journal for MemoryJournal {
    fn append(&mut self, entry: &EpochEntry, _: bool) -> Result<()> {
        check(&self.busy)?;
        if !self.life.goes_on() {
            return Err(dead());
        }
        self.entries.lock().insert(entry.epoch, entry.clone());
        Ok(())
    }

    fn after(&self, epoch: Epoch) -> Result<Vec<EpochEntry>> {
        Ok(self.entries.lock().range(epoch + 1..).map(|(_, e)| e.clone()).collect())
    }

    fn trim(&mut self, epoch: Epoch) -> Result<()> {
        self.entries.lock().retain(|e, _| *e > epoch);
        Ok(())
    }
}

#[derive(Default)]
pub struct Sunk {
    pub last: Option<Epoch>,
    /// The next piece of the answer that it begins with, while that is there in part.
    pub started: Option<SinkPiece>,
    pub rows: BTreeMap<String, i64>,
    /// How often another writer took the place of one.
    pub moves: usize,
}

pub struct MemorySink {
    pub sunk: Arc<Mutex<Sunk>>,
    /// Where its rows go: what was written elsewhere is not there.
    pub target: ObjectId,
    pub busy: Busy,
    /// How many more pieces of the answer that it begins with it takes.
    pub pieces: Arc<AtomicI64>,
    pub life: Life,
    /// What was written elsewhere goes with its first piece.
    pub takes_place: bool,
}

impl Sunk {
    fn take(&mut self, records: &[SinkRecord]) {
        let text = |bytes: &Option<Bytes>| String::from_utf8(bytes.clone().unwrap().to_vec()).unwrap();
        for record in records {
            *self.rows.entry(text(&record.value)).or_default() += text(&record.key).parse::<i64>().unwrap();
        }
        self.rows.retain(|_, w| *w != 0);
    }
}

impl SinkWriter for MemorySink {
    fn start(&mut self, piece: SinkPiece, rows: ViewRows) -> Result<()> {
        check(&self.busy)?;
        let mut came = BTreeMap::new();
        for batch in rows {
            add(&mut came, &Delta::insert(batch?));
        }
        let mut sunk = self.sunk.lock();
        // Whoever sees that it may take none sees what it took.
        let taken = self.pieces.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n > 0).then_some(n - 1));
        taken.map_err(|_| Error::new(ErrorKind::Retry, "it takes no piece now"))?;
        if self.life.goes_on() {
            if std::mem::take(&mut self.takes_place) {
                *sunk = Sunk { moves: sunk.moves + 1, ..Sunk::default() };
            }
            let due = sunk.started.unwrap_or(SinkPiece { n: 0, ..piece });
            assert!(sunk.last.is_none() && piece == due, "{piece:?} came in place of {due:?}");
            (sunk.started, sunk.last) = (piece.next(), piece.next().is_none().then_some(piece.epoch));
            for (row, weight) in came {
                *sunk.rows.entry(row).or_default() += weight;
            }
        }
        Ok(())
    }

    fn started(&self) -> Option<SinkPiece> {
        self.sunk.lock().started
    }

    fn write(&mut self, epoch: Epoch, delta: &Delta) -> Result<()> {
        check(&self.busy)?;
        let mut sunk = self.sunk.lock();
        // On its way is all that a sink promises.
        if sunk.last.is_none_or(|last| epoch > last) && self.life.goes_on() {
            assert_eq!(sunk.started, None, "a change came before the answer was whole");
            sunk.last = Some(epoch);
            add(&mut sunk.rows, delta);
        }
        Ok(())
    }

    fn records(&self, _: Epoch, delta: &Delta) -> Result<Vec<SinkRecord>> {
        let mut rows = BTreeMap::new();
        add(&mut rows, delta);
        let bytes = |text: String| Some(Bytes::from(text));
        Ok(rows
            .into_iter()
            .map(|(row, weight)| SinkRecord { key: bytes(weight.to_string()), value: bytes(row) })
            .collect())
    }

    fn records_between(
        &self,
        epoch: Epoch,
        before: &dyn SinkWriter,
        was: ViewRows,
        is: ViewRows,
    ) -> Result<Vec<SinkRecord>> {
        let mut out = vec![];
        for batch in was {
            let batch = batch?;
            let weights = vec![-1; batch.num_rows()];
            out.extend(before.records(epoch, &Delta::weighted(batch, weights)?)?);
        }
        for batch in is {
            out.extend(self.records(epoch, &Delta::insert(batch?))?);
        }
        Ok(out)
    }

    fn write_records(&mut self, epoch: Epoch, records: &[SinkRecord]) -> Result<()> {
        check(&self.busy)?;
        let mut sunk = self.sunk.lock();
        if sunk.last.is_none_or(|last| epoch > last) && self.life.goes_on() {
            sunk.last = Some(epoch);
            sunk.take(records);
        }
        Ok(())
    }

    fn last_epoch(&self) -> Option<Epoch> {
        self.sunk.lock().last
    }

    fn target(&self) -> ObjectId {
        self.target
    }

    fn follow(&mut self, epoch: Epoch, records: &[SinkRecord]) -> Result<()> {
        check(&self.busy)?;
        let mut sunk = self.sunk.lock();
        if self.life.goes_on() {
            (sunk.last, sunk.started) = (Some(epoch), None);
            sunk.moves += 1;
            sunk.take(records);
        }
        Ok(())
    }

    fn begin_anew(&mut self) {
        self.takes_place = true;
    }
}

pub fn add(rows: &mut BTreeMap<String, i64>, delta: &Delta) {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = delta.batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    for i in 0..delta.len() {
        let text: Vec<String> = columns.iter().map(|c| c.value(i).to_string()).collect();
        *rows.entry(text.join("|")).or_default() += delta.weight(i);
    }
    rows.retain(|_, w| *w != 0);
}

/// Rows that views left out, each with its reason.
#[derive(Default)]
pub struct Told {
    pub last: Option<Epoch>,
    pub rows: Vec<DeadRow>,
}

pub struct MemoryLetters(pub Arc<Mutex<Told>>, pub Busy);

impl DeadLetterWriter for MemoryLetters {
    fn write(&self, epoch: Epoch, rows: &[DeadRow]) -> Result<()> {
        check(&self.1)?;
        let mut told = self.0.lock();
        if told.last.is_none_or(|last| epoch > last) {
            told.last = Some(epoch);
            told.rows.extend_from_slice(rows);
        }
        Ok(())
    }
}
