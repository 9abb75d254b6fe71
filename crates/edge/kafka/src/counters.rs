//! What the door counts. Derived state: it starts at zero with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Running totals. All may be read at any time; they are not read at one instant together.
#[derive(Debug, Default)]
pub struct Counters {
    connections_accepted: AtomicU64,
    connections_refused: AtomicU64,
    connections_open: AtomicU64,
    requests: AtomicU64,
    malformed: AtomicU64,
    errors: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    produced_bytes: AtomicU64,
    fetched_bytes: AtomicU64,
}

/// What the counters showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountersSnapshot {
    /// Connections taken since the start.
    pub connections_accepted: u64,
    /// Connections closed at once because there were too many.
    pub connections_refused: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Requests that were understood.
    pub requests: u64,
    /// Requests that were not understood; each closed its connection.
    pub malformed: u64,
    /// Requests whose answer could not be made or written.
    pub errors: u64,
    /// Bytes read from clients.
    pub bytes_in: u64,
    /// Bytes written to clients.
    pub bytes_out: u64,
    /// Bytes of record batches that were appended.
    pub produced_bytes: u64,
    /// Bytes of record batches that were given to clients.
    pub fetched_bytes: u64,
}

macro_rules! counting {
    ($($name:ident => $field:ident;)*) => {
        impl Counters {
            $(pub(crate) fn $name(&self, n: usize) {
                self.$field.fetch_add(n as u64, Ordering::Relaxed);
            })*
        }
    };
}

counting! {
    add_refused => connections_refused;
    add_requests => requests;
    add_malformed => malformed;
    add_errors => errors;
    add_bytes_in => bytes_in;
    add_bytes_out => bytes_out;
    add_produced_bytes => produced_bytes;
    add_fetched_bytes => fetched_bytes;
}

/// Counts a connection as open until it is dropped, however the connection ends.
pub(crate) struct OpenConnection(Arc<Counters>);

impl OpenConnection {
    pub(crate) fn new(counters: &Arc<Counters>) -> Self {
        counters.connections_accepted.fetch_add(1, Ordering::Relaxed);
        counters.connections_open.fetch_add(1, Ordering::Relaxed);
        Self(counters.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections_open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    /// The totals now.
    pub fn snapshot(&self) -> CountersSnapshot {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        CountersSnapshot {
            connections_accepted: get(&self.connections_accepted),
            connections_refused: get(&self.connections_refused),
            connections_open: get(&self.connections_open),
            requests: get(&self.requests),
            malformed: get(&self.malformed),
            errors: get(&self.errors),
            bytes_in: get(&self.bytes_in),
            bytes_out: get(&self.bytes_out),
            produced_bytes: get(&self.produced_bytes),
            fetched_bytes: get(&self.fetched_bytes),
        }
    }
}
