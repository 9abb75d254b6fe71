//! The sink of a world.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fleuve_engine::SinkPiece;
use fleuve_types::Result;
use tokio::task::JoinHandle;

use super::{World, id};
use crate::memory::MemorySink;

impl World {
    /// A sink that is declared, and that the next start finds so.
    pub fn declare_sink(&mut self, view: &'static str) {
        self.sink_on = Some(view);
    }

    pub(super) fn sink_writer(&self) -> MemorySink {
        MemorySink {
            sunk: self.sunk.clone(),
            target: id(self.sink_into),
            busy: self.outside_busy.clone(),
            pieces: self.pieces.clone(),
            life: self.life.clone(),
            takes_place: false,
        }
    }

    pub async fn add_sink(&mut self, view: &'static str) {
        self.wait().await;
        self.engine().add_sink(id("sink"), id(view), Box::new(self.sink_writer())).await.unwrap();
        self.sink_on = Some(view);
    }

    pub fn has_sink(&self) -> bool {
        self.sink_on.is_some()
    }

    pub fn sunk(&self) -> BTreeMap<String, i64> {
        self.sunk.lock().rows.clone()
    }

    /// Begins to make a sink, which is declared by then.
    pub fn begin_to_add_sink(&mut self, view: &'static str) -> JoinHandle<Result<()>> {
        self.declare_sink(view);
        let (engine, writer) = (self.engine().clone(), Box::new(self.sink_writer()));
        tokio::spawn(async move { engine.add_sink(id("sink"), id(view), writer).await })
    }

    /// Makes another sink, which is not declared.
    pub async fn add_another_sink(&self, view: &str) -> Result<()> {
        self.engine().add_sink(id("another"), id(view), Box::new(self.sink_writer())).await
    }

    /// Begins to give the sink another view, or another place to write into.
    pub fn begin_to_move_sink(&mut self, view: &'static str, into: &'static str) -> JoinHandle<Result<()>> {
        let (engine, writer) = (self.engine().clone(), MemorySink { target: id(into), ..self.sink_writer() });
        tokio::spawn(async move { engine.add_sink(id("sink"), id(view), Box::new(writer)).await })
    }

    /// The next start finds the sink as it is after the move if it has written that it is, and as before if not. Tells which.
    pub fn has_moved(&mut self, view: &'static str, into: &'static str) -> bool {
        let has_moved = self.sunk.lock().moves > 0;
        if has_moved {
            (self.sink_on, self.sink_into) = (Some(view), into);
        }
        has_moved
    }

    /// Sinks take so many more pieces of the answers that they begin with.
    pub fn let_pieces(&self, pieces: i64) {
        self.pieces.store(pieces, Ordering::SeqCst);
    }

    /// Until the sink has taken the pieces that it may take.
    pub async fn pieces_taken(&self) {
        while self.pieces.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The piece that the sink has to take next, if it has a part of the answer.
    pub fn next_piece(&self) -> Option<SinkPiece> {
        self.sunk.lock().started
    }

    /// Why the sink stopped.
    pub fn sink_failure(&self) -> Option<String> {
        self.engine().published().sinks[&id("sink")].clone()
    }
}
