use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use fleuve_engine::ViewState;
use fleuve_sql::Outcome;
use fleuve_types::{Error, ErrorKind};
use futures::TryStreamExt;

use crate::model::{EPOCH_S, Told};
use crate::objects::{Certain, Index};
use crate::setup::{CLOSING_DELAY_S, CLOSING_STREAM, CLOSING_VIEW, CLOSING_WIDTH_S};
use crate::world::{World, within};
use crate::{Failure, Sim};

/// Rows as text, in their order.
fn texts(batches: &[RecordBatch]) -> Sim<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut out = vec![];
    for batch in batches {
        let columns: Result<Vec<_>, _> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options)).collect();
        let columns = columns.map_err(|e| Failure(e.to_string()))?;
        for row in 0..batch.num_rows() {
            out.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    out.sort();
    Ok(out)
}

/// The first rows that only one side has.
fn difference(view: &[String], batch: &[String]) -> String {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    view.iter().for_each(|r| *counts.entry(r).or_default() += 1);
    batch.iter().for_each(|r| *counts.entry(r).or_default() -= 1);
    let only = counts.iter().filter(|(_, n)| **n != 0).take(6);
    only.map(|(row, n)| format!("    {n:+} {row}\n")).collect()
}

impl World {
    /// The answer of a query.
    ///
    /// # Errors
    /// When it hangs.
    pub(crate) async fn ask(&self, sql: &str) -> Sim<Result<Vec<String>, Error>> {
        let session = &self.life()?.session;
        let answer = within(sql, async {
            let mut batches: Vec<RecordBatch> = vec![];
            for outcome in session.execute(sql).await? {
                if let Outcome::Rows { rows, .. } = outcome {
                    batches.extend(rows.try_collect::<Vec<_>>().await?);
                }
            }
            Ok::<_, Error>(batches)
        });
        match answer.await? {
            Ok(batches) => Ok(Ok(texts(&batches)?)),
            Err(e) => Ok(Err(e)),
        }
    }

    async fn must_ask(&self, sql: &str) -> Sim<Vec<String>> {
        self.ask(sql).await?.map_err(|e| Failure(format!("{sql}: {e}")))
    }

    /// The rows that a view shows.
    pub(crate) fn shown(&self, name: &str) -> Sim<Vec<String>> {
        let life = self.life()?;
        let bound = life.server.objects().get("public", name).cloned();
        let bound = bound.ok_or_else(|| Failure(format!("view {name} is gone")))?;
        let published = life.server.engine().published();
        let view = published.views.get(&bound.object.id).ok_or_else(|| Failure(format!("view {name} is not shown")))?;
        texts(&view.batches().map_err(|e| Failure(format!("view {name}: {e}")))?)
    }

    fn state(&self, name: &str) -> Sim<Option<ViewState>> {
        let life = self.life()?;
        let id = life.server.objects().get("public", name).map(|b| b.object.id);
        Ok(id.and_then(|id| Some(life.server.engine().published().status.get(&id)?.state.clone())))
    }

    /// Views and indexes that stopped because the disk failed run again when they are told to: each after what it reads.
    pub(super) async fn resume_views(&mut self) -> Sim<()> {
        let views: Vec<&str> = self.objects.views.iter().map(|v| v.name.as_str()).collect();
        let is_of_view = |i: &&Index| views.contains(&i.on.as_str());
        let mut all: Vec<(&str, String)> = vec![];
        for index in self.objects.indexes.iter().filter(|i| !is_of_view(i)) {
            all.push(("INDEX", index.name.clone()));
        }
        for view in &views {
            all.push(("MATERIALIZED VIEW", view.to_string()));
            let of_it = self.objects.indexes.iter().filter(|i| i.on == *view);
            all.extend(of_it.map(|i| ("INDEX", i.name.clone())));
        }
        all.push(("MATERIALIZED VIEW", CLOSING_VIEW.to_string()));
        for (kind, name) in &all {
            let Some(state) = self.state(name)? else { continue };
            if let ViewState::Failed(reason) = state {
                self.trace.say(format!("  {name} has stopped"));
                self.trace.aside(&reason);
                let resume = format!("ALTER {kind} {name} RESUME");
                let mut armed = self.disk.armed();
                let mut resumed = self.ask(&resume).await?;
                // It writes, and what was going to fail may be that. Then it works when it is said once more.
                while resumed.is_err() && self.disk.armed() < armed && !self.disk.is_off() {
                    self.trace.say(format!("  {name} does not resume, as the disk fails"));
                    armed = self.disk.armed();
                    self.rest().await?;
                    resumed = self.ask(&resume).await?;
                }
                resumed.map_err(|e| Failure(format!("{name} stopped ({reason}) and does not resume: {e}")))?;
                self.rest().await?;
            }
        }
        Ok(())
    }

    /// Every index runs, and every view shows what its query gives when it is asked now.
    pub(super) async fn check_views(&mut self) -> Sim<()> {
        for index in &self.objects.indexes {
            match self.state(&index.name)? {
                Some(ViewState::Running) => {}
                state => return Err(Failure(format!("index {} does not run: {state:?}", index.name))),
            }
        }
        for view in self.objects.views.clone() {
            match self.state(&view.name)? {
                Some(ViewState::Running) => {}
                state => return Err(Failure(format!("view {} does not run: {state:?}", view.name))),
            }
            let (shown, batch) = (self.shown(&view.name)?, self.must_ask(&view.query.sql).await?);
            if shown != batch {
                return Err(Failure(format!(
                    "view {} is not what its query gives (+ only the view, - only the query):\n{}    {}",
                    view.name,
                    difference(&shown, &batch),
                    view.query.sql
                )));
            }
            shown.iter().for_each(|row| self.trace.mix(row.as_bytes()));
        }
        Ok(())
    }

    /// The view that emits on window close shows the windows behind the watermark, without late rows; those are dead letters.
    pub(super) async fn check_closing(&mut self) -> Sim<()> {
        let Some((windows, late)) = self.closed() else { return Ok(()) };
        let sql = format!("SELECT \"offset\" FROM {CLOSING_STREAM}__dead WHERE reason LIKE 'late:%'");
        let told = self.must_ask(&sql).await?;
        if told != late {
            let difference = difference(&told, &late);
            return Err(Failure(format!("late rows of {CLOSING_STREAM} (- is missing, + is too much):\n{difference}")));
        }
        if self.state(CLOSING_VIEW)?.is_none() {
            return Ok(());
        }
        let sql =
            format!("SELECT CAST(date_part('epoch', window_start) AS BIGINT) AS w, k, n, total FROM {CLOSING_VIEW}");
        let shown = self.must_ask(&sql).await?;
        if shown != windows {
            let difference = difference(&shown, &windows);
            return Err(Failure(format!(
                "{CLOSING_VIEW} does not show the closed windows (- is missing):\n{difference}"
            )));
        }
        shown.iter().for_each(|row| self.trace.mix(row.as_bytes()));
        Ok(())
    }

    /// The closed windows as [`CLOSING_VIEW`] has to show them, and the offsets of late rows: both follow from the order in the one
    /// partition of its stream.
    fn closed(&self) -> Option<(Vec<String>, Vec<String>)> {
        let (n, stream) = self.model.streams.iter().enumerate().find(|(_, s)| s.name == CLOSING_STREAM)?;
        let mut high: Option<i64> = None;
        let mut late = vec![];
        let mut windows: BTreeMap<(i64, Option<i64>), (i64, Option<i64>)> = BTreeMap::new();
        for (offset, id) in &stream.partitions[0].seen {
            let Some(sent) = self.model.sent.get(id).filter(|s| s.stream == n && !s.row.is_bad) else { continue };
            let Some(ts) = sent.row.ts else { continue };
            if high.is_some_and(|high| ts < high) {
                late.push(offset.to_string());
                continue;
            }
            let window = windows.entry((ts.div_euclid(CLOSING_WIDTH_S) * CLOSING_WIDTH_S, sent.row.k)).or_default();
            window.0 += 1;
            window.1 = match (window.1, sent.row.v) {
                (Some(sum), Some(v)) => Some(sum + v),
                (sum, v) => sum.or(v),
            };
            high = high.max(Some(ts - CLOSING_DELAY_S));
        }
        windows.retain(|(start, _), _| high.is_some_and(|high| start + CLOSING_WIDTH_S <= high));
        let text = |n: Option<i64>| n.map_or("NULL".into(), |n| n.to_string());
        let lines =
            windows.iter().map(|((start, k), (n, sum))| format!("{}|{}|{n}|{}", EPOCH_S + start, text(*k), text(*sum)));
        let mut shown: Vec<String> = lines.collect();
        shown.sort();
        late.sort();
        Some((shown, late))
    }

    /// The changes in a sink's stream add up to what its view shows.
    pub(super) async fn check_sinks(&mut self) -> Sim<()> {
        for sink in self.objects.sinks.clone() {
            let Some(view) = self.objects.views.iter().find(|v| v.name == sink.view && v.certain == Certain::There)
            else {
                continue;
            };
            let name = view.name.clone();
            let life = self.life()?;
            let bound = life.server.objects().get("public", &name).cloned();
            let published = life.server.engine().published();
            let Some(snapshot) = bound.and_then(|b| published.views.get(&b.object.id).cloned()) else { continue };
            let columns: Vec<String> = snapshot.schema().fields().iter().map(|f| f.name().clone()).collect();
            let columns = columns.join(", ");
            let sql = format!(
                "SELECT {columns}, sum(weight) AS total_weight FROM {} GROUP BY {columns} HAVING sum(weight) <> 0",
                sink.into
            );
            let mut summed = vec![];
            for row in self.must_ask(&sql).await? {
                let (row, weight) = row.rsplit_once('|').unwrap_or_default();
                match weight.parse::<usize>() {
                    Ok(weight) => summed.extend(std::iter::repeat_n(row.to_string(), weight)),
                    Err(_) => return Err(Failure(format!("sink {} took out {row} {weight} times", sink.name))),
                }
            }
            summed.sort();
            let shown = self.shown(&name)?;
            if summed != shown {
                return Err(Failure(format!(
                    "sink {} of view {name} does not add up (+ only the sink, - only the view):\n{}",
                    sink.name,
                    difference(&summed, &shown)
                )));
            }
        }
        Ok(())
    }

    /// Records that are no rows are dead letters, each once.
    pub(super) async fn check_dead_letters(&mut self) -> Sim<()> {
        for (n, stream) in self.model.streams.clone().into_iter().enumerate() {
            if stream.id.is_none() || stream.has_retention {
                continue;
            }
            let mut bad = vec![];
            for (p, partition) in stream.partitions.iter().enumerate() {
                let is_bad = |id: &&u64| self.model.sent.get(id).is_some_and(|s| s.stream == n && s.row.is_bad);
                let offsets = partition.seen.iter().filter(|(_, id)| is_bad(id)).map(|(offset, _)| *offset);
                bad.extend(offsets.map(|offset| format!("{p}|{offset}")));
            }
            bad.sort();
            let sql = format!("SELECT partition, \"offset\" FROM {}__dead WHERE reason NOT LIKE 'late:%'", stream.name);
            let told = self.must_ask(&sql).await?;
            if told != bad {
                let difference = difference(&told, &bad);
                return Err(Failure(format!(
                    "dead letters of {} (- is missing, + is too much):\n{difference}",
                    stream.name
                )));
            }
        }
        Ok(())
    }

    /// What a call's error says about what was sent.
    pub(crate) fn told_by(error: &Error) -> Told {
        match error.kind {
            ErrorKind::Input | ErrorKind::NotFound | ErrorKind::Limit | ErrorKind::Unsupported => Told::Out,
            _ => Told::Nothing,
        }
    }
}
