//! What a server stands on: the machine, or a simulation of one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use fleuve_catalog::CommitFaults;
use fleuve_engine::{Engine, EngineOptions};
use fleuve_log::Log;
use fleuve_sql::Session;
use fleuve_store::{Disk, LocalDisk};
use fleuve_types::{Clock, ObjectId, Result, SystemClock};

use super::Platform;
use super::backend::Shared;
use crate::config::Config;

/// Time, files, and who moves things on.
#[derive(Clone, Debug)]
pub struct Ground {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where the log and the views' state are.
    pub disk: Arc<dyn Disk>,
    /// The catalog's database, a file of the machine in any case.
    pub catalog: PathBuf,
    /// What becomes of the catalog's commits.
    pub faults: Option<Arc<dyn CommitFaults>>,
    /// Nothing happens by itself: log and engine work when they are told, so that the same calls always do the same.
    pub stepped: bool,
    /// State beyond this goes to disk, if that is before the configured budget. In bytes.
    pub hot_bytes: usize,
    /// The answer that a sink begins with is written in pieces of about this many rows.
    pub sink_piece_rows: usize,
    /// Whether declared sources read.
    pub sources: bool,
}

impl Ground {
    /// The machine that this runs on.
    pub fn machine(config: &Config) -> Self {
        Self {
            clock: Arc::new(SystemClock),
            disk: Arc::new(LocalDisk),
            catalog: config.data.join("catalog.db"),
            faults: None,
            stepped: false,
            hot_bytes: usize::MAX,
            sink_piece_rows: EngineOptions::default().sink_piece_rows,
            sources: true,
        }
    }
}

/// A server without doors and without a life of its own, for the simulator: see [`Ground::stepped`].
pub struct SteppedServer {
    pub(super) platform: Arc<Platform>,
}

impl SteppedServer {
    /// Opens what the ground holds.
    ///
    /// # Errors
    /// As when a server starts.
    pub async fn start(config: &Config, ground: Ground) -> Result<Self> {
        let ground = Ground { stepped: true, sources: false, ..ground };
        Ok(Self { platform: super::serve::start(config, ground).await? })
    }

    /// A new session.
    pub fn session(&self) -> Session {
        Session::new(Arc::new(Shared(self.platform.clone())))
    }

    /// Its log.
    pub fn log(&self) -> &Log {
        &self.platform.log
    }

    /// Its engine.
    pub fn engine(&self) -> &Engine {
        &self.platform.engine
    }

    /// What is declared.
    pub fn objects(&self) -> Arc<fleuve_sql::ObjectSet> {
        self.platform.object_set()
    }

    /// Lets records go that retention no longer keeps, as far as a checkpoint has what views read of them.
    ///
    /// # Errors
    /// The log's.
    pub async fn enforce_retention(&self) -> Result<()> {
        self.platform.enforce_retention(&BTreeSet::new()).await.map(drop)
    }

    /// Forgets the records of a partition before an offset, as Kafka's DeleteRecords does; gives the new first offset.
    ///
    /// # Errors
    /// `Retry` while views have read what no checkpoint can have yet, and the log's.
    pub async fn delete_records(&self, stream: ObjectId, partition: i32, before: i64) -> Result<i64> {
        self.platform.delete_records(stream, partition, before).await
    }

    /// Stops as on a signal.
    ///
    /// # Errors
    /// When the last checkpoint or the log's last writes failed; the next start repeats from what is there.
    pub async fn stop(self) -> Result<()> {
        let checkpointed = self.platform.engine.stop().await;
        let closed = self.platform.log.close().await;
        self.platform.catalog.close().await;
        checkpointed.and(closed)
    }

    /// Ends as a process that is killed: nothing more is written.
    pub async fn kill(self) {
        // An engine that has ended already needs no halt.
        let _ = self.platform.engine.halt().await;
        self.platform.catalog.close().await;
    }
}
