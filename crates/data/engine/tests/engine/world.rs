//! Streams, a place for checkpoints, a journal and a sink, all in memory; they outlive the engine, as disks do.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{Int64Array, RecordBatch, TimestampSecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use fleuve_engine::{
    CheckpointStore, DeadLetterWriter, DeadRow, Engine, EngineOptions, EngineParts, EpochEntry, EventTime, Journal,
    LateRow, MemoryFiles, Published, RunFile, RunFileWriter, RunFiles, SavedCheckpoint, SinkWriter, StreamReader,
    ViewDefinition, ViewState, ViewStatus, session_state,
};
use fleuve_types::{Clock, ColumnPart, Delta, Epoch, Error, ManualClock, ObjectId, Result};
use parking_lot::{Mutex, MutexGuard};

/// Numbers that are the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

pub const PARTITIONS: usize = 2;
/// How far the streams' watermarks stay behind.
pub const DELAY_S: i64 = 5;
/// When a partition is idle.
pub const IDLE_US: i64 = 1_000_000;

/// `k`, `v`, and the event time in seconds.
pub type Row = (i64, i64, i64);

/// A stream of rows in partitions.
#[derive(Default)]
struct Memory {
    rows: Mutex<[Vec<Row>; PARTITIONS]>,
    /// Rows before these offsets are gone.
    start: Mutex<[i64; PARTITIONS]>,
    /// More rows than a few at a time.
    more_at_once: Mutex<i64>,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Second, None), true),
    ]))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let k: Int64Array = rows.iter().map(|r| r.0).collect();
    let v: Int64Array = rows.iter().map(|r| r.1).collect();
    let ts: TimestampSecondArray = rows.iter().map(|r| Some(r.2)).collect();
    RecordBatch::try_new(schema(), vec![Arc::new(k), Arc::new(v), Arc::new(ts)]).unwrap()
}

impl Memory {
    fn kept(&self) -> Vec<Vec<Row>> {
        let start = self.start.lock();
        self.rows.lock().iter().zip(start.iter()).map(|(rows, from)| rows[*from as usize..].to_vec()).collect()
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
    ) -> Result<(Vec<RecordBatch>, i64)> {
        // A little at a time, so that a range takes several reads.
        let next = to.min(from + 5 + *self.more_at_once.lock());
        let rows = batch(&self.rows.lock()[partition as usize][from as usize..next as usize]);
        let columns: Vec<usize> = columns.iter().map(|c| c.at).collect();
        Ok((vec![rows.project(&columns).unwrap()], next))
    }

    fn passed(&self, _: i32, _: i64, _: i64, _: &[LateRow]) -> Result<()> {
        Ok(())
    }

    fn event_time(&self) -> Option<EventTime> {
        Some(EventTime { column: 2, delay: DELAY_S, idle_timeout_us: IDLE_US, offsets: None })
    }
}

#[derive(Default)]
struct Store {
    /// Which run of the engine it belongs to now.
    run: Mutex<u64>,
    files: Mutex<HashMap<String, Vec<u8>>>,
    /// Those that are read in parts.
    runs: MemoryFiles,
    /// Those of them that a crash leaves.
    synced: Mutex<HashSet<String>>,
    last: Mutex<Option<SavedCheckpoint>>,
}

/// The store as one run of the engine has it. What a halted run still writes when the next one has begun is lost: its process
/// would be dead.
#[derive(Clone)]
struct RunStore {
    store: Arc<Store>,
    run: u64,
    life: Life,
}

/// How many more writes a process lives for. What it writes afterwards is lost.
#[derive(Clone)]
struct Life(Arc<AtomicI64>);

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
        let mut last = self.store.last.lock();
        let mut views = last.take().map(|l| l.views).unwrap_or_default();
        views.retain(|v| !new.removed.contains(&v.id) && !new.views.iter().any(|n| n.id == v.id));
        views.extend(new.views.clone());
        *last = Some(SavedCheckpoint { views, removed: vec![], ..new });
        Ok(())
    }

    fn load(&self) -> Result<Option<SavedCheckpoint>> {
        Ok(self.store.last.lock().clone())
    }
}

impl RunFiles for RunStore {
    fn create(&self, name: &str) -> Result<Box<dyn RunFileWriter>> {
        let _alive = self.alive()?;
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
            self.store.runs.remove(names);
        }
    }

    fn list(&self) -> Result<Vec<String>> {
        self.store.runs.list()
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

type Entries = Arc<Mutex<BTreeMap<Epoch, EpochEntry>>>;

struct MemoryJournal(Entries, Life);

impl Journal for MemoryJournal {
    fn append(&mut self, entry: &EpochEntry, _: bool) -> Result<()> {
        if !self.1.goes_on() {
            return Err(dead());
        }
        self.0.lock().insert(entry.epoch, entry.clone());
        Ok(())
    }

    fn after(&self, epoch: Epoch) -> Result<Vec<EpochEntry>> {
        Ok(self.0.lock().range(epoch + 1..).map(|(_, e)| e.clone()).collect())
    }

    fn trim(&mut self, epoch: Epoch) -> Result<()> {
        self.0.lock().retain(|e, _| *e > epoch);
        Ok(())
    }
}

#[derive(Default)]
struct Sunk {
    last: Option<Epoch>,
    rows: BTreeMap<String, i64>,
}

struct MemorySink(Arc<Mutex<Sunk>>, Life);

impl SinkWriter for MemorySink {
    fn write(&mut self, epoch: Epoch, delta: &Delta) -> Result<()> {
        let mut sunk = self.0.lock();
        // On its way is all that a sink promises.
        if sunk.last.is_none_or(|last| epoch > last) && self.1.goes_on() {
            sunk.last = Some(epoch);
            add(&mut sunk.rows, delta);
        }
        Ok(())
    }

    fn last_epoch(&self) -> Option<Epoch> {
        self.0.lock().last
    }
}

fn add(rows: &mut BTreeMap<String, i64>, delta: &Delta) {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = delta.batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    for i in 0..delta.len() {
        let text: Vec<String> = columns.iter().map(|c| c.value(i).to_string()).collect();
        *rows.entry(text.join("|")).or_default() += delta.weight(i);
    }
    rows.retain(|_, w| *w != 0);
}

fn contents(published: &Published, name: &str) -> BTreeMap<String, i64> {
    let mut rows = BTreeMap::new();
    for batch in published.views[&id(name)].batches().unwrap() {
        add(&mut rows, &Delta::insert(batch));
    }
    rows
}

/// Rows that views left out, each with its reason.
#[derive(Default)]
struct Told {
    last: Option<Epoch>,
    rows: Vec<DeadRow>,
}

struct MemoryLetters(Arc<Mutex<Told>>);

impl DeadLetterWriter for MemoryLetters {
    fn write(&self, epoch: Epoch, rows: &[DeadRow]) -> Result<()> {
        let mut told = self.0.lock();
        if told.last.is_none_or(|last| epoch > last) {
            told.last = Some(epoch);
            told.rows.extend_from_slice(rows);
        }
        Ok(())
    }
}

/// Everything around the engine, and the engine.
pub struct World {
    streams: Vec<Arc<Memory>>,
    store: Arc<Store>,
    journal: Entries,
    sunk: Arc<Mutex<Sunk>>,
    /// Of the process that runs now.
    life: Life,
    sink_on: Option<&'static str>,
    /// Name, query and version of the views that were made.
    views: Vec<(&'static str, &'static str, u32)>,
    clock: Arc<ManualClock>,
    /// The event time of the next rows, about.
    now_s: i64,
    engine: Option<Engine>,
    /// Limits of the engine from its next start on.
    pub options: EngineOptions,
    /// Views that leave failing rows out, with what they told, and the query over the others.
    skipping: BTreeMap<&'static str, (Arc<Mutex<Told>>, &'static str)>,
}

/// A query in which it is `now_us`.
fn at(query: &str, now_us: Option<i64>) -> String {
    let Some(us) = now_us else { return query.to_string() };
    query.replace("now()", &format!("arrow_cast({}, 'Timestamp(Nanosecond, None)')", us * 1_000))
}

/// Views whose names begin with `c` emit on window close.
fn is_closing(name: &str) -> bool {
    name.starts_with('c')
}

pub fn id(name: &str) -> ObjectId {
    ObjectId(name.bytes().fold(7, |h, b| h * 256 + u128::from(b)))
}

impl World {
    pub fn new(random: &mut Random) -> Self {
        let mut world = World::empty();
        world.append_quietly(random);
        world
    }

    /// One whose streams have no rows.
    pub fn empty() -> Self {
        World {
            streams: vec![Arc::default(), Arc::default()],
            store: Arc::default(),
            journal: Arc::default(),
            sunk: Arc::default(),
            life: Life::default(),
            sink_on: None,
            views: vec![],
            clock: Arc::default(),
            now_s: 100,
            engine: None,
            options: EngineOptions { epoch_bytes: 64, checkpoint_interval_ms: 5, ..EngineOptions::default() },
            skipping: BTreeMap::new(),
        }
    }

    fn append_quietly(&mut self, random: &mut Random) {
        for stream in &self.streams {
            for _ in 0..random.below(9) {
                self.now_s += random.below(3) as i64;
                let time = self.now_s - random.below(15) as i64;
                let row = (random.below(6) as i64, random.below(5) as i64, time);
                stream.rows.lock()[random.below(PARTITIONS)].push(row);
            }
        }
    }

    pub fn append(&mut self, random: &mut Random) {
        self.append_quietly(random);
        self.engine().wake();
    }

    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// A session that knows the streams and, with no rows, the views.
    async fn session(&self, rows: bool) -> SessionContext {
        let data = |stream: &Memory| if rows { stream.kept() } else { vec![] };
        self.session_over(self.streams.iter().map(|s| data(s)).collect(), None).await
    }

    /// A session over streams of these rows, with the views as queries, in which it is `now_us`.
    async fn session_over(&self, streams: Vec<Vec<Vec<Row>>>, now_us: Option<i64>) -> SessionContext {
        let context = SessionContext::new_with_state(session_state());
        for (n, rows) in streams.into_iter().enumerate() {
            let data = rows.iter().map(|r| batch(r)).collect();
            let table = MemTable::try_new(schema(), vec![data]).unwrap();
            context.register_table(format!("s{n}"), Arc::new(table)).unwrap();
        }
        for (name, query, _) in &self.views {
            let query = self.skipping.get(name).map_or(*query, |(_, fine)| fine);
            let frame = context.sql(&at(query, now_us)).await.unwrap();
            context.register_table(*name, frame.into_view()).unwrap();
        }
        context
    }

    async fn definition(&self, name: &'static str, query: &'static str, version: u32) -> ViewDefinition {
        let context = SessionContext::new_with_state(session_state());
        let mut inputs = HashMap::new();
        for n in 0..self.streams.len() {
            let table = MemTable::try_new(schema(), vec![vec![]]).unwrap();
            context.register_table(format!("s{n}"), Arc::new(table)).unwrap();
            inputs.insert(("public".to_string(), format!("s{n}")), id(&format!("s{n}")));
        }
        for (other, query, _) in &self.views {
            if *other != name {
                let fields = self.session(false).await.sql(query).await.unwrap();
                let table = MemTable::try_new(fields.schema().inner().clone(), vec![vec![]]).unwrap();
                context.register_table(*other, Arc::new(table)).unwrap();
                inputs.insert(("public".to_string(), (*other).to_string()), id(other));
            }
        }
        let plan = context.state().create_logical_plan(query).await.unwrap();
        // Only what the plan reads.
        let text = plan.display_indent().to_string();
        inputs.retain(|(_, table), _| text.contains(&format!("TableScan: {table}")));
        let emit_on_close = is_closing(name);
        let letters = self.skipping.get(name).map(|(told, _)| told.clone());
        let dead_letters = letters.map(|l| Arc::new(MemoryLetters(l)) as Arc<dyn DeadLetterWriter>);
        let id = id(name);
        let name = ("public".into(), name.into());
        ViewDefinition { id, name, version, plan, inputs, emit_on_close, dead_letters }
    }

    pub async fn start(&mut self, shards: usize) {
        self.life = Life::default();
        let mut views = vec![];
        for (name, query, version) in &self.views {
            views.push(self.definition(name, query, *version).await);
        }
        let sinks = self.sink_on.iter().map(|view| {
            let writer: Box<dyn SinkWriter> = Box::new(MemorySink(self.sunk.clone(), self.life.clone()));
            (id("sink"), id(view), writer)
        });
        let run = {
            let mut run = self.store.run.lock();
            *run += 1;
            // What was not made durable is lost.
            let synced = self.store.synced.lock();
            let lost = self.store.runs.list().unwrap().into_iter().filter(|n| !synced.contains(n));
            lost.for_each(|name| self.store.runs.set(&name, None));
            *run
        };
        let parts = EngineParts {
            options: EngineOptions { shards, ..self.options.clone() },
            state: session_state(),
            clock: self.clock.clone(),
            store: Arc::new(RunStore { store: self.store.clone(), run, life: self.life.clone() }),
            journal: Box::new(MemoryJournal(self.journal.clone(), self.life.clone())),
            streams: self
                .streams
                .iter()
                .enumerate()
                .map(|(n, s)| (id(&format!("s{n}")), s.clone() as Arc<dyn StreamReader>))
                .collect(),
            views,
            sinks: sinks.collect(),
        };
        let engine = tokio::task::spawn_blocking(move || Engine::start(parts)).await.unwrap().unwrap();
        self.engine = Some(engine);
        self.wait().await;
    }

    /// The view `name` leaves out the rows that its query fails for; `fine` is the query over the others.
    pub fn skip(&mut self, name: &'static str, fine: &'static str) {
        self.skipping.insert(name, (Arc::default(), fine));
    }

    /// What `name` told about rows that it left out.
    pub fn told(&self, name: &str) -> Vec<DeadRow> {
        self.skipping[name].0.lock().rows.clone()
    }

    pub fn push(&mut self, stream: &str, row: (i64, i64)) {
        let number: usize = stream[1..].parse().unwrap();
        self.streams[number].rows.lock()[0].push((row.0, row.1, self.now_s));
    }

    pub fn values(&self, stream: &str) -> Vec<Row> {
        let number: usize = stream[1..].parse().unwrap();
        self.streams[number].rows.lock().concat()
    }

    /// Everything that a stream holds now goes.
    pub fn truncate(&mut self, stream: &str) {
        let number: usize = stream[1..].parse().unwrap();
        let ends = self.streams[number].rows.lock().each_ref().map(|r| r.len() as i64);
        *self.streams[number].start.lock() = ends;
    }

    /// Makes a view, or replaces it.
    pub async fn create(&mut self, name: &'static str, query: &'static str) {
        self.try_create(name, query).await.unwrap();
    }

    pub async fn try_create(&mut self, name: &'static str, query: &'static str) -> Result<()> {
        let version = self.views.iter().find(|v| v.0 == name).map_or(1, |v| v.2 + 1);
        let definition = self.definition(name, query, version).await;
        self.engine().create_view(definition).await?;
        match self.views.iter_mut().find(|v| v.0 == name) {
            Some(view) => *view = (name, query, version),
            None => self.views.push((name, query, version)),
        }
        Ok(())
    }

    pub async fn add_sink(&mut self, view: &'static str) {
        self.wait().await;
        self.engine()
            .add_sink(id("sink"), id(view), Box::new(MemorySink(self.sunk.clone(), self.life.clone())))
            .await
            .unwrap();
        self.sink_on = Some(view);
    }

    pub fn has_sink(&self) -> bool {
        self.sink_on.is_some()
    }

    pub fn sunk(&self) -> BTreeMap<String, i64> {
        self.sunk.lock().rows.clone()
    }

    pub async fn checkpoint(&self) {
        self.engine().checkpoint().await.unwrap();
    }

    pub async fn crash(&mut self, shards: usize) {
        self.engine().halt().await.unwrap();
        self.start(shards).await;
    }

    /// The process will have died after this many more writes.
    pub fn dies_after(&self, writes: i64) {
        self.life.0.store(writes, Ordering::SeqCst);
    }

    /// The end of a process.
    pub async fn end(&mut self) {
        self.engine().halt().await.unwrap();
    }

    /// The version of a view in the last checkpoint.
    pub fn saved_version(&self, name: &str) -> Option<u32> {
        self.store.last.lock().as_ref()?.views.iter().find(|v| v.id == id(name)).map(|v| v.version)
    }

    /// What a view is for the next start.
    pub fn define_first(&mut self, name: &'static str, query: &'static str, version: u32) {
        self.views.retain(|v| v.0 != name);
        self.views.insert(0, (name, query, version));
    }

    pub async fn stop(&self) {
        self.engine().stop().await.unwrap();
    }

    /// Streams give so many rows more at a time.
    pub fn read_more_at_once(&self, rows: i64) {
        self.streams.iter().for_each(|s| *s.more_at_once.lock() = rows);
    }

    /// The names of the files of state that are read in parts.
    pub fn run_files(&self) -> Vec<String> {
        self.store.runs.list().unwrap()
    }

    pub fn file_len(&self, name: &str) -> usize {
        self.store.runs.bytes(name).unwrap().len()
    }

    /// Changes a byte of a file of state.
    pub fn damage(&self, name: &str, at: usize) {
        let mut bytes = self.store.runs.bytes(name).unwrap();
        bytes[at] ^= 1;
        self.store.runs.set(name, Some(bytes));
    }

    /// A file of state that nothing names.
    pub fn leave_behind(&self, name: &str) {
        self.store.runs.set(name, Some(vec![1]));
        self.store.synced.lock().insert(name.into());
    }

    /// Appends rows to one partition of the first stream.
    pub fn append_rows(&mut self, partition: usize, rows: &[Row]) {
        self.streams[0].rows.lock()[partition].extend_from_slice(rows);
        self.engine().wake();
    }

    /// Moves the clock; the watermark of the first stream will be `watermark`.
    pub async fn advance(&self, us: i64, watermark: i64) {
        self.clock.advance_us(us);
        self.engine().wake();
        let mut watch = self.engine().watch();
        let there = |p: &Arc<Published>| p.times.get(&id("s0")).and_then(|t| t.watermark) == Some(watermark);
        drop(watch.wait_for(there).await.unwrap());
    }

    /// Moves the clock, and tells the engine as a timer would.
    pub fn pass(&self, us: i64) {
        self.clock.advance_us(us);
        self.engine().wake();
    }

    /// The newest epoch, its time, and what a view shows in it.
    pub fn shown(&self, name: &str) -> (Epoch, i64, BTreeMap<String, i64>) {
        let published = self.engine().published();
        (published.epoch, published.time_us, contents(&published, name))
    }

    pub fn now_us(&self) -> i64 {
        self.clock.now_us()
    }

    /// What the rows come to if it is `now_us`.
    pub async fn batch_at(&self, name: &str, now_us: i64) -> BTreeMap<String, i64> {
        let streams = self.streams.iter().map(|s| s.kept()).collect();
        let session = self.session_over(streams, Some(now_us)).await;
        let frame = session.sql(&format!("SELECT * FROM {name}")).await.unwrap();
        let mut rows = BTreeMap::new();
        for batch in frame.collect().await.unwrap() {
            add(&mut rows, &Delta::insert(batch));
        }
        rows
    }

    /// The watermark and the late rows of the first stream.
    pub fn time(&self) -> (Option<i64>, u64) {
        let time = self.engine().published().times[&id("s0")];
        (time.watermark, time.late_rows)
    }

    /// What a view that emits on window close has to show: the batch answer over the rows that were not late in their
    /// partition, restricted to rows whose `column` is behind the watermarks of the streams `of` by `length_s`. Holds as long as no
    /// partition was passed over.
    pub async fn closed(&self, name: &str, column: &str, length_s: i64, of: &[usize]) -> BTreeMap<String, i64> {
        let mut streams = vec![];
        let mut watermarks = vec![];
        for stream in &self.streams {
            let mut highs = vec![];
            let mut on_time = vec![];
            for rows in stream.rows.lock().iter() {
                let mut high = i64::MIN;
                let keep = |row: &&Row| {
                    let kept = row.2 >= high;
                    high = high.max(row.2 - DELAY_S);
                    kept
                };
                on_time.push(rows.iter().filter(keep).copied().collect::<Vec<_>>());
                highs.push(high);
            }
            watermarks.push(highs.into_iter().min().unwrap());
            streams.push(on_time);
        }
        let watermark = of.iter().map(|n| watermarks[*n]).min().unwrap();
        if watermark == i64::MIN {
            return BTreeMap::new();
        }
        let sql = format!(
            "SELECT * FROM {name} WHERE {column} + INTERVAL '{length_s} seconds' <= to_timestamp_seconds({watermark})"
        );
        let frame = self.session_over(streams, None).await.sql(&sql).await.unwrap();
        let mut rows = BTreeMap::new();
        for batch in frame.collect().await.unwrap() {
            add(&mut rows, &Delta::insert(batch));
        }
        rows
    }

    /// Until every view runs and shows everything that was appended.
    pub async fn wait(&self) {
        let engine = self.engine();
        engine.wake();
        for (n, stream) in self.streams.iter().enumerate() {
            for partition in 0..PARTITIONS {
                let end = stream.rows.lock()[partition].len() as i64;
                engine.wait_for(id(&format!("s{n}")), partition as i32, end).await.unwrap();
            }
        }
        let mut watch = engine.watch();
        let wanted = self.views.len();
        let done = watch.wait_for(|p| p.views.len() == wanted && p.status.len() == wanted);
        drop(done.await.unwrap());
    }

    pub fn is_running(&self, name: &str) -> bool {
        matches!(self.engine().published().status[&id(name)].state, ViewState::Running)
    }

    pub fn view(&self, name: &str) -> BTreeMap<String, i64> {
        contents(&self.engine().published(), name)
    }

    /// The rows of a view at some epoch.
    pub fn rows_of(published: &Published, name: &str) -> BTreeMap<String, i64> {
        contents(published, name)
    }

    pub fn status(&self, name: &str) -> ViewStatus {
        self.engine().published().status[&id(name)].clone()
    }

    /// How many rows a stream holds.
    pub fn rows(&self, stream: &str) -> usize {
        let number: usize = stream[1..].parse().unwrap();
        self.streams[number].rows.lock().iter().map(Vec::len).sum()
    }

    pub async fn batch(&self, name: &str) -> BTreeMap<String, i64> {
        let frame = self.session(true).await.sql(&format!("SELECT * FROM {name}")).await.unwrap();
        let mut rows = BTreeMap::new();
        for batch in frame.collect().await.unwrap() {
            add(&mut rows, &Delta::insert(batch));
        }
        rows
    }
}
