//! Many cases of a random test: on as many threads as there are cores, and to the end, whatever fails on the way.

#![allow(clippy::unwrap_used, unreachable_pub)] // a test: what does not hold is to be seen at once

use std::any::Any;
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

/// After so many failed cases the others are left out.
const ENOUGH: usize = 10;

/// How often it is told how far a test is.
const EACH: Duration = Duration::from_secs(60);

pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs a case for each seed; gives what they came to, in no order. Tells how far it is, and which cases run, each minute.
///
/// # Panics
/// When cases fail, after all have run, with the words of each.
pub fn each<T: Send>(what: &str, seeds: &[u64], case: impl Fn(u64, &Runtime) -> T + Sync) -> Vec<T> {
    let (next, done, failed) = (AtomicUsize::new(0), Mutex::new(vec![]), Mutex::new(vec![]));
    let (running, is_over) = (Mutex::new(BTreeMap::new()), AtomicBool::new(false));
    let (begun, threads) = (Instant::now(), std::thread::available_parallelism().map_or(1, usize::from));
    let work = || {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        while failed.lock().unwrap().len() < ENOUGH {
            let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            running.lock().unwrap().insert(*seed, Instant::now());
            match catch_unwind(AssertUnwindSafe(|| case(*seed, &runtime))) {
                Ok(outcome) => done.lock().unwrap().push(outcome),
                Err(panic) => failed.lock().unwrap().push(format!("seed {seed}: {}", words(panic.as_ref()))),
            }
            running.lock().unwrap().remove(seed);
        }
    };
    let tell = || {
        let mut told = Instant::now();
        while !is_over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
            if told.elapsed() < EACH {
                continue;
            }
            told = Instant::now();
            let long: Vec<String> = running.lock().unwrap().iter().map(|(s, at)| since(*s, *at)).collect();
            let (ended, all, failed) = (done.lock().unwrap().len(), seeds.len(), failed.lock().unwrap().len());
            // Not a print, which the harness keeps to itself.
            let _ = writeln!(
                std::io::stderr(),
                "{what}: {ended} of {all} cases after {} s, {failed} failed; running: {}",
                begun.elapsed().as_secs(),
                long.join(", ")
            );
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(tell);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended: Vec<bool> = workers.into_iter().map(|worker| worker.join().is_ok()).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(ended.into_iter().all(|ended| ended), "a thread of the test itself panicked");
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} cases failed\n{}", failed.len(), seeds.len(), failed.join("\n"));
    done.into_inner().unwrap()
}

fn since(seed: u64, at: Instant) -> String {
    format!("seed {seed} for {} s", at.elapsed().as_secs())
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    text.unwrap_or("a panic without words").to_string()
}
