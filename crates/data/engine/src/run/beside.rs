//! What the process holds in memory beside state: rows on their way, what a step or an eviction needs for a moment, what the allocator keeps.
//! State leaves memory that much earlier, so that the budget is what the process takes.

use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fleuve_types::{Error, Result};

use super::memory::Limits;

/// How often the process is looked at while it holds much, and while it does not.
const OFTEN: Duration = Duration::from_millis(5);
const SELDOM: Duration = Duration::from_millis(200);
/// What was held beside once counts for less by this part, each time that memory is measured.
const FADING_PART: usize = 1_024;

/// The memory of the process, as far as the system tells.
#[derive(Clone, Copy, Debug)]
pub struct ProcessMemory {
    /// The bytes that it holds.
    pub held: fn() -> usize,
    /// Gives the system what was freed.
    pub give_back: fn(),
}

/// Before it has been seen, what is held beside state is thought to be so many epochs' input: read ahead, decoded, encoded.
const FIRST_EPOCHS: usize = 8;

/// What is held beside state, by looking at the process.
pub(super) struct Beside {
    process: ProcessMemory,
    /// What it held before there was any state.
    base: usize,
    /// The most since memory was measured last.
    most: AtomicUsize,
    /// What to count with.
    counted: AtomicUsize,
}

impl Beside {
    /// What an epoch takes in is `epoch_bytes` at most.
    pub(super) fn of(process: ProcessMemory, epoch_bytes: usize) -> Self {
        let counted = AtomicUsize::new(epoch_bytes.saturating_mul(FIRST_EPOCHS));
        Self { process, base: (process.held)(), most: AtomicUsize::new(0), counted }
    }

    /// State has left memory: what the allocator keeps of it goes, too.
    pub(super) fn give_back(&self) {
        (self.process.give_back)();
    }

    /// As [`Beside::give_back`], on a thread of its own.
    pub(super) fn give_back_later(&self) {
        // Without a thread it stays until the next time.
        let _ = std::thread::Builder::new().name("memory".into()).spawn(self.process.give_back);
    }

    /// What is held beside so much state.
    pub(super) fn look(&self, state: usize) {
        let beside = (self.process.held)().saturating_sub(self.base.saturating_add(state));
        self.most.fetch_max(beside, Ordering::Relaxed);
    }

    /// Memory is measured: what was seen counts from now on.
    pub(super) fn measured(&self) {
        let seen = self.most.swap(0, Ordering::Relaxed);
        let before = self.counted.load(Ordering::Relaxed);
        self.counted.store(seen.max(before - before / FADING_PART), Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> usize {
        self.counted.load(Ordering::Relaxed)
    }
}

/// Looks at the process for as long as there are `limits`.
///
/// # Errors
/// When there can be no thread for it.
pub(super) fn watch(limits: Weak<Limits>) -> Result<()> {
    let look = move || {
        while let Some(limits) = limits.upgrade() {
            let Some(beside) = limits.beside() else { return };
            let is_much = limits.are_near(0);
            // After state has left, what the allocator keeps of it is filled again: it would be counted twice.
            if limits.are_filled() {
                beside.look(limits.held());
            }
            drop(limits);
            std::thread::sleep(if is_much { OFTEN } else { SELDOM });
        }
    };
    let begun = std::thread::Builder::new().name("memory".into()).spawn(look);
    begun.map(|_| ()).map_err(|e| Error::io("start a thread that looks at memory", e))
}
