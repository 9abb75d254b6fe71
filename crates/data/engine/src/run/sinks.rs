//! Sinks: a view's answer first, then every change, each epoch once. What a sink cannot take now waits for it, up to a limit; the
//! view does not. No checkpoint is taken meanwhile, as no replay would make what waits again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use fleuve_types::{Delta, Epoch, Error, ErrorKind, ObjectId, Result};

use super::core::Core;
use super::{SinkRecord, ViewChange};
use crate::operators::{caught, concat_deltas};
use crate::output::{ViewRows, ViewSnapshot};

/// How long a stop, or a checkpoint that has to be, waits for what sinks could not take yet.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Takes a view's changes out. Writing the same epoch again must change nothing.
pub trait SinkWriter: Send {
    /// Hands over the change of one epoch. Never waits: returns as soon as it is on its way in order.
    ///
    /// # Errors
    /// [`ErrorKind::Retry`] when it cannot be taken now: it is handed over again, before later ones. Others stop the sink.
    fn write(&mut self, epoch: Epoch, delta: &Delta) -> Result<()>;
    /// Hands over the answer that a sink begins with, as the change of `epoch`; it may be large, so it comes in batches.
    fn start(&mut self, epoch: Epoch, schema: &SchemaRef, rows: ViewRows) -> Result<()> {
        let parts = rows.map(|b| b.map(Delta::insert)).collect::<Result<Vec<_>>>()?;
        self.write(epoch, &concat_deltas(schema, &parts)?)
    }
    /// The records that [`SinkWriter::write`] would write of a change.
    ///
    /// # Errors
    /// When rows cannot be encoded.
    fn records(&self, epoch: Epoch, delta: &Delta) -> Result<Vec<SinkRecord>>;
    /// The records that have to follow where `before` wrote the rows `was`, so that what is written comes to what this one writes of the
    /// rows `is`, which may have other columns.
    ///
    /// # Errors
    /// When rows cannot be read or encoded.
    fn records_between(
        &self,
        epoch: Epoch,
        before: &dyn SinkWriter,
        was: ViewRows,
        is: ViewRows,
    ) -> Result<Vec<SinkRecord>>;
    /// Hands over records instead of a change.
    ///
    /// # Errors
    /// As for [`SinkWriter::write`].
    fn write_records(&mut self, epoch: Epoch, records: &[SinkRecord]) -> Result<()>;
    /// The last epoch that is durably written, if any.
    fn last_epoch(&self) -> Option<Epoch>;
}

/// A sink and the view it takes out.
pub(super) struct Sink {
    pub(super) id: ObjectId,
    pub(super) view: ObjectId,
    writer: Box<dyn SinkWriter>,
    /// It has the view's answer, or will before all that follows.
    has_begun: bool,
    pub(super) failed: Option<String>,
    /// What it could not take yet, in its order.
    waiting: VecDeque<(Epoch, Waiting)>,
    waiting_bytes: usize,
    /// The epoch of which it got records and no change.
    records_of: Option<Epoch>,
}

/// What waits for a sink.
enum Waiting {
    Change(Delta),
    Records(Vec<SinkRecord>),
}

impl Waiting {
    fn memory_bytes(&self) -> usize {
        match self {
            Waiting::Change(delta) => delta.memory_bytes(),
            Waiting::Records(records) => records.iter().map(SinkRecord::memory_bytes).sum(),
        }
    }

    fn write(&self, epoch: Epoch, writer: &mut dyn SinkWriter) -> Result<()> {
        match self {
            Waiting::Change(delta) => writer.write(epoch, delta),
            Waiting::Records(records) => writer.write_records(epoch, records),
        }
    }
}

impl Sink {
    pub(super) fn new(id: ObjectId, view: ObjectId, writer: Box<dyn SinkWriter>) -> Self {
        let has_begun = writer.last_epoch().is_some();
        let (waiting, records_of) = (VecDeque::new(), None);
        Self { id, view, writer, has_begun, failed: None, waiting, waiting_bytes: 0, records_of }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// It writes records in this epoch, and not its view's change.
    pub(super) fn has_records_of(&self, epoch: Epoch) -> bool {
        self.records_of == Some(epoch)
    }

    /// What it has to write so that what `writer` writes of the rows `after` follows what it has written of the rows `before`.
    pub(super) fn records_until(
        &self,
        epoch: Epoch,
        writer: &dyn SinkWriter,
        before: &ViewSnapshot,
        after: &ViewSnapshot,
    ) -> Result<Vec<SinkRecord>> {
        let own = self.writer.as_ref();
        caught("the sink", || writer.records_between(epoch, own, before.rows(), after.rows()))
    }

    /// It writes by another writer from now on; what waits becomes the records that it would have been. One that has stopped lacks changes,
    /// and does not go on by this.
    pub(super) fn write_by(&mut self, writer: Box<dyn SinkWriter>) {
        let own = std::mem::replace(&mut self.writer, writer);
        for n in 0..self.waiting.len() {
            let (epoch, waiting) = &self.waiting[n];
            let Waiting::Change(delta) = waiting else { continue };
            match caught("the sink", || own.records(*epoch, delta)) {
                Ok(records) => self.waiting[n].1 = Waiting::Records(records),
                Err(e) => return self.stop(&e.to_string()),
            }
        }
        self.waiting_bytes = self.waiting.iter().map(|(_, waiting)| waiting.memory_bytes()).sum();
    }

    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// It has something of the view, but not yet this epoch.
    pub(super) fn is_before(&self, epoch: Epoch) -> bool {
        self.writer.last_epoch().is_some_and(|last| last < epoch)
    }

    pub(super) fn take(&mut self, epoch: Epoch, delta: &Delta, limit_bytes: usize) {
        self.take_in(epoch, Waiting::Change(delta.clone()), limit_bytes);
    }

    /// As [`Sink::take`], of records in place of the change of an epoch.
    pub(super) fn take_records(&mut self, epoch: Epoch, records: Vec<SinkRecord>, limit_bytes: usize) {
        self.records_of = Some(epoch);
        if !records.is_empty() {
            self.take_in(epoch, Waiting::Records(records), limit_bytes);
        }
    }

    fn take_in(&mut self, epoch: Epoch, waiting: Waiting, limit_bytes: usize) {
        self.waiting_bytes += waiting.memory_bytes();
        self.waiting.push_back((epoch, waiting));
        self.catch_up();
        if self.waiting_bytes > limit_bytes {
            let bytes = self.waiting_bytes;
            self.stop(&format!("{bytes} bytes of changes wait for it, more than the limit of {limit_bytes} bytes"));
        }
    }

    /// Writes what waits, as far as it can be taken now.
    fn catch_up(&mut self) {
        while let Some((epoch, waiting)) = self.waiting.front() {
            match caught("the sink", || waiting.write(*epoch, self.writer.as_mut())) {
                Ok(()) => {
                    self.waiting_bytes -= waiting.memory_bytes();
                    self.waiting.pop_front();
                }
                Err(e) if e.kind == ErrorKind::Retry => return,
                Err(e) => return self.stop(&e.to_string()),
            }
        }
    }

    pub(super) fn stop(&mut self, reason: &str) {
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
        let takes = |s: &&mut Sink| s.view == id && s.failed.is_none() && s.has_begun && !s.has_records_of(epoch);
        for sink in self.sinks.iter_mut().filter(takes) {
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
