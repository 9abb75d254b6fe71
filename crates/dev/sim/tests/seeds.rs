//! Seeds of the simulator. `SIM_SEEDS` sets how many are run, `SIM_FROM` the first. A seed that once found a fault stays in a list.

#![allow(clippy::unwrap_used)] // a test: what does not hold is to be seen at once

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use fleuve_sim::disk::Lies;
use fleuve_sim::{Options, Run, Scope, run};

/// Seeds that found something, and what, in wide runs.
const KEPT: &[(u64, &str)] = &[
    (2_565, "a RESUME during which the disk failed: it has to work when it is said again"),
    (306_719, "a producer that was refused for good because a sync failed when the log needed room"),
    (408_432, "a state file whose sync failed: a later one seemed to make it durable"),
    (504_024, "a view over one whose replacement a crash broke off: it kept rows of the old one"),
];

/// As [`KEPT`], in narrow runs.
const KEPT_NARROW: &[(u64, &str)] = &[
    (427, "a DROP SINK that was taken back, although the sink's mark was gone"),
    (20_240, "a producer that a log without room on a broken disk refuses, and that sends again"),
    (30_056, "a log that failed while the disk was full, and takes no more after there is room again"),
    (31_405, "records that retention took before the engine had taken them in: they seemed to be still to come"),
    (42_041, "a commit whose answer was lost: the next checkpoint wrote over a file that it named"),
];

/// Runs that are under way at a time.
const JOBS: usize = 2;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// The runs of some seeds that `wanted` asks for, in no order; ends early when there are `enough`.
fn find(seeds: &[u64], options: Options, enough: usize, wanted: impl Fn(&Run) -> bool + Sync) -> Vec<Run> {
    let (next, found) = (AtomicU64::new(0), Mutex::new(vec![]));
    std::thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                while found.lock().unwrap().len() < enough {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(seed) = seeds.get(at as usize) else { return };
                    let done = run(*seed, options);
                    if wanted(&done) {
                        found.lock().unwrap().push(done);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

fn must_hold(seeds: &[u64], options: Options) {
    let failed = find(seeds, options, 3, |run| run.failure.is_some());
    let reports: Vec<String> = failed.iter().map(Run::report).collect();
    assert!(failed.is_empty(), "{}", reports.join("\n\n"));
}

#[test]
fn everything_holds_under_every_seed() {
    let (from, count) = (number("SIM_FROM", 1), number("SIM_SEEDS", 150));
    must_hold(&(from..from + count).collect::<Vec<_>>(), Options::default());
}

#[test]
fn seeds_that_found_something() {
    let seeds = |kept: &[(u64, &str)]| kept.iter().map(|(seed, _)| *seed).collect::<Vec<_>>();
    must_hold(&seeds(KEPT), Options { scope: Scope::Wide, ..Options::default() });
    must_hold(&seeds(KEPT_NARROW), Options { scope: Scope::Narrow, ..Options::default() });
}

#[test]
fn the_same_seed_does_the_same() {
    for seed in 1..=12 {
        let (first, second) = (run(seed, Options::default()), run(seed, Options::default()));
        let differs = first.trace.iter().zip(&second.trace).find(|(a, b)| a != b);
        assert_eq!(first.digest, second.digest, "seed {seed}: {differs:?}");
    }
}

/// A disk that lies must be found out within so many seeds.
fn must_find(lies: Lies) {
    let seeds: Vec<u64> = (1..=120).collect();
    let found = find(&seeds, Options { lies, ..Options::default() }, 1, |run| run.failure.is_some());
    assert!(!found.is_empty(), "{} seeds did not find {lies:?}", seeds.len());
}

#[test]
fn acknowledging_before_the_log_is_synced_is_found() {
    must_find(Lies { wal_sync: true, ..Lies::default() });
}

#[test]
fn files_that_are_named_before_they_are_synced_are_found() {
    must_find(Lies { file_sync: true, ..Lies::default() });
}

#[test]
fn folders_that_are_not_synced_are_found() {
    must_find(Lies { dir_sync: true, ..Lies::default() });
}
