use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::ProcessMemory;
use super::*;

/// What the process holds, as the test has it.
static PROCESS: AtomicUsize = AtomicUsize::new(1_000);

#[test]
fn what_is_held_beside_state_leaves_less_for_state() {
    let process = ProcessMemory { held: || PROCESS.load(Ordering::Relaxed), give_back: || () };
    let options = EngineOptions { budget_bytes: 10_000, epoch_bytes: 100, ..EngineOptions::default() };
    assert_eq!(Limits::of(&options).high(), 9_900, "by what a step may add");
    let limits = Limits::of(&EngineOptions { process: Some(process), ..options });
    let see = |process: usize, state: usize| {
        limits.views.store(state, Ordering::Relaxed);
        PROCESS.store(process, Ordering::Relaxed);
        limits.beside().expect("the process is looked at").look(limits.held());
    };
    let spare = 10_000 / SPARE_PART;
    assert_eq!(limits.high() + spare, 9_100, "and by what is thought before anything was seen");
    // What was there before any state does not count, nor does the state itself.
    see(4_000, 3_000);
    limits.measured();
    assert!((9_100..9_110).contains(&(limits.high() + spare)), "{}", limits.high());
    // The most that was seen since memory was measured counts.
    see(6_000, 3_000);
    see(4_500, 3_000);
    limits.measured();
    assert_eq!(limits.high() + spare, 7_900);
    // It fades.
    limits.measured();
    assert!((7_901..7_910).contains(&(limits.high() + spare)), "{}", limits.high());
    // Half of the budget is for state, whatever else there is.
    see(60_000, 3_000);
    limits.measured();
    assert_eq!(limits.high(), 5_000);
}
