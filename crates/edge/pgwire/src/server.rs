use std::future::Future;
use std::io::ErrorKind as IoErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleuve_sql::Backend;
use fleuve_types::{Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::cancel::CancelRegistry;
use crate::catalog::Constants;
use crate::counters::PgCounters;
use crate::startup;

/// Connections beyond the sessions, so that a cancel request gets in when all sessions are taken.
const SPARE_CONNECTIONS: usize = 32;
/// How long sessions may take to say goodbye when the server stops.
const GOODBYE: Duration = Duration::from_secs(2);

/// The door's settings.
#[derive(Clone, Debug)]
pub struct PgOptions {
    /// `HOST:PORT` to listen on; port 0 takes a free one.
    pub listen: String,
    /// The most sessions at once.
    pub max_connections: usize,
    /// A client that has not started its session by then is shown out, in milliseconds.
    pub startup_timeout_ms: u64,
    /// The largest message from a client, in bytes; a statement and its parameters must fit.
    pub max_message_bytes: usize,
}

impl Default for PgOptions {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:5433".to_string(),
            max_connections: 200,
            startup_timeout_ms: 10_000,
            max_message_bytes: 16 * 1024 * 1024,
        }
    }
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) options: PgOptions,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) counters: Arc<PgCounters>,
    pub(crate) cancels: Arc<CancelRegistry>,
    pub(crate) constants: Arc<Constants>,
    pub(crate) seats: Arc<Semaphore>,
    pub(crate) shutdown: watch::Receiver<bool>,
}

/// The PostgreSQL door, bound to its port.
pub struct PgServer {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

impl PgServer {
    /// Takes the port. Nothing is answered before [`PgServer::run`].
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the address cannot be had.
    pub async fn bind(options: PgOptions, backend: Arc<dyn Backend>) -> Result<Self> {
        let listener = TcpListener::bind(&options.listen).await.map_err(|e| cannot_listen(&options.listen, &e))?;
        let address = listener.local_addr().map_err(|e| cannot_listen(&options.listen, &e))?;
        let (stop, shutdown) = watch::channel(false);
        let shared = Arc::new(Shared {
            backend,
            counters: Arc::default(),
            cancels: Arc::default(),
            constants: Arc::default(),
            seats: Arc::new(Semaphore::new(options.max_connections.min(Semaphore::MAX_PERMITS))),
            shutdown,
            options,
        });
        Ok(Self { listener, address, shared, stop })
    }

    /// Where the door is.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What the door counts.
    pub fn counters(&self) -> Arc<PgCounters> {
        self.shared.counters.clone()
    }

    /// Serves clients until `shutdown` is done; then sessions are told and closed.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut connections = JoinSet::new();
        let most = self.shared.options.max_connections.saturating_add(SPARE_CONNECTIONS);
        loop {
            while connections.try_join_next().is_some() {}
            let room = connections.len() < most;
            tokio::select! {
                () = &mut shutdown => break,
                // Without room, new connections wait in the kernel's queue until one ends.
                Some(_) = connections.join_next(), if !room => {}
                accepted = self.listener.accept(), if room => match accepted {
                    Ok((socket, _)) => {
                        connections.spawn(startup::serve(socket, self.shared.clone()));
                    }
                    Err(e) => {
                        // Out of file descriptors, or a client that left at once.
                        tracing::warn!("the PostgreSQL door could not accept a connection: {e}");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
        drop(self.listener);
        self.stop.send_replace(true);
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(GOODBYE, all).await.is_err() {
            tracing::debug!("some PostgreSQL sessions were cut off");
        }
    }
}

fn cannot_listen(address: &str, e: &std::io::Error) -> Error {
    let message = match e.kind() {
        IoErrorKind::AddrInUse => format!("the PostgreSQL door cannot listen on {address}: the port is taken"),
        _ => format!("the PostgreSQL door cannot listen on {address}: {e}"),
    };
    Error::new(ErrorKind::Config, message).hint("choose another with --postgres HOST:PORT, or --postgres off")
}
