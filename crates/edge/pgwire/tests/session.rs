//! Whole sessions at the socket, over a platform in memory. Each message is written and read as bytes, so that what drivers
//! hide (order, states, limits) is seen.

#![allow(clippy::unwrap_used)] // helpers of tests are not seen as tests

#[path = "../examples/memory/mod.rs"]
mod memory;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use fleuve_pgwire::{PgCounters, PgOptions, PgServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Long enough for a slow machine; only a hanging test reaches it.
const PATIENCE: Duration = Duration::from_secs(120);

struct Door {
    port: u16,
    counters: Arc<PgCounters>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

async fn door(options: PgOptions) -> Door {
    let options = PgOptions { listen: "127.0.0.1:0".to_string(), ..options };
    let server = PgServer::bind(options, memory::Memory::new()).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (port, counters) = (server.local_addr().port(), server.counters());
    let task = tokio::spawn(server.run(async { drop(stopped.await) }));
    Door { port, counters, stop: Some(stop), task }
}

/// A message from the server: its type and body.
type Message = (char, Vec<u8>);

struct Client {
    socket: TcpStream,
    pid: u32,
    secret: [u8; 4],
}

impl Client {
    async fn raw(door: &Door) -> TcpStream {
        TcpStream::connect(("127.0.0.1", door.port)).await.unwrap()
    }

    async fn connect(door: &Door) -> Self {
        Self::try_connect(door, &[]).await.unwrap()
    }

    async fn try_connect(door: &Door, parameters: &[(&str, &str)]) -> Result<Self, Vec<Message>> {
        let mut client = Self { socket: Self::raw(door).await, pid: 0, secret: [0; 4] };
        let mut body = BytesMut::new();
        body.put_u32(3 << 16);
        for (name, value) in [("user", "ann"), ("database", "main")].iter().chain(parameters) {
            body.put_slice(name.as_bytes());
            body.put_u8(0);
            body.put_slice(value.as_bytes());
            body.put_u8(0);
        }
        body.put_u8(0);
        let length = (body.len() as u32 + 4).to_be_bytes();
        client.socket.write_all(&[&length[..], &body].concat()).await.unwrap();
        let greeting = client.until_ready().await;
        for (kind, body) in &greeting {
            if *kind == 'K' {
                client.pid = u32::from_be_bytes(body[..4].try_into().unwrap());
                client.secret = body[4..8].try_into().unwrap();
            }
        }
        if greeting.iter().any(|(kind, _)| *kind == 'E') { Err(greeting) } else { Ok(client) }
    }

    async fn send(&mut self, kind: u8, body: &[u8]) {
        let length = (body.len() as u32 + 4).to_be_bytes();
        self.socket.write_all(&[&[kind][..], &length, body].concat()).await.unwrap();
    }

    async fn query(&mut self, sql: &str) {
        self.send(b'Q', &[sql.as_bytes(), b"\0"].concat()).await;
    }

    /// The next message, or `None` when the server hung up.
    async fn next(&mut self) -> Option<Message> {
        let read = async {
            let mut head = [0; 5];
            self.socket.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4;
            let mut body = vec![0; length];
            self.socket.read_exact(&mut body).await.ok()?;
            Some((char::from(head[0]), body))
        };
        tokio::time::timeout(PATIENCE, read).await.expect("the server answers in time")
    }

    /// Everything up to `ReadyForQuery` or the end.
    async fn until_ready(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        while let Some(message) = self.next().await {
            let ready = message.0 == 'Z';
            all.push(message);
            if ready {
                break;
            }
        }
        all
    }

    async fn run(&mut self, sql: &str) -> Vec<Message> {
        self.query(sql).await;
        self.until_ready().await
    }

    async fn parse(&mut self, name: &str, sql: &str, types: &[u32]) {
        let mut b = BytesMut::new();
        b.put_slice(&[name.as_bytes(), b"\0", sql.as_bytes(), b"\0"].concat());
        b.put_u16(types.len() as u16);
        types.iter().for_each(|t| b.put_u32(*t));
        self.send(b'P', &b).await;
    }

    async fn bind(&mut self, portal: &str, statement: &str, values: &[Option<&str>], binary_out: bool) {
        let mut b = BytesMut::new();
        b.put_slice(&[portal.as_bytes(), b"\0", statement.as_bytes(), b"\0"].concat());
        b.put_u16(0);
        b.put_u16(values.len() as u16);
        for value in values {
            match value {
                None => b.put_i32(-1),
                Some(v) => {
                    b.put_i32(v.len() as i32);
                    b.put_slice(v.as_bytes());
                }
            }
        }
        b.put_u16(1);
        b.put_u16(u16::from(binary_out));
        self.send(b'B', &b).await;
    }

    async fn execute(&mut self, portal: &str, max_rows: u32) {
        self.send(b'E', &[portal.as_bytes(), b"\0", &max_rows.to_be_bytes()].concat()).await;
    }
}

/// The types of messages, in order.
fn kinds(messages: &[Message]) -> String {
    messages.iter().map(|(kind, _)| *kind).collect()
}

/// A field of the first error or notice of a kind.
fn field(messages: &[Message], kind: char, of: u8) -> Option<String> {
    let (_, body) = messages.iter().find(|(k, _)| *k == kind)?;
    body.split(|b| *b == 0).find(|f| f.first() == Some(&of)).map(|f| String::from_utf8(f[1..].to_vec()).unwrap())
}

fn code(messages: &[Message]) -> String {
    field(messages, 'E', b'C').unwrap_or_default()
}

fn status(messages: &[Message]) -> char {
    messages.iter().rev().find(|(kind, _)| *kind == 'Z').map_or('-', |(_, body)| char::from(body[0]))
}

fn tags(messages: &[Message]) -> Vec<String> {
    let complete = messages.iter().filter(|(kind, _)| *kind == 'C');
    complete.map(|(_, body)| String::from_utf8(body[..body.len() - 1].to_vec()).unwrap()).collect()
}

/// The rows as text; `~` is NULL.
fn rows(messages: &[Message]) -> Vec<String> {
    let of = |body: &[u8]| {
        let (mut rest, mut values) = (&body[2..], Vec::new());
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = i32::from_be_bytes(*length);
            let value = &tail[..length.max(0) as usize];
            values.push(if length < 0 { "~".to_string() } else { String::from_utf8_lossy(value).into_owned() });
            rest = &tail[length.max(0) as usize..];
        }
        values.join("|")
    };
    messages.iter().filter(|(kind, _)| *kind == 'D').map(|(_, body)| of(body)).collect()
}

const SHOP: &str = "CREATE STREAM orders (id BIGINT, customer TEXT) WITH (format = 'json'); \
    CREATE MATERIALIZED VIEW totals AS SELECT customer, count(*) AS n FROM orders GROUP BY customer";

#[tokio::test(flavor = "multi_thread")]
async fn a_simple_query_is_answered_statement_by_statement() {
    let door = door(PgOptions::default()).await;
    let mut c = Client::connect(&door).await;
    let made = c.run(SHOP).await;
    assert_eq!(kinds(&made), "CCZ", "{}", code(&made));
    assert_eq!(tags(&c.run("INSERT INTO orders VALUES (1, 'a'), (2, 'b'), (3, 'a')").await), ["INSERT 0 3"]);
    let both = c.run("SELECT customer, n FROM totals ORDER BY n; -- and\n SELECT NULL, 'x;y'").await;
    assert_eq!(kinds(&both), "TDDCTDCZ");
    assert_eq!(rows(&both), ["b|1", "a|2", "~|x;y"]);
    assert_eq!(tags(&both), ["SELECT 2", "SELECT 1"]);
    assert_eq!(kinds(&c.run(" ;; -- nothing").await), "IZ");
    let cut = c.run("SELECT 1; SELECT * FROM nowhere; SELECT 2").await;
    assert_eq!(kinds(&cut), "TDCEZ");
    assert_eq!((code(&cut).as_str(), status(&cut)), ("42P01", 'I'));
    assert_eq!(field(&cut, 'E', b'P').unwrap(), "25");
    assert_eq!(rows(&c.run("SHOW server_version").await), ["16.6"]);
    assert!(rows(&c.run("SELECT version()").await)[0].starts_with("PostgreSQL 16.6 (Fleuve "));
    assert!(door.counters.rows.load(Ordering::Relaxed) >= 5);
    assert_eq!(door.counters.errors.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_runs_in_portions() {
    let door = door(PgOptions::default()).await;
    let mut c = Client::connect(&door).await;
    c.run("BEGIN").await;
    c.parse("s", "SELECT value, $1 FROM generate_series(1, 5)", &[]).await;
    c.send(b'D', b"Ss\0").await;
    c.bind("p", "s", &[Some("x")], false).await;
    c.send(b'D', b"Pp\0").await;
    c.execute("p", 2).await;
    c.execute("p", 2).await;
    c.execute("p", 2).await;
    c.send(b'S', b"").await;
    let all = c.until_ready().await;
    assert_eq!(kinds(&all), "1tT2TDDsDDsDCZ", "{}", code(&all));
    assert_eq!(rows(&all), ["1|x", "2|x", "3|x", "4|x", "5|x"]);
    assert_eq!((tags(&all), status(&all)), (vec!["SELECT 5".to_string()], 'T'));
    assert_eq!(all[1].1, [0, 1, 0, 0, 0, 25]);
    c.bind("", "s", &[None], true).await;
    c.execute("", 0).await;
    c.send(b'C', b"Ss\0").await;
    c.send(b'S', b"").await;
    let all = c.until_ready().await;
    assert_eq!(kinds(&all), "2DDDDDC3Z");
    c.bind("", "s", &[None], true).await;
    c.execute("", 0).await;
    c.send(b'S', b"").await;
    let all = c.until_ready().await;
    assert_eq!((kinds(&all).as_str(), code(&all).as_str(), status(&all)), ("EZ", "26000", 'E'));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_messages_are_skipped_up_to_sync() {
    let door = door(PgOptions::default()).await;
    let mut c = Client::connect(&door).await;
    c.parse("", "SELECT * FROM nowhere", &[]).await;
    c.bind("", "", &[], false).await;
    c.execute("", 0).await;
    c.send(b'S', b"").await;
    let all = c.until_ready().await;
    assert_eq!((kinds(&all).as_str(), status(&all)), ("EZ", 'I'));
    c.parse("", "SELECT $1::int + 1", &[]).await;
    c.bind("", "", &[Some("seven")], false).await;
    c.send(b'S', b"").await;
    let all = c.until_ready().await;
    assert_eq!((kinds(&all).as_str(), code(&all).as_str()), ("1EZ", "22P02"));
    c.bind("", "", &[], false).await;
    c.send(b'S', b"").await;
    assert_eq!(code(&c.until_ready().await), "08P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_have_their_states() {
    let door = door(PgOptions::default()).await;
    let mut c = Client::connect(&door).await;
    assert_eq!(status(&c.run("BEGIN").await), 'T');
    assert_eq!(field(&c.run("BEGIN").await, 'N', b'C').unwrap(), "25001");
    assert_eq!(status(&c.run("SELECT nonsense").await), 'E');
    let refused = c.run("SELECT 1").await;
    assert_eq!((code(&refused).as_str(), status(&refused)), ("25P02", 'E'));
    assert_eq!(tags(&c.run("COMMIT").await), ["ROLLBACK"]);
    assert_eq!(tags(&c.run("BEGIN; SAVEPOINT a; COMMIT").await), ["BEGIN", "SAVEPOINT", "COMMIT"]);
    c.run("BEGIN; DECLARE c CURSOR FOR SELECT value FROM generate_series(1, 3)").await;
    assert_eq!(rows(&c.run("FETCH 2 FROM c").await), ["1", "2"]);
    assert_eq!(rows(&c.run("FETCH ALL FROM c").await), ["3"]);
    c.run("COMMIT").await;
    assert_eq!(code(&c.run("FETCH 1 FROM c").await), "34000");
}

async fn cancel(door: &Door, c: &Client) {
    let mut other = Client::raw(door).await;
    let body = [&16u32.to_be_bytes()[..], &80_877_102u32.to_be_bytes(), &c.pid.to_be_bytes(), &c.secret].concat();
    other.write_all(&body).await.unwrap();
    let mut end = Vec::new();
    other.read_to_end(&mut end).await.unwrap();
    assert!(end.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_flows_until_it_is_cancelled() {
    let door = door(PgOptions::default()).await;
    let (mut reader, mut writer) = (Client::connect(&door).await, Client::connect(&door).await);
    writer.run(SHOP).await;
    writer.run("INSERT INTO orders VALUES (1, 'a')").await;
    reader.query("SUBSCRIBE TO totals").await;
    assert_eq!(reader.next().await.unwrap().0, 'T');
    let first = rows(&[reader.next().await.unwrap()]);
    assert!(first[0].ends_with("|1|a|1"), "{first:?}");
    assert_eq!(door.counters.subscriptions_open.load(Ordering::Relaxed), 1);
    writer.run("INSERT INTO orders VALUES (2, 'a')").await;
    let mut changes = rows(&[reader.next().await.unwrap(), reader.next().await.unwrap()]);
    changes.iter_mut().for_each(|r| *r = r.split_once('|').unwrap().1.to_string());
    changes.sort();
    assert_eq!(changes, ["-1|a|1", "1|a|2"]);
    cancel(&door, &reader).await;
    let end = reader.until_ready().await;
    assert_eq!((kinds(&end).as_str(), code(&end).as_str(), status(&end)), ("EZ", "57014", 'I'));
    assert_eq!(rows(&reader.run("SELECT 1").await), ["1"]);
    assert_eq!(door.counters.subscriptions_open.load(Ordering::Relaxed), 0);
    assert_eq!(door.counters.cancels.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_subscription() {
    let door = door(PgOptions::default()).await;
    let mut reader = Client::connect(&door).await;
    reader.run(SHOP).await;
    reader.query("SUBSCRIBE TO totals").await;
    assert_eq!(reader.next().await.unwrap().0, 'T');
    drop(reader);
    let gone = async {
        while door.counters.connections_open.load(Ordering::Relaxed)
            + door.counters.subscriptions_open.load(Ordering::Relaxed)
            > 0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the session ends with its client");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold() {
    let options = PgOptions { max_connections: 1, max_message_bytes: 1000, ..PgOptions::default() };
    let door = door(options).await;
    let mut only = Client::connect(&door).await;
    let Err(refused) = Client::try_connect(&door, &[]).await else { panic!("one too many") };
    assert_eq!(code(&refused), "53300");
    // With all sessions taken, a cancel request still gets in.
    only.query(
        "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b WHERE a.value + b.value < 0",
    )
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    cancel(&door, &only).await;
    assert_eq!(code(&only.until_ready().await), "57014");
    only.query(&format!("SELECT '{}'", "x".repeat(2000))).await;
    let end = only.until_ready().await;
    assert_eq!((kinds(&end).as_str(), code(&end).as_str()), ("E", "54000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_shown_out_and_wrong_ones_are_told() {
    let door = door(PgOptions { startup_timeout_ms: 100, ..PgOptions::default() }).await;
    let mut silent = Client::raw(&door).await;
    let mut end = Vec::new();
    tokio::time::timeout(PATIENCE, silent.read_to_end(&mut end)).await.unwrap().unwrap();
    assert!(end.is_empty());
    let Err(e) = Client::try_connect(&door, &[("replication", "database")]).await else { panic!() };
    assert_eq!(code(&e), "0A000");
    let Err(e) = Client::try_connect(&door, &[("client_encoding", "LATIN1")]).await else { panic!() };
    assert_eq!(code(&e), "0A000");
    let mut c = Client::try_connect(&door, &[("options", "-c statement_timeout=1234")]).await.unwrap();
    assert_eq!(rows(&c.run("SHOW statement_timeout").await), ["1234ms"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_told_when_the_server_stops() {
    let mut door = door(PgOptions::default()).await;
    let (mut idle, mut busy) = (Client::connect(&door).await, Client::connect(&door).await);
    busy.run(SHOP).await;
    busy.query("SUBSCRIBE TO totals").await;
    assert_eq!(busy.next().await.unwrap().0, 'T');
    door.stop.take().unwrap().send(()).unwrap();
    assert_eq!(code(&idle.until_ready().await), "57P01");
    assert_eq!(code(&busy.until_ready().await), "57P01");
    tokio::time::timeout(PATIENCE, door.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_taken_port_is_one_clear_line() {
    let first =
        PgServer::bind(PgOptions { listen: "127.0.0.1:0".into(), ..PgOptions::default() }, memory::Memory::new());
    let first = first.await.unwrap();
    let listen = first.local_addr().to_string();
    let Err(e) = PgServer::bind(PgOptions { listen, ..PgOptions::default() }, memory::Memory::new()).await else {
        panic!()
    };
    assert_eq!(e.kind, fleuve_types::ErrorKind::Config);
    assert!(e.message.contains("taken") && !e.message.contains('\n'), "{}", e.message);
}
