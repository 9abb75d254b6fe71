//! For tests: a made-up platform behind a real door on a free port, and a small client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use async_trait::async_trait;
use axum::Router;
use bytes::Bytes;
use fleuve_sql::{Applied, ChangeSet, Outcome, ProjectFile, Replayed, Subscription};
use fleuve_types::{Delta, Error, ErrorKind, Location, Result};
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{Api, Observe, ServerReport, Sql, StatusReport, ViewReport, api_router, serve};

/// A platform that knows a few statements by heart.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) ready: AtomicBool,
    /// Row streams and subscriptions that were dropped.
    pub(crate) dropped: Arc<AtomicUsize>,
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn batch(from: i64, rows: i64) -> RecordBatch {
    let ids = Int64Array::from_iter_values(from..from + rows);
    let names: StringArray = (from..from + rows).map(|n| (n % 2 == 0).then(|| format!("n{n}"))).collect();
    RecordBatch::try_from_iter_with_nullable([("id", Arc::new(ids) as ArrayRef, true), ("name", Arc::new(names), true)])
        .unwrap()
}

#[async_trait]
impl Sql for Fake {
    async fn execute(&self, sql: &str) -> Result<Vec<Outcome>> {
        let schema = batch(0, 0).schema();
        let counted = Counted(self.dropped.clone());
        let rows = |batches: Vec<Result<RecordBatch>>| Outcome::Rows {
            schema: schema.clone(),
            rows: Box::pin(stream::iter(batches)),
            notices: vec![],
        };
        Ok(match sql {
            "SELECT" => vec![rows(vec![Ok(batch(0, 2)), Ok(batch(2, 1))])],
            "CREATE; SELECT" => vec![
                rows(vec![Ok(batch(7, 1))]),
                rows(vec![Ok(batch(0, 1))]),
                Outcome::Done { tag: "CREATE VIEW".into(), notices: vec!["view \"v\" is \"new\"".into()] },
            ],
            "CREATE" => vec![Outcome::Done { tag: "CREATE VIEW".into(), notices: vec![] }],
            "" => vec![],
            "FAIL LATE" => vec![rows(vec![Ok(batch(0, 1)), Err(Error::io("can't read", "disk gone"))])],
            "ENDLESS" => {
                let rows = stream::unfold((0, counted), |(n, counted)| async move {
                    tokio::task::yield_now().await;
                    Some((Ok(batch(n, 1000)), (n + 1000, counted)))
                });
                vec![Outcome::Rows { schema, rows: Box::pin(rows), notices: vec![] }]
            }
            "WIDE" => {
                let wide: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20); 20]));
                let wide = RecordBatch::try_from_iter([("wide", wide)]).unwrap();
                let rows = stream::unfold(counted, move |counted| {
                    let wide = wide.clone();
                    async move { Some((Ok(wide), counted)) }
                });
                vec![Outcome::Rows { schema, rows: Box::pin(rows), notices: vec![] }]
            }
            "HANG" => {
                let _counted = counted;
                futures::future::pending().await
            }
            "SUBSCRIBE" => vec![Outcome::Changes(self.subscribe("public", "v").await?)],
            _ => {
                return Err(Error::input("expected a statement")
                    .at(Location { file: None, line: 1, column: 3 })
                    .hint("write SELECT"));
            }
        })
    }

    async fn apply(&self, files: &[ProjectFile], dry_run: bool) -> Result<Vec<Applied>> {
        if let Some(wrong) = files.iter().find(|f| f.text == "wrong") {
            return Err(Error::input("wrong").at(Location { file: Some(wrong.path.clone()), line: 2, column: 5 }));
        }
        let action = if dry_run { "would create" } else { "create" };
        let applied = |f: &ProjectFile| Applied {
            action: action.into(),
            kind: "view".into(),
            name: f.path.clone(),
            notices: vec![],
        };
        Ok(files.iter().map(applied).collect())
    }

    async fn replay(
        &self,
        name: (&str, &str),
        until: &str,
        watch: Vec<Option<String>>,
        compare: bool,
    ) -> Result<Replayed> {
        if name != ("public", "orders") {
            return Err(Error::not_found("there is no such view"));
        }
        let rows = batch(0, 2 + watch.len() as i64 + i64::from(compare));
        Ok(Replayed { rows, steps: 3, records: 5, ends: vec![(until.into(), 0, 7)] })
    }

    async fn subscribe(&self, namespace: &str, name: &str) -> Result<Subscription> {
        let first = Delta::insert(batch(0, 2500));
        let second = Delta::weighted(batch(1, 2), vec![-1, 3]).unwrap();
        let start = Delta::empty(first.batch.schema());
        let sets = vec![
            Ok(ChangeSet { epoch: 4, delta: first, more: true }),
            Ok(ChangeSet { epoch: 4, delta: start, more: false }),
            Ok(ChangeSet { epoch: 5, delta: second, more: false }),
        ];
        let counted = Counted(self.dropped.clone());
        let sets: std::pin::Pin<Box<dyn futures::Stream<Item = Result<ChangeSet>> + Send>> = match (namespace, name) {
            ("public", "v") => Box::pin(stream::iter(sets).chain(stream::pending())),
            ("ops", "v") => Box::pin(
                stream::iter(sets)
                    .chain(stream::once(async { Err(Error::new(ErrorKind::Limit, "the reader is too slow")) })),
            ),
            _ => return Err(Error::not_found(format!("there is no view \"{name}\""))),
        };
        let sets = sets.map(move |set| {
            let _ = &counted;
            set
        });
        Ok(Subscription { schema: batch(0, 0).schema(), changes: Box::pin(sets) })
    }
}

impl Observe for Fake {
    fn ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    fn not_ready(&self) -> Option<String> {
        (!self.ready()).then(|| "it is starting".into())
    }

    fn status(&self) -> StatusReport {
        StatusReport {
            server: ServerReport { version: "1.2.3".into(), epoch: 9, ..ServerReport::default() },
            views: vec![ViewReport { name: "v".into(), state: "running".into(), ..ViewReport::default() }],
            ..StatusReport::default()
        }
    }

    fn metrics(&self) -> String {
        "# TYPE fleuve_epoch counter\nfleuve_epoch 9\n".into()
    }
}

/// A door on a free port.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Door {
    pub(crate) async fn open(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(serve(listener, router, async {
            let _ = stopped.await;
        }));
        Self { address, stop: Some(stop), served }
    }

    pub(crate) async fn api() -> (Self, Arc<Fake>) {
        let fake = Arc::new(Fake::default());
        (Self::open(api_router(Api::new(fake.clone(), fake.clone()))).await, fake)
    }

    pub(crate) async fn close(mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.served.await.unwrap().unwrap();
    }

    /// Sends a request and gives the answer once its head is there.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.try_send(request).await.unwrap()
    }

    pub(crate) async fn try_send(&self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let response = self.send(self.request(method, path, headers, body)).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.map(|b| b.to_bytes().to_vec());
        Answer { status, headers, body: bytes.map_err(|e| e.to_string()) }
    }

    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::from(body.to_string())).unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, &[("content-type", "application/json")], body).await
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    /// The bytes, or why they broke off.
    pub(crate) body: std::result::Result<Vec<u8>, String>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone().unwrap()).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text()).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(crate) fn kind(&self) -> &str {
        self.headers.get("content-type").map_or("", |v| v.to_str().unwrap())
    }
}
