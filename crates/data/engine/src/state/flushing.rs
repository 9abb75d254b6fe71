//! A flush beside the steps: what changed is copied out of a state between two of them, and sorted and written elsewhere.
//!
//! Until the run is there, memory holds its entries, so nothing is read from it; who lets state leave memory waits for it before. If
//! it could not be written, its entries are kept, and written before anything newer.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use fleuve_types::{Error, Result};
use parking_lot::Mutex;

use super::entries::{Entries, write_entries};
use super::runs::{Run, RunRef, Space};
use crate::operators::caught;

type Shared = Arc<Mutex<Vec<Entries>>>;

/// A run to be written, on its way to who writes it. Dropped, it counts as one that could not be.
pub(crate) struct Flush {
    entries: Shared,
    space: Arc<Space>,
    place: String,
    tell: Sender<Result<Option<Arc<Run>>>>,
}

impl Flush {
    /// Writes it. Gives it as a manifest names it: its file stays.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`]
    pub(crate) fn write(self) -> Result<Option<RunRef>> {
        let run = caught("writing state", || write_entries(&self.entries.lock(), &self.space, &self.place));
        let named = run.clone().map(|run| run.map(|run| run.name_it()));
        // Nobody hears it if the state has gone.
        let _ = self.tell.send(run);
        named
    }
}

/// What a state knows of it.
pub(super) struct Flushing {
    entries: Shared,
    /// Absent when it is known that it was not written.
    done: Option<Receiver<Result<Option<Arc<Run>>>>>,
}

impl Flushing {
    pub(super) fn begin(entries: Vec<Entries>, space: Arc<Space>, place: String) -> (Self, Flush) {
        let entries = Arc::new(Mutex::new(entries));
        let (tell, done) = channel();
        (Self { entries: entries.clone(), done: Some(done) }, Flush { entries, space, place, tell })
    }

    /// Looks whether it is done, or waits for that.
    pub(super) fn settle(mut self, wait: bool) -> Settled {
        let Some(done) = &self.done else { return Settled::Failed(self) };
        let result = match (wait, done.try_recv()) {
            (_, Ok(result)) => result,
            (true, Err(TryRecvError::Empty)) => done.recv().unwrap_or_else(|_| Err(nobody_wrote())),
            (false, Err(TryRecvError::Empty)) => return Settled::NotYet(self),
            (_, Err(TryRecvError::Disconnected)) => Err(nobody_wrote()),
        };
        match result {
            Ok(run) => Settled::Written(run),
            Err(_) => {
                self.done = None;
                Settled::Failed(self)
            }
        }
    }

    /// Writes it here and now, after it has failed elsewhere.
    pub(super) fn write(&self, space: &Arc<Space>, place: &str) -> Result<Option<Arc<Run>>> {
        write_entries(&self.entries.lock(), space, place)
    }
}

/// See [`Flushing::settle`].
pub(super) enum Settled {
    Written(Option<Arc<Run>>),
    NotYet(Flushing),
    Failed(Flushing),
}

fn nobody_wrote() -> Error {
    Error::bug("nobody wrote a state's entries")
}
