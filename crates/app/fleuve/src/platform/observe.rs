//! What the platform says about itself: the status report and metrics.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleuve_catalog::{Object, ObjectKind};
use fleuve_engine::{BuildProgress, OperatorStatus, Published, ViewState};
use fleuve_http::{
    BackfillReport, ConnectorReport, DoorReport, InputReport, Observe, ServerReport, StatusReport, StreamReport,
    ViewReport,
};
use fleuve_log::Log;
use fleuve_sql::{BoundObject, ObjectSet, OnError, Spec, UnusableObject, ViewSpec};
use fleuve_types::{Frontier, ObjectId};
use parking_lot::Mutex;

use super::Platform;
use super::relations::dead_letters_of;
use super::sink::Written;
use crate::doors::OpenDoors;

/// Records and changed rows per second, from two looks a little apart. Derived state.
#[derive(Default)]
pub struct Rates(Mutex<RateState>);

#[derive(Default)]
struct RateState {
    at_us: i64,
    totals: HashMap<ObjectId, u64>,
    rates: HashMap<ObjectId, f64>,
}

/// Rates are taken over at least this long.
const RATE_US: i64 = 1_000_000;

impl Rates {
    fn update(&self, now_us: i64, totals: HashMap<ObjectId, u64>) -> HashMap<ObjectId, f64> {
        let mut state = self.0.lock();
        let elapsed = now_us - state.at_us;
        if elapsed >= RATE_US {
            let rate = |(id, total): (&ObjectId, &u64)| {
                let before = state.totals.get(id).copied().unwrap_or(*total);
                (*id, total.saturating_sub(before) as f64 / (elapsed as f64 / 1e6))
            };
            state.rates = totals.iter().map(rate).collect();
            state.totals = totals;
            state.at_us = now_us;
        }
        state.rates.clone()
    }
}

/// A name as users write it.
pub(super) fn shown(bound: &BoundObject) -> String {
    shown_name(&bound.object)
}

fn shown_name(object: &Object) -> String {
    match object.namespace.as_str() {
        "public" => object.name.clone(),
        namespace => format!("{namespace}.{}", object.name),
    }
}

/// What cannot be used, as views are told of.
fn unusable_report(unusable: &UnusableObject) -> ViewReport {
    let object = &unusable.object;
    ViewReport {
        name: shown_name(object),
        state: "failed".into(),
        error: Some(unusable.why()),
        sql: object.sql.clone(),
        ..ViewReport::default()
    }
}

/// As [`unusable_report`], of a source or sink.
fn unusable_connector(unusable: &UnusableObject) -> ConnectorReport {
    ConnectorReport {
        name: shown_name(&unusable.object),
        state: "failed".into(),
        error: Some(unusable.why()),
        ..ConnectorReport::default()
    }
}

fn backfill_report(progress: &BuildProgress) -> BackfillReport {
    BackfillReport {
        done: progress.done,
        total: progress.total,
        percent: progress.share() * 100.0,
        eta_s: progress.remaining().map(|d| d.as_secs_f64()),
    }
}

impl Platform {
    pub(super) fn written(&self, stream: ObjectId) -> u64 {
        let partitions = self.log.topic(stream).map_or(0, |t| t.partitions);
        (0..partitions).filter_map(|p| self.log.offsets(stream, p)).map(|(_, end)| end.max(0) as u64).sum()
    }

    pub(super) fn held(&self, stream: ObjectId) -> u64 {
        let partitions = self.log.topic(stream).map_or(0, |t| t.partitions);
        (0..partitions).filter_map(|p| self.log.offsets(stream, p)).map(|(s, e)| (e - s).max(0) as u64).sum()
    }

    /// The watermark of a stream as text.
    fn watermark(&self, stream: ObjectId, published: &Published) -> Option<String> {
        let watermark = published.times.get(&stream)?.watermark?;
        Some(self.relation(stream)?.show_time(watermark))
    }

    /// The watermarks of all streams that have one, in seconds, as the metrics tell them.
    fn watermarks(&self, label: &dyn Fn(&str, &str) -> String) -> Vec<(String, f64)> {
        let (objects, published) = (self.object_set(), self.engine.published());
        let of = |bound: &Arc<BoundObject>| {
            let watermark = published.times.get(&bound.object.id)?.watermark?;
            let seconds = self.relation(bound.object.id)?.seconds(watermark)?;
            Some((label("stream", &shown(bound)), seconds))
        };
        objects.by_name.values().filter_map(of).collect()
    }

    /// Records of a stream that are not in `frontier`.
    fn behind(&self, stream: ObjectId, frontier: &Frontier) -> u64 {
        let partitions = self.log.topic(stream).map_or(0, |t| t.partitions);
        (0..partitions)
            .filter_map(|p| {
                let (start, end) = self.log.offsets(stream, p)?;
                // What retention took before it was taken in does not come any more.
                let at = frontier.get(stream, p).map_or(start, |at| at.max(start));
                Some((end - at).max(0) as u64)
            })
            .sum()
    }

    fn view_report(
        &self,
        bound: &BoundObject,
        view: &ViewSpec,
        objects: &ObjectSet,
        published: &Published,
    ) -> ViewReport {
        let status = published.status.get(&bound.object.id);
        let (state, error, backfill) = match status.map(|s| &s.state) {
            Some(ViewState::Running) => ("running", None, None),
            Some(ViewState::Building(progress)) => ("building", None, Some(backfill_report(progress))),
            Some(ViewState::Failed(reason)) => ("failed", Some(reason.clone()), None),
            Some(ViewState::Stopped(reason)) => ("stopped", Some(reason.clone()), None),
            None => ("starting", None, None),
        };
        let frontier = status.and_then(|s| s.frontier.as_ref()).unwrap_or(&published.frontier);
        let input = |id: &ObjectId| InputReport {
            name: objects.by_id(*id).map(|b| shown(b)).unwrap_or_default(),
            lag_records: self.behind(*id, frontier),
        };
        let inputs: Vec<InputReport> = view.inputs.values().map(input).collect();
        let dead = dead_letters_of(objects, bound);
        let missing = backfill.as_ref().map_or(0, |b| b.total.saturating_sub(b.done));
        ViewReport {
            name: shown(bound),
            state: state.into(),
            error,
            on_error: match view.on_error {
                OnError::Stop => "stop".into(),
                OnError::Skip => "skip".into(),
            },
            dead_letters: dead.map_or(0, |d| self.written(d)),
            dead_letter_stream: dead.and_then(|d| objects.by_id(d)).map(|b| shown(b)),
            rows: status.map_or(0, |s| s.rows as u64),
            state_bytes: status.map_or(0, |s| s.state_bytes as u64),
            disk_bytes: status.map_or(0, |s| s.disk_bytes),
            epoch: status.map_or(0, |s| s.epoch.unwrap_or(published.epoch)),
            lag_records: missing + inputs.iter().map(|i| i.lag_records).sum::<u64>(),
            inputs,
            backfill,
            rows_per_s: 0.0,
            sql: bound.object.sql.clone(),
        }
    }

    /// How the indexes are doing, as views are told of.
    pub(super) fn index_reports(&self) -> Vec<ViewReport> {
        let (objects, published) = (self.object_set(), self.engine.published());
        let report = |bound: &Arc<BoundObject>| match &bound.spec {
            Spec::Index(index) => Some(self.view_report(bound, &index.view, &objects, &published)),
            _ => None,
        };
        let unusable = objects.unusable.values().filter(|u| u.object.kind == ObjectKind::Index);
        objects.by_name.values().filter_map(report).chain(unusable.map(|u| unusable_report(u))).collect()
    }

    /// The figures of the operators of every view and index, by its name.
    pub(super) fn operators(&self) -> Vec<(String, OperatorStatus)> {
        let published = self.engine.published();
        let objects = self.object_set();
        let views = objects.by_name.values().filter(|b| matches!(b.spec, Spec::View(_) | Spec::Index(_)));
        views
            .filter_map(|b| Some((shown(b), published.status.get(&b.object.id)?.profile.operators())))
            .flat_map(|(name, all)| all.into_iter().map(move |o| (name.clone(), o)))
            .collect()
    }

    /// Everything there is to see.
    pub(super) fn report(&self) -> StatusReport {
        let objects = self.object_set();
        let published = self.engine.published();
        let mut totals: HashMap<ObjectId, u64> = HashMap::new();
        for bound in objects.by_name.values() {
            let id = bound.object.id;
            match &bound.spec {
                Spec::Stream(_) => totals.insert(id, self.written(id)),
                Spec::View(_) => totals.insert(id, published.status.get(&id).map_or(0, |s| s.rows_out)),
                _ => None,
            };
        }
        let rates = self.rates.update(self.clock.now_us(), totals);
        let rate = |id: ObjectId| rates.get(&id).copied().unwrap_or(0.0);
        let name_of = |id: ObjectId| objects.by_id(id).map(|b| shown(b)).unwrap_or_default();
        let decoding = self.engine.decoding();
        let mut report = StatusReport {
            server: ServerReport {
                version: env!("CARGO_PKG_VERSION").into(),
                uptime_s: ((self.clock.now_us() - self.started_us).max(0) / 1_000_000) as u64,
                epoch: published.epoch,
                data_dir: self.config.data.display().to_string(),
                doors: vec![],
            },
            ..StatusReport::default()
        };
        for bound in objects.by_name.values() {
            let id = bound.object.id;
            match &bound.spec {
                Spec::Stream(_) => {
                    let dead = self.relation(id).and_then(|r| r.dead_letters());
                    let topic = self.log.topic(id);
                    report.streams.push(StreamReport {
                        name: shown(bound),
                        id: id.to_string(),
                        partitions: topic.as_ref().map_or(0, |t| t.partitions as u32),
                        records: self.held(id),
                        bytes: self.log.size_bytes(id).unwrap_or(0),
                        records_per_s: rate(id),
                        dead_letters: dead.map_or(0, |d| self.written(d)),
                        dead_letter_stream: dead.map(name_of),
                        late_records: published.times.get(&id).map_or(0, |t| t.late_rows),
                        decode_s: decoding.get(&id).map_or(0.0, Duration::as_secs_f64),
                        watermark: self.watermark(id, &published),
                        retention_ms: topic.as_ref().and_then(|t| t.config.retention_ms),
                        retention_bytes: topic.as_ref().and_then(|t| t.config.retention_bytes),
                    });
                }
                Spec::View(view) => {
                    let rows_per_s = rate(id);
                    report.views.push(ViewReport { rows_per_s, ..self.view_report(bound, view, &objects, &published) });
                }
                Spec::Source(source) => {
                    let sources = self.sources.read();
                    let status = sources.get(&id).map(|s| s.status.clone());
                    let error = status.as_ref().and_then(|s| s.error.lock().clone());
                    let state = match &status {
                        None => "stopped",
                        Some(_) if error.is_some() => "failing",
                        Some(s) if s.ended.load(Ordering::SeqCst) => "ended",
                        Some(_) => "running",
                    };
                    report.sources.push(ConnectorReport {
                        name: shown(bound),
                        from: source.options.get("path").cloned(),
                        into: name_of(source.into),
                        connector: source.connector.clone(),
                        state: state.into(),
                        position: status.as_ref().map(|s| s.file.lock().clone()).unwrap_or_default(),
                        records: status.map_or(0, |s| s.records.load(Ordering::Relaxed)),
                        error,
                    });
                }
                Spec::Index(_) => {}
                Spec::Sink(sink) => {
                    let written = Written::of(&self.log, id);
                    let (state, error) = match published.sinks.get(&id) {
                        Some(None) if matches!(written, Some(Written::Before(_))) => ("starting", None),
                        Some(None) => ("running", None),
                        Some(Some(reason)) => ("failed", Some(reason.clone())),
                        None => ("stopped", None),
                    };
                    report.sinks.push(ConnectorReport {
                        name: shown(bound),
                        from: Some(name_of(sink.from)),
                        into: name_of(sink.into),
                        connector: "stream".into(),
                        state: state.into(),
                        position: written.map(|w| w.to_string()).unwrap_or_default(),
                        records: self.written(sink.into),
                        error,
                    });
                }
            }
        }
        for unusable in objects.unusable.values() {
            match unusable.object.kind {
                ObjectKind::View => report.views.push(unusable_report(unusable)),
                ObjectKind::Source => report.sources.push(unusable_connector(unusable)),
                ObjectKind::Sink => report.sinks.push(unusable_connector(unusable)),
                ObjectKind::Stream | ObjectKind::Index => {}
            }
        }
        // What a sink has written stays right, but nothing follows while its view stands still.
        let still: BTreeMap<&str, &str> =
            report.views.iter().filter_map(|v| Some((v.name.as_str(), v.error.as_deref()?))).collect();
        for sink in report.sinks.iter_mut().filter(|s| s.state == "running") {
            let from = sink.from.as_deref().unwrap_or_default();
            if let Some(error) = still.get(from) {
                (sink.state, sink.error) = ("waiting".into(), Some(format!("view {from} stopped: {error}")));
            }
        }
        report
    }
}

/// The ends of what the log held at the start: `(stream, partition, next offset)`; those go that are read in.
pub struct WasThere(Mutex<Vec<(ObjectId, i32, i64)>>);

impl WasThere {
    pub fn of(log: &Log) -> Self {
        let ends = log.topics().into_iter().flat_map(|topic| {
            let end = move |partition| Some((topic.id, partition, log.offsets(topic.id, partition)?.1));
            (0..topic.partitions).filter_map(end).collect::<Vec<_>>()
        });
        Self(Mutex::new(ends.collect()))
    }

    /// How many records of it readers do not see yet.
    fn left(&self, platform: &Platform) -> u64 {
        let mut ends = self.0.lock();
        if ends.is_empty() {
            return 0;
        }
        let published = platform.engine.published();
        let left = |(stream, partition, end): &(ObjectId, i32, i64)| {
            let start = platform.log.offsets(*stream, *partition).filter(|_| platform.relation(*stream).is_some());
            let Some((start, _)) = start else { return 0 };
            end - published.frontier.get(*stream, *partition).unwrap_or(start).max(start)
        };
        ends.retain(|at| left(at) > 0);
        ends.iter().map(|at| left(at).max(0) as u64).sum()
    }
}

/// What the HTTP door asks.
pub struct Watcher {
    pub platform: Arc<Platform>,
    pub doors: OpenDoors,
    pub ready: Arc<AtomicBool>,
    pub was_there: WasThere,
    pub kafka: Option<Arc<fleuve_kafka::Counters>>,
    pub postgres: Option<Arc<fleuve_pgwire::PgCounters>>,
}

impl Observe for Watcher {
    fn ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    fn not_ready(&self) -> Option<String> {
        if !self.ready() {
            return Some("it is starting, or stopping".into());
        }
        self.platform.log.failure().map(str::to_string).or_else(|| {
            let left = self.was_there.left(&self.platform);
            (left > 0).then(|| format!("{left} records that were there at the start are not in any answer yet"))
        })
    }

    fn status(&self) -> StatusReport {
        let mut report = self.platform.report();
        let doors = [
            ("kafka", self.doors.kafka),
            ("postgres", self.doors.postgres),
            ("http", self.doors.http),
            ("registry", self.doors.registry),
        ];
        report.server.doors = doors
            .into_iter()
            .filter_map(|(name, address)| Some(DoorReport { name: name.into(), address: address?.to_string() }))
            .collect();
        report
    }

    fn metrics(&self) -> String {
        let report = self.status();
        let mut out = String::new();
        let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, f64)>| {
            let _ = writeln!(out, "# HELP fleuve_{name} {help}\n# TYPE fleuve_{name} {kind}");
            for (labels, value) in lines {
                let _ = writeln!(out, "fleuve_{name}{labels} {value}");
            }
        };
        let label =
            |key: &str, name: &str| format!("{{{key}=\"{}\"}}", name.replace('\\', "\\\\").replace('"', "\\\""));
        let server = &report.server;
        family("uptime_seconds", "gauge", "Seconds since the start.", vec![(String::new(), server.uptime_s as f64)]);
        family("epoch", "gauge", "The epoch that queries see.", vec![(String::new(), server.epoch as f64)]);
        let epochs = self.platform.engine.epoch_durations();
        let bucket = |bound: &str, count: u64| (format!("_bucket{{le=\"{bound}\"}}"), count as f64);
        let mut lines: Vec<_> =
            epochs.up_to().map(|(bound, count)| bucket(&bound.as_secs_f64().to_string(), count)).collect();
        lines.push(bucket("+Inf", epochs.count));
        lines.extend([("_sum".into(), epochs.sum.as_secs_f64()), ("_count".into(), epochs.count as f64)]);
        family("epoch_seconds", "histogram", "How long epochs took until their answers were seen.", lines);
        let memory = self.platform.engine.published().memory;
        let bytes = |bytes: usize| vec![(String::new(), bytes as f64)];
        family(
            "state_budget_bytes",
            "gauge",
            "Setting memory_budget_bytes: what all views may take together.",
            bytes(memory.budget_bytes),
        );
        family(
            "state_used_bytes",
            "gauge",
            "Memory that the state of views and indexes takes of the budget, those under construction included.",
            bytes(memory.state_bytes),
        );
        if let Some(beside) = memory.beside_bytes {
            let help = "What the process takes beside state and counts in the budget, as it was seen lately.";
            family("state_beside_bytes", "gauge", help, bytes(beside));
        }
        let streams = |f: &dyn Fn(&StreamReport) -> f64| {
            report.streams.iter().map(|s| (label("stream", &s.name), f(s))).collect::<Vec<_>>()
        };
        family("stream_records", "gauge", "Records held.", streams(&|s| s.records as f64));
        family("stream_bytes", "gauge", "Bytes held.", streams(&|s| s.bytes as f64));
        family("stream_dead_letters_total", "counter", "Records that are no row.", streams(&|s| s.dead_letters as f64));
        family(
            "stream_decode_seconds_total",
            "counter",
            "Time that epochs spent on reading and decoding records, once for all views.",
            streams(&|s| s.decode_s),
        );
        family("stream_late_total", "counter", "Rows behind the watermark.", streams(&|s| s.late_records as f64));
        let help = "The watermark, in seconds since 1970.";
        family("stream_watermark_seconds", "gauge", help, self.platform.watermarks(&label));
        let views = |f: &dyn Fn(&ViewReport) -> f64| {
            report.views.iter().map(|v| (label("view", &v.name), f(v))).collect::<Vec<_>>()
        };
        family("view_rows", "gauge", "Rows of the answer.", views(&|v| v.rows as f64));
        family("view_state_bytes", "gauge", "Memory of state and answer.", views(&|v| v.state_bytes as f64));
        family("view_disk_bytes", "gauge", "State on disk that is read as needed.", views(&|v| v.disk_bytes as f64));
        family("view_lag_records", "gauge", "Input records not yet in the answer.", views(&|v| v.lag_records as f64));
        let up = |v: &ViewReport| f64::from(u8::from(v.state == "running"));
        family("view_running", "gauge", "1 when the view is kept up to date.", views(&up));
        let two = |key: &str, name: &str, value: String| {
            format!("{},{key}=\"{}\"}}", label("view", name).trim_end_matches('}'), value.replace('"', "\\\""))
        };
        let dead = views(&|v| v.dead_letters as f64);
        family("view_dead_letters_total", "counter", "Rows that an expression failed for.", dead);
        let states = report.views.iter().map(|v| (two("state", &v.name, v.state.clone()), 1.0)).collect();
        family("view_state", "gauge", "1 for the state that the view is in.", states);
        let backfill = |f: &dyn Fn(&BackfillReport) -> Option<f64>| {
            let each = |v: &ViewReport| Some((label("view", &v.name), f(v.backfill.as_ref()?)?));
            report.views.iter().filter_map(each).collect::<Vec<_>>()
        };
        family("view_backfill_ratio", "gauge", "How much of a build is done.", backfill(&|b| Some(b.percent / 100.0)));
        family(
            "view_backfill_rows",
            "gauge",
            "Records and rows that a build has taken in.",
            backfill(&|b| Some(b.done as f64)),
        );
        family("view_backfill_wanted_rows", "gauge", "All that a build takes in.", backfill(&|b| Some(b.total as f64)));
        family("view_backfill_eta_seconds", "gauge", "Seconds until a build is done.", backfill(&|b| b.eta_s));
        let indexes = self.platform.index_reports();
        let of_indexes = |f: &dyn Fn(&ViewReport) -> f64| {
            indexes.iter().map(|i| (label("index", &i.name), f(i))).collect::<Vec<_>>()
        };
        family("index_rows", "gauge", "Rows that the index has.", of_indexes(&|i| i.rows as f64));
        family("index_state_bytes", "gauge", "Memory of the index.", of_indexes(&|i| i.state_bytes as f64));
        family("index_disk_bytes", "gauge", "What of the index is on disk.", of_indexes(&|i| i.disk_bytes as f64));
        let lag = of_indexes(&|i| i.lag_records as f64);
        family("index_lag_records", "gauge", "Input records not yet in the index.", lag);
        family("index_running", "gauge", "1 when the index is kept up to date.", of_indexes(&up));
        for (kind, did, all) in [
            ("source", "Records that the source brought.", &report.sources),
            ("sink", "Records of the stream that the sink writes.", &report.sinks),
        ] {
            let of = |f: &dyn Fn(&ConnectorReport) -> f64| {
                all.iter().map(|c| (label(kind, &c.name), f(c))).collect::<Vec<_>>()
            };
            let help = format!("1 when the {kind} does its work.");
            let is_up = |c: &ConnectorReport| c.state == "running" || c.state == "starting";
            family(&format!("{kind}_running"), "gauge", &help, of(&|c| f64::from(u8::from(is_up(c)))));
            family(&format!("{kind}_records_total"), "counter", did, of(&|c| c.records as f64));
            let state = |c: &ConnectorReport| {
                let name = label(kind, &c.name);
                (format!("{},state=\"{}\"}}", name.trim_end_matches('}'), c.state), 1.0)
            };
            let help = format!("1 for the state that the {kind} is in.");
            family(&format!("{kind}_state"), "gauge", &help, all.iter().map(state).collect());
        }
        let operators = self.platform.operators();
        let each = |f: &dyn Fn(&OperatorStatus) -> f64| {
            let name = |(view, o): &(String, OperatorStatus)| {
                let node = two("node", view, o.node.to_string());
                (format!("{},operator=\"{}\"}}", node.trim_end_matches('}'), o.operator()), f(o))
            };
            operators.iter().map(name).collect::<Vec<_>>()
        };
        let busy = each(&|o| o.busy.as_secs_f64());
        family("operator_busy_seconds_total", "counter", "Time spent in an operator of a view.", busy);
        let rows = each(&|o| o.rows_out as f64);
        family("operator_rows_total", "counter", "Changed rows that an operator of a view put out.", rows);
        let state = each(&|o| o.state_bytes as f64);
        family("operator_state_bytes", "gauge", "Memory that an operator of a view holds.", state);
        let disk = each(&|o| o.disk_bytes as f64);
        family("operator_disk_bytes", "gauge", "State of an operator of a view on disk.", disk);
        let log = self.platform.log.stats();
        let one = |value: u64| vec![(String::new(), value as f64)];
        family("log_group_commits_total", "counter", "Groups of appends made durable.", one(log.group_commits));
        family("log_queue_bytes", "gauge", "Bytes that wait for the log's writer.", one(log.queue_bytes));
        family(
            "log_failed",
            "gauge",
            "1 when the disk has failed and nothing is appended.",
            one(u64::from(log.has_failed)),
        );
        if let Some(kafka) = self.kafka.as_ref().map(|k| k.snapshot()) {
            family("kafka_connections", "gauge", "Open connections of Kafka clients.", one(kafka.connections_open));
            family("kafka_requests_total", "counter", "Requests of Kafka clients.", one(kafka.requests));
            family("kafka_malformed_total", "counter", "Requests that were not understood.", one(kafka.malformed));
            family("kafka_produced_bytes_total", "counter", "Bytes of batches appended.", one(kafka.produced_bytes));
            family("kafka_fetched_bytes_total", "counter", "Bytes of batches given out.", one(kafka.fetched_bytes));
        }
        if let Some(postgres) = &self.postgres {
            let get = |n: &std::sync::atomic::AtomicU64| one(n.load(Ordering::Relaxed));
            family("postgres_connections", "gauge", "Open PostgreSQL sessions.", get(&postgres.connections_open));
            family("postgres_statements_total", "counter", "Statements run.", get(&postgres.statements));
            family("postgres_errors_total", "counter", "Errors sent to clients.", get(&postgres.errors));
        }
        out
    }
}
