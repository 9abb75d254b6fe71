//! Listens, and gives each client a task of its own.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleuve_log::Log;
use fleuve_types::{Clock, Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::broker::Broker;
use crate::connection::{self, Budget};
use crate::coordinator::Coordinator;
use crate::fetch_memory::FetchMemory;
use crate::{Counters, KafkaOptions, Topics};

/// How long connections may take to finish what they do when the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How long to wait after the system refused to give a connection (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The door, bound to its port and ready to serve.
pub struct KafkaServer {
    listener: TcpListener,
    local: SocketAddr,
    broker: Arc<Broker>,
}

impl KafkaServer {
    /// Takes the port and reads the committed offsets of the groups.
    ///
    /// # Errors
    /// `Config` when the address cannot be used.
    pub async fn bind(
        options: KafkaOptions,
        log: Log,
        topics: Arc<dyn Topics>,
        clock: Arc<dyn Clock>,
    ) -> Result<KafkaServer> {
        let listen = &options.listen;
        let listener = TcpListener::bind((listen.host.as_str(), listen.port)).await.map_err(|e| {
            Error::new(ErrorKind::Config, format!("the Kafka door cannot listen on {listen}: {e}"))
                .hint("is another server running? choose another address with --kafka HOST:PORT")
        })?;
        let local = listener.local_addr().map_err(|e| Error::io("the Kafka door has no address", e))?;
        let groups = Coordinator::start(&options, log.clone(), topics.clone(), clock.clone());
        let fetch_memory = FetchMemory::new(options.fetch_memory_bytes);
        let broker = Arc::new(Broker { options, log, topics, clock, groups, counters: Arc::default(), fetch_memory });
        Ok(KafkaServer { listener, local, broker })
    }

    /// Where it listens; tells the port when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What it counts; stays valid while the server runs and after.
    pub fn counters(&self) -> Arc<Counters> {
        self.broker.counters.clone()
    }

    /// Serves until `shutdown` is ready; then takes nothing new, lets running requests end, and returns within seconds.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let (stop, stopping) = watch::channel(false);
        let slots = Arc::new(Semaphore::new(self.broker.options.max_connections.min(Semaphore::MAX_PERMITS)));
        let budget = Budget::new(self.broker.options.request_memory_bytes);
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    warn!(error = %e, "the Kafka door cannot take a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(slot) = slots.clone().try_acquire_owned() else {
                self.broker.counters.add_refused(1);
                debug!(%peer, "too many Kafka connections: closed at once");
                continue;
            };
            let (broker, budget, stopping) = (self.broker.clone(), budget.clone(), stopping.clone());
            connections.spawn(async move {
                let _slot = slot;
                connection::serve(stream, peer, broker, budget, stopping).await;
            });
        }
        drop(self.listener);
        let _ = stop.send(true);
        let drained = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            warn!(connections = connections.len(), "Kafka connections did not end in time: cut off");
            connections.shutdown().await;
        }
    }
}
