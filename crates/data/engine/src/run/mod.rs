//! The running engine: one thread that takes epochs, and a handle to it.

mod alter;
mod attach;
mod beside;
mod build;
mod by_object;
mod checkpoint;
mod commands;
mod core;
mod dead;
mod epochs;
mod explain;
mod floors;
mod keep;
mod known;
mod let_go;
mod lookups;
mod memory;
mod open;
mod pace;
mod progress;
mod reading;
mod sinks;
mod status;
mod stepping;
mod subscribers;
mod switch;
mod times;
mod topology;
mod unwritten;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use fleuve_types::{Clock, ColumnPart, Delta, Epoch, Error, ErrorKind, Frontier, ObjectId, Replacement, Result};
use tokio::sync::{oneshot, watch};

pub use self::beside::ProcessMemory;
pub use self::by_object::ByObject;
pub use self::checkpoint::{CheckpointStore, SavedCheckpoint, SavedView};
use self::epochs::Epochs;
pub use self::epochs::{Durations, EpochStatus};
pub use self::floors::{Floor, Floors};
pub use self::let_go::{Going, Which};
pub use self::memory::MemoryStatus;
pub use self::progress::BuildProgress;
pub use self::sinks::{SinkPiece, SinkWriter};
pub use self::status::{Published, ViewState, ViewStatus};
pub use self::subscribers::{ChangesEnd, ViewChanges};
pub use self::switch::Below;
pub use self::times::{EventTime, LateRow, StreamTime};
pub use self::unwritten::SinkRecord;
use crate::circuit::Circuit;
use crate::lower::{lower, lower_index, lower_on_close};
use crate::operators::DeadRow;
use crate::output::ViewSnapshot;
use crate::session::optimize;

/// Reads one stream as rows. The same range always gives the same rows.
pub trait StreamReader: Send + Sync {
    /// All columns, pseudo-columns last.
    fn schema(&self) -> SchemaRef;
    /// The number of partitions now; it only grows.
    fn partitions(&self) -> i32;
    /// First offset kept and next offset to be written (durable) of a partition.
    fn bounds(&self, partition: i32) -> Result<(i64, i64)>;
    /// Rows of `partition` from offset `from` up to, not including, `to` (or less, at about `max_bytes`), `columns` only.
    /// Gives the rows and the offset after the last record looked at. A struct may come with more fields than were
    /// asked for. Tells `decoded` how many records have become rows, a piece at a time and from any thread; records of the range that are
    /// not there need not be told.
    ///
    /// # Errors
    /// [`ErrorKind::Retry`] and [`ErrorKind::Io`] are tried again; others, and panics, stop the views that read the stream.
    fn read(
        &self,
        partition: i32,
        from: i64,
        to: i64,
        max_bytes: usize,
        columns: &[ColumnPart],
        decoded: &(dyn Fn(u64) + Sync),
    ) -> Result<(Vec<RecordBatch>, i64)>;
    /// Called once for every range that the engine has passed, in order; where bad records are sent to the dead letters, and
    /// the rows of it that came late, if [`EventTime::offsets`] asks for them.
    fn passed(&self, partition: i32, from: i64, to: i64, late: &[LateRow]) -> Result<()>;
    /// The event time of its rows, if it has a watermark.
    fn event_time(&self) -> Option<EventTime> {
        None
    }
}

/// What decided an epoch: with the log, it gives the same again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochEntry {
    /// The epoch.
    pub epoch: Epoch,
    /// Its time by the engine's clock.
    pub time_us: i64,
    /// The offsets that it includes.
    pub frontier: Frontier,
    /// The watermarks of streams at its end, in the unit of their event times.
    pub watermarks: BTreeMap<ObjectId, i64>,
}

/// Where epochs are written down before their effects are seen outside.
pub trait Journal: Send {
    /// Notes an epoch; durable before anything that is written outside after this call. With `wait`, durable when it returns.
    fn append(&mut self, entry: &EpochEntry, wait: bool) -> Result<()>;
    /// Epochs after `epoch`, in order.
    fn after(&self, epoch: Epoch) -> Result<Vec<EpochEntry>>;
    /// Forgets epochs up to and including `epoch`.
    fn trim(&mut self, epoch: Epoch) -> Result<()>;
}

/// Takes the rows that a view leaves out because an expression fails for them.
pub trait DeadLetterWriter: Send + Sync {
    /// Hands over the rows of one epoch. Writing the same epoch again must change nothing. Never waits: returns as soon as it is
    /// on its way in order.
    ///
    /// # Errors
    /// [`ErrorKind::Retry`] when they cannot be taken now: they are handed over again, before later ones. Others stop the view.
    fn write(&self, epoch: Epoch, rows: &[DeadRow]) -> Result<()>;
}

/// What the engine needs to run a view.
#[derive(Clone)]
pub struct ViewDefinition {
    /// Durable id.
    pub id: ObjectId,
    /// `(namespace, name)`, as other plans scan it.
    pub name: (String, String),
    /// Grows with each replacement.
    pub version: u32,
    /// The analysed plan.
    pub plan: LogicalPlan,
    /// Which object each scanned table is.
    pub inputs: HashMap<(String, String), ObjectId>,
    /// The indexes of these in which its joins may look rows up. They have to be there.
    pub indexes: Vec<ObjectId>,
    /// It is no view but an index of what its plan reads, by these columns of the plan: it shows nothing, and others look rows up in it.
    pub index_by: Option<Vec<usize>>,
    /// Shows rows only when the watermark has passed them.
    pub emit_on_close: bool,
    /// Where rows go that an expression fails for. Without it such a row stops the view.
    pub dead_letters: Option<Arc<dyn DeadLetterWriter>>,
    /// What its state may take, where that is not what [`EngineOptions`] say of all views.
    pub limits: ViewLimits,
}

/// Limits of one view. What all views share holds beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewLimits {
    /// In place of [`EngineOptions::view_bytes`].
    pub memory_bytes: Option<u64>,
    /// In place of [`EngineOptions::view_state_bytes`].
    pub state_bytes: Option<u64>,
}

impl ViewDefinition {
    /// What has to be there for it: what it reads, and the indexes.
    pub(crate) fn needs(&self) -> impl Iterator<Item = ObjectId> {
        self.inputs.values().chain(&self.indexes).copied()
    }
}

/// Limits and pace.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Key shards of each stateful operator; one per core.
    pub shards: usize,
    /// An epoch takes in at most this much of the log.
    pub epoch_bytes: usize,
    /// A view that holds more than this in memory lets state go to disk, and stops if what cannot go is more.
    pub view_bytes: usize,
    /// A view whose state takes more than this in memory and on disk stops.
    pub view_state_bytes: u64,
    /// All views together: when it is passed the coldest state goes to disk; if what cannot go is more, the largest view stops.
    pub budget_bytes: usize,
    /// The process, if it can be looked at: then what it holds beside state counts in the budget, too.
    pub process: Option<ProcessMemory>,
    /// State goes to disk from here on, if that is before the budget.
    pub hot_bytes: usize,
    /// Time between checkpoints.
    pub checkpoint_interval_ms: u64,
    /// After this many rows of input there is a checkpoint, however little time has passed.
    pub checkpoint_rows: u64,
    /// A subscriber may fall behind by this many epochs.
    pub subscriber_epochs: usize,
    /// And by changes of this size.
    pub subscriber_bytes: usize,
    /// The answer of state that a replaced view keeps is told to what is new in parts of about this many rows or groups.
    pub part_rows: u64,
    /// Changes of this size may wait for a sink; then it stops.
    pub sink_waiting_bytes: usize,
    /// The answer that a sink begins with is written in pieces of about this many rows.
    pub sink_piece_rows: usize,
    /// True makes an engine that does nothing by itself, for simulations: it takes an epoch in [`Engine::step`], checkpoints only when
    /// told, and builds views while their creator waits.
    pub stepped: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            shards: std::thread::available_parallelism().map_or(1, usize::from),
            epoch_bytes: 32 << 20,
            view_bytes: usize::MAX,
            view_state_bytes: u64::MAX,
            budget_bytes: 8 << 30,
            process: None,
            hot_bytes: usize::MAX,
            checkpoint_interval_ms: 5_000,
            checkpoint_rows: 1_000_000,
            subscriber_epochs: 1_024,
            subscriber_bytes: 64 << 20,
            part_rows: 65_536,
            sink_waiting_bytes: 64 << 20,
            sink_piece_rows: 16_384,
            stepped: false,
        }
    }
}

/// One epoch's change of a view, for subscribers.
#[derive(Clone, Debug)]
pub struct ViewChange {
    /// The epoch.
    pub epoch: Epoch,
    /// The change.
    pub delta: Delta,
}

/// A view's answer and every change after it.
pub struct ViewSubscription {
    /// The answer when the subscription began.
    pub start: ViewSnapshot,
    /// The changes of later epochs.
    pub changes: ViewChanges,
}

type Reply<T> = oneshot::Sender<Result<T>>;

pub(crate) enum Command {
    Wake,
    Step(Reply<bool>),
    AddStream(ObjectId, Arc<dyn StreamReader>, Reply<()>),
    AlterStream(ObjectId, Arc<dyn StreamReader>, Vec<ViewDefinition>, Reply<()>),
    RemoveStream(ObjectId, Reply<()>),
    CreateView(Box<ViewDefinition>, Box<Below>, Reply<()>),
    DropView(ObjectId, Reply<()>),
    ResumeView(ObjectId, Reply<()>),
    EndBuild(ObjectId, Error, Reply<()>),
    LimitView(ObjectId, ViewLimits, Reply<()>),
    AdvanceWatermark(ObjectId, i64, Reply<()>),
    AddSink(ObjectId, ObjectId, Box<dyn SinkWriter>, Reply<()>),
    DropSink(ObjectId, Reply<()>),
    Subscribe(ObjectId, Reply<ViewSubscription>),
    Explain(ObjectId, Reply<Vec<String>>),
    ExplainReplacements(Vec<ViewDefinition>, BTreeSet<ObjectId>, Reply<Vec<Replacement>>),
    Built(Box<build::Built>),
    FollowClock(Reply<()>),
    Checkpoint(Reply<()>),
    BeginCheckpoint(Reply<()>),
    LetGo(Box<let_go::LetGo>, Reply<Vec<Going>>),
    Stop(Reply<()>),
    Halt(Reply<()>),
}

/// A handle to the running engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    commands: SyncSender<Command>,
    published: watch::Receiver<Arc<Published>>,
    epochs: Epochs,
    state: Arc<SessionState>,
    shards: usize,
}

/// Commands that may wait for the engine.
const QUEUE: usize = 1_024;

/// What the engine starts with.
pub struct EngineParts {
    /// Limits and pace.
    pub options: EngineOptions,
    /// Planner settings and functions.
    pub state: SessionState,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where checkpoints go.
    pub store: Arc<dyn CheckpointStore>,
    /// Where epochs are written down.
    pub journal: Box<dyn Journal>,
    /// Streams that exist.
    pub streams: Vec<(ObjectId, Arc<dyn StreamReader>)>,
    /// Views that exist, each after those that it reads.
    pub views: Vec<ViewDefinition>,
    /// `(sink, view, writer)`
    pub sinks: Vec<(ObjectId, ObjectId, Box<dyn SinkWriter>)>,
}

impl Engine {
    /// Loads the last checkpoint, replays the journal, and starts the epoch loop. Views without a usable checkpoint are built
    /// again from the log, beside those that run.
    ///
    /// # Errors
    /// When the checkpoint cannot be read at all.
    pub fn start(parts: EngineParts) -> Result<Engine> {
        let (commands, queue) = sync_channel(QUEUE);
        let (publish, published) = watch::channel(Arc::new(Published::default()));
        let state = Arc::new(parts.state.clone());
        let shards = parts.options.shards.max(1);
        let sender = commands.clone();
        let epochs = Epochs::default();
        let taken = epochs.clone();
        let (ready, started) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("engine".into())
            .stack_size(crate::STACK_BYTES)
            .spawn(move || match core::Core::start(parts, sender, publish, taken) {
                Ok(mut core) => {
                    let _ = ready.send(Ok(()));
                    core.run(&queue);
                }
                Err(e) => {
                    let _ = ready.send(Err(e));
                }
            })
            .map_err(|e| Error::io("start the engine's thread", e))?;
        started.recv().map_err(|_| Error::bug("the engine's thread ended at once"))??;
        Ok(Engine { commands, published, epochs, state, shards })
    }

    /// Tells the engine that there may be something to read. Never waits.
    pub fn wake(&self) {
        match self.commands.try_send(Command::Wake) {
            // A full queue wakes it anyway; a stopped engine needs no waking.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    /// Takes an epoch if there is one to take; tells if there was. For an engine that is stepped.
    pub async fn step(&self) -> Result<bool> {
        self.ask(Command::Step).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command + Send) -> Result<T>
    where
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let mut command = command(reply);
        loop {
            match self.commands.try_send(command) {
                Ok(()) => break,
                Err(TrySendError::Full(c)) => {
                    command = c;
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                Err(TrySendError::Disconnected(_)) => return Err(stopped()),
            }
        }
        answer.await.map_err(|_| stopped())?
    }

    /// A stream to follow from its beginning.
    pub async fn add_stream(&self, id: ObjectId, reader: Arc<dyn StreamReader>) -> Result<()> {
        self.ask(|r| Command::AddStream(id, reader, r)).await
    }

    /// Follows a stream by other columns from now on. `views` are the definitions of all views that read it, over these columns: each
    /// goes on with its state.
    ///
    /// # Errors
    /// [`ErrorKind::Retry`] while a view that reads it is being built. For a view whose circuit would be another one; nothing has
    /// changed then.
    pub async fn alter_stream(
        &self,
        id: ObjectId,
        reader: Arc<dyn StreamReader>,
        views: Vec<ViewDefinition>,
    ) -> Result<()> {
        self.ask(|r| Command::AlterStream(id, reader, views, r)).await
    }

    /// Forgets a stream.
    pub async fn remove_stream(&self, id: ObjectId) -> Result<()> {
        self.ask(|r| Command::RemoveStream(id, r)).await
    }

    /// Builds a view over what is there and lets it take part in epochs; returns when it does. A view of the same id is replaced: state
    /// of operators that stay the same is kept, and if that covers every input none is read again.
    ///
    /// # Errors
    /// When the plan cannot run, or its build fails.
    pub async fn create_view(&self, view: ViewDefinition) -> Result<()> {
        self.replace_view(view, Below::default()).await
    }

    /// As [`Engine::create_view`] of a view that runs, with what becomes another one in the same moment.
    ///
    /// # Errors
    /// As for [`Engine::create_view`].
    pub async fn replace_view(&self, view: ViewDefinition, below: Below) -> Result<()> {
        self.ask(|r| Command::CreateView(Box::new(view), Box::new(below), r)).await
    }

    /// Builds a view that failed anew, over all its input; returns when it runs again. Views that stopped because of it follow.
    ///
    /// # Errors
    /// When it fails again, or has not failed.
    pub async fn resume_view(&self, id: ObjectId) -> Result<()> {
        self.ask(|r| Command::ResumeView(id, r)).await
    }

    /// Ends the build of a view with an error for who waits for it, as soon as it has taken its step. What ran before goes on; a view
    /// that had stopped stays as it was. Does nothing of a view that is not being built.
    ///
    /// # Errors
    /// When the engine has ended.
    pub async fn end_build(&self, id: ObjectId, why: Error) -> Result<()> {
        self.ask(|r| Command::EndBuild(id, why, r)).await
    }

    /// Gives a view other limits. One that is being built has them once it is there.
    ///
    /// # Errors
    /// When the engine has ended.
    pub async fn limit_view(&self, id: ObjectId, limits: ViewLimits) -> Result<()> {
        self.ask(|r| Command::LimitView(id, limits, r)).await
    }

    /// Takes a stream for complete up to a time, in the unit of its event-time column, and closes what that closes: rows below it that come
    /// from now on are late. The watermark does not go back. Returns when views have been told.
    ///
    /// # Errors
    /// When the stream is not there, or has no event time.
    pub async fn advance_watermark(&self, stream: ObjectId, watermark: i64) -> Result<()> {
        self.ask(|r| Command::AdvanceWatermark(stream, watermark, r)).await
    }

    /// Forgets a view.
    pub async fn drop_view(&self, id: ObjectId) -> Result<()> {
        self.ask(|r| Command::DropView(id, r)).await
    }

    /// Sends a view's answer, and from then on its changes, to `writer`, in the place of a sink of the same id if there is one. Returns when
    /// the whole answer is handed over; a stepped engine writes it a piece with each step.
    ///
    /// # Errors
    /// When the answer cannot be written.
    pub async fn add_sink(&self, id: ObjectId, view: ObjectId, writer: Box<dyn SinkWriter>) -> Result<()> {
        self.ask(|r| Command::AddSink(id, view, writer, r)).await
    }

    /// Stops a sink.
    pub async fn drop_sink(&self, id: ObjectId) -> Result<()> {
        self.ask(|r| Command::DropSink(id, r)).await
    }

    /// A view's answer and its changes.
    pub async fn subscribe(&self, view: ObjectId) -> Result<ViewSubscription> {
        self.ask(|r| Command::Subscribe(view, r)).await
    }

    /// A running view's circuit with its figures, as text lines.
    pub async fn explain(&self, view: ObjectId) -> Result<Vec<String>> {
        self.ask(|r| Command::Explain(view, r)).await
    }

    /// What [`Engine::replace_view`] of these views, which run, would keep of them and what it would build, one after the other. Those of
    /// `below` would be given as [`Below::views`].
    ///
    /// # Errors
    /// When a plan cannot run.
    pub async fn explain_replacements(
        &self,
        views: Vec<ViewDefinition>,
        below: BTreeSet<ObjectId>,
    ) -> Result<Vec<Replacement>> {
        self.ask(|r| Command::ExplainReplacements(views, below, r)).await
    }

    /// Takes an epoch at the clock's time, if anything is due by it; returns when it is seen.
    pub async fn follow_clock(&self) -> Result<()> {
        self.ask(Command::FollowClock).await
    }

    /// Makes a checkpoint now; returns when it is durable.
    pub async fn checkpoint(&self) -> Result<()> {
        self.ask(Command::Checkpoint).await
    }

    /// Begins a checkpoint; returns before it is written. A stepped engine writes it at the end of the next step, which so happens beside
    /// it, or before it does anything else.
    pub async fn begin_checkpoint(&self) -> Result<()> {
        self.ask(Command::BeginCheckpoint).await
    }

    /// Has `take` take `which` of the records from the log. No epoch is taken meanwhile. Gives those of which nothing could go.
    ///
    /// # Errors
    /// [`ErrorKind::Retry`] when [`Which::All`] cannot go now, because they are not read yet or no checkpoint can be made; what `take` says.
    pub async fn let_go(
        &self,
        going: Vec<Going>,
        which: Which,
        take: impl FnOnce(&[Going]) -> Result<()> + Send + 'static,
    ) -> Result<Vec<Going>> {
        let records = Box::new(let_go::LetGo { going, which, take: Box::new(take) });
        self.ask(|r| Command::LetGo(records, r)).await
    }

    /// Makes a last checkpoint and stops.
    pub async fn stop(&self) -> Result<()> {
        self.ask(Command::Stop).await
    }

    /// Stops at once and without a checkpoint, as a crash would; for tests of recovery.
    pub async fn halt(&self) -> Result<()> {
        self.ask(Command::Halt).await
    }

    /// The newest epoch that readers may see.
    pub fn published(&self) -> Arc<Published> {
        self.published.borrow().clone()
    }

    /// The last epochs that were taken, oldest first; at most some hundred.
    pub fn epochs(&self) -> Vec<EpochStatus> {
        self.epochs.all()
    }

    /// How long epochs took, all of them since the start.
    pub fn epoch_durations(&self) -> Durations {
        self.epochs.durations()
    }

    /// The time that epochs spent on reading and decoding each stream since the start, once for all views that read it.
    pub fn decoding(&self) -> HashMap<ObjectId, Duration> {
        self.epochs.decoding()
    }

    /// Tells when [`Engine::published`] changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Published>> {
        self.published.clone()
    }

    /// Waits until readers see everything up to `next` in a partition.
    ///
    /// # Errors
    /// [`ErrorKind::Retry`] when the engine stops first.
    pub async fn wait_for(&self, stream: ObjectId, partition: i32, next: i64) -> Result<()> {
        let mut published = self.published.clone();
        let seen = published.wait_for(|p| p.frontier.get(stream, partition).unwrap_or(0) >= next).await;
        seen.map(|_| ()).map_err(|_| stopped())
    }

    /// The circuit that an index would get of what a plan reads, by these of its columns.
    ///
    /// # Errors
    /// When rows cannot be kept so.
    pub fn index_circuit(&self, plan: &LogicalPlan, relations: &dyn crate::Relations, by: &[usize]) -> Result<Circuit> {
        lower_index(&optimize(plan, &self.state)?, &self.state, relations, self.shards, by)
    }

    /// The circuit that a plan would get; `on_close` says that it emits on window close.
    ///
    /// # Errors
    /// When the plan cannot run.
    pub fn circuit(&self, plan: &LogicalPlan, relations: &dyn crate::Relations, on_close: bool) -> Result<Circuit> {
        let optimized = optimize(plan, &self.state)?;
        let lower = if on_close { lower_on_close } else { lower };
        lower(&optimized, &self.state, relations, self.shards)
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Retry, "the engine has stopped")
}
