//! Sinks: a view's answer first, then every change, each epoch once. What a sink cannot take now waits for it, up to a limit; the
//! view does not. No checkpoint is taken meanwhile, as no replay would make what waits again.
//!
//! An answer of any size is written in pieces, between epochs, and all changes wait behind it. The checkpoint of the epoch in which the
//! sink began is so the last one until it is whole: a restart finds the same answer there, and goes on with the next piece.

mod moved;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fleuve_types::{Delta, Epoch, Error, ErrorKind, ObjectId, Result};

use super::core::Core;
use super::view::View;
use super::{Reply, SinkRecord, ViewChange};
use crate::operators::caught;
use crate::output::{ViewRows, ViewSnapshot};

/// How long a stop, or a checkpoint that has to be, waits for what sinks could not take yet: from the last piece of an answer that one took.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// How long until what could not be taken is tried again then.
const AGAIN: Duration = Duration::from_millis(5);
/// The answer that a sink begins with is written in at most so many pieces.
const MOST_PIECES: usize = 4_096;

/// A piece of the answer that a sink begins with: a part of its rows, which is the same after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkPiece {
    /// The epoch of the answer.
    pub epoch: Epoch,
    /// Its number, from 0.
    pub n: u32,
    /// How many there are.
    pub of: u32,
}

impl SinkPiece {
    /// The first one of an answer of so many rows.
    fn first(epoch: Epoch, rows: usize, piece_rows: usize) -> Self {
        Self { epoch, n: 0, of: rows.div_ceil(piece_rows.max(1)).clamp(1, MOST_PIECES) as u32 }
    }

    /// The one after it, if it is not the last.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        (self.n + 1 < self.of).then_some(Self { n: self.n + 1, ..self })
    }

    /// The first half of it, which begins where it does, if it may have more than one of so many rows.
    fn half(self, rows: usize) -> Option<Self> {
        let (n, of) = (self.n.checked_mul(2)?, self.of.checked_mul(2)?);
        ((self.of as usize) < rows).then_some(Self { n, of, ..self })
    }
}

/// Takes a view's changes out. Writing the same epoch again must change nothing.
pub trait SinkWriter: Send {
    /// Hands over the change of one epoch. Never waits: returns as soon as it is on its way in order.
    ///
    /// # Errors
    /// [`ErrorKind::Retry`] when it cannot be taken now: it is handed over again, before later ones. Others stop the sink.
    fn write(&mut self, epoch: Epoch, delta: &Delta) -> Result<()>;
    /// Hands over a piece of the answer that a sink begins with, as a change of its epoch, together with the note that the next one
    /// follows, or, with the last one, that the epoch is written.
    ///
    /// # Errors
    /// As for [`SinkWriter::write`]; [`ErrorKind::Limit`] when it is too large: then it comes in smaller pieces.
    fn start(&mut self, piece: SinkPiece, rows: ViewRows) -> Result<()>;
    /// The piece that follows on what is durably written of the answer, if that is a part of it.
    fn started(&self) -> Option<SinkPiece>;
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
    /// The last epoch that is durably written, if any is as a whole.
    fn last_epoch(&self) -> Option<Epoch>;
    /// What it writes into.
    fn target(&self) -> ObjectId;
    /// Takes the place of another writer of the same sink, which wrote there: hands over the records that lie between what that one wrote and
    /// the answer of `epoch`. That it has taken that place becomes durable with them, and not otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::Retry`] when it cannot be taken now.
    fn follow(&mut self, epoch: Epoch, records: &[SinkRecord]) -> Result<()>;
    /// As [`SinkWriter::follow`], of one that wrote elsewhere, or nothing: it takes that place with the first piece of the answer.
    fn begin_anew(&mut self);
}

/// A sink and the view it takes out.
pub(super) struct Sink {
    pub(super) id: ObjectId,
    pub(super) view: ObjectId,
    writer: Box<dyn SinkWriter>,
    /// It has the view's answer, or will before all that follows.
    has_begun: bool,
    /// What is still to be written of the answer, before all that waits.
    beginning: Option<Beginning>,
    pub(super) failed: Option<Error>,
    /// What it could not take yet, in its order.
    waiting: VecDeque<(Epoch, Waiting)>,
    waiting_bytes: usize,
    /// The epoch of which it got records and no change.
    records_of: Option<Epoch>,
    /// What it has written, if its view has other columns by now.
    held: Option<ViewSnapshot>,
}

/// The answer that a sink begins with.
struct Beginning {
    snapshot: ViewSnapshot,
    /// What is written next.
    piece: SinkPiece,
    /// Who waits until it is whole.
    reply: Option<Reply<()>>,
}

impl Beginning {
    /// Why it ended, with what there is of it by then.
    fn ended_by(&self, error: Error) -> Error {
        let SinkPiece { n, of, .. } = self.piece;
        if n == 0 {
            return error;
        }
        let message = format!("{}; {n} of {of} pieces of the sink's first answer are in its stream", error.message);
        let advice = "create it anew into a stream of its own";
        let hint = error.hint.as_ref().map_or_else(|| advice.into(), |hint| format!("{hint}; {advice}"));
        Error { message, ..error }.hint(hint)
    }
}

/// What there is of an answer that cannot be written on.
fn is_in_part(piece: SinkPiece) -> Error {
    let SinkPiece { epoch, n, of } = piece;
    let what = format!("{n} of {of} pieces of its first answer are written");
    Error::input(format!("{what}, and that answer, of epoch {epoch}, is not there any more"))
        .hint("drop the sink and create it anew, into a stream of its own")
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
        let (waiting, records_of, held) = (VecDeque::new(), None, None);
        Self { id, view, writer, has_begun, beginning: None, failed: None, waiting, waiting_bytes: 0, records_of, held }
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
        if self.is_beginning() {
            return self.stop("its first answer could not be written before its view became another one");
        }
        let own = std::mem::replace(&mut self.writer, writer);
        for n in 0..self.waiting.len() {
            let (epoch, waiting) = &self.waiting[n];
            let Waiting::Change(delta) = waiting else { continue };
            match caught("the sink", || own.records(*epoch, delta)) {
                Ok(records) => self.waiting[n].1 = Waiting::Records(records),
                Err(e) => return self.end_by(e),
            }
        }
        self.waiting_bytes = self.waiting.iter().map(|(_, waiting)| waiting.memory_bytes()).sum();
    }

    pub(super) fn is_beginning(&self) -> bool {
        self.beginning.is_some()
    }

    fn is_behind(&self) -> bool {
        self.is_beginning() || !self.waiting.is_empty()
    }

    /// How many pieces and changes it has to take.
    fn left(&self) -> usize {
        let pieces = self.beginning.as_ref().map_or(0, |b| b.piece.of - b.piece.n);
        pieces as usize + self.waiting.len()
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
        self.hurry(limit_bytes);
        if self.waiting_bytes > limit_bytes {
            let bytes = self.waiting_bytes;
            self.stop(&format!("{bytes} bytes of changes wait for it, more than the limit of {limit_bytes} bytes"));
        }
    }

    /// Changes that wait behind the answer do not stop the sink only because that is large: the more wait the more pieces are written
    /// now, all of them where half the limit waits. Beyond it the epoch waits for the sink, as long as that takes something.
    fn hurry(&mut self, limit_bytes: usize) {
        if !self.is_beginning() {
            return;
        }
        let (mut left, mut until) = (self.left(), Instant::now() + LAST_WAIT);
        while self.is_late(limit_bytes) {
            self.catch_up();
            if self.left() < left {
                (left, until) = (self.left(), Instant::now() + LAST_WAIT);
            } else if self.waiting_bytes <= limit_bytes || Instant::now() > until {
                return;
            } else {
                std::thread::sleep(AGAIN);
            }
        }
    }

    fn is_late(&self, limit_bytes: usize) -> bool {
        match &self.beginning {
            Some(Beginning { piece, .. }) => {
                let part = |bytes: usize, of: u32| bytes as u128 * u128::from(of);
                part(self.waiting_bytes, piece.of) * 2 > part(limit_bytes, piece.n)
            }
            None => self.waiting_bytes > limit_bytes,
        }
    }

    /// Writes a piece of the answer, and when that is whole what waits, as far as it can be taken now.
    fn catch_up(&mut self) {
        if !self.go_on_beginning() {
            return;
        }
        while let Some((epoch, waiting)) = self.waiting.front() {
            match caught("the sink", || waiting.write(*epoch, self.writer.as_mut())) {
                Ok(()) => {
                    self.waiting_bytes -= waiting.memory_bytes();
                    self.waiting.pop_front();
                }
                Err(e) if e.kind == ErrorKind::Retry => return,
                Err(e) => return self.end_by(e),
            }
        }
    }

    /// Writes the next piece of the answer; tells if there is none left.
    fn go_on_beginning(&mut self) -> bool {
        let Some(Beginning { snapshot, piece, .. }) = &mut self.beginning else { return true };
        let writer = self.writer.as_mut();
        let mut start =
            |piece: SinkPiece| caught("the sink", || writer.start(piece, snapshot.piece(piece.n, piece.of)));
        let mut written = start(*piece);
        // Of larger rows fewer are written at once, from here on.
        while written.as_ref().is_err_and(|e| e.kind == ErrorKind::Limit)
            && let Some(half) = piece.half(snapshot.num_rows())
        {
            *piece = half;
            written = start(half);
        }
        match written {
            Ok(()) => match piece.next() {
                Some(next) => *piece = next,
                None => self.answer(Ok(())),
            },
            Err(e) if e.kind == ErrorKind::Retry => {}
            Err(e) => self.end_by(e),
        }
        self.beginning.is_none()
    }

    /// The beginning is over: who waits for it is told.
    fn answer(&mut self, result: Result<()>) {
        if let Some(reply) = self.beginning.take().and_then(|b| b.reply) {
            let _ = reply.send(result);
        }
    }

    pub(super) fn stop(&mut self, reason: &str) {
        self.end_by(Error::new(ErrorKind::Limit, reason));
    }

    fn end_by(&mut self, error: Error) {
        let error = match &self.beginning {
            Some(beginning) => beginning.ended_by(error),
            None => error,
        };
        tracing::error!(sink = %self.id, reason = %error, "a sink stopped");
        self.answer(Err(error.clone()));
        self.failed = Some(error);
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
    }

    /// The view's answer first, if nothing was ever written.
    fn begin(&mut self, snapshot: ViewSnapshot, epoch: Epoch, piece_rows: usize) {
        if !self.has_begun {
            let piece = SinkPiece::first(epoch, snapshot.num_rows(), piece_rows);
            self.begin_with(snapshot, piece);
            self.catch_up();
        }
    }

    /// The answer from this piece on.
    fn begin_with(&mut self, snapshot: ViewSnapshot, piece: SinkPiece) {
        self.beginning = Some(Beginning { snapshot, piece, reply: None });
        self.has_begun = true;
    }
}

/// How what is outside stands after it was given what waits for it.
pub(super) struct Outside {
    /// Something still waits.
    pub(super) is_behind: bool,
    /// Less than before.
    pub(super) goes_on: bool,
    /// A sink has stopped by that.
    pub(super) has_stopped: bool,
}

impl Core {
    /// A new sink, or one that takes the place of another of the same id. Who asked is told when it has the whole answer.
    pub(super) fn add_sink(&mut self, id: ObjectId, view: ObjectId, writer: Box<dyn SinkWriter>, reply: Reply<()>) {
        // Its answer may take long, and before this one there would have to be a checkpoint: the engine does not stand still for that.
        if !self.options.stepped && self.sinks.iter().any(|s| s.id != id && s.is_beginning()) {
            let message = "another sink is being given its first answer, and until it is whole there is no checkpoint";
            drop(reply.send(Err(Error::new(ErrorKind::Retry, message).hint("SHOW SINKS says how far it is"))));
            return;
        }
        let begun = self.begin_sink(id, view, writer);
        self.publish_now();
        let sink = self.sinks.iter_mut().find(|s| s.id == id);
        match (begun, sink.and_then(|s| s.beginning.as_mut())) {
            // Nobody moves a stepped engine on while somebody waits for it.
            (Ok(()), Some(beginning)) if !self.options.stepped => beginning.reply = Some(reply),
            (begun, _) => drop(reply.send(begun)),
        }
    }

    pub(super) fn begin_sink(&mut self, id: ObjectId, view: ObjectId, writer: Box<dyn SinkWriter>) -> Result<()> {
        let snapshot = self.view(view)?.output.snapshot(self.epoch);
        // Everything before this epoch has to be in a checkpoint: only later epochs are in the journal. By then, too, one in whose place it
        // comes has written all that it had to.
        if !self.checkpoint_now() {
            return Err(Error::new(ErrorKind::Retry, "the checkpoint before the sink's start failed"));
        }
        let mut sink = match self.sinks.iter().find(|s| s.id == id) {
            Some(old) => self.in_place_of(old, view, writer, &snapshot)?,
            None => Sink::new(id, view, writer),
        };
        if let Some(piece) = sink.writer.started().filter(|_| !sink.has_begun) {
            return Err(is_in_part(piece));
        }
        sink.begin(snapshot, self.epoch, self.options.sink_piece_rows);
        if let Some(error) = sink.failed.take() {
            return Err(error);
        }
        self.sinks.retain(|s| s.id != id);
        self.sinks.push(sink);
        Ok(())
    }

    /// Sinks that had written a part of the answer when the process ended go on with it, before anything of the replay: the checkpoint has
    /// that answer, unless the view is built anew.
    pub(super) fn go_on_with_answers(&mut self) {
        let epoch = self.epoch;
        for sink in &mut self.sinks {
            let Some(piece) = sink.writer.started() else { continue };
            let view = self.views.iter().find(|v| v.id() == sink.view);
            match view.filter(|_| piece.epoch == epoch) {
                Some(view) => sink.begin_with(view.output.snapshot(epoch), piece),
                None => sink.end_by(is_in_part(piece)),
            }
        }
    }

    /// Sinks that were declared but had not written anything when the process ended. What they begin with is the answer after the
    /// replay, so the replay gives them nothing. An answer of several pieces is in a checkpoint first: a restart in the middle of it
    /// has to find it there.
    pub(super) fn start_late_sinks(&mut self) {
        let has_several = |view: &View| view.output.rows() > self.options.sink_piece_rows;
        let waiting = self.sinks.iter().filter(|s| !s.has_begun && s.failed.is_none());
        let views: Vec<ObjectId> = waiting.map(|s| s.view).filter(|v| self.view(*v).is_ok_and(has_several)).collect();
        if !views.is_empty() && !self.checkpoint_now() {
            views.into_iter().for_each(|view| self.stop_late_sinks(view));
        }
        self.begin_late_sinks();
    }

    fn begin_late_sinks(&mut self) {
        let (epoch, piece_rows) = (self.epoch, self.options.sink_piece_rows);
        for sink in self.sinks.iter_mut().filter(|s| s.failed.is_none()) {
            if let Some(view) = self.views.iter().find(|v| v.id() == sink.view) {
                sink.begin(view.output.snapshot(epoch), epoch, piece_rows);
            }
        }
    }

    fn stop_late_sinks(&mut self, view: ObjectId) {
        let waits = |s: &&mut Sink| s.view == view && !s.has_begun && s.failed.is_none();
        for sink in self.sinks.iter_mut().filter(waits) {
            sink.stop("the checkpoint before its start failed; it is tried again at the next start");
        }
    }

    /// As [`Core::start_late_sinks`], for those of a view that was built only now. First the view has to be in a checkpoint: a restart
    /// would build it at a later epoch, and the changes up to there would be nobody's.
    pub(super) fn start_sinks_of(&mut self, view: ObjectId) {
        if !self.sinks.iter().any(|s| s.view == view && !s.has_begun && s.failed.is_none()) {
            return;
        }
        if self.checkpoint_now() {
            self.begin_late_sinks();
        } else {
            self.stop_late_sinks(view);
        }
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

    /// Hands on what waits for the log or for sinks.
    pub(super) fn catch_up_outside(&mut self) -> Outside {
        let left = |core: &Self| core.sinks.iter().map(Sink::left).sum::<usize>();
        let run = |core: &Self| core.sinks.iter().filter(|s| s.failed.is_none()).count();
        let (left_before, run_before) = (left(self), run(self));
        self.sinks.iter_mut().for_each(Sink::catch_up);
        for n in 0..self.views.len() {
            if let Err(e) = self.views[n].tell_waiting() {
                self.fail_view(n, &e.to_string());
            }
        }
        let is_behind = self.sinks.iter().any(Sink::is_behind) || self.views.iter().any(|v| !v.untold.is_empty());
        Outside { is_behind, goes_on: left(self) < left_before, has_stopped: run(self) < run_before }
    }

    /// As [`Core::catch_up_outside`], again and again for a while; as long as it goes on.
    pub(super) fn wait_for_outside(&mut self) {
        let mut until = Instant::now() + LAST_WAIT;
        loop {
            match self.catch_up_outside() {
                Outside { is_behind: false, .. } => return,
                Outside { goes_on: true, .. } => until = Instant::now() + LAST_WAIT,
                _ if Instant::now() > until => return,
                _ => std::thread::sleep(AGAIN),
            }
        }
    }

    /// Waits until sinks that begin have the whole answer, if some do.
    pub(super) fn wait_for_beginnings(&mut self) {
        if self.sinks.iter().any(Sink::is_beginning) {
            self.wait_for_outside();
        }
    }
}
