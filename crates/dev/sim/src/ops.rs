//! What happens in a run, one thing after the other, as the seed has it.

mod declare;
mod faults;
mod write;

use fleuve_engine::ViewState;

use crate::world::{End, Life, World, outcome};
use crate::{Failure, Scope, Sim};

impl World {
    /// Does one thing, and lets happen what follows.
    ///
    /// # Errors
    /// When something does not hold.
    pub(crate) async fn operate(&mut self) -> Sim<()> {
        self.clock.advance_us(1_000 + self.random.below(40_000) as i64);
        if self.scope > Scope::Narrow && self.random.chance(12) {
            match self.random.below(10) {
                0..=3 => self.create_index().await?,
                4 => self.drop_index().await?,
                _ => self.go_on_beside_a_checkpoint().await?,
            }
            return self.after().await;
        }
        match self.random.below(100) {
            0..=24 => self.produce().await?,
            25..=33 => self.produce_side_by_side().await?,
            34..=39 => self.insert().await?,
            40..=43 => self.append_atomically().await?,
            44..=47 => self.commit_group().await?,
            48..=49 => self.forget_records().await?,
            50..=59 => self.create_view().await?,
            60..=62 => self.replace_view().await?,
            63..=64 => self.drop_view().await?,
            65..=68 => self.create_sink().await?,
            69 => self.drop_sink().await?,
            70..=77 => self.checkpoint().await?,
            78..=81 => self.move_files().await?,
            82 => self.jump(),
            83..=84 => self.check_if_sound().await?,
            85..=88 => self.crash().await?,
            _ => self.break_something(),
        }
        self.after().await
    }

    /// What follows from an operation; a server that cannot go on is started again.
    ///
    /// # Errors
    /// When something does not hold.
    pub(crate) async fn after(&mut self) -> Sim<()> {
        if !self.disk.is_off() && !self.is_lost {
            self.rest().await?;
        }
        self.note_disk();
        if self.disk.is_off() {
            return self.recover(End::Power).await;
        }
        let has_failed = self.life()?.server.log().stats().has_failed;
        if self.is_lost || (has_failed && self.random.chance(60)) {
            let end = *self.random.pick(&[End::Kill, End::Power]);
            return self.recover(end).await;
        }
        Ok(())
    }

    /// Ends this life, begins the next, and checks everything.
    ///
    /// # Errors
    /// When something does not hold.
    pub(crate) async fn recover(&mut self, end: End) -> Sim<()> {
        self.end(end).await?;
        self.begin().await?;
        self.rest().await?;
        self.note_disk();
        self.check().await
    }

    async fn crash(&mut self) -> Sim<()> {
        let end = *self.random.pick(&[End::Kill, End::Power, End::Stop, End::Power]);
        self.recover(end).await
    }

    async fn check_if_sound(&mut self) -> Sim<()> {
        if self.is_faulty || self.life()?.server.log().stats().has_failed {
            return Ok(());
        }
        let checked = self.check().await;
        // What has stopped is resumed in it, which writes: the power may go meanwhile.
        if checked.is_err() && self.disk.is_off() {
            return self.recover(End::Power).await;
        }
        checked
    }

    async fn checkpoint(&mut self) -> Sim<()> {
        let done = crate::world::within("a checkpoint", self.life()?.server.engine().checkpoint()).await?;
        self.trace.say(format!("checkpoint: {}", outcome(&done)));
        self.excuse(done.as_ref().err())
    }

    /// A checkpoint has taken what it is of out of the views, and is written after the views took in what comes now.
    async fn go_on_beside_a_checkpoint(&mut self) -> Sim<()> {
        let begun = crate::world::within("a checkpoint", self.life()?.server.engine().begin_checkpoint()).await?;
        self.trace.say(format!("begin a checkpoint: {}", outcome(&begun)));
        self.excuse(begun.as_ref().err())?;
        match self.random.below(10) {
            0..=5 => self.produce_side_by_side().await,
            6..=7 => self.insert().await,
            _ => self.append_atomically().await,
        }
    }

    async fn move_files(&mut self) -> Sim<()> {
        let log = self.life()?.server.log().clone();
        if self.random.chance(70) {
            let went_well = log.step();
            self.trace.say(format!("move: {went_well}"));
        } else {
            let settled = crate::world::within("settling", log.settle()).await?;
            self.trace.say(format!("settle: {}", outcome(&settled)));
            self.excuse(settled.as_ref().err())?;
        }
        Ok(())
    }

    fn jump(&mut self) {
        let minutes = 1 + self.random.below(50) as i64;
        self.clock.advance_us(minutes * 60_000_000);
        self.trace.say(format!("{minutes} minutes pass"));
    }

    /// An error must have a reason.
    ///
    /// # Errors
    /// When nothing is broken that could explain it.
    pub(crate) fn excuse(&self, error: Option<&fleuve_types::Error>) -> Sim<()> {
        use fleuve_types::ErrorKind;
        let Some(error) = error else { return Ok(()) };
        // What a fault left behind: a log that takes no more, views that stopped until somebody resumes them.
        let has_stopped = |life: &Life| {
            let published = life.server.engine().published();
            let stopped = published.status.iter().any(|(_, v)| matches!(v.state, ViewState::Failed(_)));
            stopped || life.server.log().stats().has_failed
        };
        let failed_then = self.was_faulty && self.life.as_ref().is_some_and(has_stopped);
        let is_broken = self.is_faulty || failed_then || self.disk.has_struck() || self.disk.is_off();
        match error.kind {
            ErrorKind::Bug => Err(Failure(format!("the server says that it has a bug: {error}"))),
            ErrorKind::Io | ErrorKind::Unknown | ErrorKind::Retry if !is_broken => {
                Err(Failure(format!("it fails although nothing is broken: {error}")))
            }
            _ => Ok(()),
        }
    }
}
