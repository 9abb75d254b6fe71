//! The platform as SQL sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use fleuve_engine::{ChangesEnd, Floor, Published, ViewTable};
use fleuve_log::batch::{BatchBuilder, NewRecord};
use fleuve_sql::{
    Backend, BoundObject, Change, ChangeSet, Closing, InputToRead, ObjectSet, Overtaken, Replay, Replayed, Snapshot,
    SourceSpec, Spec, StoppedView, Subscription, Unapplied, ViewSpec, ViewState, Withdrawal,
};
use fleuve_types::{Clock, ColumnPart, Delta, Epoch, Error, ErrorKind, ObjectId, Replacement, Result};
use futures::StreamExt;

use super::Platform;
use super::below::means_the_same;
use super::closing::Clocks;
use super::relations::{Declared, Explained};
use super::stream::DecodedRange;
use super::table::StreamTable;

/// A record batch of an INSERT is closed at about this size.
const INSERT_BATCH_BYTES: usize = 1 << 20;

/// Everything at one epoch.
struct At {
    platform: Arc<Platform>,
    published: Arc<Published>,
    objects: Arc<ObjectSet>,
}

impl Snapshot for At {
    fn epoch(&self) -> Epoch {
        self.published.epoch
    }

    fn time_us(&self) -> i64 {
        self.published.time_us
    }

    fn table(&self, namespace: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        if namespace == super::system::NAMESPACE {
            return self.platform.system_table(name);
        }
        let bound = self.objects.get(namespace, name)?;
        let id = bound.object.id;
        match &bound.spec {
            Spec::Stream(_) => {
                let relation = self.platform.relation(id)?;
                Some(Arc::new(StreamTable::new(relation, self.published.frontier.clone())))
            }
            Spec::View(_) => Some(Arc::new(ViewTable::new(self.published.views.get(&id)?.clone()))),
            Spec::Source(_) | Spec::Sink(_) | Spec::Index(_) => None,
        }
    }

    fn names(&self, namespace: &str) -> Vec<String> {
        if namespace == super::system::NAMESPACE {
            return super::system::TABLES.iter().map(ToString::to_string).collect();
        }
        let readable = |b: &&Arc<fleuve_sql::BoundObject>| matches!(b.spec, Spec::Stream(_) | Spec::View(_));
        let own = self.objects.by_name.values().filter(readable).filter(|b| b.object.namespace == namespace);
        own.map(|b| b.object.name.clone()).collect()
    }

    fn namespaces(&self) -> Vec<String> {
        let mut out: Vec<String> = self.objects.by_name.keys().map(|(namespace, _)| namespace.clone()).collect();
        out.extend(["public".to_string(), super::system::NAMESPACE.to_string()]);
        out.sort();
        out.dedup();
        out
    }

    fn stopped(&self, namespace: &str, name: &str) -> Option<StoppedView> {
        let status = self.published.status.get(&self.objects.get(namespace, name)?.object.id)?;
        let (reason, by_input) = match &status.state {
            fleuve_engine::ViewState::Failed(reason) => (reason, false),
            fleuve_engine::ViewState::Stopped(reason) => (reason, true),
            _ => return None,
        };
        let epoch = status.epoch.unwrap_or(self.published.epoch);
        Some(StoppedView { reason: reason.clone(), epoch, by_input, since_us: status.stopped_us })
    }

    fn closing(&self, namespace: &str, name: &str, rows: &RecordBatch) -> Result<Option<Vec<Closing>>> {
        let Some(bound) = self.objects.get(namespace, name) else { return Ok(None) };
        let Spec::View(view) = &bound.spec else { return Ok(None) };
        let clocks = Clocks::of(&self.objects, &self.platform.engine, bound, view)?;
        clocks.closing(&self.published, rows).map(Some)
    }

    fn overtaken(&self, namespace: &str, name: &str) -> Vec<Overtaken> {
        let times = self.objects.get(namespace, name).and_then(|bound| self.published.times.get(&bound.object.id));
        let of = |f: &Floor| Overtaken { partition: f.partition, offset: f.offset, watermark: f.value };
        times.map(|times| times.floors.iter().map(of).collect()).unwrap_or_default()
    }
}

/// Tells a replay to stop when nobody waits for it any more.
struct GivesUp(Arc<AtomicBool>);

impl Drop for GivesUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A platform to share; a type of its own because SQL's trait is another crate's.
#[derive(Clone)]
pub struct Shared(pub Arc<Platform>);

#[async_trait]
impl Backend for Shared {
    fn objects(&self) -> Arc<ObjectSet> {
        self.0.object_set()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.0.clock.clone()
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(At { platform: self.0.clone(), published: self.0.engine.published(), objects: self.0.object_set() })
    }

    async fn apply(
        &self,
        objects: &Arc<ObjectSet>,
        changes: Vec<Change>,
        withdrawal: Withdrawal,
    ) -> Result<(), Unapplied> {
        // Carried through although the client may go away in the middle.
        let (platform, objects) = (self.0.clone(), objects.clone());
        let change = tokio::spawn(async move { platform.change(&objects, changes, withdrawal).await });
        change.await.map_err(|e| Unapplied::all(Error::bug(e.to_string())))?
    }

    async fn insert(&self, stream: ObjectId, rows: Vec<RecordBatch>) -> Result<u64> {
        self.0.insert(stream, rows).await
    }

    async fn subscribe(&self, object: ObjectId) -> Result<Subscription> {
        let bound = self.0.object_set().by_id(object).cloned();
        match bound.as_ref().map(|b| &b.spec) {
            Some(Spec::View(_)) => self.0.subscribe_view(object).await,
            Some(Spec::Stream(_)) => self.0.subscribe_stream(object),
            _ => Err(Error::input("only a view or a stream can be subscribed to")),
        }
    }

    async fn advance_watermark(&self, stream: ObjectId, watermark: i64) -> Result<()> {
        self.0.engine.advance_watermark(stream, watermark).await
    }

    async fn resume(&self, view: ObjectId, withdrawal: Withdrawal) -> Result<()> {
        // Carried through, as changes are.
        let platform = self.0.clone();
        tokio::spawn(async move { platform.resume(view, withdrawal).await })
            .await
            .map_err(|e| Error::bug(e.to_string()))?
    }

    fn view_states(&self) -> BTreeMap<ObjectId, ViewState> {
        let report = self.0.report();
        let objects = self.0.object_set();
        let by_name: BTreeMap<String, ObjectId> =
            objects.by_name.values().map(|b| (super::observe::shown(b), b.object.id)).collect();
        let state = |v: fleuve_http::ViewReport| {
            let detail = v.error.or_else(|| v.backfill.map(|b| b.text()));
            Some((*by_name.get(&v.name)?, ViewState { state: v.state, detail }))
        };
        report.views.into_iter().chain(self.0.index_reports()).filter_map(state).collect()
    }

    async fn explain_running(&self, view: ObjectId) -> Result<Vec<String>> {
        self.0.engine.explain(view).await
    }

    fn explain_circuit(&self, view: &ViewSpec) -> Result<Vec<String>> {
        let declared = Declared { objects: &self.0.object_set(), engine: &self.0.engine };
        Ok(self.0.engine.circuit(&view.plan, &Explained::new(declared), view.emit_on_close)?.explain(false))
    }

    async fn explain_replacements(&self, objects: &ObjectSet, views: &[BoundObject]) -> Result<Vec<Replacement>> {
        let replaced = views.iter().cloned().map(Change::Replace).collect();
        let running = self.0.object_set();
        let replaced = self.0.with_indexes(&running, replaced).map_err(Unapplied::into_error)?;
        let definition = |change: &Change| match change {
            Change::Replace(bound) => self.0.opener().running_definition(objects, bound),
            _ => None,
        };
        let same = |b: &&BoundObject| running.by_id(b.object.id).is_some_and(|old| means_the_same(old, b));
        let below = views.iter().filter(same).map(|b| b.object.id).collect();
        self.0.engine.explain_replacements(replaced.iter().filter_map(definition).collect(), below).await
    }

    async fn replay(&self, asked: Replay) -> Result<Replayed> {
        let platform = self.0.clone();
        let one = platform.replaying.clone().try_lock_owned().map_err(|_| {
            Error::new(ErrorKind::Retry, "another replay is running, and they run one at a time")
                .hint("try again later")
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let _gives_up = GivesUp(stop.clone());
        let work = move || {
            let _one = one;
            platform.replay(&asked, &stop)
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::bug(e.to_string()))?
    }

    async fn notice_of_source(&self, source: &SourceSpec) -> Option<String> {
        let source = source.clone();
        // A pattern may lead through many folders.
        tokio::task::spawn_blocking(move || super::source::finds_nothing(&source)).await.ok().flatten()
    }

    fn inputs_to_read(&self, view: &ViewSpec) -> Vec<InputToRead> {
        let objects = self.0.object_set();
        let published = self.0.engine.published();
        let bound = view.inputs.values().filter_map(|id| objects.by_id(*id));
        let of = |bound: &Arc<BoundObject>| {
            let (id, name) = (bound.object.id, super::observe::shown(bound));
            match &bound.spec {
                Spec::Stream(_) => {
                    let rows = self.0.held(id);
                    let (bytes, gone) = (self.0.log.size_bytes(id), self.0.written(id).saturating_sub(rows));
                    InputToRead { id, name, rows, bytes, gone }
                }
                _ => {
                    let rows = published.views.get(&id).map_or(0, |v| v.num_rows() as u64);
                    InputToRead { id, name, rows, bytes: None, gone: 0 }
                }
            }
        };
        bound.map(of).collect()
    }
}

impl Platform {
    async fn insert(&self, stream: ObjectId, rows: Vec<RecordBatch>) -> Result<u64> {
        let objects = self.object_set();
        let bound = objects.by_id(stream).ok_or_else(|| Error::not_found("there is no such stream"))?;
        let Spec::Stream(spec) = &bound.spec else {
            return Err(Error::input(format!("\"{}\" is not a stream", bound.object.name)));
        };
        let name = &bound.object.name;
        let encoder = self.opener().encoder(&spec.format, &spec.schema, &format!("{name}-value"), name).await?;
        let partitions = self.log.topic(stream).map_or(1, |t| t.partitions).max(1);
        let now = self.clock.now_ms();
        let (mut parts, mut count) = (vec![], 0);
        let mut builder = BatchBuilder::new();
        let close = |builder: &mut BatchBuilder, parts: &mut Vec<_>| -> Result<()> {
            let partition = parts.len() as i32 % partitions;
            let bytes = std::mem::take(builder).build().map_err(|e| Error::bug(e.to_string()))?;
            parts.push((stream, partition, bytes));
            Ok(())
        };
        for batch in rows {
            fleuve_formats::check_times(&batch)?;
            for value in encoder.encode(&batch)? {
                let record = NewRecord { timestamp_ms: now, key: None, value: Some(&value), headers: &[] };
                builder.push(&record).map_err(|e| Error::bug(e.to_string()))?;
                count += 1;
                if builder.size_bytes() >= INSERT_BATCH_BYTES {
                    close(&mut builder, &mut parts)?;
                }
            }
        }
        if !builder.is_empty() {
            close(&mut builder, &mut parts)?;
        }
        if parts.is_empty() {
            return Ok(0);
        }
        let places: Vec<i32> = parts.iter().map(|p| p.1).collect();
        let appended = self.log.append_atomic(parts, vec![]).await?;
        for (partition, appended) in places.into_iter().zip(appended) {
            self.engine.wait_for(stream, partition, appended.last_offset + 1).await?;
        }
        Ok(count)
    }

    async fn subscribe_view(&self, view: ObjectId) -> Result<Subscription> {
        let subscription = self.engine.subscribe(view).await?;
        let start = subscription.start;
        let schema = start.schema().clone();
        let epoch = start.epoch();
        let of = schema.clone();
        let first = futures::stream::try_unfold(Some(start.rows()), move |rows| {
            let empty = Delta::empty(of.clone());
            async move {
                let Some(mut rows) = rows else { return Ok(None) };
                let read = tokio::task::spawn_blocking(move || rows.next().transpose().map(|batch| (batch, rows)));
                let (batch, rows) = read.await.map_err(|e| Error::bug(e.to_string()))??;
                let more = batch.is_some();
                let delta = batch.map_or(empty, Delta::insert);
                Ok(Some((ChangeSet { epoch, delta, more }, more.then_some(rows))))
            }
        });
        let changes = futures::stream::unfold(Some(subscription.changes), |changes| async move {
            let mut changes = changes?;
            match changes.recv().await {
                Ok(change) => {
                    let set = ChangeSet { epoch: change.epoch, delta: change.delta, more: false };
                    Some((Ok(set), Some(changes)))
                }
                Err(ChangesEnd::Lagged(epochs)) => {
                    let message = format!("the reader was too slow: {epochs} epochs passed it");
                    Some((Err(Error::new(ErrorKind::Limit, message).hint("subscribe again")), None))
                }
                Err(ChangesEnd::Stopped(told)) => {
                    Some((Err(Error::input(told).hint("its last answer can be read with SELECT")), None))
                }
                Err(ChangesEnd::Replaced) => {
                    let error = Error::input("the view's columns changed: it was replaced");
                    Some((Err(error.hint("subscribe again to follow it by its new columns")), None))
                }
                Err(ChangesEnd::Closed) => Some((Err(Error::not_found("the view was dropped")), None)),
            }
        });
        Ok(Subscription { schema, changes: Box::pin(first.chain(changes)) })
    }

    /// A stream's rows from now on.
    fn subscribe_stream(self: &Arc<Self>, stream: ObjectId) -> Result<Subscription> {
        let relation = self.relation(stream).ok_or_else(|| Error::not_found("there is no such stream"))?;
        let own = relation.schema().fields().len() - fleuve_types::PSEUDO_COLUMNS.len();
        let columns: Vec<usize> = (0..own).collect();
        let schema = Arc::new(relation.schema().project(&columns).map_err(|e| Error::bug(e.to_string()))?);
        let mut watch = self.engine.watch();
        let start = watch.borrow_and_update().clone();
        let first = ChangeSet { epoch: start.epoch, delta: Delta::empty(schema.clone()), more: false };
        let columns: Vec<_> = columns.into_iter().map(ColumnPart::whole).collect();
        let seed = (watch, start.frontier.clone(), relation, columns);
        let platform = Arc::downgrade(self);
        let is_dropped = move || platform.upgrade().is_none_or(|p| p.relation(stream).is_none());
        let changes = futures::stream::try_unfold(seed, move |(mut watch, mut at, relation, columns)| {
            let is_dropped = is_dropped.clone();
            async move {
                loop {
                    let published = watch.borrow_and_update().clone();
                    let mut ranges = vec![];
                    for partition in 0..relation.partitions() {
                        let from = at.get(relation.id(), partition).unwrap_or(0);
                        let to = published.frontier.get(relation.id(), partition).unwrap_or(from);
                        if from < to {
                            ranges.push((partition, from, to));
                        }
                    }
                    if is_dropped() {
                        return Err(Error::not_found("the stream was dropped"));
                    }
                    if ranges.is_empty() {
                        if watch.changed().await.is_err() {
                            return Ok(None);
                        }
                        continue;
                    }
                    let (reader, wanted) = (relation.clone(), columns.clone());
                    // A piece of each partition: a reader that falls behind gets the rest after it has taken these.
                    let work = move || -> Result<Vec<(i32, DecodedRange)>> {
                        let most = super::READ_BYTES / ranges.len();
                        let piece =
                            |(partition, from, to)| Ok((partition, reader.decode(partition, from, to, most, &wanted)?));
                        ranges.into_iter().map(piece).collect()
                    };
                    let pieces = tokio::task::spawn_blocking(work).await.map_err(|e| Error::bug(e.to_string()))??;
                    let mut rows = vec![];
                    for (partition, range) in pieces {
                        at.advance(relation.id(), partition, range.next);
                        rows.extend(range.rows);
                    }
                    let Some(schema) = rows.first().map(RecordBatch::schema) else { continue };
                    let rows = arrow::compute::concat_batches(&schema, &rows).map_err(|e| Error::bug(e.to_string()))?;
                    let set = ChangeSet { epoch: published.epoch, delta: Delta::insert(rows), more: false };
                    return Ok(Some((set, (watch, at, relation, columns))));
                }
            }
        });
        let changes = futures::stream::once(async { Ok(first) }).chain(changes);
        Ok(Subscription { schema, changes: Box::pin(changes) })
    }
}
