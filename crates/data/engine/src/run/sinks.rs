//! Sinks: a view's answer first, then every change, each epoch once.

use fleuve_types::{Delta, Epoch, Error, ErrorKind, ObjectId, Result};

use super::core::Core;
use super::{SinkWriter, ViewChange};
use crate::output::ViewSnapshot;

/// A sink and the view it takes out.
pub(super) struct Sink {
    pub(super) id: ObjectId,
    pub(super) view: ObjectId,
    pub(super) writer: Box<dyn SinkWriter>,
    pub(super) failed: Option<String>,
    /// It was given the view's answer, and takes the changes after it.
    pub(super) is_started: bool,
}

impl Core {
    pub(super) fn add_sink(&mut self, id: ObjectId, view: ObjectId, writer: Box<dyn SinkWriter>) -> Result<()> {
        let snapshot = self.view(view)?.output.snapshot(self.epoch);
        // Everything before this epoch has to be in a checkpoint: only later epochs are in the journal.
        self.finish_checkpoint(true);
        self.begin_checkpoint(vec![]);
        self.finish_checkpoint(true);
        if self.checkpointed < self.epoch {
            return Err(Error::new(ErrorKind::Retry, "the checkpoint before the sink's start failed"));
        }
        let mut sink = Sink { id, view, writer, failed: None, is_started: false };
        start_sink(&mut sink, &snapshot, self.epoch)?;
        self.sinks.push(sink);
        Ok(())
    }

    /// Sinks that were declared but had not written anything when the process ended. What they begin with is the answer after the
    /// replay, so the replay gives them nothing.
    pub(super) fn start_late_sinks(&mut self) {
        let epoch = self.epoch;
        for sink in self.sinks.iter_mut().filter(|s| !s.is_started) {
            if let Some(view) = self.views.iter().find(|v| v.id() == sink.view)
                && let Err(e) = start_sink(sink, &view.output.snapshot(epoch), epoch)
            {
                sink.failed = Some(e.to_string());
            }
        }
    }

    /// As [`Core::start_late_sinks`], for those of a view that was built only now. First the view has to be in a checkpoint: a restart
    /// would build it at a later epoch, and the changes up to there would be nobody's.
    pub(super) fn start_sinks_of(&mut self, view: ObjectId) {
        if !self.sinks.iter().any(|s| s.view == view && !s.is_started) {
            return;
        }
        self.finish_checkpoint(true);
        self.begin_checkpoint(vec![]);
        self.finish_checkpoint(true);
        if self.checkpointed < self.epoch {
            let waiting = self.sinks.iter_mut().filter(|s| s.view == view && !s.is_started);
            waiting.for_each(|s| {
                s.failed = Some("the checkpoint before its start failed; it is tried again at the next start".into())
            });
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
        if let Some(view) = self.find_view(id)
            && view.changes.receiver_count() > 0
        {
            let _ = view.changes.send(ViewChange { epoch: self.epoch, delta: delta.clone() });
        }
        for sink in self.sinks.iter_mut().filter(|s| s.view == id && s.is_started && s.failed.is_none()) {
            if let Err(e) = sink.writer.write(self.epoch, delta) {
                tracing::error!(sink = %sink.id, error = %e, "a sink stopped");
                sink.failed = Some(e.to_string());
            }
        }
    }
}

fn start_sink(sink: &mut Sink, snapshot: &ViewSnapshot, epoch: Epoch) -> Result<()> {
    if sink.writer.last_epoch().is_none() {
        sink.writer.start(epoch, snapshot.schema(), snapshot.rows())?;
    }
    sink.is_started = true;
    Ok(())
}
