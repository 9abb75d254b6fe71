//! Both HTTP doors over a made-up platform: to work on the status page, or to try registry clients, without the rest.
//!
//!     cargo run -p fleuve-http --example doors -- 127.0.0.1:8080 127.0.0.1:8081

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use async_trait::async_trait;
use fleuve_catalog::Catalog;
use fleuve_http::{
    Api, ConnectorReport, DoorReport, Observe, ServerReport, Sql, StatusReport, StreamReport, ViewReport, api_router,
    registry_router, serve,
};
use fleuve_registry::Registry;
use fleuve_sql::{Applied, ChangeSet, Outcome, ProjectFile, Subscription};
use fleuve_types::{Delta, Error, Location, Result};
use futures::stream;

/// Minutes of made-up traffic that are there at the start.
const MINUTES: i64 = 90;
const START_US: i64 = 1_431_857_100_000_000;

#[derive(Default)]
struct MadeUp(AtomicU64);

/// Hits per minute and class of status; the same for the same minute.
fn minutes(from: i64, to: i64) -> RecordBatch {
    let (mut at, mut class, mut hits) = (Vec::new(), Vec::new(), Vec::new());
    for minute in from..to {
        for (n, name) in ["2xx", "3xx", "4xx", "5xx"].into_iter().enumerate() {
            let size = [60.0, 18.0, 7.0, 1.5][n] * (1.0 + 0.5 * (minute as f64 / 17.0).sin());
            let noise = ((minute * 7919 + n as i64 * 104_729) % 97) as f64 / 97.0;
            at.push(START_US + minute * 60_000_000);
            class.push(name);
            hits.push((size * (0.75 + 0.5 * noise)) as i64);
        }
    }
    let columns = [
        ("window_start", Arc::new(TimestampMicrosecondArray::from(at)) as ArrayRef),
        ("class", Arc::new(StringArray::from(class))),
        ("hits", Arc::new(Int64Array::from(hits))),
    ];
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

#[async_trait]
impl Sql for MadeUp {
    async fn execute(&self, sql: &str) -> Result<Vec<Outcome>> {
        if !sql.to_lowercase().contains("hits_per_minute") {
            return Err(Error::not_found("there is only the view \"hits_per_minute\" here")
                .at(Location { file: None, line: 1, column: 1 })
                .hint("SELECT * FROM hits_per_minute"));
        }
        let rows = minutes(0, if sql.contains("LIMIT 0") { 0 } else { MINUTES });
        Ok(vec![Outcome::Rows { schema: rows.schema(), rows: Box::pin(stream::iter([Ok(rows)])), notices: vec![] }])
    }

    async fn apply(&self, _files: &[ProjectFile], _dry_run: bool) -> Result<Vec<Applied>> {
        Ok(Vec::new())
    }

    async fn subscribe(&self, _namespace: &str, _name: &str) -> Result<Subscription> {
        let changes = stream::unfold(0, |next| async move {
            let (to, epoch) = if next == 0 { (MINUTES, 1) } else { (next + 1, next as u64) };
            if next > 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Some((Ok(ChangeSet { epoch, delta: Delta::insert(minutes(next, to)), more: false }), to))
        });
        Ok(Subscription { schema: minutes(0, 0).schema(), changes: Box::pin(changes) })
    }
}

impl Observe for MadeUp {
    fn ready(&self) -> bool {
        true
    }

    fn not_ready(&self) -> Option<String> {
        None
    }

    fn status(&self) -> StatusReport {
        let step = self.0.fetch_add(1, Ordering::Relaxed);
        let rate = 620.0 + 90.0 * (step as f64 / 3.0).sin();
        let door = |name: &str, port: u16| DoorReport { name: name.into(), address: format!("127.0.0.1:{port}") };
        let view = |name: &str, state: &str| {
            ViewReport {
            name: name.into(),
            state: state.into(),
            rows: 360,
            state_bytes: 81_234,
            disk_bytes: 0,
            epoch: 18_000 + step,
            rows_per_s: rate,
            sql: "CREATE MATERIALIZED VIEW hits_per_minute AS\n  SELECT window_start, status / 100 || 'xx' AS class, count(*) AS hits\n  FROM TUMBLE(access, ts, INTERVAL '1 minute') GROUP BY 1, 2".into(),
            ..ViewReport::default()
        }
        };
        StatusReport {
            server: ServerReport {
                version: env!("CARGO_PKG_VERSION").into(),
                uptime_s: 8000 + 2 * step,
                epoch: 18_000 + step,
                data_dir: "./fleuve-data".into(),
                doors: vec![door("kafka", 9092), door("postgres", 5433), door("http", 8080), door("registry", 8081)],
            },
            streams: vec![StreamReport {
                name: "access".into(),
                partitions: 4,
                records: 9_951_234 + 600 * step,
                bytes: 2_371_000_000,
                records_per_s: rate,
                dead_letters: 49,
                dead_letter_stream: Some("access__dead".into()),
                retention_ms: Some(604_800_000),
                ..StreamReport::default()
            }],
            views: vec![
                view("hits_per_minute", "running"),
                ViewReport { lag_records: 1312, ..view("scanners", "building") },
                ViewReport {
                    error: Some(
                        "its state has grown over the memory budget; the view is stopped, all others go on".into(),
                    ),
                    ..view("too_large", "failed")
                },
            ],
            sources: vec![ConnectorReport {
                name: "log_file".into(),
                into: "access".into(),
                connector: "file".into(),
                state: "running".into(),
                position: "access.log.gz @ 1204118".into(),
                records: 9_951_234,
                ..ConnectorReport::default()
            }],
            sinks: Vec::new(),
        }
    }

    fn metrics(&self) -> String {
        format!("# TYPE fleuve_epoch counter\nfleuve_epoch {}\n", self.0.load(Ordering::Relaxed))
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = |n: usize, default: &str| std::env::args().nth(n).unwrap_or_else(|| default.into());
    let made_up = Arc::new(MadeUp::default());
    let main = tokio::net::TcpListener::bind(address(1, "127.0.0.1:8080")).await?;
    let registry_door = tokio::net::TcpListener::bind(address(2, "127.0.0.1:8081")).await?;
    let folder = tempfile::tempdir()?;
    let catalog = Catalog::open(folder.path().join("catalog.db")).await.map_err(std::io::Error::other)?;
    let registry = Registry::open(catalog.pool().clone()).await.map_err(std::io::Error::other)?;
    println!("http://{}  registry http://{}", main.local_addr()?, registry_door.local_addr()?);
    let stop = std::future::pending::<()>;
    let api = api_router(Api::new(made_up.clone(), made_up));
    let (one, other) = tokio::join!(serve(main, api, stop()), serve(registry_door, registry_router(registry), stop()));
    one.and(other)
}
