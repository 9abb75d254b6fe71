//! What must hold whenever nothing is broken and everything that follows has happened.

mod records;
mod views;

use fleuve_log::groups::CommittedOffset;

use crate::world::World;
use crate::{Failure, Sim};

impl World {
    /// Checks everything.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) async fn check(&mut self) -> Sim<()> {
        self.check_records()?;
        self.check_groups()?;
        let set = self.life()?.server.objects();
        self.objects.reconcile(&set)?;
        self.check_frontier()?;
        self.resume_views().await?;
        self.check_views().await?;
        self.check_closing().await?;
        self.check_sinks().await?;
        self.check_dead_letters().await?;
        self.trace.say(format!("check: {} rows sent, digest {:016x}", self.model.sent.len(), self.trace.digest()));
        Ok(())
    }

    /// Groups have the offsets that they were told they have.
    fn check_groups(&mut self) -> Sim<()> {
        let log = self.life.as_ref().map(|l| l.server.log().clone());
        let log = log.ok_or_else(|| Failure("the server does not run".into()))?;
        for (key, possible) in &mut self.model.groups {
            let found = log.mark(key).and_then(|bytes| CommittedOffset::decode(&bytes)).map(|c| c.offset);
            if !possible.contains(&found) {
                return Err(Failure(format!("a group has offset {found:?}, and can only have one of {possible:?}")));
            }
            *possible = vec![found];
        }
        Ok(())
    }

    /// The engine has taken in all that is in the log.
    fn check_frontier(&self) -> Sim<()> {
        let life = self.life()?;
        let published = life.server.engine().published();
        for stream in &self.model.streams {
            let Some(id) = stream.id else { continue };
            for partition in 0..stream.partitions.len() as i32 {
                let Some((start, end)) = life.server.log().offsets(id, partition) else { continue };
                // What retention took before it was taken in does not come any more.
                let at = published.frontier.get(id, partition).map_or(start, |at| at.max(start));
                if at != end {
                    let name = stream.name;
                    return Err(Failure(format!(
                        "the engine stands at {at} of {name}/{partition}, which ends at {end}"
                    )));
                }
            }
        }
        Ok(())
    }
}
