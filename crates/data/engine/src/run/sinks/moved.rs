//! A sink that becomes another one: of another view, by another key, into another stream. What it has written is brought to what the new
//! one would have: by the difference, or, where nothing of it is there, by the whole answer.
//!
//! A crash may come at any time: the writer notes with the records that the new one has taken the old one's place, so that a restart finds
//! one or the other.

use std::time::Instant;

use fleuve_types::{Error, ErrorKind, ObjectId, Result};

use super::{AGAIN, Beginning, LAST_WAIT, Sink, SinkPiece, SinkWriter, is_in_part};
use crate::operators::caught;
use crate::output::ViewSnapshot;
use crate::run::core::Core;

/// Tries again for a while what cannot be taken now.
fn insist(mut hand_over: impl FnMut() -> Result<()>) -> Result<()> {
    let until = Instant::now() + LAST_WAIT;
    loop {
        match caught("the sink", &mut hand_over) {
            Err(e) if e.kind == ErrorKind::Retry && Instant::now() < until => std::thread::sleep(AGAIN),
            result => return result,
        }
    }
}

/// What a sink that stopped has written is not known, and so not what it lacks.
fn lacks_changes(failure: &Error) -> Error {
    Error::input(format!("it has stopped, and lacks the changes since then: {}", failure.message))
        .hint("drop the sink and create it anew, into a stream of its own")
}

impl Sink {
    /// Its view has other columns from now on, and it has no writer for them. What it has written is kept for one that takes its place in
    /// the same step.
    pub(in crate::run) fn stop_at(&mut self, written: &ViewSnapshot) {
        self.stop_with(written, "the columns of its view changed");
    }

    fn stop_with(&mut self, written: &ViewSnapshot, reason: &str) {
        if self.failed.is_none() {
            self.held = (self.has_begun && !self.is_behind()).then(|| written.clone());
            self.stop(reason);
        }
    }

    /// Writes the first piece of the answer, with which it takes another one's place.
    fn write_first_piece(&mut self) -> Result<()> {
        self.catch_up();
        match (&self.failed, &self.beginning) {
            (Some(error), _) => Err(error.clone()),
            (None, Some(Beginning { piece, .. })) if piece.n == 0 => {
                Err(Error::new(ErrorKind::Retry, "nothing of the sink's first answer can be written now"))
            }
            _ => Ok(()),
        }
    }
}

impl Core {
    /// Sinks of a view that stays as it is write by other writers.
    ///
    /// # Errors
    /// One cannot; those after it go on as they were.
    pub(in crate::run) fn write_on(
        &mut self,
        view: ObjectId,
        writers: Vec<(ObjectId, Box<dyn SinkWriter>)>,
    ) -> Result<()> {
        writers.into_iter().try_for_each(|(sink, writer)| self.begin_sink(sink, view, writer))
    }

    /// A view goes, and sinks of it do not: the step that made it, and gave it to them, is taken back. What they have written is kept for
    /// the writers that take their places.
    pub(in crate::run) fn stop_sinks_of(&mut self, view: ObjectId) {
        if !self.sinks.iter().any(|s| s.view == view && s.failed.is_none()) {
            return;
        }
        self.wait_for_outside();
        if let Ok(written) = self.view(view).map(|v| v.output.snapshot(self.epoch)) {
            let is_left = |s: &&mut Sink| s.view == view;
            self.sinks.iter_mut().filter(is_left).for_each(|sink| sink.stop_with(&written, "its view is gone"));
        }
    }

    /// A sink in the place of another one, when all is in a checkpoint; `answer` is that of its view.
    pub(super) fn in_place_of(
        &self,
        old: &Sink,
        view: ObjectId,
        mut writer: Box<dyn SinkWriter>,
        answer: &ViewSnapshot,
    ) -> Result<Sink> {
        let epoch = self.epoch;
        if old.has_begun && old.writer.target() == writer.target() {
            if let Some(piece) = old.writer.started().filter(|_| old.failed.is_some()) {
                return Err(is_in_part(piece));
            }
            let own = old.writer.as_ref();
            let was = self.written_by(old)?;
            let records = caught("the sink", || writer.records_between(epoch, own, was.rows(), answer.rows()))?;
            insist(|| writer.follow(epoch, &records))?;
            return Ok(Sink { has_begun: true, ..Sink::new(old.id, view, writer) });
        }
        let piece = SinkPiece::first(epoch, answer.num_rows(), self.options.sink_piece_rows);
        writer.begin_anew();
        let mut sink = Sink::new(old.id, view, writer);
        sink.begin_with(answer.clone(), piece);
        insist(|| sink.write_first_piece())?;
        Ok(sink)
    }

    /// What a sink has written, when nothing waits for it.
    ///
    /// # Errors
    /// It is not known of one that stopped.
    fn written_by(&self, sink: &Sink) -> Result<ViewSnapshot> {
        match (&sink.held, &sink.failed) {
            (Some(held), _) => Ok(held.clone()),
            (None, Some(failure)) => Err(lacks_changes(failure)),
            (None, None) => self.view(sink.view).map(|view| view.output.snapshot(self.epoch)),
        }
    }
}
