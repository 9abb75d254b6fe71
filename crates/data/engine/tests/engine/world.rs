//! The engine over what is in memory, and the batch engine over the same.

mod answers;
mod disk;
mod index;
mod replacing;
mod sinks;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use datafusion::prelude::SessionContext;
use fleuve_engine::{
    DeadLetterWriter, DeadRow, Engine, EngineOptions, EngineParts, Published, RunFiles, SinkWriter, StreamReader,
    ViewDefinition, ViewLimits, ViewState, ViewStatus, session_state,
};
use fleuve_types::{Clock, ManualClock, ObjectId, Replacement, Result};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use self::index::Index;
use crate::cases::{each, setting};
use crate::memory::{
    Busy, Columns, Entries, Life, Memory, MemoryJournal, MemoryLetters, ROW, Reader, RunStore, Store, Sunk, Told,
    Turns, batch, by_columns,
};
pub use crate::memory::{DELAY_S, Fault, IDLE_US, PARTITIONS, Row};

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

/// Runs a case for so many seeds, or as many as `FLEUVE_ENGINE_CASES` says, from `FLEUVE_ENGINE_SEED` on; gives what they came to, in no order.
pub fn for_seeds<C>(what: &str, cases: u64, case: impl Fn(u64) -> C + Sync) -> Vec<C::Output>
where
    C: Future,
    C::Output: Send,
{
    let (first, cases) = (setting("FLEUVE_ENGINE_SEED", 1), setting("FLEUVE_ENGINE_CASES", cases));
    let seeds: Vec<u64> = (first..first + cases).collect();
    each(what, &seeds, |seed, runtime| runtime.block_on(case(seed)))
}

/// Everything around the engine, and the engine.
pub struct World {
    streams: Vec<Arc<Memory>>,
    /// Of each stream.
    columns: Vec<Columns>,
    store: Arc<Store>,
    journal: Entries,
    sunk: Arc<Mutex<Sunk>>,
    /// Of the process that runs now.
    life: Life,
    sink_on: Option<&'static str>,
    sink_into: &'static str,
    /// Name, query and version of the views that were made.
    views: Vec<(&'static str, &'static str, u32)>,
    indexes: Vec<Index>,
    /// Of each view the indexes that were there when it was made.
    uses: BTreeMap<&'static str, Vec<&'static str>>,
    clock: Arc<ManualClock>,
    /// The event time of the next rows, about.
    now_s: i64,
    engine: Option<Engine>,
    /// Limits of the engine from its next start on.
    pub options: EngineOptions,
    /// Of views that have limits of their own, from their next definition on.
    pub limits: BTreeMap<&'static str, ViewLimits>,
    /// Views that leave failing rows out, with what they told, and the query over the others.
    skipping: BTreeMap<&'static str, (Arc<Mutex<Told>>, &'static str)>,
    /// Whether sinks and dead letters, or the journal, take nothing now.
    pub outside_busy: Busy,
    pub journal_busy: Busy,
    /// How many more pieces of the answer that it begins with a sink takes.
    pieces: Arc<AtomicI64>,
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

/// With a function that panics for 0, as one of a user's might.
fn context() -> SessionContext {
    let context = SessionContext::new_with_state(session_state());
    let panicking = |args: &[ColumnarValue]| {
        let values = args[0].to_array(1)?;
        assert!(values.as_primitive::<Int64Type>().iter().all(|v| v != Some(0)), "a value of 0");
        Ok(ColumnarValue::Array(values))
    };
    let (number, volatility) = (DataType::Int64, Volatility::Immutable);
    context.register_udf(create_udf("panicking", vec![number.clone()], number, volatility, Arc::new(panicking)));
    context
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
            columns: vec![ROW; 2],
            store: Arc::default(),
            journal: Arc::default(),
            sunk: Arc::default(),
            life: Life::default(),
            sink_on: None,
            sink_into: "out",
            views: vec![],
            indexes: vec![],
            uses: BTreeMap::new(),
            clock: Arc::default(),
            now_s: 100,
            engine: None,
            options: EngineOptions { epoch_bytes: 64, checkpoint_interval_ms: 5, ..EngineOptions::default() },
            limits: BTreeMap::new(),
            skipping: BTreeMap::new(),
            outside_busy: Busy::default(),
            journal_busy: Busy::default(),
            pieces: Arc::new(AtomicI64::new(i64::MAX)),
        }
    }

    /// From now on, reading a row of this stream whose `v` is the given one fails.
    pub fn break_stream(&self, stream: &str, fault: Option<(i64, Fault)>) {
        *self.stream(stream).fault.lock() = fault;
    }

    /// Rows that were read from a stream since the last call.
    pub fn take_reads(&self, stream: &str) -> usize {
        std::mem::take(&mut self.stream(stream).reads.lock())
    }

    fn stream(&self, name: &str) -> &Memory {
        let number: usize = name[1..].parse().unwrap();
        &self.streams[number]
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
        let context = context();
        for (n, rows) in streams.into_iter().enumerate() {
            let data = rows.iter().map(|r| by_columns(&batch(r), self.columns[n])).collect();
            let table = MemTable::try_new(self.reader(n).schema(), vec![data]).unwrap();
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
        let context = context();
        let mut inputs = HashMap::new();
        for n in 0..self.streams.len() {
            let table = MemTable::try_new(self.reader(n).schema(), vec![vec![]]).unwrap();
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
        let dead_letters =
            letters.map(|l| Arc::new(MemoryLetters(l, self.outside_busy.clone())) as Arc<dyn DeadLetterWriter>);
        let uses = self.uses.get(name).into_iter().flatten();
        let indexes = uses.copied().filter(|i| inputs.values().any(|object| *object == id(self.index(i).on))).map(id);
        let (indexes, index_by) = (indexes.collect(), None);
        let limits = self.limits.get(name).copied().unwrap_or_default();
        let id = id(name);
        let name = ("public".into(), name.into());
        ViewDefinition { id, name, version, plan, inputs, emit_on_close, dead_letters, indexes, index_by, limits }
    }

    /// Definitions of all views and indexes, each after those that it reads.
    async fn definitions(&self) -> Vec<ViewDefinition> {
        let mut out = vec![];
        let names = (0..self.streams.len()).map(|n| (format!("s{n}"), None));
        let views = self.views.iter().map(|v| (v.0.to_string(), Some(*v)));
        for (name, view) in names.chain(views) {
            if let Some((name, query, version)) = view {
                out.push(self.definition(name, query, version).await);
            }
            for index in self.indexes.iter().filter(|i| i.on == name) {
                out.push(self.index_definition(index).await);
            }
        }
        out
    }

    fn reader(&self, stream: usize) -> Arc<dyn StreamReader> {
        Arc::new(Reader { memory: self.streams[stream].clone(), columns: self.columns[stream] })
    }

    /// A stream read by other columns than it has.
    pub fn reader_by(&self, stream: &str, columns: Columns) -> Arc<dyn StreamReader> {
        let number: usize = stream[1..].parse().unwrap();
        Arc::new(Reader { memory: self.streams[number].clone(), columns })
    }

    /// Gives a stream other columns, in one go with all views that read it.
    pub async fn alter(&mut self, stream: &str, columns: Columns) -> Result<()> {
        let number: usize = stream[1..].parse().unwrap();
        let before = std::mem::replace(&mut self.columns[number], columns);
        let mut definitions = self.definitions().await;
        definitions.retain(|d| d.inputs.values().any(|i| *i == id(stream)));
        let altered = self.engine().alter_stream(id(stream), self.reader(number), definitions).await;
        if altered.is_err() {
            self.columns[number] = before;
        }
        altered
    }

    pub async fn start(&mut self, shards: usize) {
        self.try_start(shards).await.unwrap();
        self.wait().await;
    }

    pub async fn try_start(&mut self, shards: usize) -> Result<()> {
        self.life = Life::default();
        let views = self.definitions().await;
        let sinks = self.sink_on.iter().map(|view| {
            let writer: Box<dyn SinkWriter> = Box::new(self.sink_writer());
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
            journal: Box::new(MemoryJournal {
                entries: self.journal.clone(),
                busy: self.journal_busy.clone(),
                life: self.life.clone(),
            }),
            streams: self.streams.iter().enumerate().map(|(n, _)| (id(&format!("s{n}")), self.reader(n))).collect(),
            views,
            sinks: sinks.collect(),
        };
        self.engine = Some(tokio::task::spawn_blocking(move || Engine::start(parts)).await.unwrap()?);
        Ok(())
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
        self.stream(stream).rows.lock()[0].push((row.0, row.1, self.now_s));
    }

    /// Adds rows to a stream while somebody else has the world.
    pub fn rows_to_push(&self, stream: &str) -> impl Fn((i64, i64)) + Send + use<> {
        let (stream, now_s) = (self.streams[stream[1..].parse::<usize>().unwrap()].clone(), self.now_s);
        move |row| stream.rows.lock()[0].push((row.0, row.1, now_s))
    }

    /// What replacing a view would come to.
    pub async fn explain_replacement(&self, name: &'static str, query: &'static str) -> Replacement {
        let definition = self.definition(name, query, 9).await;
        self.engine().explain_replacements(vec![definition], BTreeSet::new()).await.unwrap().remove(0)
    }

    pub fn values(&self, stream: &str) -> Vec<Row> {
        self.stream(stream).rows.lock().concat()
    }

    /// Everything that a stream holds now goes.
    pub fn truncate(&mut self, stream: &str) {
        *self.stream(stream).start.lock() = self.ends(stream);
    }

    /// What a partition of a stream holds before an offset goes.
    pub fn truncate_before(&self, stream: &str, partition: usize, offset: i64) {
        self.stream(stream).start.lock()[partition] = offset;
    }

    /// And is there again.
    pub fn bring_back(&mut self, stream: &str) {
        self.stream(stream).start.lock().fill(0);
    }

    /// Makes a view, or replaces it.
    pub async fn create(&mut self, name: &'static str, query: &'static str) {
        self.try_create(name, query).await.unwrap();
    }

    pub async fn try_create(&mut self, name: &'static str, query: &'static str) -> Result<()> {
        let uses = self.indexes.iter().map(|i| i.name).collect();
        let before = self.uses.insert(name, uses);
        let made = self.renew(name, query).await;
        if let (Err(_), Some(before)) = (&made, before) {
            self.uses.insert(name, before);
        }
        made
    }

    /// As [`World::try_create`], with the indexes that the view may use by now and no others.
    pub async fn renew(&mut self, name: &'static str, query: &'static str) -> Result<()> {
        let version = self.views.iter().find(|v| v.0 == name).map_or(1, |v| v.2 + 1);
        let below = self.below(name, query).await;
        self.replace(name, query, version, below).await
    }

    /// Begins to make a view, which goes on meanwhile.
    pub async fn begin_to_create(&mut self, name: &'static str, query: &'static str) -> JoinHandle<Result<()>> {
        let (definition, engine) = (self.definition(name, query, 1).await, self.engine().clone());
        self.views.push((name, query, 1));
        tokio::spawn(async move { engine.create_view(definition).await })
    }

    /// Begins to make a view, or to replace it.
    pub async fn begin_to_renew(&mut self, name: &'static str, query: &'static str) -> JoinHandle<Result<()>> {
        let version = self.views.iter().find(|v| v.0 == name).map_or(1, |v| v.2 + 1);
        let (definition, engine) = (self.definition(name, query, version).await, self.engine().clone());
        self.views.retain(|v| v.0 != name);
        self.views.push((name, query, version));
        tokio::spawn(async move { engine.create_view(definition).await })
    }

    /// Of the builds that were held, so many may go on; all, and those to come, if it does not say.
    pub fn let_builds_read(&self, stream: &str, may: Option<usize>) {
        self.stream(stream).turns.lock().may = may;
        self.stream(stream).next_turn.notify_all();
    }

    /// Builds wait before they read a stream.
    pub fn hold_builds(&self, stream: &str) {
        *self.stream(stream).turns.lock() = Turns { came: 0, may: Some(0) };
    }

    /// Builds wait in the middle of what they read at once of a stream, or go on.
    pub fn hold_builds_within(&self, stream: &str, held: bool) {
        *self.stream(stream).is_held_within.lock() = held;
        self.stream(stream).go_on_within.notify_all();
    }

    /// Until so many builds have come to read a stream since they are held.
    pub async fn builds_came(&self, stream: &str, count: usize) {
        while self.stream(stream).turns.lock().came < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub async fn drop_view(&mut self, name: &str) {
        self.engine().drop_view(id(name)).await.unwrap();
        self.views.retain(|v| v.0 != name);
    }

    pub async fn checkpoint(&self) {
        self.engine().checkpoint().await.unwrap();
    }

    pub async fn crash(&mut self, shards: usize) {
        self.halt().await;
        self.start(shards).await;
    }

    pub async fn halt(&self) {
        self.engine().halt().await.unwrap();
        // What a thread of it still writes is lost.
        *self.store.run.lock() += 1;
    }

    /// The process will have died after this many more writes.
    pub fn dies_after(&self, writes: i64) {
        self.life.0.store(writes, Ordering::SeqCst);
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

    pub fn now_us(&self) -> i64 {
        self.clock.now_us()
    }

    /// The watermark and the late rows of the first stream.
    pub fn time(&self) -> (Option<i64>, u64) {
        let time = self.engine().published().times[&id("s0")].clone();
        (time.watermark, time.late_rows)
    }

    /// Until everything that was appended is taken in by the views that run.
    pub async fn taken_in(&self) {
        let engine = self.engine();
        engine.wake();
        for (n, stream) in self.streams.iter().enumerate() {
            for partition in 0..PARTITIONS {
                let end = stream.rows.lock()[partition].len() as i64;
                engine.wait_for(id(&format!("s{n}")), partition as i32, end).await.unwrap();
            }
        }
    }

    /// Until every view runs and shows everything that was appended.
    pub async fn wait(&self) {
        self.taken_in().await;
        let mut watch = self.engine().watch();
        let wanted = self.views.len() + self.indexes.len();
        let done = watch.wait_for(|p| p.views.len() == wanted && p.status.len() == wanted);
        drop(done.await.unwrap());
    }

    /// Until a view runs that is built again by itself.
    pub async fn runs(&self, name: &str) {
        let mut watch = self.engine().watch();
        let done = watch.wait_for(|p| matches!(p.status[&id(name)].state, ViewState::Running));
        let done = tokio::time::timeout(Duration::from_secs(60), done).await;
        assert!(done.is_ok(), "{name}: {:?}", self.status(name));
    }

    /// The views, in the order in which they were made.
    pub fn names(&self) -> Vec<&'static str> {
        self.views.iter().map(|v| v.0).collect()
    }

    pub fn query(&self, name: &str) -> &'static str {
        self.views.iter().find(|v| v.0 == name).unwrap().1
    }

    /// The views that read another one, or one that does.
    pub fn readers_of(&self, name: &str) -> Vec<&'static str> {
        let mut read = vec![name];
        for (other, query, _) in &self.views {
            let words = || query.split(|c: char| !c.is_ascii_alphanumeric());
            if read.iter().any(|r| words().any(|w| w == *r)) {
                read.push(other);
            }
        }
        self.views.iter().map(|v| v.0).filter(|v| *v != name && read.contains(v)).collect()
    }

    pub fn is_running(&self, name: &str) -> bool {
        matches!(self.engine().published().status[&id(name)].state, ViewState::Running)
    }

    pub fn status(&self, name: &str) -> ViewStatus {
        self.engine().published().status[&id(name)].clone()
    }

    /// The next offset of each partition of a stream.
    pub fn ends(&self, stream: &str) -> [i64; PARTITIONS] {
        self.stream(stream).rows.lock().each_ref().map(|r| r.len() as i64)
    }

    /// How many rows a stream holds.
    pub fn rows(&self, stream: &str) -> usize {
        self.stream(stream).rows.lock().iter().map(Vec::len).sum()
    }
}
