//! The deterministic simulator: the whole server (log, engine, catalog, checkpoints, SQL) on simulated ground, under a seed.
//!
//! The seed decides everything: what clients do and in which order, what time it is, which writes fail, when the power goes and what
//! the disk has kept then. So a run is repeated from its number alone, and a run that finds something is a test. Between two
//! operations the server comes to rest (log and engine are stepped, see `docs/adr/0008`), so no thread's timing has a say.
//!
//! After every start and at the end everything is checked that clients rely on: what was acknowledged is there once and in its order,
//! nothing else is, offsets mean the same for ever, groups keep their offsets, views show what their query gives, sinks add up to
//! their views, dead letters are told once, an error has a reason, and nothing hangs.
//!
//! It does not simulate: sockets and wire protocols, several threads in the engine at once (their results are merged in a fixed
//! order), damage of bytes that were durable, and SQLite's own file: its commits are taken as atomic and durable, and fail by the seed.

mod check;
mod commits;
pub mod disk;
mod model;
mod objects;
mod ops;
mod query;
pub mod random;
mod setup;
mod trace;
mod world;

use std::sync::OnceLock;

use disk::Lies;
use world::{End, World};

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

/// What most of the simulator's calls give.
pub type Sim<T> = Result<T, Failure>;

/// What runs do: a seed that found something is run as it was then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Scope {
    /// No indexes, no steps beside a checkpoint, all state in memory.
    Narrow,
    /// Those as well; views of joins, aggregates, window functions and set operations.
    Wide,
    /// Also sessions, as-of joins and recursion.
    #[default]
    Full,
}

/// How a seed is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What the disk lies about; for proofs that the simulator finds it.
    pub lies: Lies,
    /// Prints what happens.
    pub is_loud: bool,
    /// What it does.
    pub scope: Scope,
}

/// What came of a seed.
#[derive(Debug)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// What it did.
    pub scope: Scope,
    /// What happened, line by line.
    pub trace: Vec<String>,
    /// A digest of all that happened and was seen, the disk's operations included.
    pub digest: u64,
    /// What does not hold, if anything.
    pub failure: Option<Failure>,
}

impl Run {
    /// What a failed run says: the operations, what is wrong, and how to see it again.
    pub fn report(&self) -> String {
        let failure = self.failure.as_ref().map_or("nothing is wrong", |f| f.0.as_str());
        let (trace, seed) = (self.trace.join("\n"), self.seed);
        let scope = format!("{:?}", self.scope).to_lowercase();
        format!("{trace}\n\nseed {seed}: {failure}\nagain: cargo run -p fleuve-sim -- --seed {seed} --scope {scope} -v")
    }
}

/// Runs a seed, on a thread with the stack that a server's have.
///
/// # Panics
/// When the machine cannot run it: no threads, no room.
pub fn run(seed: u64, options: Options) -> Run {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(fleuve_engine::STACK_BYTES);
        let running = thread.spawn_scoped(scope, || run_here(seed, options)).expect("a machine that can start threads");
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn run_here(seed: u64, options: Options) -> Run {
    let runtime = runtime();
    let mut world = match World::new(seed, &options) {
        Ok(world) => world,
        Err(failure) => {
            return Run { seed, scope: options.scope, trace: vec![], digest: 0, failure: Some(failure) };
        }
    };
    let result = runtime.block_on(async {
        let result = live(&mut world).await;
        if let Some(life) = world.life.take() {
            drop(life.session);
            world.disk.kill();
            // It has no say any more, but its threads are to end.
            let _ = world::within("the end", life.server.kill()).await;
        }
        result
    });
    let digest = world.trace.digest();
    Run { seed, scope: options.scope, digest, failure: result.err(), trace: world.trace.into_lines() }
}

async fn live(world: &mut World) -> Sim<()> {
    world.begin().await?;
    world.set_up().await?;
    let operations = 12 + world.random.below(40);
    for _ in 0..operations {
        world.operate().await?;
    }
    world.heal();
    world.after().await?;
    world.recover(End::Power).await?;
    world.heal();
    world.end(End::Stop).await?;
    world.begin().await?;
    world.rest().await?;
    world.check().await
}

/// One runtime for all runs. The engine's worker threads are one, too: the order of their work is then that of the code.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        // Somebody else in this process may have made it; then results are the same, only the order of reads may not be.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(1).build_global();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .thread_stack_size(fleuve_engine::STACK_BYTES)
            .enable_all()
            .build()
            .expect("a machine that can start threads")
    })
}
