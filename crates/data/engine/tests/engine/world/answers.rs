//! What views show, and what they have to.

use std::collections::BTreeMap;

use datafusion::prelude::SessionContext;
use fleuve_engine::Published;
use fleuve_types::{Delta, Epoch};

use super::{DELAY_S, Row, World, id};
use crate::memory::add;

fn contents(published: &Published, name: &str) -> BTreeMap<String, i64> {
    let mut rows = BTreeMap::new();
    for batch in published.views[&id(name)].batches().unwrap() {
        add(&mut rows, &Delta::insert(batch));
    }
    rows
}

async fn answer_of(session: &SessionContext, sql: &str) -> BTreeMap<String, i64> {
    let mut rows = BTreeMap::new();
    for batch in session.sql(sql).await.unwrap().collect().await.unwrap() {
        add(&mut rows, &Delta::insert(batch));
    }
    rows
}

impl World {
    pub fn view(&self, name: &str) -> BTreeMap<String, i64> {
        contents(&self.engine().published(), name)
    }

    /// The rows of a view at some epoch.
    pub fn rows_of(published: &Published, name: &str) -> BTreeMap<String, i64> {
        contents(published, name)
    }

    /// The newest epoch, its time, and what a view shows in it.
    pub fn shown(&self, name: &str) -> (Epoch, i64, BTreeMap<String, i64>) {
        let published = self.engine().published();
        (published.epoch, published.time_us, contents(&published, name))
    }

    /// The batch answer of a view.
    pub async fn batch(&self, name: &str) -> BTreeMap<String, i64> {
        answer_of(&self.session(true).await, &format!("SELECT * FROM {name}")).await
    }

    /// What the rows come to if it is `now_us`.
    pub async fn batch_at(&self, name: &str, now_us: i64) -> BTreeMap<String, i64> {
        let streams = self.streams.iter().map(|s| s.kept()).collect();
        let session = self.session_over(streams, Some(now_us)).await;
        answer_of(&session, &format!("SELECT * FROM {name}")).await
    }

    /// What a view that emits on window close has to show: the batch answer over the rows that were not late in their
    /// partition, restricted to rows whose `column` is behind the watermarks of the streams `of` by `length_s`. Holds as long as no
    /// partition was passed over.
    pub async fn closed(&self, name: &str, column: &str, length_s: i64, of: &[usize]) -> BTreeMap<String, i64> {
        let mut streams = vec![];
        let mut watermarks = vec![];
        for stream in &self.streams {
            let mut highs = vec![];
            let mut on_time = vec![];
            for rows in stream.rows.lock().iter() {
                let mut high = i64::MIN;
                let keep = |row: &&Row| {
                    let kept = row.2 >= high;
                    high = high.max(row.2 - DELAY_S);
                    kept
                };
                on_time.push(rows.iter().filter(keep).copied().collect::<Vec<_>>());
                highs.push(high);
            }
            watermarks.push(highs.into_iter().min().unwrap());
            streams.push(on_time);
        }
        let watermark = of.iter().map(|n| watermarks[*n]).min().unwrap();
        if watermark == i64::MIN {
            return BTreeMap::new();
        }
        let sql = format!(
            "SELECT * FROM {name} WHERE {column} + INTERVAL '{length_s} seconds' <= to_timestamp_seconds({watermark})"
        );
        answer_of(&self.session_over(streams, None).await, &sql).await
    }

    /// All views run and equal the batch answer.
    pub async fn check(&self, what: &str) {
        self.wait().await;
        for name in self.names() {
            self.runs(name).await;
            assert_eq!(self.view(name), self.batch(name).await, "{what}: {name}");
        }
    }
}
