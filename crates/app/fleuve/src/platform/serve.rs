//! Start, serve, stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleuve_catalog::Catalog;
use fleuve_engine::{Engine, EngineOptions, EngineParts, SinkWriter};
use fleuve_http::{Api, Sessions, api_router, registry_router};
use fleuve_kafka::{KafkaOptions, KafkaServer};
use fleuve_log::{Log, LogOptions};
use fleuve_pgwire::{PgOptions, PgServer};
use fleuve_registry::Registry;
use fleuve_sql::{ObjectSet, Spec, UnusableObject};
use fleuve_store::FsBlob;
use fleuve_types::{Error, ErrorKind, ObjectId, Result};
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Platform;
use super::apply::in_order;
use super::backend::Shared;
use super::durable::{CatalogCheckpoints, LogJournal};
use super::ground::Ground;
use super::observe::{Rates, WasThere, Watcher};
use super::stream::StreamRelation;
use super::topics::StreamTopics;
use super::under_way::UnderWay;
use crate::config::{Config, Door};
use crate::data_folder::DataFolder;
use crate::doors::OpenDoors;

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Runs the server until it is told to stop (SIGTERM, SIGINT). `ready` is called once all doors serve.
///
/// # Errors
/// A clear line when it cannot start.
pub async fn serve(config: Config, ready: impl FnOnce(&OpenDoors)) -> Result<()> {
    let folder = DataFolder::open(&config.data)?;
    let mut stop = std::pin::pin!(stop_signal()?);
    let http = bind("http", &config.http).await?;
    let registry_door = bind("registry", &config.registry).await?;
    let ground = Ground::machine(&config);
    let clock = ground.clock.clone();
    let platform = tokio::select! {
        platform = start(&config, ground) => platform?,
        () = &mut stop => return Ok(()),
    };
    let backend = Arc::new(Shared(platform.clone()));
    let cluster_id = cluster_id(&platform.catalog).await?;
    let topics = Arc::new(StreamTopics {
        platform: Arc::downgrade(&platform),
        auto_create: config.auto_create_topics,
        cluster_id,
    });
    let kafka = match config.kafka.address() {
        Some(listen) => {
            let options = KafkaOptions {
                listen: host_port(listen),
                advertised: config.kafka_advertised.as_ref().map(host_port),
                default_partitions: config.default_partitions,
                max_connections: config.max_connections,
                max_request_bytes: size(config.request_max_bytes),
                max_fetch_bytes: size(config.fetch_max_bytes),
                ..KafkaOptions::default()
            };
            Some(KafkaServer::bind(options, platform.log.clone(), topics, clock.clone()).await?)
        }
        None => None,
    };
    let postgres = match config.postgres.address() {
        Some(listen) => {
            let listen = listen.to_string();
            let options = PgOptions { listen, max_connections: config.max_connections, ..PgOptions::default() };
            Some(PgServer::bind(options, backend.clone()).await?)
        }
        None => None,
    };
    let doors = OpenDoors {
        kafka: kafka.as_ref().map(KafkaServer::local_addr),
        postgres: postgres.as_ref().map(PgServer::local_addr),
        http: http.as_ref().and_then(|l| l.local_addr().ok()),
        registry: registry_door.as_ref().and_then(|l| l.local_addr().ok()),
        pid: std::process::id(),
    };
    let up = Arc::new(AtomicBool::new(false));
    let watcher = Watcher {
        platform: platform.clone(),
        doors: doors.clone(),
        ready: up.clone(),
        was_there: WasThere::of(&platform.log),
        kafka: kafka.as_ref().map(KafkaServer::counters),
        postgres: postgres.as_ref().map(PgServer::counters),
    };
    let (tell, told) = watch::channel(false);
    let mut serving = JoinSet::new();
    let stopped = |told: &watch::Receiver<bool>| {
        let mut told = told.clone();
        async move {
            let _ = told.wait_for(|stop| *stop).await;
        }
    };
    if let Some(kafka) = kafka {
        serving.spawn(kafka.run(stopped(&told)));
    }
    if let Some(postgres) = postgres {
        serving.spawn(postgres.run(stopped(&told)));
    }
    if let Some(http) = http {
        let api = Api::new(Arc::new(Sessions(backend.clone())), Arc::new(watcher));
        serve_http(&mut serving, http, api_router(api), stopped(&told));
    }
    if let Some(listener) = registry_door {
        serve_http(&mut serving, listener, registry_router(platform.registry.clone()), stopped(&told));
    }
    doors.write(folder.path())?;
    up.store(true, Ordering::SeqCst);
    ready(&doors);
    let mut engine = platform.engine.watch();
    let died = tokio::select! {
        () = &mut stop => false,
        () = async { while engine.changed().await.is_ok() {} } => true,
    };
    tracing::info!("stopping");
    up.store(false, Ordering::SeqCst);
    tell.send_replace(true);
    let wait = Duration::from_millis(config.stop_timeout_ms);
    if tokio::time::timeout(wait / 2, async { while serving.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!("some requests did not end in time and are cut off");
        serving.abort_all();
    }
    shut_down(&platform, wait).await;
    OpenDoors::remove(folder.path());
    if died {
        // Only a fault of its own ends it; serving on would show answers that no longer change.
        return Err(Error::bug("the engine ended by itself; the log has everything, start the server again"));
    }
    Ok(())
}

pub(super) async fn shut_down(platform: &Arc<Platform>, wait: Duration) {
    platform.is_stopping.store(true, Ordering::SeqCst);
    let sources = std::mem::take(&mut *platform.sources.write());
    let _ = tokio::task::spawn_blocking(move || drop(sources)).await;
    match tokio::time::timeout(wait, platform.engine.stop()).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => {
            tracing::error!(error = %e, "the last checkpoint failed; the next start repeats from the one before")
        }
        Err(_) => tracing::warn!("the last checkpoint took too long; the next start repeats from the one before"),
    }
    if let Err(e) = platform.log.close().await {
        tracing::error!(error = %e, "closing the log");
    }
    platform.catalog.close().await;
}

fn serve_http(
    serving: &mut JoinSet<()>,
    listener: TcpListener,
    router: axum::Router,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    serving.spawn(async move {
        if let Err(e) = fleuve_http::serve(listener, router, stop).await {
            tracing::error!(error = %e, "an HTTP door failed");
        }
    });
}

fn host_port(address: &crate::config::HostPort) -> fleuve_kafka::HostPort {
    fleuve_kafka::HostPort { host: address.host.clone(), port: address.port }
}

async fn bind(name: &str, door: &Door) -> Result<Option<TcpListener>> {
    crate::doors::bind(name, door).await
}

/// Opens what is on disk and starts what is declared.
pub(super) async fn start(config: &Config, ground: Ground) -> Result<Arc<Platform>> {
    let clock = ground.clock.clone();
    let data = &config.data;
    let mut options = LogOptions::new(data.join("log"));
    options.segment_bytes = config.segment_bytes;
    options.wal_bytes = config.wal_bytes;
    options.max_batch_bytes = options.max_batch_bytes.max(size(config.message_max_bytes));
    options.disk = ground.disk.clone();
    options.stepped = ground.stepped;
    let open_clock = clock.clone();
    let log = tokio::task::spawn_blocking(move || Log::open(options, open_clock))
        .await
        .map_err(|e| Error::bug(e.to_string()))??;
    let catalog = Catalog::open_with(&ground.catalog, ground.faults.clone(), !log.topics().is_empty()).await?;
    let registry =
        Registry::open(catalog.pool().clone()).await.map_err(|e| Error::io("open the schema registry", e))?;
    let set = fleuve_sql::bind_all(catalog.objects().await?)?;
    for UnusableObject { object, error } in set.unusable.values().map(AsRef::as_ref) {
        tracing::error!(kind = %object.kind, name = object.name, error = %error, "an object cannot be used");
    }
    drop_orphans(&log, &set).await?;
    let (running, replaced) = super::replaced::running(&log, &catalog, &set).await?;
    let (streams, parts) = engine_parts(config, &ground, &log, &catalog, &registry, (&set, &running)).await?;
    let runtime = tokio::runtime::Handle::current();
    let engine = tokio::task::spawn_blocking(move || {
        let _runtime = runtime.enter();
        Engine::start(parts)
    })
    .await
    .map_err(|e| Error::bug(e.to_string()))??;
    let platform = Arc::new(Platform {
        started_us: clock.now_us(),
        config: config.clone(),
        clock,
        log: log.clone(),
        catalog,
        registry,
        engine: engine.clone(),
        objects: RwLock::new(Arc::new(set)),
        streams: RwLock::new(streams),
        sources: RwLock::default(),
        runs_sources: ground.sources,
        changing: tokio::sync::Mutex::new(()),
        under_way: UnderWay::default(),
        is_stopping: AtomicBool::new(false),
        replaying: Arc::default(),
        rates: Rates::default(),
    });
    if !ground.stepped {
        let mut changed = log.changed();
        tokio::spawn(async move {
            while changed.changed().await.is_ok() {
                engine.wake();
            }
        });
        if config.retention_check_ms > 0 {
            let every = Duration::from_millis(config.retention_check_ms);
            tokio::spawn(super::retention::keep(Arc::downgrade(&platform), every));
        }
    }
    if ground.stepped {
        platform.clone().replace_again(running, replaced).await;
    } else if !replaced.is_empty() {
        let platform = platform.clone();
        tokio::spawn(async move { platform.replace_again(running, replaced).await });
    }
    let set = platform.object_set();
    for bound in set.by_name.values().filter(|b| matches!(b.spec, Spec::Source(_))) {
        if let Err(e) = platform.start_object(&set, bound).await {
            tracing::error!(source = bound.object.name, error = %e, "a source could not be started");
        }
    }
    Ok(platform)
}

/// Topics that no stream names are left-overs of a crash in the middle of a DROP.
async fn drop_orphans(log: &Log, set: &ObjectSet) -> Result<()> {
    for topic in log.topics() {
        let named = set.by_id(topic.id).is_some() || set.unusable.values().any(|o| o.object.id == topic.id);
        if !named {
            tracing::warn!(stream = %topic.id, "a stream that no name is left of is deleted");
            log.delete_topic(topic.id).await?;
        }
    }
    Ok(())
}

type Streams = HashMap<ObjectId, Arc<StreamRelation>>;

/// The streams, and what the engine starts with.
async fn engine_parts(
    config: &Config,
    ground: &Ground,
    log: &Log,
    catalog: &Catalog,
    registry: &Registry,
    (set, running): (&ObjectSet, &ObjectSet),
) -> Result<(Streams, EngineParts)> {
    let clock = &ground.clock;
    let opener = super::open::Opener { config, log, registry, clock };
    let mut streams = Streams::new();
    for bound in set.by_name.values() {
        if let Spec::Stream(spec) = &bound.spec {
            streams.insert(bound.object.id, opener.open_stream(set, bound, spec).await?);
        }
    }
    let views = running.by_name.values().filter(|b| matches!(b.spec, Spec::View(_) | Spec::Index(_))).collect();
    let definitions = in_order(views).iter().filter_map(|b| opener.running_definition(running, b)).collect();
    let mut sinks: Vec<(ObjectId, ObjectId, Box<dyn SinkWriter>)> = vec![];
    for bound in set.by_name.values() {
        // It writes what its view has now, which may be to become another one.
        let bound = running.by_id(bound.object.id).unwrap_or(bound);
        if let Spec::Sink(sink) = &bound.spec {
            match opener.sink_writer(running, bound, sink).await {
                Ok(writer) => sinks.push((bound.object.id, sink.from, Box::new(writer))),
                Err(e) => tracing::error!(sink = bound.object.name, error = %e, "a sink could not be started"),
            }
        }
    }
    let budget = size(config.memory_budget_bytes);
    if !ground.stepped {
        crate::memory::keep_blocks(config.memory_budget_bytes);
    }
    let parts = EngineParts {
        options: EngineOptions {
            shards: config.shards,
            epoch_bytes: size(config.epoch_max_bytes),
            view_bytes: config.view_memory_bytes.map_or(budget, size),
            view_state_bytes: config.view_state_bytes.unwrap_or(u64::MAX),
            budget_bytes: budget,
            process: if ground.stepped { None } else { crate::memory::of_process() },
            checkpoint_interval_ms: config.checkpoint_interval_ms,
            stepped: ground.stepped,
            hot_bytes: ground.hot_bytes,
            sink_piece_rows: ground.sink_piece_rows,
            ..EngineOptions::default()
        },
        state: fleuve_engine::session_state(),
        clock: clock.clone(),
        store: Arc::new(CatalogCheckpoints {
            log: log.clone(),
            catalog: catalog.clone(),
            runs: Arc::new(FsBlob::open_on(ground.disk.clone(), config.data.join("state"))?),
            runtime: tokio::runtime::Handle::current(),
        }),
        journal: Box::new(LogJournal(log.clone())),
        streams: streams.iter().map(|(id, r)| (*id, r.clone() as Arc<dyn fleuve_engine::StreamReader>)).collect(),
        views: definitions,
        sinks,
    };
    Ok((streams, parts))
}

/// The installation's name, made at the first start.
async fn cluster_id(catalog: &Catalog) -> Result<String> {
    const KEY: &str = "cluster_id";
    if let Some(id) = catalog.setting(KEY).await? {
        return Ok(id);
    }
    let id = uuid::Uuid::new_v4().simple().to_string()[..22].to_string();
    catalog.set_setting(KEY, &id).await?;
    Ok(id)
}

fn stop_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |e| Error::new(ErrorKind::Io, format!("listen for signals: {e}"));
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}
