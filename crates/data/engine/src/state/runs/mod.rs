//! Runs: immutable files of entries sorted by the hash of a key, read in parts. What of a state does not fit in memory lies in a
//! list of them, the newest first; what a newer one says about a key is what counts.
//!
//! Derived state: named by a checkpoint's manifest, or made again from the log.
//!
//! An entry is `(hash, key, value)`, the value absent where the key is gone. The hash is that of whatever is looked up together:
//! all entries of one hash are found by one look-up, and a step of an operator looks up all its hashes at once, in order, so that
//! each block is read once. This module knows nothing of what keys and values mean.

mod block;
mod files;
mod filter;
mod merge;
mod run;
mod set;
mod writer;

pub use files::{MemoryFiles, RunFile, RunFileWriter, RunFiles};
pub(crate) use merge::{Combine, Merge};
pub(crate) use run::{Entry, Run};
pub(crate) use set::{IsOver, RunRef, RunSet, Space, may_hold, read_many};
pub(crate) use writer::RunWriter;

#[cfg(test)]
mod tests;
