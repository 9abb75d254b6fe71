//! The last epochs, for whoever wants to see how the engine is doing. Derived state, for looking at only.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::EpochStatus;

/// How many are kept.
const KEPT: usize = 500;

#[derive(Clone, Default)]
pub(super) struct Epochs(Arc<Mutex<VecDeque<EpochStatus>>>);

impl Epochs {
    pub(super) fn note(&self, epoch: EpochStatus) {
        let mut all = self.0.lock();
        if all.len() == KEPT {
            all.pop_front();
        }
        all.push_back(epoch);
    }

    pub(super) fn all(&self) -> Vec<EpochStatus> {
        self.0.lock().iter().copied().collect()
    }
}
