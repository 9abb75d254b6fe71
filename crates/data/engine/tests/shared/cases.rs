//! Many cases of a random test: on as many threads as there are cores, and to the end, whatever fails on the way.

#![allow(clippy::unwrap_used, unreachable_pub)] // a test: what does not hold is to be seen at once

use std::any::Any;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};

/// After so many failed cases the others are left out.
const ENOUGH: usize = 10;

/// From so many cases on, each tenth of them is told.
const MANY: usize = 10_000;

pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs a case for each seed; gives what they came to, in no order.
///
/// # Panics
/// When cases fail, after all have run, with the words of each.
pub fn each<T: Send>(what: &str, seeds: &[u64], case: impl Fn(u64, &Runtime) -> T + Sync) -> Vec<T> {
    let (next, done, failed) = (AtomicUsize::new(0), Mutex::new(vec![]), Mutex::new(vec![]));
    let (begun, threads) = (Instant::now(), std::thread::available_parallelism().map_or(1, usize::from));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let runtime = Builder::new_current_thread().build().unwrap();
                while failed.lock().unwrap().len() < ENOUGH {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(seed) = seeds.get(at) else { return };
                    if seeds.len() >= MANY && at > 0 && at % (seeds.len() / 10) == 0 {
                        // Not a print, which the harness keeps to itself.
                        let _ = writeln!(
                            std::io::stderr(),
                            "{what}: {at} of {} cases after {} s, {} failed",
                            seeds.len(),
                            begun.elapsed().as_secs(),
                            failed.lock().unwrap().len()
                        );
                    }
                    match catch_unwind(AssertUnwindSafe(|| case(*seed, &runtime))) {
                        Ok(outcome) => done.lock().unwrap().push(outcome),
                        Err(panic) => failed.lock().unwrap().push(format!("seed {seed}: {}", words(panic.as_ref()))),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} cases failed\n{}", failed.len(), seeds.len(), failed.join("\n"));
    done.into_inner().unwrap()
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    text.unwrap_or("a panic without words").to_string()
}
