//! A platform in memory, for tests: rows in vectors, views computed whole by plain DataFusion.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use fleuve_types::{Clock, Delta, Epoch, Error, ManualClock, ObjectId, Result, pseudo_fields};
use futures::TryStreamExt;
use parking_lot::Mutex;

use crate::{
    Backend, Change, ChangeSet, ObjectSet, OnError, Outcome, ProjectFile, Session, Snapshot, Spec, Subscription,
    Unapplied, ViewSpec, ViewState, Withdrawal,
};

#[derive(Default)]
pub(crate) struct Fake {
    objects: Mutex<Arc<ObjectSet>>,
    /// The rows of streams and views.
    rows: Mutex<BTreeMap<ObjectId, Vec<RecordBatch>>>,
    /// Every list of changes that was applied, as words.
    pub(crate) applied: Mutex<Vec<Vec<String>>>,
    pub(crate) snapshots: Mutex<usize>,
    /// Statements of others that come before the next changes, the last one first.
    pub(crate) meanwhile: Mutex<Vec<String>>,
    /// What the next changes come to.
    pub(crate) failing: Mutex<Option<Unapplied>>,
    pub(crate) clock: Arc<ManualClock>,
}

pub(crate) fn session() -> (Arc<Fake>, Session) {
    let clock = Arc::new(ManualClock::new(1_800_000_000_000_000));
    let fake = Arc::new(Fake { clock, ..Fake::default() });
    (fake.clone(), Session::new(fake))
}

/// A session over objects that are there already, without rows.
pub(crate) fn session_over(objects: ObjectSet) -> (Arc<Fake>, Session) {
    let (fake, session) = session();
    *fake.objects.lock() = Arc::new(objects);
    (fake, session)
}

fn table_schema(spec: &Spec) -> Option<Arc<Schema>> {
    match spec {
        Spec::Stream(s) => {
            let fields: Vec<_> = s.schema.fields().iter().cloned().chain(pseudo_fields()).collect();
            Some(Arc::new(Schema::new(fields)))
        }
        Spec::View(v) => Some(v.schema.clone()),
        _ => None,
    }
}

/// Rows of a stream whose columns have changed.
fn with_columns(rows: &RecordBatch, from: &Schema, to: &Arc<Schema>) -> RecordBatch {
    let column = |field: &Arc<Field>| match from.column_with_name(field.name()) {
        Some((at, _)) => arrow::compute::cast(rows.column(at), field.data_type()).unwrap(),
        None => new_null_array(field.data_type(), rows.num_rows()),
    };
    RecordBatch::try_new(to.clone(), to.fields().iter().map(column).collect()).unwrap()
}

impl Fake {
    fn table_of(&self, spec: &Spec, id: ObjectId) -> Option<Arc<dyn TableProvider>> {
        let schema = table_schema(spec)?;
        let batches = self.rows.lock().get(&id).cloned().unwrap_or_default();
        // A batch's own schema may say "not null" where the table's does not.
        let batches: Vec<RecordBatch> =
            batches.into_iter().map(|b| RecordBatch::try_new(schema.clone(), b.columns().to_vec()).unwrap()).collect();
        Some(Arc::new(MemTable::try_new(schema, vec![batches]).unwrap()))
    }

    /// Computes every view from the plan that binding gave, in an engine that knows nothing of ours.
    async fn refresh(&self) -> Result<()> {
        let objects = self.objects();
        let mut done: BTreeSet<ObjectId> = BTreeSet::new();
        loop {
            let next = objects.by_name.values().find(|o| {
                matches!(o.spec, Spec::View(_))
                    && !done.contains(&o.object.id)
                    && o.object
                        .depends_on
                        .iter()
                        .all(|d| done.contains(d) || !matches!(objects.by_id(*d).map(|o| &o.spec), Some(Spec::View(_))))
            });
            let Some(view) = next else { return Ok(()) };
            done.insert(view.object.id);
            let Spec::View(spec) = &view.spec else { continue };
            let batches = match spec.on_error {
                OnError::Skip => {
                    let plan = crate::context::binding_state(crate::parse::EDITION).optimize(&spec.plan);
                    let plan = plan.and_then(crate::lineage::without_failing).map_err(|e| Error::bug(e.to_string()))?;
                    self.compute(&objects, &plan).await?
                }
                OnError::Stop => self.compute(&objects, &spec.plan).await?,
            };
            self.rows.lock().insert(view.object.id, batches);
        }
    }

    async fn compute(&self, objects: &ObjectSet, plan: &LogicalPlan) -> Result<Vec<RecordBatch>> {
        let own_name = |name: &TableReference| {
            let is_it = |p: &LogicalPlan| matches!(p, LogicalPlan::RecursiveQuery(r) if *name == TableReference::bare(r.name.as_str()));
            plan.exists(|p| Ok(is_it(p)))
        };
        let plan = plan
            .clone()
            .transform_up_with_subqueries(|node| match node {
                // A recursive term reads its own query.
                LogicalPlan::TableScan(scan) if own_name(&scan.table_name)? => {
                    Ok(Transformed::no(LogicalPlan::TableScan(scan)))
                }
                LogicalPlan::TableScan(mut scan) => {
                    assert_eq!(scan.table_name.catalog(), Some("main"), "scans carry full names");
                    let object = objects.get(scan.table_name.schema().unwrap(), scan.table_name.table()).unwrap();
                    scan.source = provider_as_source(self.table_of(&object.spec, object.object.id).unwrap());
                    Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
                }
                other => Ok(Transformed::no(other)),
            })
            .map_err(|e| Error::bug(e.to_string()))?
            .data;
        let run = async { SessionContext::new().execute_logical_plan(plan).await?.collect().await };
        run.await.map_err(|e: datafusion::error::DataFusionError| Error::bug(e.to_string()))
    }

    /// The version of an object of the namespace `public`.
    pub(crate) fn version_of(&self, name: &str) -> Option<u32> {
        self.objects().get("public", name).map(|o| o.object.version)
    }

    /// The kinds and names of the last changes.
    pub(crate) fn last_applied(&self) -> Vec<String> {
        self.applied.lock().last().cloned().unwrap_or_default()
    }
}

struct FakeSnapshot {
    tables: BTreeMap<(String, String), Arc<dyn TableProvider>>,
}

impl Snapshot for FakeSnapshot {
    fn epoch(&self) -> Epoch {
        1
    }

    fn time_us(&self) -> i64 {
        1_700_000_000_000_000
    }

    fn table(&self, namespace: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        self.tables.get(&(namespace.to_string(), name.to_string())).cloned()
    }

    fn names(&self, namespace: &str) -> Vec<String> {
        self.tables.keys().filter(|(n, _)| n == namespace).map(|(_, name)| name.clone()).collect()
    }

    fn namespaces(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tables.keys().map(|(n, _)| n.clone()).collect();
        names.dedup();
        names
    }
}

#[async_trait]
impl Backend for Fake {
    fn objects(&self) -> Arc<ObjectSet> {
        self.objects.lock().clone()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        *self.snapshots.lock() += 1;
        let mut tables = BTreeMap::new();
        for (key, object) in &self.objects().by_name {
            if let Some(table) = self.table_of(&object.spec, object.object.id) {
                tables.insert(key.clone(), table);
            }
        }
        let schema = Arc::new(Schema::new(vec![Field::new("name", DataType::Utf8, false)]));
        let names: ArrayRef = Arc::new(StringArray::from(vec!["one"]));
        let batch = RecordBatch::try_new(schema.clone(), vec![names]).unwrap();
        let system = MemTable::try_new(schema, vec![vec![batch]]).unwrap();
        tables.insert(("fleuve".into(), "things".into()), Arc::new(system));
        Arc::new(FakeSnapshot { tables })
    }

    async fn apply(&self, from: &Arc<ObjectSet>, changes: Vec<Change>, _: Withdrawal) -> Result<(), Unapplied> {
        // Somebody else is faster.
        let meanwhile = self.meanwhile.lock().pop();
        if let Some(sql) = meanwhile {
            let other = Session::new(Arc::new(Fake { objects: Mutex::new(self.objects()), ..Fake::default() }));
            other.execute(&sql).await.map_err(Unapplied::all)?;
            *self.objects.lock() = other.backend().objects();
        }
        let now = self.objects();
        if !Arc::ptr_eq(from, &now) {
            return Err(Unapplied::Outdated);
        }
        if let Some(failing) = self.failing.lock().take() {
            return Err(failing);
        }
        let mut objects = now.as_ref().clone();
        let mut words = Vec::new();
        for change in changes {
            match change {
                Change::Create(b) => {
                    words.push(format!("create {} {}", b.object.kind, b.object.name));
                    for needed in &b.object.depends_on {
                        assert!(objects.by_id(*needed).is_some(), "{} comes before what it needs", b.object.name);
                    }
                    let key = (b.object.namespace.clone(), b.object.name.clone());
                    assert!(objects.by_name.insert(key, Arc::new(b)).is_none());
                }
                Change::Replace(b) => {
                    words.push(format!("replace {} {} v{}", b.object.kind, b.object.name, b.object.version));
                    let key = (b.object.namespace.clone(), b.object.name.clone());
                    let old = objects.by_name.insert(key, Arc::new(b.clone())).unwrap();
                    assert_eq!(old.object.id, b.object.id);
                    if let (Spec::Stream(_), Some(from), Some(to)) =
                        (&b.spec, table_schema(&old.spec), table_schema(&b.spec))
                    {
                        let rows = self.rows.lock().remove(&b.object.id).unwrap_or_default();
                        let rows = rows.iter().map(|r| with_columns(r, &from, &to)).collect();
                        self.rows.lock().insert(b.object.id, rows);
                    }
                }
                Change::Restate(b) => {
                    words.push(format!("restate {} {} v{}", b.object.kind, b.object.name, b.object.version));
                    let key = (b.object.namespace.clone(), b.object.name.clone());
                    let old = objects.by_name.insert(key, Arc::new(b.clone())).unwrap();
                    assert_eq!((old.object.id, old.object.version), (b.object.id, b.object.version));
                }
                Change::Drop(id) => {
                    let object = objects.by_id(id).unwrap().object.clone();
                    words.push(format!("drop {} {}", object.kind, object.name));
                    objects.by_name.remove(&(object.namespace, object.name));
                    for other in objects.by_name.values() {
                        assert!(!other.object.depends_on.contains(&id), "{} still needs it", other.object.name);
                    }
                }
                Change::Comment(o) => {
                    words.push(format!("comment {}", o.name));
                    let key = (o.namespace.clone(), o.name.clone());
                    let mut bound = objects.by_name[&key].as_ref().clone();
                    bound.object = o;
                    objects.by_name.insert(key, Arc::new(bound));
                }
            }
        }
        self.applied.lock().push(words);
        *self.objects.lock() = Arc::new(objects);
        self.refresh().await.map_err(Unapplied::all)
    }

    async fn insert(&self, stream: ObjectId, rows: Vec<RecordBatch>) -> Result<u64> {
        let mut count = 0;
        let object = self.objects().by_id(stream).unwrap().clone();
        let schema = table_schema(&object.spec).unwrap();
        for batch in rows {
            let n = batch.num_rows();
            let before: usize = self.rows.lock().get(&stream).map_or(0, |b| b.iter().map(RecordBatch::num_rows).sum());
            let offsets: Int64Array = (before as i64..(before + n) as i64).collect();
            let mut columns = batch.columns().to_vec();
            columns.push(Arc::new(Int32Array::from(vec![0; n])));
            columns.push(Arc::new(offsets));
            columns.push(Arc::new(TimestampMillisecondArray::from(vec![1_000; n])));
            columns.push(new_null_array(&DataType::Binary, n));
            columns.push(new_null_array(&DataType::Utf8, n));
            let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
            self.rows.lock().entry(stream).or_default().push(batch);
            count += n as u64;
        }
        self.refresh().await?;
        Ok(count)
    }

    async fn subscribe(&self, object: ObjectId) -> Result<Subscription> {
        let spec = self.objects().by_id(object).unwrap().spec.clone();
        let schema = table_schema(&spec).unwrap();
        let rows = self.rows.lock().get(&object).cloned().unwrap_or_default();
        let changes = rows.into_iter().map(|b| Ok(ChangeSet { epoch: 1, delta: Delta::insert(b), more: false }));
        Ok(Subscription { schema, changes: Box::pin(futures::stream::iter(changes.collect::<Vec<_>>())) })
    }

    async fn resume(&self, view: ObjectId, _: Withdrawal) -> Result<()> {
        self.applied.lock().push(vec![format!("resume {}", self.objects().by_id(view).unwrap().object.name)]);
        Ok(())
    }

    async fn advance_watermark(&self, stream: ObjectId, watermark: i64) -> Result<()> {
        let name = self.objects().by_id(stream).unwrap().object.name.clone();
        self.applied.lock().push(vec![format!("advance {name} to {watermark}")]);
        Ok(())
    }

    fn view_states(&self) -> BTreeMap<ObjectId, ViewState> {
        let running = ViewState { state: "running".into(), detail: None };
        self.rows.lock().keys().map(|id| (*id, running.clone())).collect()
    }

    async fn explain_running(&self, _: ObjectId) -> Result<Vec<String>> {
        Ok(vec!["running circuit".into()])
    }

    fn explain_circuit(&self, view: &ViewSpec) -> Result<Vec<String>> {
        Ok(vec![format!("circuit of {} inputs", view.inputs.len())])
    }
}

/// Runs statements and gives the last one's rows, one text per row with `|` between cells; for others, the tag.
pub(crate) async fn run(session: &Session, sql: &str) -> Result<Vec<String>> {
    let mut last = Vec::new();
    for outcome in session.execute(sql).await? {
        last = match outcome {
            Outcome::Rows { rows, .. } => text(&rows.try_collect::<Vec<_>>().await?),
            Outcome::Done { tag, notices } => std::iter::once(tag).chain(notices).collect(),
            Outcome::Changes(s) => {
                let sets: Vec<ChangeSet> = s.changes.try_collect().await?;
                text(&sets.into_iter().map(|c| c.delta.batch).collect::<Vec<_>>())
            }
        };
    }
    Ok(last)
}

pub(crate) fn text(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut out = Vec::new();
    for batch in batches {
        let cells: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            out.push(cells.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    out
}

/// The error of the last statement.
pub(crate) async fn fails(session: &Session, sql: &str) -> Error {
    match run(session, sql).await {
        Ok(rows) => panic!("{sql} was to fail, and gave {rows:?}"),
        Err(e) => e,
    }
}

/// A project of files.
pub(crate) fn project(files: &[(&str, &str)]) -> Vec<ProjectFile> {
    files.iter().map(|(path, text)| ProjectFile { path: (*path).into(), text: (*text).into() }).collect()
}
