use fleuve_catalog::CommitFaults;
use fleuve_types::{Error, Result};
use parking_lot::Mutex;

use crate::disk::SimDisk;
use crate::random::Random;

/// Commits of the catalog's database: each is atomic and durable, as SQLite promises, and the power may go just before or just after
/// it, or its answer be lost.
#[derive(Debug)]
pub(crate) struct SimCommits {
    disk: SimDisk,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Random,
    fails_before: bool,
    fails_after: bool,
}

impl SimCommits {
    /// For one life of the server.
    pub(crate) fn new(disk: SimDisk, random: Random) -> Self {
        Self { disk, state: Mutex::new(State { random, fails_before: false, fails_after: false }) }
    }

    /// The next commit fails, or is made and says that it failed.
    pub(crate) fn fail_next(&self, is_made: bool) {
        let mut state = self.state.lock();
        (state.fails_before, state.fails_after) = (!is_made, is_made);
    }

    /// No commit fails.
    pub(crate) fn heal(&self) {
        let mut state = self.state.lock();
        (state.fails_before, state.fails_after) = (false, false);
    }
}

fn failed() -> Error {
    Error::io("commit", "input/output error (simulated)")
}

impl CommitFaults for SimCommits {
    fn before(&self) -> Result<()> {
        let is_cut = self.disk.commit().map_err(|_| failed())?;
        let mut state = self.state.lock();
        let is_lost = is_cut && state.random.chance(50);
        if std::mem::take(&mut state.fails_before) || is_lost { Err(failed()) } else { Ok(()) }
    }

    fn after(&self) -> Result<()> {
        let fails = std::mem::take(&mut self.state.lock().fails_after);
        if fails || self.disk.is_off() { Err(failed()) } else { Ok(()) }
    }
}
