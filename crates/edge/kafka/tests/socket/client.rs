//! A server for a test, and a client that speaks one request at a time.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use fleuve_kafka::{Counters, KafkaOptions, KafkaServer, MemoryTopics};
use fleuve_log::batch::{BatchBuilder, NewRecord, ProducerSequence};
use fleuve_log::{Log, LogOptions};
use fleuve_types::SystemClock;
use kafka_protocol::messages::{RequestHeader, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) topics: Arc<MemoryTopics>,
    pub(crate) log: Log,
    pub(crate) counters: Arc<Counters>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Server {
        Self::with(KafkaOptions::default()).await
    }

    pub(crate) async fn with(options: KafkaOptions) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock);
        let log = Log::open(LogOptions { sync: false, ..LogOptions::new(dir.path()) }, clock.clone()).unwrap();
        let topics = Arc::new(MemoryTopics::new(log.clone(), true));
        let options = KafkaOptions { listen: "127.0.0.1:0".parse().unwrap(), ..options };
        let server = KafkaServer::bind(options, log.clone(), topics.clone(), clock).await.unwrap();
        let (addr, counters) = (server.local_addr(), server.counters());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Server { addr, topics, log, counters, stop: Some(stop), running, _dir: dir }
    }

    pub(crate) async fn client(&self) -> Client {
        Client { stream: TcpStream::connect(self.addr).await.unwrap(), next: 100 }
    }

    /// Stops the door, and starts another over the same log and topics.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        let options = KafkaOptions { listen: "127.0.0.1:0".parse().unwrap(), ..KafkaOptions::default() };
        let clock = Arc::new(SystemClock);
        let server = KafkaServer::bind(options, self.log.clone(), self.topics.clone(), clock).await.unwrap();
        self.addr = server.local_addr();
        let (stop, stopped) = oneshot::channel();
        self.stop = Some(stop);
        self.running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
    }

    pub(crate) async fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        (&mut self.running).await.unwrap();
    }
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    next: i32,
}

impl Client {
    /// Sends a request; gives its correlation id.
    pub(crate) async fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        self.next += 1;
        let mut out = BytesMut::new();
        out.put_u32(0);
        RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.next)
            .with_client_id(Some(text("test")))
            .encode(&mut out, R::header_version(version))
            .unwrap();
        request.encode(&mut out, version).unwrap();
        let length = out.len() as u32 - 4;
        out[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&out).await.unwrap();
        self.next
    }

    /// The next answer, without its length.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await.ok()?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(frame.into())
    }

    /// Takes the answer to `R`, which has to be that to the request `id`.
    pub(crate) async fn take<R: Request>(&mut self, version: i16, id: i32) -> R::Response {
        let mut frame = self.frame().await.expect("an answer");
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, id);
        let answer = R::Response::decode(&mut frame, version).unwrap();
        assert!(!frame.has_remaining());
        answer
    }

    pub(crate) async fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let id = self.send(version, request).await;
        self.take::<R>(version, id).await
    }

    /// True once the server has closed the connection without another byte.
    pub(crate) async fn closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 16]).await, Ok(0) | Err(_))
    }
}

pub(crate) fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_string())
}

pub(crate) fn topic(s: &str) -> TopicName {
    TopicName(text(s))
}

/// A batch with these values; their timestamps are 1000, 1001, …
pub(crate) fn batch(values: &[&str]) -> Bytes {
    build(BatchBuilder::new(), values, 1000)
}

/// A batch with one value and this timestamp.
pub(crate) fn batch_at(value: &str, timestamp_ms: i64) -> Bytes {
    build(BatchBuilder::new(), &[value], timestamp_ms)
}

pub(crate) fn sequenced(values: &[&str], producer: ProducerSequence) -> Bytes {
    build(BatchBuilder::new().producer(producer), values, 1000)
}

fn build(mut builder: BatchBuilder, values: &[&str], from_ms: i64) -> Bytes {
    for (i, value) in values.iter().enumerate() {
        builder
            .push(&NewRecord {
                timestamp_ms: from_ms + i as i64,
                value: Some(value.as_bytes()),
                ..NewRecord::default()
            })
            .unwrap();
    }
    builder.build().unwrap()
}
