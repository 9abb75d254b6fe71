//! Where this process spends its processor time: sampled call stacks, folded.
//!
//! A timer that counts the process's processor time interrupts whichever thread is running. The signal handler does nothing but copy the
//! thread's registers and the top of its stack into a slot that was allocated before; who asked for the profile finds the frames and their
//! names in the copies, at leisure. So nothing is unwound, locked or allocated within a signal, and a stack that cannot be read gives
//! a shorter sample, not a crash.
//!
//! Invariants
//! - One profile at a time in a process; a second one is refused.
//! - Nothing is done while no profile is taken. The handler stays installed afterwards, as a signal may still be on its way.
//! - Memory is bounded: [`SLOTS`] slots of [`STACK_BYTES`]; what finds no free slot is counted and left out.
//!
//! It must not know what the threads do: whoever wants it shown names it with [`enter`]. It does not promise inlined functions (they need
//! line tables, which a stripped binary has not), nor frames of code without unwinding tables.

mod draw;
mod label;
mod modules;
mod signal;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fleuve_types::{Error, ErrorKind, Result};

pub use draw::svg;
pub use label::{Entered, Label, current, enter};
pub use signal::{SLOTS, STACK_BYTES};

/// Samples per second of processor time. Not 100, so that it does not beat with what happens every 10 ms.
pub const HERTZ: u32 = 99;
/// The shortest and the longest profile.
pub const SECONDS: std::ops::RangeInclusive<u64> = 1..=60;
/// How often full slots are emptied; in this time even many threads do not fill them all.
const DRAIN_EVERY: Duration = Duration::from_millis(20);
/// More frames than that are cut off at the outer end.
const MAX_FRAMES: usize = 512;

/// Samples of a process, equal stacks summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Frames from the outermost (the thread's name) to the innermost, and how often they were seen; the most frequent first.
    pub stacks: Vec<(Vec<String>, u64)>,
    /// Samples that found no free slot.
    pub lost: u64,
    /// How long it took.
    pub seconds: u64,
}

impl Profile {
    /// All samples.
    pub fn samples(&self) -> u64 {
        self.stacks.iter().map(|s| s.1).sum()
    }

    /// The folded form that flame graph tools read: `outer;inner count`, a line for each stack.
    pub fn folded(&self) -> String {
        let line = |(frames, count): &(Vec<String>, u64)| {
            let frames: Vec<String> = frames.iter().map(|f| f.replace(';', ":").replace('\n', " ")).collect();
            format!("{} {count}\n", frames.join(";"))
        };
        self.stacks.iter().map(line).collect()
    }
}

/// Takes a profile for `seconds`, or until `stop` says so. Blocks.
///
/// # Errors
/// [`ErrorKind::Input`] for a length that is not in [`SECONDS`], [`ErrorKind::Retry`] while another one is taken,
/// [`ErrorKind::Unsupported`] where this machine does not allow it.
pub fn take(seconds: u64, stop: &AtomicBool) -> Result<Profile> {
    if !SECONDS.contains(&seconds) {
        let (least, most) = (SECONDS.start(), SECONDS.end());
        return Err(Error::input(format!("a profile takes {least} to {most} seconds, not {seconds}")));
    }
    let sampling = signal::Sampling::begin(HERTZ)?;
    let mut stacks: HashMap<Seen, u64> = HashMap::new();
    let mut modules = modules::Modules::of_this_process()?;
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(DRAIN_EVERY);
        sampling.drain(|sample| {
            let addresses = modules.unwind(sample, MAX_FRAMES);
            *stacks.entry(Seen { thread: sample.thread(), label: sample.label(), addresses }).or_default() += 1;
        });
    }
    let lost = sampling.end();
    if stop.load(Ordering::Relaxed) {
        return Err(Error::new(ErrorKind::Retry, "the profile was given up"));
    }
    Ok(Profile { stacks: named(stacks, &modules)?, lost, seconds })
}

/// A stack as it was found: addresses, the innermost first.
#[derive(PartialEq, Eq, Hash)]
struct Seen {
    thread: String,
    label: Option<Label>,
    addresses: Vec<u64>,
}

fn named(stacks: HashMap<Seen, u64>, modules: &modules::Modules) -> Result<Vec<(Vec<String>, u64)>> {
    let mut addresses: Vec<u64> = stacks.keys().flat_map(|s| s.addresses.iter().copied()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let names = modules.names(&addresses)?;
    let mut together: HashMap<Vec<String>, u64> = HashMap::new();
    for (seen, count) in stacks {
        let mut frames = vec![seen.thread];
        frames.extend(seen.label.and_then(label::text));
        frames.extend(seen.addresses.iter().rev().map(|a| names.get(a).cloned().unwrap_or_else(|| "?".into())));
        *together.entry(frames).or_default() += count;
    }
    let mut stacks: Vec<(Vec<String>, u64)> = together.into_iter().collect();
    stacks.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(stacks)
}
