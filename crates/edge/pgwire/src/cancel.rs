//! Who may cancel what. Derived from the open sessions.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// Why a running statement stops before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    Canceled,
    Timeout,
    /// The client is gone.
    Disconnected,
    /// The server stops.
    Shutdown,
}

struct Entry {
    secret: u32,
    /// Counts the requests.
    requests: watch::Sender<u64>,
}

/// The sessions that can be cancelled, by the number that stands for a process id in PostgreSQL.
#[derive(Default)]
pub(crate) struct CancelRegistry {
    next: AtomicU32,
    sessions: Mutex<HashMap<u32, Entry>>,
}

impl CancelRegistry {
    /// Gives a session its key. It can be cancelled until the key is dropped.
    pub(crate) fn register(self: &Arc<Self>) -> CancelKey {
        let secret = rand::random();
        let (requests, receiver) = watch::channel(0);
        // Process ids are positive 32-bit numbers; after two billion sessions the numbers come again.
        let pid = self.next.fetch_add(1, Ordering::Relaxed) % (i32::MAX as u32 - 1) + 1;
        self.sessions.lock().insert(pid, Entry { secret, requests });
        CancelKey { registry: Arc::clone(self), pid, secret, receiver }
    }

    /// Cancels what a session runs; true if the key was right.
    pub(crate) fn cancel(&self, pid: u32, secret: &[u8]) -> bool {
        let sessions = self.sessions.lock();
        let Some(entry) = sessions.get(&pid).filter(|e| e.secret.to_be_bytes() == secret) else { return false };
        entry.requests.send_modify(|n| *n += 1);
        true
    }
}

/// A session's own entry.
pub(crate) struct CancelKey {
    registry: Arc<CancelRegistry>,
    pub(crate) pid: u32,
    pub(crate) secret: u32,
    receiver: watch::Receiver<u64>,
}

impl CancelKey {
    /// Watches over one statement. Requests that came before it are forgotten, as they were meant for another.
    pub(crate) fn guard(&self, timeout_ms: u64, shutdown: &watch::Receiver<bool>) -> Guard {
        let mut cancel = self.receiver.clone();
        cancel.mark_unchanged();
        let deadline = (timeout_ms > 0).then(|| Instant::now() + Duration::from_millis(timeout_ms));
        Guard { cancel, deadline, shutdown: shutdown.clone() }
    }
}

impl Drop for CancelKey {
    fn drop(&mut self) {
        self.registry.sessions.lock().remove(&self.pid);
    }
}

/// Tells when a statement must stop.
pub(crate) struct Guard {
    cancel: watch::Receiver<u64>,
    deadline: Option<Instant>,
    shutdown: watch::Receiver<bool>,
}

impl Guard {
    /// Returns when the statement must stop. Can be dropped and called again.
    pub(crate) async fn fired(&mut self) -> Interrupt {
        let deadline = self.deadline;
        let expired = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            asked = self.cancel.changed() => match asked {
                Ok(()) => Interrupt::Canceled,
                Err(_) => std::future::pending().await,
            },
            () = expired => Interrupt::Timeout,
            () = stopped(&mut self.shutdown) => Interrupt::Shutdown,
        }
    }
}

/// Returns when the server stops.
pub(crate) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // What it gives is a lock, which must not be kept.
    drop(shutdown.wait_for(|stop| *stop).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_key_cancels_and_only_what_runs() {
        let registry = Arc::new(CancelRegistry::default());
        let (_stop, shutdown) = watch::channel(false);
        let (a, b) = (registry.register(), registry.register());
        assert!(registry.cancel(a.pid, &a.secret.to_be_bytes()));
        let mut later = a.guard(0, &shutdown); // the request above was before it
        assert!(!registry.cancel(a.pid, &a.secret.wrapping_add(1).to_be_bytes()));
        assert!(registry.cancel(b.pid, &b.secret.to_be_bytes()));
        assert!(futures::poll!(std::pin::pin!(later.fired())).is_pending());
        assert!(registry.cancel(a.pid, &a.secret.to_be_bytes()));
        assert_eq!(later.fired().await, Interrupt::Canceled);
        let pid = a.pid;
        let secret = a.secret.to_be_bytes();
        drop(a);
        assert!(!registry.cancel(pid, &secret));
    }

    #[tokio::test]
    async fn a_timeout_and_a_shutdown_stop_a_statement() {
        let registry = Arc::new(CancelRegistry::default());
        let (stop, shutdown) = watch::channel(false);
        let key = registry.register();
        assert_eq!(key.guard(50, &shutdown).fired().await, Interrupt::Timeout);
        stop.send(true).unwrap();
        assert_eq!(key.guard(0, &shutdown).fired().await, Interrupt::Shutdown);
    }
}
