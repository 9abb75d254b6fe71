//! A server without doors, in this process, on a folder of its own that goes with it: what `fleuve test` and `fleuve slt` run on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fleuve_sql::Session;
use fleuve_types::{Clock, Error, ErrorKind, ManualClock, Result};

use super::Platform;
use super::backend::Shared;
use super::ground::Ground;
use crate::config;
use crate::data_folder::DataFolder;

/// How long a stop waits for the engine.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Rows may lead to rows so often: sinks into streams of other views.
const MAX_STEPS: usize = 100;

/// The running server. Sources are declared in it but read nothing.
pub struct Local {
    platform: Arc<Platform>,
    /// The clock, if it stands still.
    clock: Option<Arc<ManualClock>>,
    folder: Temporary,
    _held: DataFolder,
}

/// A folder that is removed when this is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean, as everything in its folder of temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Local {
    /// Starts a new, empty one.
    ///
    /// # Errors
    /// When the folder of temporary files cannot be written.
    pub async fn start() -> Result<Self> {
        Self::start_at(None).await
    }

    /// As [`Local::start`]; with a time, in microseconds, the clock stands still at it.
    ///
    /// # Errors
    /// As for [`Local::start`].
    pub async fn start_at(now_us: Option<i64>) -> Result<Self> {
        let clock = now_us.map(|us| Arc::new(ManualClock::new(us)));
        let path = std::env::temp_dir().join(format!("fleuve-{}", uuid::Uuid::new_v4().simple()));
        let folder = Temporary(path);
        let held = DataFolder::open(&folder.0)?;
        let config = config::alone(&folder.0)?;
        let mut ground = Ground { sources: false, ..Ground::machine(&config) };
        if let Some(clock) = &clock {
            ground.clock = clock.clone();
        }
        let platform = super::serve::start(&config, ground).await?;
        Ok(Self { platform, clock, folder, _held: held })
    }

    /// A new session.
    pub fn session(&self) -> Session {
        Session::new(Arc::new(Shared(self.platform.clone())))
    }

    /// Moves a clock that stands still on; returns when views follow it.
    ///
    /// # Errors
    /// When it would go back, or does not stand still.
    pub async fn set_time(&self, now_us: i64) -> Result<()> {
        let clock = self.clock.as_ref().ok_or_else(|| Error::bug("the clock is the machine's"))?;
        let by = now_us.saturating_sub(clock.now_us());
        if by < 0 {
            return Err(Error::input("the clock does not go back"));
        }
        clock.advance_us(by);
        self.platform.engine.follow_clock().await
    }

    /// Waits until everything that follows from what was written is visible: dead letters, rows of sinks, and what these lead to.
    ///
    /// # Errors
    /// When the server is broken, or something feeds itself.
    pub async fn settle(&self) -> Result<()> {
        let (log, mut before) = (self.platform.log(), vec![]);
        for _ in 0..MAX_STEPS {
            // Writes are done in order, so all that were under way are done when this one is.
            log.append_atomic(vec![], vec![("settled".into(), None)]).await?;
            let mut ends = vec![];
            for topic in log.topics() {
                for partition in 0..topic.partitions {
                    ends.extend(log.offsets(topic.id, partition).map(|(_, end)| (topic.id, partition, end)));
                }
            }
            if ends == before {
                return Ok(());
            }
            for (stream, partition, end) in &ends {
                self.platform.engine.wait_for(*stream, *partition, *end).await?;
            }
            before = ends;
        }
        Err(Error::new(ErrorKind::Limit, format!("rows still lead to new rows after {MAX_STEPS} steps"))
            .hint("does a sink write into what its view reads?"))
    }

    /// Stops it and removes its folder.
    pub async fn stop(self) {
        super::serve::shut_down(&self.platform, STOP_TIMEOUT).await;
        drop(self.folder);
    }
}
