//! How much record data may wait to be sent, over all connections. Derived state.
//!
//! It never makes anybody wait, or clients that take their answers slowly could hold up the others: the less is left, the
//! smaller the next answers are. Clients ask again for the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An answer may always be as large as this (or as one batch), so that every reader goes on.
const FLOOR_BYTES: usize = 64 << 10;
/// One answer may have this part of what is left.
const SHARE: usize = 4;

/// The memory for answers.
#[derive(Debug)]
pub(crate) struct FetchMemory {
    limit: usize,
    used: AtomicUsize,
}

/// A piece of it; given back when dropped.
#[derive(Debug)]
pub(crate) struct Granted {
    from: Arc<FetchMemory>,
    bytes: usize,
}

impl FetchMemory {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0) })
    }

    /// Takes up to `wanted` bytes, less when little is left.
    pub(crate) fn grant(self: &Arc<Self>, wanted: usize) -> Granted {
        let mut bytes = 0;
        let add = |used: usize| {
            bytes = wanted.min((self.limit.saturating_sub(used) / SHARE).max(FLOOR_BYTES));
            Some(used.saturating_add(bytes))
        };
        // The closure always gives a value, so this cannot fail.
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        Granted { from: self.clone(), bytes }
    }
}

impl Granted {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps what is in use: more than was granted if a single batch is that large.
    pub(crate) fn settle(&mut self, in_use: usize) {
        self.from.used.fetch_add(in_use, Ordering::Relaxed);
        self.from.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = in_use;
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        self.from.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_is_left_the_less_is_granted() {
        let memory = FetchMemory::new(64 << 20);
        let first = memory.grant(100 << 20);
        assert_eq!(first.bytes(), 16 << 20);
        assert_eq!(memory.grant(1000).bytes(), 1000);
        let second = memory.grant(100 << 20);
        assert_eq!(second.bytes(), 12 << 20);
        let many: Vec<Granted> = (0..100).map(|_| memory.grant(100 << 20)).collect();
        assert_eq!(many.last().unwrap().bytes(), FLOOR_BYTES);
        drop((first, second, many));
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_in_use_counts() {
        let memory = FetchMemory::new(1 << 20);
        let mut granted = memory.grant(1 << 20);
        granted.settle(10);
        assert_eq!(memory.used.load(Ordering::Relaxed), 10);
        granted.settle(5 << 20);
        assert_eq!(memory.used.load(Ordering::Relaxed), 5 << 20);
        drop(granted);
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }
}
