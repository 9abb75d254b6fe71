//! A server on simulated ground, through its lives, and the client that watches it.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use fleuve::config::{self, Config};
use fleuve::platform::{Ground, SteppedServer};
use fleuve_engine::ViewState;
use fleuve_sql::Session;
use fleuve_types::{Error, ManualClock};

use crate::commits::SimCommits;
use crate::disk::{Fault, SimDisk};
use crate::model::{EPOCH_S, Model};
use crate::objects::Objects;
use crate::random::Random;
use crate::trace::Trace;
use crate::{Failure, Options, Scope, Sim};

/// Where the server's folder is on the simulated disk.
const DATA: &str = "/data";
/// How long one call may take on the machine's clock: far more than it needs, so that what passes it hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// After so many steps everything that follows from an operation has happened.
const REST_STEPS: usize = 2_000;

/// How a life of the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is told to stop.
    Stop,
    /// The process is killed.
    Kill,
    /// The machine loses its power.
    Power,
}

/// The server and a session with it.
pub(crate) struct Life {
    /// The server.
    pub(crate) server: SteppedServer,
    /// The client's session.
    pub(crate) session: Session,
}

/// Everything.
pub(crate) struct World {
    /// Decides.
    pub(crate) random: Random,
    /// What time it is in there.
    pub(crate) clock: Arc<ManualClock>,
    /// The disk, as this life of the server has it.
    pub(crate) disk: SimDisk,
    /// What becomes of the catalog's commits.
    pub(crate) commits: Arc<SimCommits>,
    /// The server, while it runs.
    pub(crate) life: Option<Life>,
    /// What the client knows.
    pub(crate) model: Model,
    /// What is declared.
    pub(crate) objects: Objects,
    /// What was done.
    pub(crate) trace: Trace,
    /// The server has to be started again: it said that it cannot go on, or the client cannot know where it stands.
    pub(crate) is_lost: bool,
    /// Faults that last are switched on.
    pub(crate) is_faulty: bool,
    /// It was, since the server was started. A log that failed then takes no more until it is opened again.
    pub(crate) was_faulty: bool,
    /// How often the power goes while the server starts, in percent.
    pub(crate) cuts_at_start: usize,
    /// As in [`Options`].
    pub(crate) scope: Scope,
    /// So much state stays in memory.
    hot_bytes: usize,
    /// So many rows of the answer that a sink begins with are written at once.
    sink_piece_rows: usize,
    config: Config,
    folder: Folder,
}

/// A folder of the machine for the catalog's database, removed when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Sim<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let name = format!("fleuve-sim-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = base.join(name);
        // One of a process that had the same number.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).map_err(|e| Failure(format!("cannot make {}: {e}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits for something that must come.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> Sim<T> {
    tokio::time::timeout(PATIENCE, future).await.map_err(|_| Failure(format!("{what} hangs")))
}

impl World {
    /// A new world with nothing in it; the server does not run yet.
    ///
    /// # Errors
    /// When the machine has no room for the catalog's file.
    pub(crate) fn new(seed: u64, options: &Options) -> Sim<Self> {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(random.fork(), Path::new(DATA), options.lies);
        let commits = Arc::new(SimCommits::new(disk.clone(), random.fork()));
        let mut config = config::alone(Path::new(DATA)).map_err(|e| Failure(e.to_string()))?;
        config.shards = 1 + random.below(3);
        config.wal_bytes = 4096 << random.below(4);
        config.segment_bytes = 4096 << random.below(3);
        config.memory_budget_bytes = 1 << 30;
        let hot_bytes = if options.scope == Scope::Narrow {
            usize::MAX
        } else {
            *random.pick(&[usize::MAX, usize::MAX, 100_000, 0])
        };
        let mut trace = Trace::new(options.is_loud);
        trace.say(format!(
            "seed {seed}: {} shards, write-ahead files of {} bytes, segments of {}, {hot_bytes} bytes of state in memory",
            config.shards, config.wal_bytes, config.segment_bytes
        ));
        if options.is_loud {
            disk.tell();
        }
        Ok(Self {
            cuts_at_start: *random.pick(&[0, 0, 15, 40]),
            random,
            clock: Arc::new(ManualClock::new(EPOCH_S * 1_000_000)),
            disk,
            commits,
            life: None,
            model: Model::default(),
            objects: Objects::default(),
            trace,
            is_lost: false,
            is_faulty: false,
            was_faulty: false,
            scope: options.scope,
            hot_bytes,
            // Not by the numbers that decide the rest: what a seed does stays what it was.
            sink_piece_rows: [3, 20, 100][seed as usize % 3],
            config,
            folder: Folder::new()?,
        })
    }

    /// The server.
    ///
    /// # Errors
    /// When it does not run: a fault of the simulator.
    pub(crate) fn life(&self) -> Sim<&Life> {
        self.life.as_ref().ok_or_else(|| Failure("the server does not run".into()))
    }

    /// No fault is left to come.
    pub(crate) fn heal(&mut self) {
        self.disk.heal();
        self.commits.heal();
        self.was_faulty |= std::mem::take(&mut self.is_faulty);
    }

    /// Ends this life.
    ///
    /// # Errors
    /// When that hangs.
    pub(crate) async fn end(&mut self, end: End) -> Sim<()> {
        self.trace.say(format!("{end:?}"));
        let life = self.life.take();
        if end == End::Stop
            && let Some(life) = life
        {
            drop(life.session);
            let stopped = within("the stop", life.server.stop()).await?;
            self.trace.say(format!("  {}", outcome(&stopped)));
            let is_off = self.disk.is_off();
            self.disk = if is_off { self.disk.cut_power() } else { self.disk.kill() };
            return Ok(());
        }
        // First the ground goes, so that the server writes nothing on its way out.
        self.disk = if end == End::Power { self.disk.cut_power() } else { self.disk.kill() };
        if let Some(life) = life {
            drop(life.session);
            within("the end", life.server.kill()).await?;
        }
        Ok(())
    }

    /// Begins a life; the power may go while it does.
    ///
    /// # Errors
    /// When the server does not start although nothing is broken.
    pub(crate) async fn begin(&mut self) -> Sim<()> {
        self.heal();
        (self.was_faulty, self.is_lost, self.life) = (false, false, None);
        for _ in 0..6 {
            if self.random.chance(self.cuts_at_start) {
                self.disk.arm(1 + self.random.below(14) as u64, Fault::PowerCut);
            }
            self.commits = Arc::new(SimCommits::new(self.disk.clone(), self.random.fork()));
            let ground = Ground {
                clock: self.clock.clone(),
                disk: Arc::new(self.disk.clone()),
                faults: Some(self.commits.clone()),
                catalog: self.folder.0.join("catalog.db"),
                stepped: true,
                hot_bytes: self.hot_bytes,
                sink_piece_rows: self.sink_piece_rows,
                sources: false,
            };
            match within("the start", SteppedServer::start(&self.config, ground)).await? {
                Ok(server) => {
                    let session = server.session();
                    self.life = Some(Life { server, session });
                    if !self.disk.is_off() {
                        self.disk.heal();
                        self.trace.say("start");
                        return Ok(());
                    }
                    self.end(End::Power).await?;
                }
                Err(_) if self.disk.is_off() => {
                    self.trace.say("start: the power goes");
                    self.disk = self.disk.cut_power();
                }
                Err(e) => return Err(Failure(format!("the server does not start: {e}"))),
            }
        }
        self.cuts_at_start = 0;
        Box::pin(self.begin()).await
    }

    /// Lets happen what follows from all that was done.
    ///
    /// # Errors
    /// When it never ends.
    pub(crate) async fn rest(&mut self) -> Sim<()> {
        let life = self.life()?;
        for _ in 0..REST_STEPS {
            let progressed = within("a step", life.server.engine().step()).await?;
            let before = life.server.log().stats().group_commits;
            life.server.log().write_queued();
            let wrote = life.server.log().stats().group_commits != before;
            let is_building = |v: &fleuve_engine::ViewStatus| matches!(v.state, ViewState::Building(_));
            let builds = life.server.engine().published().status.iter().any(|(_, v)| is_building(v));
            match progressed {
                Ok(false) if !wrote && !builds => return Ok(()),
                Ok(_) => {}
                Err(e) => return Err(Failure(format!("the engine does not go on: {e}"))),
            }
        }
        Err(Failure(format!("after {REST_STEPS} steps something still happens")))
    }

    /// Carries a call through that waits for the engine, stepping it meanwhile. `None` when it does not come back because of a fault.
    ///
    /// # Errors
    /// When it does not come back without one.
    pub(crate) async fn carry<T>(&self, call: impl Future<Output = T>) -> Sim<Option<T>> {
        let mut call = pin!(call);
        let life = self.life()?;
        for _ in 0..REST_STEPS {
            if let Poll::Ready(answer) = futures::poll!(&mut call) {
                return Ok(Some(answer));
            }
            if self.disk.is_off() {
                return Ok(None);
            }
            // An engine that does not answer is seen when the world comes to rest.
            let _ = within("a step", life.server.engine().step()).await?;
            life.server.log().write_queued();
            tokio::task::yield_now().await;
        }
        let broken = self.is_faulty || life.server.log().stats().has_failed;
        if broken { Ok(None) } else { Err(Failure("a call does not come back".into())) }
    }

    /// Notes in the trace what the disk did since the last time.
    pub(crate) fn note_disk(&mut self) {
        let (operations, digest) = self.disk.digest();
        self.trace.mix(&operations.to_be_bytes());
        self.trace.mix(&digest.to_be_bytes());
        if self.trace.is_loud() {
            self.disk.tell().iter().for_each(|line| self.trace.aside(line));
        }
    }
}

/// An answer in a word.
pub(crate) fn outcome<T>(result: &Result<T, Error>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(e) => format!("{:?}", e.kind),
    }
}
