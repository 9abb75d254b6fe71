//! Sinks: a view's answer first, then every change, each epoch once. What a sink cannot take now waits for it, up to a limit; the
//! view does not. No checkpoint is taken meanwhile, as no replay would make what waits again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fleuve_types::{Delta, Epoch, Error, ErrorKind, ObjectId, Result};

use super::core::Core;
use super::{SinkWriter, ViewChange};
use crate::operators::caught;
use crate::output::ViewSnapshot;

/// How long a stop, or a checkpoint that has to be, waits for what sinks could not take yet.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// A sink and the view it takes out.
pub(super) struct Sink {
    pub(super) id: ObjectId,
    pub(super) view: ObjectId,
    writer: Box<dyn SinkWriter>,
    /// It has the view's answer, or will before all that follows.
    has_begun: bool,
    pub(super) failed: Option<String>,
    /// Changes that it could not take yet, in their order.
    waiting: VecDeque<(Epoch, Delta)>,
    waiting_bytes: usize,
}

impl Sink {
    pub(super) fn new(id: ObjectId, view: ObjectId, writer: Box<dyn SinkWriter>) -> Self {
        let has_begun = writer.last_epoch().is_some();
        Self { id, view, writer, has_begun, failed: None, waiting: VecDeque::new(), waiting_bytes: 0 }
    }

    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// It has something of the view, but not yet this epoch.
    pub(super) fn is_before(&self, epoch: Epoch) -> bool {
        self.writer.last_epoch().is_some_and(|last| last < epoch)
    }

    pub(super) fn take(&mut self, epoch: Epoch, delta: &Delta, limit_bytes: usize) {
        self.waiting_bytes += delta.memory_bytes();
        self.waiting.push_back((epoch, delta.clone()));
        self.catch_up();
        if self.waiting_bytes > limit_bytes {
            let bytes = self.waiting_bytes;
            self.stop(&format!("{bytes} bytes of changes wait for it, more than the limit of {limit_bytes} bytes"));
        }
    }

    /// Writes what waits, as far as it can be taken now.
    fn catch_up(&mut self) {
        while let Some((epoch, delta)) = self.waiting.front() {
            match caught("the sink", || self.writer.write(*epoch, delta)) {
                Ok(()) => {
                    self.waiting_bytes -= delta.memory_bytes();
                    self.waiting.pop_front();
                }
                Err(e) if e.kind == ErrorKind::Retry => return,
                Err(e) => return self.stop(&e.to_string()),
            }
        }
    }

    fn stop(&mut self, reason: &str) {
        tracing::error!(sink = %self.id, reason, "a sink stopped");
        self.failed = Some(reason.to_string());
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
    }

    /// The view's answer first, if nothing was ever written.
    fn begin(&mut self, snapshot: &ViewSnapshot, epoch: Epoch) -> Result<()> {
        if self.has_begun {
            return Ok(());
        }
        caught("the sink", || self.writer.start(epoch, snapshot.schema(), snapshot.rows()))?;
        self.has_begun = true;
        Ok(())
    }
}

impl Core {
    pub(super) fn add_sink(&mut self, id: ObjectId, view: ObjectId, writer: Box<dyn SinkWriter>) -> Result<()> {
        let snapshot = self.view(view)?.output.snapshot(self.epoch);
        // Everything before this epoch has to be in a checkpoint: only later epochs are in the journal.
        if !self.checkpoint_now() {
            return Err(Error::new(ErrorKind::Retry, "the checkpoint before the sink's start failed"));
        }
        let mut sink = Sink::new(id, view, writer);
        sink.begin(&snapshot, self.epoch)?;
        self.sinks.push(sink);
        Ok(())
    }

    /// Sinks that were declared but had not written anything when the process ended. What they begin with is the answer after the
    /// replay, so the replay gives them nothing.
    pub(super) fn start_late_sinks(&mut self) {
        let epoch = self.epoch;
        for sink in self.sinks.iter_mut().filter(|s| s.failed.is_none()) {
            if let Some(view) = self.views.iter().find(|v| v.id() == sink.view)
                && let Err(e) = sink.begin(&view.output.snapshot(epoch), epoch)
            {
                sink.stop(&e.to_string());
            }
        }
    }

    /// As [`Core::start_late_sinks`], for those of a view that was built only now. First the view has to be in a checkpoint: a restart
    /// would build it at a later epoch, and the changes up to there would be nobody's.
    pub(super) fn start_sinks_of(&mut self, view: ObjectId) {
        let waits = |s: &Sink| s.view == view && !s.has_begun && s.failed.is_none();
        if !self.sinks.iter().any(waits) {
            return;
        }
        if !self.checkpoint_now() {
            for sink in self.sinks.iter_mut().filter(|s| waits(s)) {
                sink.stop("the checkpoint before its start failed; it is tried again at the next start");
            }
            return;
        }
        self.start_late_sinks();
    }

    /// A view's change goes to its subscribers and sinks.
    pub(super) fn deliver(&mut self, id: ObjectId, delta: &Delta) {
        if let Some(withheld) = &mut self.withheld {
            withheld.push((id, delta.clone()));
            return;
        }
        let epoch = self.epoch;
        if let Some(n) = self.topology().place(id) {
            self.views[n].changes.send(&ViewChange { epoch, delta: delta.clone() });
        }
        let limit_bytes = self.options.sink_waiting_bytes;
        // One that has not begun gets the answer first: when the replay is over, or its view is built.
        for sink in self.sinks.iter_mut().filter(|s| s.view == id && s.failed.is_none() && s.has_begun) {
            sink.take(epoch, delta, limit_bytes);
        }
    }

    /// Hands on what waits for the log or for sinks; tells if something still does.
    pub(super) fn catch_up_outside(&mut self) -> bool {
        self.sinks.iter_mut().for_each(Sink::catch_up);
        for n in 0..self.views.len() {
            if let Err(e) = self.views[n].tell_waiting() {
                self.fail_view(n, &e.to_string());
            }
        }
        self.sinks.iter().any(Sink::is_behind) || self.views.iter().any(|v| !v.untold.is_empty())
    }

    /// As [`Core::catch_up_outside`], again and again for a while.
    pub(super) fn wait_for_outside(&mut self) {
        let until = Instant::now() + LAST_WAIT;
        while self.catch_up_outside() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
