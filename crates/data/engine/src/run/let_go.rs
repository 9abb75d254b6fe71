//! Records go from the log, by retention or because somebody wants it. What views have made of them is in a checkpoint before: after a crash
//! no replay finds them any more, and a view that is in no checkpoint is built from what is left.

use std::collections::BTreeSet;

use fleuve_types::{Error, ErrorKind, ObjectId, Result};

use super::Reply;
use super::core::Core;
use super::sinks::Sink;
use crate::operators::caught;

/// The records of a partition before an offset: `(stream, partition, offset)`.
pub type Going = (ObjectId, i32, i64);

/// Takes records from the log; they are gone when it returns.
type Take = Box<dyn FnOnce(&[Going]) -> Result<()> + Send>;

/// Which records go, of those that are to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them or none, after another checkpoint if there has to be one.
    All,
    /// As many as the last checkpoint has what views read of.
    Saved,
    /// All of them, whatever views and checkpoints have: after a crash views may lack them.
    Unsaved,
}

/// Records that are to go.
pub(crate) struct LetGo {
    pub(super) going: Vec<Going>,
    pub(super) which: Which,
    pub(super) take: Take,
}

fn retry(message: &str) -> Error {
    Error::new(ErrorKind::Retry, message)
}

impl Core {
    /// Takes records from the log. Nothing is read meanwhile, so that nothing is read that the checkpoint does not know.
    pub(super) fn let_go(&mut self, LetGo { going, which, take }: LetGo, reply: Reply<Vec<Going>>) {
        self.finish_checkpoint(false);
        let stays = match which {
            Which::All => self.let_all_go(&going, take),
            Which::Saved => self.let_saved_go(going, take),
            Which::Unsaved => self.let_unsaved_go(&going, take),
        };
        let _ = reply.send(stays);
    }

    fn let_all_go(&mut self, going: &[Going], take: Take) -> Result<Vec<Going>> {
        // What was written right before is there to be read.
        if !(self.has_read(going)? || self.live_epoch() && self.has_read(going)?) {
            return Err(retry("there are records among them that views have still to read"));
        }
        let mut is_kept = true;
        for place in going {
            is_kept &= self.outlive(*place)? >= place.2;
        }
        // Its answer may take long, and until it is whole there is no checkpoint.
        let is_sink_beginning = self.sinks.iter().any(Sink::is_beginning);
        let has_saved = self.has_saved(going);
        if !has_saved && is_sink_beginning {
            return Err(retry("views have read records that no checkpoint covers until a sink has its first answer"));
        }
        // Without one a crash would find about how far the records had moved the watermark.
        let is_saved = (has_saved && (is_kept || is_sink_beginning)) || self.checkpoint_now();
        if !is_saved && !has_saved {
            self.pace.hurry();
            return Err(retry("views have read records that no checkpoint covers yet"));
        }
        self.take_from_log(going, take)?;
        Ok(vec![])
    }

    /// Gives those of which nothing can go yet: a checkpoint is made for them soon.
    fn let_saved_go(&mut self, going: Vec<Going>, take: Take) -> Result<Vec<Going>> {
        let (mut covered, mut stays) = (vec![], vec![]);
        for (stream, partition, before) in going {
            // Where there is no such partition any more, nobody reads it.
            let Some((start, _)) = self.bounds(stream, partition)? else {
                covered.push((stream, partition, before));
                continue;
            };
            let saved = if self.has_new() { None } else { self.saved.get(stream, partition) };
            let end = match saved.map(|saved| saved.min(before)).filter(|end| *end > start) {
                Some(end) => Some(self.outlive((stream, partition, end))?.min(end)).filter(|end| *end > start),
                None => None,
            };
            match end {
                Some(end) => covered.push((stream, partition, end)),
                None => stays.push((stream, partition, before)),
            }
        }
        if !stays.is_empty() {
            self.pace.hurry();
        }
        if !covered.is_empty() {
            self.take_from_log(&covered, take)?;
        }
        Ok(stays)
    }

    fn let_unsaved_go(&mut self, going: &[Going], take: Take) -> Result<Vec<Going>> {
        for place in going {
            if let Err(e) = self.outlive(*place) {
                tracing::error!(stream = %place.0, partition = place.1, error = %e,
                    "records that go cannot be read: views that are built later may take late rows for being on time");
            }
        }
        self.take_from_log(going, take)?;
        self.pace.hurry();
        Ok(vec![])
    }

    fn take_from_log(&mut self, going: &[Going], take: Take) -> Result<()> {
        // One that is being built may have read some of them, or has still to do so.
        let streams: BTreeSet<ObjectId> = going.iter().map(|(stream, _, _)| *stream).collect();
        for building in self.building.values_mut().filter(|b| !b.reads.is_disjoint(&streams)) {
            building.outlives_input = true;
        }
        caught("the log", || take(going))?;
        self.forget_times(going);
        Ok(())
    }

    /// The first offset kept of a partition and the next one to be written, if somebody may read it.
    fn bounds(&self, stream: ObjectId, partition: i32) -> Result<Option<(i64, i64)>> {
        let reader = self.streams.get(&stream).filter(|reader| (0..reader.partitions()).contains(&partition));
        reader.map(|reader| reader.bounds(partition)).transpose()
    }

    /// Whether epochs have come by all of these records.
    fn has_read(&self, going: &[Going]) -> Result<bool> {
        for (stream, partition, before) in going {
            let Some((start, end)) = self.bounds(*stream, *partition)? else { continue };
            if self.frontier.get(*stream, *partition).unwrap_or(start) < end.min(*before) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a checkpoint has what views have read of these records.
    fn has_saved(&self, going: &[Going]) -> bool {
        let is_saved = |(stream, partition, before): &Going| {
            let read = self.frontier.get(*stream, *partition).unwrap_or(0).min(*before);
            self.saved.get(*stream, *partition).unwrap_or(0) >= read
        };
        !self.has_new() && going.iter().all(is_saved)
    }

    /// Whether a view is in no checkpoint, or only in one that is not there yet.
    fn has_new(&self) -> bool {
        self.views.iter().any(|v| v.save_all) || self.writing.as_ref().is_some_and(|w| w.has_new)
    }
}
