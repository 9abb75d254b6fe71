//! The streams of a run, and the one view with a fixed query.

use crate::model::{Partition, Stream};
use crate::world::World;
use crate::{Failure, Sim};

/// The stream with a watermark.
pub(crate) const CLOSING_STREAM: &str = "e0";
/// The view over it that emits on window close.
pub(crate) const CLOSING_VIEW: &str = "closing";
/// How far its watermark stays behind, in seconds.
pub(crate) const CLOSING_DELAY_S: i64 = 5;
/// The length of its windows, in seconds.
pub(crate) const CLOSING_WIDTH_S: i64 = 10;
/// How often something that must come to be is tried while the power goes.
const ATTEMPTS: usize = 20;

const COLUMNS: &str = "id BIGINT, k INT, v BIGINT, s TEXT, ts TIMESTAMP";

impl World {
    /// Makes the streams, through whatever happens meanwhile.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(crate) async fn set_up(&mut self) -> Sim<()> {
        let of = |n: usize, more: &str| format!("WITH (partitions = {n}{more})");
        let (a, b) = (1 + self.random.below(3), 1 + self.random.below(2));
        let watermark = format!("{COLUMNS}, WATERMARK FOR ts AS ts - INTERVAL '{CLOSING_DELAY_S} seconds'");
        let kept = 1500 + self.random.below(3000);
        let streams = [
            ("s0", a, format!("CREATE STREAM s0 ({COLUMNS}) {}", of(a, "")), false),
            ("s1", b, format!("CREATE STREAM s1 ({COLUMNS}) {}", of(b, "")), false),
            ("r0", 2, format!("CREATE STREAM r0 ({COLUMNS}) {}", of(2, &format!(", retention_bytes = {kept}"))), true),
            (CLOSING_STREAM, 1, format!("CREATE STREAM e0 ({watermark}) {}", of(1, ", late = 'dead_letter'")), false),
        ];
        for (name, partitions, sql, has_retention) in streams {
            let partitions = vec![Partition::default(); partitions];
            self.model.streams.push(Stream { name, id: None, partitions, has_retention });
            self.insist(name, &sql).await?;
        }
        if self.random.chance(60) {
            let sql = format!(
                "CREATE MATERIALIZED VIEW {CLOSING_VIEW} AS SELECT window_start, k, count(*) AS n, sum(v) AS total \
                 FROM TUMBLE({CLOSING_STREAM}, ts, INTERVAL '{CLOSING_WIDTH_S} seconds') GROUP BY window_start, k EMIT ON WINDOW CLOSE"
            );
            self.insist(CLOSING_VIEW, &sql).await?;
        }
        Ok(())
    }

    async fn insist(&mut self, name: &str, sql: &str) -> Sim<()> {
        for _ in 0..ATTEMPTS {
            let made = self.declare(sql).await?;
            self.after().await?;
            let set = self.life()?.server.objects();
            if let Some(bound) = set.get("public", name) {
                if let Some(stream) = self.model.streams.iter_mut().find(|s| s.name == name) {
                    stream.id = Some(bound.object.id);
                }
                return Ok(());
            }
            if made.is_ok() {
                return Err(Failure(format!("{name} was made, and is not there")));
            }
        }
        Err(Failure(format!("{name} cannot be made")))
    }
}
