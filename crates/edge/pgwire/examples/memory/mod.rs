//! A small platform in memory, enough to show the door at work: streams keep their rows, views are computed again after
//! each change, subscriptions get the difference. One process, nothing durable.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use arrow::array::UInt32Array;
use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, TableProvider};
use fleuve_sql::{
    Backend, BoundObject, Change, ChangeSet, ObjectSet, Outcome, Session, Snapshot, Spec, Subscription, Unapplied,
    ViewSpec, Withdrawal,
};
use fleuve_types::{Delta, Epoch, Error, ObjectId, Result, pseudo_fields};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use tokio::sync::mpsc;

#[derive(Default)]
struct State {
    objects: ObjectSet,
    /// Own columns only.
    rows: BTreeMap<ObjectId, RecordBatch>,
    epoch: Epoch,
    watchers: Vec<(ObjectId, mpsc::Sender<Result<ChangeSet>>)>,
}

pub(crate) struct Memory {
    me: Weak<Memory>,
    state: Mutex<State>,
    /// Changes run one after the other.
    turn: tokio::sync::Mutex<()>,
}

impl Memory {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new_cyclic(|me| Self { me: me.clone(), state: Mutex::default(), turn: tokio::sync::Mutex::default() })
    }

    /// Computes all views again, inputs first, and tells the watchers what changed.
    async fn refresh(&self, mut changed: Vec<(ObjectId, Delta)>) -> Result<()> {
        let views: Vec<Arc<BoundObject>> = {
            let state = self.state.lock();
            let mut views: Vec<_> =
                state.objects.by_name.values().filter(|o| matches!(o.spec, Spec::View(_))).cloned().collect();
            views.sort_by_key(|o| o.object.created_ms);
            views
        };
        let Some(me) = self.me.upgrade() else { return Ok(()) };
        // Twice: a view over a view that was made in the same moment settles in the second round.
        for view in views.iter().chain(&views) {
            let Spec::View(spec) = &view.spec else { continue };
            let session = Session::new(me.clone());
            let new = answer(&session, spec).await?;
            let mut state = self.state.lock();
            let old = state.rows.insert(view.object.id, new.clone());
            let delta = difference(old.as_ref(), &new)?;
            if !delta.is_empty() {
                changed.push((view.object.id, delta));
            }
        }
        let mut state = self.state.lock();
        state.epoch += 1;
        let epoch = state.epoch;
        state.watchers.retain(|(id, watcher)| {
            changed
                .iter()
                .filter(|(of, _)| of == id)
                .all(|(_, delta)| watcher.try_send(Ok(ChangeSet { epoch, delta: delta.clone(), more: false })).is_ok())
        });
        Ok(())
    }
}

async fn answer(session: &Session, spec: &ViewSpec) -> Result<RecordBatch> {
    let mut outcomes = session.execute(&spec.query).await?;
    let Some(Outcome::Rows { rows, .. }) = outcomes.pop() else { return Err(Error::bug("a view that gives no rows")) };
    let batches: Vec<RecordBatch> = rows.try_collect().await?;
    let batches = batches
        .into_iter()
        .map(|b| RecordBatch::try_new(spec.schema.clone(), b.columns().to_vec()))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(bug)?;
    concat_batches(&spec.schema, &batches).map_err(bug)
}

fn bug(e: impl std::fmt::Display) -> Error {
    Error::bug(e.to_string())
}

/// What turns `old` into `new`.
fn difference(old: Option<&RecordBatch>, new: &RecordBatch) -> Result<Delta> {
    let old = old.cloned().unwrap_or_else(|| RecordBatch::new_empty(new.schema()));
    let gone = old.num_rows();
    let all = concat_batches(&new.schema(), [&old, new]).map_err(bug)?;
    let fields = new.schema().fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
    let rows = RowConverter::new(fields).and_then(|c| c.convert_columns(all.columns())).map_err(bug)?;
    let mut weights: HashMap<&[u8], (u32, i64)> = HashMap::new();
    let kept: Vec<_> = rows.iter().collect();
    for (i, row) in kept.iter().enumerate() {
        weights.entry(row.data()).or_insert((i as u32, 0)).1 += if i < gone { -1 } else { 1 };
    }
    let mut changed: Vec<(u32, i64)> = weights.into_values().filter(|(_, w)| *w != 0).collect();
    changed.sort_unstable();
    let at = UInt32Array::from_iter_values(changed.iter().map(|(i, _)| *i));
    let picked = Delta::insert(all).take(&at)?;
    Delta::weighted(picked.batch, changed.into_iter().map(|(_, w)| w).collect())
}

#[async_trait]
impl Backend for Memory {
    fn objects(&self) -> Arc<ObjectSet> {
        Arc::new(self.state.lock().objects.clone())
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        let state = self.state.lock();
        Arc::new(Moment { objects: state.objects.clone(), rows: state.rows.clone(), epoch: state.epoch })
    }

    async fn apply(&self, _: &Arc<ObjectSet>, changes: Vec<Change>, _: Withdrawal) -> Result<(), Unapplied> {
        let _turn = self.turn.lock().await;
        {
            let mut state = self.state.lock();
            for change in changes {
                match change {
                    Change::Create(o) | Change::Replace(o) | Change::Restate(o) => {
                        if let Spec::Stream(stream) = &o.spec {
                            state.rows.entry(o.object.id).or_insert(RecordBatch::new_empty(stream.schema.clone()));
                        }
                        let name = (o.object.namespace.clone(), o.object.name.clone());
                        state.objects.by_name.insert(name, Arc::new(o));
                    }
                    Change::Drop(id) => {
                        state.objects.by_name.retain(|_, o| o.object.id != id);
                        state.rows.remove(&id);
                        state.watchers.retain(|(of, _)| *of != id);
                    }
                    Change::Comment(object) => {
                        let name = (object.namespace.clone(), object.name.clone());
                        if let Some(old) = state.objects.by_name.get(&name) {
                            let new = BoundObject { object, spec: old.spec.clone() };
                            state.objects.by_name.insert(name, Arc::new(new));
                        }
                    }
                }
            }
        }
        self.refresh(Vec::new()).await.map_err(Unapplied::all)
    }

    async fn insert(&self, stream: ObjectId, rows: Vec<RecordBatch>) -> Result<u64> {
        let _turn = self.turn.lock().await;
        let (inserted, delta) = {
            let mut state = self.state.lock();
            let old = state.rows.get(&stream).cloned().ok_or_else(|| Error::not_found("there is no such stream"))?;
            let rows = rows
                .into_iter()
                .map(|b| RecordBatch::try_new(old.schema(), b.columns().to_vec()))
                .collect::<std::result::Result<Vec<_>, _>>()
                .map_err(bug)?;
            let fresh = concat_batches(&old.schema(), &rows).map_err(bug)?;
            let all = concat_batches(&old.schema(), [&old, &fresh]).map_err(bug)?;
            state.rows.insert(stream, all);
            (fresh.num_rows() as u64, Delta::insert(fresh))
        };
        self.refresh(vec![(stream, delta)]).await?;
        Ok(inserted)
    }

    async fn subscribe(&self, object: ObjectId) -> Result<Subscription> {
        let _turn = self.turn.lock().await;
        let mut state = self.state.lock();
        let now = state.rows.get(&object).cloned().ok_or_else(|| Error::not_found("there is no such view"))?;
        let schema = now.schema();
        let (sender, receiver) = mpsc::channel(1024);
        let _ = sender.try_send(Ok(ChangeSet { epoch: state.epoch, delta: Delta::insert(now), more: false }));
        state.watchers.push((object, sender));
        let changes = futures::stream::unfold(receiver, |mut r| async { r.recv().await.map(|c| (c, r)) });
        Ok(Subscription { schema, changes: changes.boxed() })
    }

    async fn resume(&self, _: ObjectId, _: Withdrawal) -> Result<()> {
        Err(Error::unsupported("views are computed when they are read"))
    }

    async fn advance_watermark(&self, _: ObjectId, _: i64) -> Result<()> {
        Err(Error::unsupported("nothing waits for a watermark"))
    }

    fn view_states(&self) -> std::collections::BTreeMap<ObjectId, fleuve_sql::ViewState> {
        std::collections::BTreeMap::new()
    }

    async fn explain_running(&self, _: ObjectId) -> Result<Vec<String>> {
        Ok(vec!["recomputed in memory".to_string()])
    }

    fn explain_circuit(&self, _: &ViewSpec) -> Result<Vec<String>> {
        Ok(vec!["recompute".to_string()])
    }
}

struct Moment {
    objects: ObjectSet,
    rows: BTreeMap<ObjectId, RecordBatch>,
    epoch: Epoch,
}

impl Snapshot for Moment {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn time_us(&self) -> i64 {
        0
    }

    fn table(&self, namespace: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        let bound = self.objects.get(namespace, name)?;
        let batch = match &bound.spec {
            Spec::Stream(_) => with_pseudo_columns(self.rows.get(&bound.object.id)?)?,
            Spec::View(view) => {
                let rows = self.rows.get(&bound.object.id);
                rows.cloned().unwrap_or_else(|| RecordBatch::new_empty(view.schema.clone()))
            }
            Spec::Source(_) | Spec::Sink(_) | Spec::Index(_) => return None,
        };
        Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]]).ok()?))
    }

    fn names(&self, namespace: &str) -> Vec<String> {
        let relation = |o: &BoundObject| matches!(o.spec, Spec::Stream(_) | Spec::View(_));
        let mine = self.objects.by_name.iter().filter(|((n, _), o)| n == namespace && relation(o));
        mine.map(|((_, name), _)| name.clone()).collect()
    }

    fn namespaces(&self) -> Vec<String> {
        let mut all: Vec<String> = self.objects.by_name.keys().map(|(n, _)| n.clone()).collect();
        all.push("public".to_string());
        all.sort();
        all.dedup();
        all
    }
}

fn with_pseudo_columns(rows: &RecordBatch) -> Option<RecordBatch> {
    let n = rows.num_rows();
    let mut fields: Vec<FieldRef> = rows.schema().fields().iter().cloned().collect();
    fields.extend(pseudo_fields());
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    columns.push(Arc::new(Int32Array::from_value(0, n)));
    columns.push(Arc::new(Int64Array::from_iter_values(0..n as i64)));
    columns.push(Arc::new(TimestampMillisecondArray::from_value(0, n)));
    columns.push(Arc::new(BinaryArray::from_opt_vec(vec![None; n])));
    columns.push(Arc::new(StringArray::new_null(n)));
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    RecordBatch::try_new(schema, columns).ok()
}
