//! What this room asks of whoever runs the platform (the app), and what it hands over.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::logical_expr::LogicalPlan;
use fleuve_catalog::{Object, ObjectKind};
use fleuve_types::{Clock, Delta, Epoch, Error, ErrorKind, ObjectId, Replacement, Result, SystemClock};
use futures::Stream;
use tokio::sync::watch;

use crate::parse::OnError;

/// An object with its statement bound: what the running platform needs to know about it.
#[derive(Clone, Debug)]
pub struct BoundObject {
    /// What the catalog keeps.
    pub object: Object,
    /// What its statement means.
    pub spec: Spec,
}

/// The meaning of a `CREATE` statement.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // few, and held behind an `Arc`
pub enum Spec {
    /// `CREATE STREAM`
    Stream(StreamSpec),
    /// `CREATE SOURCE`
    Source(SourceSpec),
    /// `CREATE MATERIALIZED VIEW`
    View(ViewSpec),
    /// `CREATE SINK`
    Sink(SinkSpec),
    /// `CREATE INDEX`
    Index(IndexSpec),
}

impl Spec {
    /// The kind of object.
    pub fn kind(&self) -> ObjectKind {
        match self {
            Spec::Stream(_) => ObjectKind::Stream,
            Spec::Source(_) => ObjectKind::Source,
            Spec::View(_) => ObjectKind::View,
            Spec::Sink(_) => ObjectKind::Sink,
            Spec::Index(_) => ObjectKind::Index,
        }
    }
}

/// A stream: its own columns (without the pseudo-columns), how bytes become rows, and how long they stay.
#[derive(Clone, Debug)]
pub struct StreamSpec {
    /// The stream's own columns in order.
    pub schema: SchemaRef,
    /// `WATERMARK FOR column AS column - INTERVAL ...`
    pub watermark: Option<Watermark>,
    /// `json`, `avro`, `csv`, `combined_log`, `text`, `raw` (see fleuve-formats).
    pub format: String,
    /// The options of the format, by lower-case key (`delimiter`, `header`, ...).
    pub format_options: BTreeMap<String, String>,
    /// Number of partitions, at least 1.
    pub partitions: u32,
    /// Records older than this may go; `None` keeps them for ever.
    pub retention_ms: Option<i64>,
    /// A partition larger than this loses its oldest segments; `None` is no limit.
    pub retention_bytes: Option<i64>,
    /// `CHECK (...)` constraints as SQL text; a row that fails one is a dead letter.
    pub checks: Vec<String>,
    /// The rules that the checks go by.
    pub edition: u32,
}

/// The event-time column of a stream and how late a row may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The event-time column.
    pub column: String,
    /// How far the watermark stays behind the latest event time, in microseconds.
    pub delay_us: i64,
    /// A partition without records for this long does not hold the watermark back.
    pub idle_timeout_us: i64,
    /// Rows behind the watermark also go to the dead-letter stream.
    pub late_to_dead_letters: bool,
}

impl Watermark {
    /// One with the defaults of the options.
    pub fn new(column: &str, delay_us: i64) -> Self {
        Self { column: column.into(), delay_us, idle_timeout_us: 30_000_000, late_to_dead_letters: false }
    }
}

/// A source: a connector that feeds a stream.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// The stream it feeds.
    pub into: ObjectId,
    /// `file`
    pub connector: String,
    /// Its options without `connector`, by lower-case key.
    pub options: BTreeMap<String, String>,
}

/// A view: its query, bound and analysed but not yet optimised. Table scans carry full names
/// (`environment.namespace.object`); [`ViewSpec::inputs`] says which object each one is.
#[derive(Clone, Debug)]
pub struct ViewSpec {
    /// The query as the user wrote it.
    pub query: String,
    /// The logical plan, with every table function of ours already rewritten to ordinary SQL.
    pub plan: LogicalPlan,
    /// The columns of the answer; names are unique.
    pub schema: SchemaRef,
    /// `(namespace, name) -> id` of every stream and view that the plan scans.
    pub inputs: BTreeMap<(String, String), ObjectId>,
    /// `EMIT ON WINDOW CLOSE`: rows are shown only when the watermark has passed them.
    pub emit_on_close: bool,
    /// What a row does that an expression fails for.
    pub on_error: OnError,
    /// What its state may take.
    pub limits: ViewLimits,
}

/// Limits of one view's state, where it has limits of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewLimits {
    /// In memory, in bytes: what is beyond goes to disk.
    pub memory_bytes: Option<u64>,
    /// In memory and on disk together, in bytes.
    pub state_bytes: Option<u64>,
}

/// An index: the rows of a stream or view by some of their columns, in which joins of views look them up.
#[derive(Clone, Debug)]
pub struct IndexSpec {
    /// `(namespace, name)` of what it is of.
    pub on: (String, String),
    /// The columns that it is by, in its order.
    pub columns: Vec<String>,
    /// Their places among the columns that it holds.
    pub by: Vec<usize>,
    /// What it holds: some columns of what it is of, in their order there.
    pub view: ViewSpec,
}

/// How a sink writes a view's changes into a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkMode {
    /// By key: the new row as value, a tombstone when it is gone.
    Upsert,
    /// Every change as a record with its sign (`_weight` column / header).
    Changes,
}

/// A sink from a view into a stream.
#[derive(Clone, Debug)]
pub struct SinkSpec {
    /// The view it reads.
    pub from: ObjectId,
    /// The stream it writes; made by the sink's statement if it did not exist.
    pub into: ObjectId,
    /// `json` or `avro`
    pub format: String,
    /// How changes are written.
    pub mode: SinkMode,
    /// The key columns for [`SinkMode::Upsert`].
    pub key: Vec<String>,
    /// All options as given, by lower-case key.
    pub options: BTreeMap<String, String>,
}

/// One change of the catalog. A list of them is applied whole or not at all.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new object. Its id was made by the binder.
    Create(BoundObject),
    /// The same name and id with another definition.
    Replace(BoundObject),
    /// The same object in other words: its text is new, and what runs goes on.
    Restate(BoundObject),
    /// The object goes; nothing may depend on it afterwards.
    Drop(ObjectId),
    /// Only the comments changed.
    Comment(Object),
}

/// Why changes were not applied.
#[derive(Debug)]
pub enum Unapplied {
    /// The objects are not those any more that the changes were made for: they have to be made anew.
    Outdated,
    /// They cannot be.
    Failed {
        /// Why.
        error: Box<Error>,
        /// Whose change it was, if it is known.
        object: Option<ObjectId>,
    },
}

impl Unapplied {
    /// What an error becomes that is of no object alone.
    pub fn all(error: Error) -> Self {
        Self::Failed { error: Box::new(error), object: None }
    }

    /// For who does not make them anew.
    pub fn into_error(self) -> Error {
        match self {
            Self::Outdated => Error::new(ErrorKind::Retry, "the objects have changed meanwhile").hint("try again"),
            Self::Failed { error, .. } => *error,
        }
    }

    /// What an error becomes that the change of an object came to.
    pub fn of(object: ObjectId) -> impl Fn(Error) -> Self {
        move |error| Self::Failed { error: Box::new(error), object: Some(object) }
    }
}

/// All objects at one moment, bound. Cheap to clone through its `Arc`.
#[derive(Clone, Debug, Default)]
pub struct ObjectSet {
    /// By `(namespace, name)`.
    pub by_name: BTreeMap<(String, String), Arc<BoundObject>>,
    /// What the catalog holds and cannot be bound, by `(namespace, name)`: what another version allowed, and what reads that. It keeps its
    /// name, does nothing, and can be dropped or replaced.
    pub unusable: BTreeMap<(String, String), Arc<UnusableObject>>,
}

/// An object that could not be bound.
#[derive(Clone, Debug)]
pub struct UnusableObject {
    /// As the catalog keeps it.
    pub object: Object,
    /// Why not.
    pub error: Error,
}

impl UnusableObject {
    /// Why, for listings.
    pub fn why(&self) -> String {
        format!("cannot be used: {}", self.error.message)
    }

    /// What to tell who wants to use it.
    pub fn refusal(&self) -> Error {
        let Object { kind, name, .. } = &self.object;
        let hint = match kind {
            ObjectKind::Stream => "DROP STREAM takes it away with its records",
            ObjectKind::View => {
                "CREATE OR REPLACE MATERIALIZED VIEW gives it another query, DROP MATERIALIZED VIEW takes it away"
            }
            ObjectKind::Source => "fleuve apply declares it anew, DROP SOURCE takes it away",
            ObjectKind::Sink => "fleuve apply declares it anew, DROP SINK takes it away",
            ObjectKind::Index => "fleuve apply declares it anew, DROP INDEX takes it away",
        };
        Error::input(format!("{kind} \"{name}\" cannot be used: {}", self.error.message)).hint(hint)
    }
}

impl ObjectSet {
    /// The object of that name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<BoundObject>> {
        self.by_name.get(&(namespace.to_string(), name.to_string()))
    }

    /// The object of that id.
    pub fn by_id(&self, id: ObjectId) -> Option<&Arc<BoundObject>> {
        self.by_name.values().find(|o| o.object.id == id)
    }

    /// What the catalog has of that id, also if it cannot be used.
    pub fn object(&self, id: ObjectId) -> Option<&Object> {
        let unusable = || self.unusable.values().map(|o| &o.object).find(|o| o.id == id);
        self.by_id(id).map(|bound| &bound.object).or_else(unusable)
    }

    /// The object of that name that cannot be used.
    pub fn unusable(&self, namespace: &str, name: &str) -> Option<&UnusableObject> {
        self.unusable.get(&(namespace.to_string(), name.to_string())).map(AsRef::as_ref)
    }

    /// Everything that `counts` and depends on one of `roots`, directly or through others that count; also what cannot be used. The roots
    /// are not among it.
    pub fn dependents(
        &self,
        roots: impl IntoIterator<Item = ObjectId>,
        counts: impl Fn(&Object) -> bool,
    ) -> Vec<&Object> {
        let mut found: BTreeSet<ObjectId> = roots.into_iter().collect();
        let mut out: Vec<&Object> = Vec::new();
        let usable = self.by_name.values().map(|o| &o.object);
        let all: Vec<&Object> = usable.chain(self.unusable.values().map(|o| &o.object)).collect();
        loop {
            let is_next =
                |o: &&Object| !found.contains(&o.id) && counts(o) && o.depends_on.iter().any(|d| found.contains(d));
            let next: Vec<&Object> = all.iter().copied().filter(is_next).collect();
            if next.is_empty() {
                return out;
            }
            found.extend(next.iter().map(|o| o.id));
            out.extend(next);
        }
    }
}

/// A view that does not take part in epochs any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoppedView {
    /// What stopped it.
    pub reason: String,
    /// The epoch whose answer it shows.
    pub epoch: Epoch,
    /// One that it reads stopped, and it follows that one when it runs again.
    pub by_input: bool,
    /// When that was, by the clock of epochs, in microseconds; it may not be known of one that stopped before the start.
    pub since_us: Option<i64>,
}

/// When a row of a view with EMIT ON WINDOW CLOSE is final. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The watermark of what the view reads: the least one of several streams.
    pub watermark: Option<i64>,
    /// It has passed the row.
    pub is_closed: bool,
    /// The least watermark that passes the row; `None` if none is known to.
    pub at: Option<i64>,
}

/// Where the watermark of a stream had gone on without a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overtaken {
    /// The partition.
    pub partition: i32,
    /// The record that came next to it.
    pub offset: i64,
    /// The watermark by then: rows below it are late from there on, whatever came before them in the partition. In the unit of the
    /// event-time column.
    pub watermark: i64,
}

/// Everything a query reads, at one epoch.
pub trait Snapshot: Send + Sync {
    /// The epoch that all views of this snapshot show.
    fn epoch(&self) -> Epoch;
    /// The time of that epoch, which is what `now()` is in views; microseconds.
    fn time_us(&self) -> i64;
    /// The provider of a stream or view (streams with their pseudo-columns after their own), or of a system table in
    /// namespace `fleuve`. `None` if there is none of that name.
    fn table(&self, namespace: &str, name: &str) -> Option<Arc<dyn TableProvider>>;
    /// The names of a namespace's tables; used for listings and completion.
    fn names(&self, namespace: &str) -> Vec<String>;
    /// The namespaces.
    fn namespaces(&self) -> Vec<String>;
    /// When rows of what a view with EMIT ON WINDOW CLOSE asks for are final: of each of `rows`, which have the view's columns. `None` if
    /// that is not known.
    ///
    /// # Errors
    /// When event time passes through an expression that fails.
    fn closing(&self, namespace: &str, name: &str, rows: &RecordBatch) -> Result<Option<Vec<Closing>>> {
        let _ = (namespace, name, rows);
        Ok(None)
    }
    /// Where the watermark of a stream had gone on without a partition, as far as that is remembered. What was later than the snapshot may
    /// be among it.
    fn overtaken(&self, namespace: &str, name: &str) -> Vec<Overtaken> {
        let _ = (namespace, name);
        vec![]
    }
    /// Why a view shows an older answer; `None` of one that has not stopped.
    fn stopped(&self, namespace: &str, name: &str) -> Option<StoppedView> {
        let _ = (namespace, name);
        None
    }
}

/// One step of a subscription: what changed in one epoch, or a part of it. The first epoch's are the answer as it stood (all weights
/// positive).
#[derive(Clone, Debug)]
pub struct ChangeSet {
    /// The epoch whose change this is.
    pub epoch: Epoch,
    /// The change; may be empty (a heartbeat).
    pub delta: Delta,
    /// More of the same epoch follows.
    pub more: bool,
}

/// A view's changes as they happen. Ends with an error when the reader is too slow or the view is dropped.
pub struct Subscription {
    /// The columns of the rows.
    pub schema: SchemaRef,
    /// The changes.
    pub changes: Pin<Box<dyn Stream<Item = Result<ChangeSet>> + Send>>,
}

/// How a view is doing, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewState {
    /// `running`, `building`, `failed`, `stopped`
    pub state: String,
    /// How far a build is, or why the view does not run.
    pub detail: Option<String>,
}

/// An input of a view that is built, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputToRead {
    /// The stream or view.
    pub id: ObjectId,
    /// `namespace.name`, or only the name in `public`.
    pub name: String,
    /// Records of a stream, rows of a view.
    pub rows: u64,
    /// Bytes of the log; not known of a view, whose rows are in memory.
    pub bytes: Option<u64>,
    /// Records of a stream that were there once and that its log does not hold any more.
    pub gone: u64,
}

/// How far a view is run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// Up to and including this record, and of all other partitions what is not later than it.
    Offset {
        /// The stream.
        stream: ObjectId,
        /// The partition.
        partition: i32,
        /// The last record that is taken in.
        offset: i64,
    },
    /// Records whose time, in milliseconds since 1970, is not after this.
    Time(i64),
    /// All that views have taken in by now, with what the clock and statements have done to watermarks by then.
    Now,
}

impl Until {
    /// Reads `stream/partition@offset`, a timestamp, milliseconds since 1970, or `now`.
    ///
    /// # Errors
    /// What it is not, and a stream that does not exist.
    pub fn parse(objects: &ObjectSet, text: &str) -> Result<Self> {
        let hint = "as in orders/0@1234, 2026-05-01T08:00:00, milliseconds since 1970, or now";
        if text.eq_ignore_ascii_case("now") {
            return Ok(Self::Now);
        }
        if let Some((place, offset)) = text.rsplit_once('@') {
            let wrong = || Error::input(format!("\"{text}\" is no place in a stream")).hint(hint);
            let (stream, partition) = place.rsplit_once('/').ok_or_else(wrong)?;
            let (namespace, name) = stream.split_once('.').unwrap_or((crate::DEFAULT_NAMESPACE, stream));
            let object = objects.get(namespace, name).filter(|o| matches!(o.spec, Spec::Stream(_)));
            let object = object.ok_or_else(|| Error::not_found(format!("there is no stream \"{stream}\"")))?;
            let partition = partition.parse().map_err(|_| wrong())?;
            let offset = offset.parse().map_err(|_| wrong())?;
            return Ok(Self::Offset { stream: object.object.id, partition, offset });
        }
        if let Ok(ms) = text.parse::<i64>() {
            return Ok(Self::Time(ms));
        }
        let ns = arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text);
        ns.map(|ns| Self::Time(ns.div_euclid(1_000_000)))
            .map_err(|_| Error::input(format!("\"{text}\" is no point in a log")).hint(hint))
    }
}

/// A view to run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The view.
    pub view: ObjectId,
    /// How far.
    pub until: Until,
    /// The values of its key, as text, NULL as `None`: then it is the changes of this row that are told. Empty: the whole answer.
    pub watch: Vec<Option<String>>,
    /// The whole answer beside what the view shows, at [`Until::Now`].
    pub compare: bool,
}

/// What a replay came to.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The answer, or the changes of the row that was watched (`_step, _weight, _source, _partition, _offset`, then its columns). Compared:
    /// the rows that the view shows, and the answer, with 0 and 1 in a first column `_side`.
    pub rows: RecordBatch,
    /// Steps that the views took.
    pub steps: u64,
    /// Rows of streams that they took in.
    pub records: u64,
    /// Stream, partition, and the offset up to which it was read.
    pub ends: Vec<(String, i32, i64)>,
}

/// Tells whoever carries out a change that nobody wants it any more.
#[derive(Clone, Debug)]
pub struct Withdrawal(watch::Receiver<u64>);

impl Withdrawal {
    /// One that comes when `requests` says anything from now on; never, once that is gone.
    pub fn of(requests: &watch::Sender<u64>) -> Self {
        Self(requests.subscribe())
    }

    /// One that never comes.
    pub fn never() -> Self {
        Self(watch::channel(0).1)
    }

    /// Returns when the change is withdrawn. Can be dropped and called again.
    pub async fn comes(&self) {
        let mut requests = self.0.clone();
        if requests.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The running platform, as SQL sees it.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// All objects now.
    fn objects(&self) -> Arc<ObjectSet>;

    /// The platform's clock: that of new objects, and of `now()` in queries.
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }

    /// The newest consistent state of everything that can be queried.
    fn snapshot(&self) -> Arc<dyn Snapshot>;

    /// Applies changes of `objects`, which [`Backend::objects`] gave, all or nothing, and returns when they are durable and running (a view
    /// has taken in what was there).
    ///
    /// Changes of other objects go on beside it; one that would meet an earlier one waits for it, but a DROP ends what is being built. When they
    /// are withdrawn before the end, they are taken back, with an error.
    async fn apply(
        &self,
        objects: &Arc<ObjectSet>,
        changes: Vec<Change>,
        withdrawal: Withdrawal,
    ) -> Result<(), Unapplied>;

    /// Appends rows to a stream (columns in the stream's order) and returns when a query would see them. Gives their number.
    async fn insert(&self, stream: ObjectId, rows: Vec<RecordBatch>) -> Result<u64>;

    /// A view's or stream's changes from now on.
    async fn subscribe(&self, object: ObjectId) -> Result<Subscription>;

    /// Builds a view that failed anew; returns when it runs. It stays as it was when that is withdrawn before.
    async fn resume(&self, view: ObjectId, withdrawal: Withdrawal) -> Result<()>;

    /// Takes a stream for complete up to a time, in the unit of its event-time column; returns when views have been told.
    async fn advance_watermark(&self, stream: ObjectId, watermark: i64) -> Result<()>;

    /// How each view is doing; one that is missing has not been started yet.
    fn view_states(&self) -> BTreeMap<ObjectId, ViewState>;

    /// The running circuit of a view as text lines (operators, row counts, state sizes), for `EXPLAIN` of a view's name.
    async fn explain_running(&self, view: ObjectId) -> Result<Vec<String>>;

    /// The circuit that a query would get as a view, as text lines.
    fn explain_circuit(&self, view: &ViewSpec) -> Result<Vec<String>>;

    /// What replacing these views, which run, would come to, one after the other; `objects` are those afterwards. One that is missing is
    /// built from its inputs.
    async fn explain_replacements(&self, objects: &ObjectSet, views: &[BoundObject]) -> Result<Vec<Replacement>> {
        let _ = (objects, views);
        Ok(vec![])
    }

    /// Runs a view again from the start of its streams, beside the running one.
    async fn replay(&self, asked: Replay) -> Result<Replayed> {
        let _ = asked;
        Err(Error::unsupported("nothing can be replayed here"))
    }

    /// What to tell who made a source, such as that there is nothing to read yet.
    async fn notice_of_source(&self, source: &SourceSpec) -> Option<String> {
        let _ = source;
        None
    }

    /// What building a view reads.
    fn inputs_to_read(&self, view: &ViewSpec) -> Vec<InputToRead> {
        let _ = view;
        vec![]
    }
}
