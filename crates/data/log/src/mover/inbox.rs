use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fleuve_types::{Error, ErrorKind, Result};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// What the mover is to do next.
#[derive(Debug)]
pub(crate) enum Work {
    /// Move this closed write-ahead file.
    Move(u32),
    /// Remove what is dead, and tell these.
    CleanUp(Vec<oneshot::Sender<Result<()>>>),
}

/// How others talk to the mover.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Closed files that are not moved yet, oldest first.
    closed: VecDeque<u32>,
    clean_up: bool,
    waiting: Vec<oneshot::Sender<Result<()>>>,
    /// Why the last move failed.
    error: Option<Error>,
    is_stopped: bool,
}

impl State {
    fn next(&mut self) -> Option<Work> {
        if let Some(seq) = self.closed.front() {
            return Some(Work::Move(*seq));
        }
        let clean_up = std::mem::take(&mut self.clean_up);
        clean_up.then(|| Work::CleanUp(std::mem::take(&mut self.waiting)))
    }
}

impl Inbox {
    /// A file was closed.
    pub(crate) fn closed(&self, seq: u32) {
        self.state.lock().closed.push_back(seq);
        self.changed.notify_all();
    }

    /// Closed files that are not moved yet.
    pub(crate) fn closed_files(&self) -> usize {
        self.state.lock().closed.len()
    }

    /// Waits until fewer than `limit` files are closed and not moved.
    ///
    /// # Errors
    /// The mover's, when it cannot go on; `Retry` when it was stopped.
    pub(crate) fn wait_for_room(&self, limit: usize) -> Result<()> {
        let mut s = self.state.lock();
        while s.closed.len() >= limit {
            if let Some(e) = &s.error {
                return Err(e.clone());
            }
            if s.is_stopped {
                return Err(Error::new(ErrorKind::Retry, "the log is being closed"));
            }
            self.changed.wait(&mut s);
        }
        Ok(())
    }

    /// There are dead segments.
    pub(crate) fn clean_up(&self) {
        self.state.lock().clean_up = true;
        self.changed.notify_all();
    }

    /// As [`Inbox::clean_up`]; the answer comes when all that was asked for so far is done, moves included.
    pub(crate) fn clean_up_and_tell(&self) -> oneshot::Receiver<Result<()>> {
        let (tell, told) = oneshot::channel();
        let mut s = self.state.lock();
        if !s.is_stopped {
            s.clean_up = true;
            s.waiting.push(tell);
        }
        drop(s);
        self.changed.notify_all();
        told
    }

    /// Ends [`Inbox::take`] after the work at hand.
    pub(crate) fn stop(&self) {
        let mut s = self.state.lock();
        s.is_stopped = true;
        s.waiting.clear();
        drop(s);
        self.changed.notify_all();
    }

    /// Waits for work. `None` when stopped.
    pub(crate) fn take(&self) -> Option<Work> {
        let mut s = self.state.lock();
        loop {
            if s.is_stopped {
                return None;
            }
            if let Some(work) = s.next() {
                return Some(work);
            }
            self.changed.wait(&mut s);
        }
    }

    /// As [`Inbox::take`], but `None` also when there is nothing to do.
    pub(crate) fn try_take(&self) -> Option<Work> {
        let mut s = self.state.lock();
        if s.is_stopped { None } else { s.next() }
    }

    /// Work is done, or has failed and is to be tried again.
    pub(crate) fn done(&self, work: Work, result: Result<()>) {
        let mut s = self.state.lock();
        s.error = result.as_ref().err().cloned();
        if result.is_err() {
            // Nobody waits for something that does not get done.
            std::mem::take(&mut s.waiting).into_iter().for_each(|w| drop(w.send(result.clone())));
        }
        match work {
            Work::Move(_) if result.is_ok() => drop(s.closed.pop_front()),
            Work::CleanUp(waiting) => {
                s.clean_up |= result.is_err();
                waiting.into_iter().for_each(|w| drop(w.send(result.clone())));
            }
            Work::Move(_) => {}
        }
        drop(s);
        self.changed.notify_all();
    }

    /// Waits, unless stopped.
    pub(crate) fn pause(&self, how_long: Duration) {
        let until = Instant::now() + how_long;
        let mut s = self.state.lock();
        while !s.is_stopped && !self.changed.wait_until(&mut s, until).timed_out() {}
    }
}
