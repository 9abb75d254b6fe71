//! One client: frames in, answers out in the order of the requests. Everything here is bounded, and whatever a client
//! sends ends at worst its own connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesOrdered, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use crate::KafkaOptions;
use crate::broker::{Broker, Session};
use crate::codec::{Header, Malformed, Request, decode_header, decode_request_body};
use crate::counters::OpenConnection;
use crate::handlers::{self, Answer};

/// What a read asks the system for at least.
const READ_BYTES: usize = 16 << 10;
/// A larger frame draws on the half of the budget that is for large ones, and gets its memory in steps of this size, as its
/// bytes come.
const SMALL_BYTES: usize = 1 << 20;
/// A frame that comes more slowly than this for longer than the stall timeout closes its connection.
const SLOWEST_BYTES_PER_S: u64 = 256 << 10;
/// The unit in which request memory is counted.
const BUDGET_UNIT_BYTES: usize = 1 << 10;

/// The memory that the requests of all connections share. Small and large frames have a half each, so that those who send
/// (or only announce) large ones cannot hold up the others.
#[derive(Clone)]
pub(crate) struct Budget {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let half = (bytes / 2 / BUDGET_UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self { small: Arc::new(Semaphore::new(half)), large: Arc::new(Semaphore::new(half)) }
    }

    /// Waits until there is memory for a frame. `None` if there can never be.
    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let half = if bytes <= SMALL_BYTES { &self.small } else { &self.large };
        let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).ok()?;
        half.clone().acquire_many_owned(units).await.ok()
    }
}

/// A whole request and its share of the budget.
struct Frame {
    bytes: Bytes,
    memory: Option<OwnedSemaphorePermit>,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the client left")]
    Left,
    #[error("the server stops")]
    Stop,
    #[error("nothing was asked for a long time")]
    Idle,
    #[error("the client stalled in the middle of a request or an answer")]
    Stalled,
    #[error("a request of {0} bytes is more than the limit{1}")]
    TooLarge(u32, &'static str),
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("{api} version {version} is not offered")]
    Version { api: &'static str, version: i16 },
    #[error("a produce request without acknowledgement failed")]
    Unacknowledged,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Answer(fleuve_types::Error),
}

/// Serves one client until one of the two ends it.
pub(crate) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    broker: Arc<Broker>,
    budget: Budget,
    mut stopping: watch::Receiver<bool>,
) {
    let _open = OpenConnection::new(&broker.counters);
    let end = match stream.local_addr() {
        Ok(local) => {
            let _ = stream.set_nodelay(true);
            let (gone_tx, gone) = watch::channel(false);
            let session = Session { broker: broker.clone(), local, peer, gone };
            let (frames_tx, frames) = mpsc::channel(broker.options.max_in_flight.max(1));
            let in_flight = Arc::new(AtomicUsize::new(0));
            let (read_half, write_half) = stream.into_split();
            let reader = Reader {
                from: read_half,
                buffer: BytesMut::new(),
                budget,
                broker: broker.clone(),
                in_flight: in_flight.clone(),
            };
            let reading = reader.run(frames_tx, &gone_tx, &mut stopping);
            let working = Worker { session, to: write_half, in_flight }.run(frames);
            // The worker ends when it has answered what the reader brought, or when it cannot go on.
            tokio::pin!(reading, working);
            tokio::select! {
                end = &mut working => end.unwrap_or(End::Left),
                read_end = &mut reading => working.await.unwrap_or(read_end),
            }
        }
        Err(e) => End::Io(e),
    };
    report(&end, peer, &broker);
}

fn report(end: &End, peer: SocketAddr, broker: &Broker) {
    match end {
        End::Malformed(_) | End::Version { .. } | End::TooLarge(..) => {
            broker.counters.add_malformed(1);
            warn!(%peer, reason = %end, "closed a Kafka connection");
        }
        End::Answer(_) => {
            broker.counters.add_errors(1);
            warn!(%peer, reason = %end, "closed a Kafka connection");
        }
        _ => debug!(%peer, reason = %end, "a Kafka connection ended"),
    }
}

struct Reader {
    from: OwnedReadHalf,
    buffer: BytesMut,
    budget: Budget,
    broker: Arc<Broker>,
    in_flight: Arc<AtomicUsize>,
}

impl Reader {
    /// Reads frames until there are no more; then tells waiting handlers that nobody waits for them.
    async fn run(
        mut self,
        frames: mpsc::Sender<Frame>,
        gone: &watch::Sender<bool>,
        stopping: &mut watch::Receiver<bool>,
    ) -> End {
        let end = loop {
            let frame = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => break End::Stop,
                frame = self.frame() => frame,
            };
            match frame {
                Ok(frame) => {
                    self.in_flight.fetch_add(1, Ordering::Relaxed);
                    if frames.send(frame).await.is_err() {
                        break End::Left;
                    }
                }
                Err(end) => break end,
            }
        };
        drop(frames);
        let _ = gone.send(true);
        end
    }

    async fn frame(&mut self) -> Result<Frame, End> {
        let stall = Duration::from_millis(self.broker.options.stall_timeout_ms);
        while self.buffer.len() < 4 {
            let idle = Duration::from_millis(self.broker.options.idle_timeout_ms);
            let wait = if self.buffer.is_empty() { idle } else { stall };
            match timeout(wait, self.more(READ_BYTES)).await {
                Ok(read) => read?,
                // A member that waits for its group asks nothing meanwhile.
                Err(_) if self.buffer.is_empty() && self.in_flight.load(Ordering::Relaxed) > 0 => {}
                Err(_) => return Err(if self.buffer.is_empty() { End::Idle } else { End::Stalled }),
            }
        }
        let size = self.frame_size()?;
        self.buffer.advance(4);
        let memory = self.budget.take(size).await;
        let latest = Instant::now() + stall + Duration::from_secs(size as u64 / SLOWEST_BYTES_PER_S);
        while self.buffer.len() < size {
            let wait = stall.min(latest.saturating_duration_since(Instant::now()));
            let missing = (size - self.buffer.len()).min(SMALL_BYTES);
            timeout(wait, self.more(missing)).await.map_err(|_| End::Stalled)??;
        }
        Ok(Frame { bytes: self.buffer.split_to(size).freeze(), memory })
    }

    /// The size that the next frame announces, once it is one that may be.
    fn frame_size(&self) -> Result<usize, End> {
        let announced = (&self.buffer[..4]).get_u32();
        let size = announced as usize;
        if size <= frame_limit(&self.broker.options) {
            return Ok(size);
        }
        let hint = match &self.buffer[..4] {
            [0x16, 3, ..] => " (it looks like TLS, which this port does not speak)",
            b"GET " | b"POST" | b"HEAD" | b"PUT " => " (it looks like HTTP: wrong port?)",
            _ => "",
        };
        Err(End::TooLarge(announced, hint))
    }

    async fn more(&mut self, bytes: usize) -> Result<(), End> {
        self.buffer.reserve(bytes.max(READ_BYTES));
        let n = self.from.read_buf(&mut self.buffer).await?;
        self.broker.counters.add_bytes_in(n);
        if n == 0 { Err(End::Left) } else { Ok(()) }
    }
}

/// A frame over its half of the budget could never be granted.
fn frame_limit(options: &KafkaOptions) -> usize {
    options.max_request_bytes.min(options.request_memory_bytes / 2)
}

struct Worker {
    session: Session,
    to: OwnedWriteHalf,
    in_flight: Arc<AtomicUsize>,
}

type Running = BoxFuture<'static, Answer>;

impl Worker {
    /// Answers frames in their order. Some requests overlap with each other; any other request waits for all before it, and
    /// those after wait for it. `None` once all frames are answered.
    async fn run(mut self, mut frames: mpsc::Receiver<Frame>) -> Option<End> {
        let mut running: FuturesOrdered<Running> = FuturesOrdered::new();
        let mut held: Option<Running> = None;
        loop {
            if let Some(alone) = held.take_if(|_| running.is_empty()) {
                let answer = alone.await;
                if let Err(end) = self.write(answer, &mut running).await {
                    return Some(end);
                }
                continue;
            }
            let room = held.is_none() && running.len() < self.session.broker.options.max_in_flight.max(1);
            tokio::select! {
                biased;
                Some(answer) = running.next(), if !running.is_empty() => {
                    if let Err(end) = self.write(answer, &mut running).await {
                        return Some(end);
                    }
                }
                frame = frames.recv(), if room => {
                    let Some(frame) = frame else { return self.finish(running).await };
                    match self.start(frame) {
                        Ok((future, true)) => running.push_back(first_poll(future)),
                        Ok((future, false)) => held = Some(future),
                        Err(end) => return Some(self.finish(running).await.unwrap_or(end)),
                    }
                }
            }
        }
    }

    /// Answers what came before the end, so that its senders learn what became of it.
    async fn finish(&mut self, mut running: FuturesOrdered<Running>) -> Option<End> {
        while let Some(answer) = running.next().await {
            if let Err(end) = self.write(answer, &mut running).await {
                return Some(end);
            }
        }
        None
    }

    /// Decodes a frame and makes the future of its answer. The flag says whether it may overlap with others.
    fn start(&self, frame: Frame) -> Result<(Running, bool), End> {
        let Frame { mut bytes, memory } = frame;
        let header = decode_header(&mut bytes)?;
        let request = match decode_request_body(header.api_key, header.version, bytes) {
            Ok(request) => request,
            Err(Malformed::UnknownVersion) if header.api_key == handlers::API_VERSIONS => {
                return Ok((handlers::api_versions::unknown_version(&header).boxed(), false));
            }
            Err(Malformed::UnknownVersion) => return Err(unknown_version(&header)),
            Err(e) => return Err(e.into()),
        };
        self.session.broker.counters.add_requests(1);
        let overlaps = overlaps(&request);
        let session = self.session.clone();
        let answer = async move {
            let answer = handlers::answer(&session, header, request).await;
            drop(memory);
            answer
        };
        Ok((answer.boxed(), overlaps))
    }

    /// Writes an answer and those that are ready behind it.
    async fn write(&mut self, answer: Answer, running: &mut FuturesOrdered<Running>) -> Result<(), End> {
        let mut next = Some(answer);
        let mut out: Vec<Bytes> = Vec::new();
        let mut end = None;
        while let Some(answer) = next.take() {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            match answer {
                Answer::Send(bytes) => out.push(bytes),
                Answer::Silence => {}
                Answer::Close => {
                    end = Some(End::Unacknowledged);
                    break;
                }
                Answer::Fail(e) => {
                    end = Some(End::Answer(e));
                    break;
                }
            }
            next = running.next().now_or_never().flatten();
        }
        let stall = Duration::from_millis(self.session.broker.options.stall_timeout_ms);
        for chunk in join_small(out) {
            send(&mut self.to, chunk, stall, &self.session.broker).await?;
        }
        end.map_or(Ok(()), Err)
    }
}

/// Writes in steps, so that a slow client is told from one that takes nothing.
async fn send(to: &mut OwnedWriteHalf, mut chunk: Bytes, stall: Duration, broker: &Broker) -> Result<(), End> {
    while chunk.has_remaining() {
        let n = timeout(stall, to.write_buf(&mut chunk)).await.map_err(|_| End::Stalled)??;
        if n == 0 {
            return Err(End::Left);
        }
        broker.counters.add_bytes_out(n);
    }
    Ok(())
}

/// Several small answers become one write.
fn join_small(answers: Vec<Bytes>) -> Vec<Bytes> {
    let total: usize = answers.iter().map(Bytes::len).sum();
    if answers.len() < 2 || total > READ_BYTES * 4 { answers } else { vec![answers.concat().into()] }
}

/// Appends overlap, so that they share a group commit. So do the calls of group members, or a member that leaves while it
/// waits to join would hold up its group. Both take effect in their first poll, so their order stays.
fn overlaps(request: &Request) -> bool {
    matches!(
        request,
        Request::Produce(_)
            | Request::JoinGroup(_)
            | Request::SyncGroup(_)
            | Request::Heartbeat(_)
            | Request::LeaveGroup(_)
    )
}

/// Polls a future once, so that what it queues first is queued in the order of the requests.
fn first_poll(mut future: Running) -> Running {
    match (&mut future).now_or_never() {
        Some(answer) => std::future::ready(answer).boxed(),
        None => future,
    }
}

fn unknown_version(header: &Header) -> End {
    let api = crate::codec::api(header.api_key).map_or("?", |a| a.name);
    End::Version { api, version: header.version }
}
