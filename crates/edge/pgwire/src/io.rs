//! One client's socket: bytes in, bytes out, both bounded, and always an eye on the client while a statement runs.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::cancel::{Guard, Interrupt};
use crate::counters::PgCounters;
use crate::error::PgResult;
use crate::wire::{Out, take_frame};

/// Answers are sent when this many bytes wait.
pub(crate) const FULL_BYTES: usize = 64 * 1024;
/// So many bytes are read ahead while a statement runs (a client may send the next messages early).
const READ_AHEAD_BYTES: usize = 64 * 1024;

pub(crate) struct Io {
    reader: OwnedReadHalf,
    pub(crate) inbox: BytesMut,
    writer: OwnedWriteHalf,
    pub(crate) out: Out,
    pub(crate) counters: Arc<PgCounters>,
}

impl Io {
    pub(crate) fn new(socket: TcpStream, counters: Arc<PgCounters>) -> Self {
        let (reader, writer) = socket.into_split();
        Self { reader, inbox: BytesMut::with_capacity(8 * 1024), writer, out: Out::new(), counters }
    }

    /// Reads some bytes; an error when the client is gone.
    pub(crate) async fn read(&mut self) -> io::Result<()> {
        let n = self.reader.read_buf(&mut self.inbox).await?;
        PgCounters::add(&self.counters.bytes_received, n as u64);
        if n == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Sends everything that waits.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while !self.out.bytes.is_empty() {
            let n = self.writer.write_buf(&mut self.out.bytes).await?;
            PgCounters::add(&self.counters.bytes_sent, n as u64);
        }
        Ok(())
    }

    /// The next message that is there already.
    pub(crate) fn take_frame(&mut self, max_bytes: usize) -> PgResult<Option<(u8, Bytes)>> {
        take_frame(&mut self.inbox, max_bytes)
    }

    /// Waits for `work` while watching the client and the guard. `work` is dropped when one of them stops it.
    pub(crate) async fn watch<T>(&mut self, guard: &mut Guard, work: impl Future<Output = T>) -> Result<T, Interrupt> {
        let mut work = pin!(work);
        loop {
            let room = self.inbox.len() < READ_AHEAD_BYTES;
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                why = guard.fired() => return Err(why),
                read = self.reader.read_buf(&mut self.inbox), if room => match read {
                    Ok(n) if n > 0 => PgCounters::add(&self.counters.bytes_received, n as u64),
                    _ => return Err(Interrupt::Disconnected),
                },
            }
        }
    }

    /// Sends everything that waits, however slowly the client reads, unless the guard stops it.
    pub(crate) async fn flush_watched(&mut self, guard: &mut Guard) -> Result<(), Interrupt> {
        while !self.out.bytes.is_empty() {
            let room = self.inbox.len() < READ_AHEAD_BYTES;
            tokio::select! {
                biased;
                wrote = self.writer.write_buf(&mut self.out.bytes) => match wrote {
                    Ok(n) => PgCounters::add(&self.counters.bytes_sent, n as u64),
                    Err(_) => return Err(Interrupt::Disconnected),
                },
                why = guard.fired() => return Err(why),
                read = self.reader.read_buf(&mut self.inbox), if room => match read {
                    Ok(n) if n > 0 => PgCounters::add(&self.counters.bytes_received, n as u64),
                    _ => return Err(Interrupt::Disconnected),
                },
            }
        }
        Ok(())
    }
}
