//! Runs seeds of the simulator: one of them with its trace, or many.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use fleuve_sim::{Options, Run, Scope, disk::Lies, run};

/// The deterministic simulator: the whole server under a seed, with crashes and storage faults.
#[derive(Parser)]
struct Arguments {
    /// Runs this seed; with --seeds, the first of them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs so many seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Prints what happens, with every operation on the disk.
    #[arg(short, long)]
    verbose: bool,
    /// Runs each seed twice and compares the digests.
    #[arg(long)]
    twice: bool,
    /// How many run at a time.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// Lets the disk lie about its syncs, to see that it is found: wal, files or folders.
    #[arg(long)]
    lie: Option<String>,
    /// What runs do: less than all for seeds that were found before they did more.
    #[arg(long, value_enum, default_value_t)]
    scope: Scope,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let lie = arguments.lie.as_deref();
    let lies = Lies { wal_sync: lie == Some("wal"), file_sync: lie == Some("files"), dir_sync: lie == Some("folders") };
    if arguments.verbose {
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("warn").init();
    }
    let options = Options { lies, is_loud: arguments.verbose, scope: arguments.scope };
    let (next, failed) = (AtomicU64::new(arguments.seed), AtomicU64::new(0));
    let end = arguments.seed + arguments.seeds;
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.clamp(1, arguments.seeds) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let done = run(seed, options);
                    let differs = arguments.twice && run(seed, options).digest != done.digest;
                    if done.failure.is_some() || differs {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    tell(&done, differs, arguments.verbose);
                }
            });
        }
    });
    let failed = failed.load(Ordering::Relaxed);
    println!("{} seeds, {failed} failed", arguments.seeds);
    ExitCode::from(u8::from(failed > 0))
}

fn tell(done: &Run, differs: bool, is_told: bool) {
    match &done.failure {
        Some(failure) if is_told => println!("\nseed {}: {}", done.seed, failure.0),
        Some(_) => println!("{}\n", done.report()),
        None if is_told => println!("\nseed {}: digest {:016x}", done.seed, done.digest),
        None => {}
    }
    if differs {
        println!("seed {}: a second run had another digest", done.seed);
    }
}
