use std::sync::atomic::{AtomicU64, Ordering};

/// What the door counts, for `/metrics`. All but the `_open` ones only grow.
#[derive(Debug, Default)]
pub struct PgCounters {
    /// Sessions open now.
    pub connections_open: AtomicU64,
    /// Sessions opened since the start.
    pub connections: AtomicU64,
    /// Connections turned away because the limit was reached.
    pub connections_refused: AtomicU64,
    /// Statements run.
    pub statements: AtomicU64,
    /// Errors sent to clients.
    pub errors: AtomicU64,
    /// Cancel requests that met a running session.
    pub cancels: AtomicU64,
    /// Rows sent.
    pub rows: AtomicU64,
    /// Bytes sent.
    pub bytes_sent: AtomicU64,
    /// Bytes received.
    pub bytes_received: AtomicU64,
    /// Subscriptions open now.
    pub subscriptions_open: AtomicU64,
}

impl PgCounters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// Counts one up while it lives.
pub(crate) struct Open(pub(crate) std::sync::Arc<PgCounters>, pub(crate) fn(&PgCounters) -> &AtomicU64);

impl Open {
    pub(crate) fn new(counters: &std::sync::Arc<PgCounters>, of: fn(&PgCounters) -> &AtomicU64) -> Self {
        PgCounters::add(of(counters), 1);
        Self(counters.clone(), of)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::Relaxed);
    }
}
