//! Records go from the log only when a checkpoint has what views have read of them: after a crash no replay finds them any more.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::time::{Duration, Instant};

use fleuve_engine::{Going, Which};
use fleuve_types::{Error, ErrorKind, ObjectId, Result};
use futures::executor::block_on;

use super::Platform;

/// Retention of which nothing could go somewhere is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// For so long retention of a partition waits for a checkpoint. Disks must not run full because a view or a sink stands still.
const PATIENCE: Duration = Duration::from_secs(600);

/// And then for so long for the engine, which can say how far the records had moved event time.
const ENGINE_PATIENCE: Duration = Duration::from_secs(60);

/// A partition of a stream.
type Place = (ObjectId, i32);

fn place((stream, partition, _): &Going) -> Place {
    (*stream, *partition)
}

impl Platform {
    /// Forgets the records of a partition before an offset (-1: all that there are); gives the new first offset.
    pub(super) async fn delete_records(&self, stream: ObjectId, partition: i32, before: i64) -> Result<i64> {
        let log = self.log.clone();
        // What is written from now on is not meant.
        let before = match (before, log.offsets(stream, partition)) {
            (-1, Some((_, end))) => end,
            _ => before,
        };
        let delete = move |_: &[Going]| block_on(log.delete_records(stream, partition, before)).map(drop);
        self.engine.let_go(vec![(stream, partition, before)], Which::All, delete).await?;
        let offsets = self.log.offsets(stream, partition);
        offsets.map(|(start, _)| start).ok_or_else(|| Error::not_found("the topic was dropped meanwhile"))
    }

    /// Lets go what retention no longer keeps, as far as a checkpoint has what views read of it; of the partitions `at_once`, whether one
    /// has it or not. Gives the partitions of which nothing could go.
    pub(super) async fn enforce_retention(&self, at_once: &BTreeSet<Place>) -> Result<BTreeSet<Place>> {
        let due = self.log.due_by_retention(self.clock.now_ms());
        let (unsaved, going): (Vec<Going>, Vec<Going>) = due.into_iter().partition(|g| at_once.contains(&place(g)));
        if !unsaved.is_empty() {
            tracing::warn!(
                partitions = unsaved.len(),
                "retention takes records that views have read and no checkpoint covers: after a crash now views may lack them"
            );
            let forgotten = self.engine.let_go(unsaved.clone(), Which::Unsaved, self.forgetting());
            match tokio::time::timeout(ENGINE_PATIENCE, forgotten).await {
                Ok(Ok(_)) => {}
                _ => self.log.forget(&unsaved).await?,
            }
        }
        if going.is_empty() {
            return Ok(BTreeSet::new());
        }
        let all = going.iter().map(place).collect();
        match self.engine.let_go(going, Which::Saved, self.forgetting()).await {
            Ok(stays) => Ok(stays.iter().map(place).collect()),
            Err(e) if e.kind == ErrorKind::Retry => Ok(all),
            Err(e) => Err(e),
        }
    }

    /// What takes records from the log.
    fn forgetting(&self) -> impl FnOnce(&[Going]) -> Result<()> + Send + use<> {
        let log = self.log.clone();
        move |these| block_on(log.forget(these))
    }

    /// The partitions of which retention no longer keeps all.
    fn due(&self) -> BTreeSet<Place> {
        self.log.due_by_retention(self.clock.now_ms()).iter().map(place).collect()
    }
}

/// The partitions of which retention could take nothing, and since when.
#[derive(Default)]
struct Refused(BTreeMap<Place, Instant>);

impl Refused {
    /// Those that have waited long enough.
    fn at_once(&self, now: Instant) -> BTreeSet<Place> {
        let is_over = |since: &Instant| now.saturating_duration_since(*since) > PATIENCE;
        self.0.iter().filter(|(_, since)| is_over(since)).map(|(place, _)| *place).collect()
    }

    /// Of these nothing could go, this time; of all others something.
    fn note(&mut self, places: BTreeSet<Place>, now: Instant) {
        self.0 = places.into_iter().map(|place| (place, self.0.get(&place).copied().unwrap_or(now))).collect();
    }
}

/// Enforces retention again and again, as long as the platform is there.
pub(super) async fn keep(platform: Weak<Platform>, every: Duration) {
    let mut refused = Refused::default();
    loop {
        tokio::time::sleep(if refused.0.is_empty() { every } else { every.min(AGAIN) }).await;
        let Some(platform) = platform.upgrade() else { return };
        let now = Instant::now();
        let stays = tokio::time::timeout(PATIENCE, platform.enforce_retention(&refused.at_once(now))).await;
        // If the engine does not answer, nothing could go.
        match stays.unwrap_or_else(|_| Ok(platform.due())) {
            Ok(places) => refused.note(places, now),
            Err(e) => tracing::error!(error = %e, "retention"),
        }
    }
}
