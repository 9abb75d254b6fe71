use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fleuve_log::Log;
use fleuve_log::batch::Batches;
use fleuve_types::ObjectId;

use crate::model::{Row, Sent, Told};
use crate::world::World;
use crate::{Failure, Sim};

/// Bytes that are read at once: little, so that reads begin and end anywhere.
const READ_BYTES: usize = 3000;

/// All records of a partition: its first offset, and the values.
fn read(log: &Log, name: &str, id: ObjectId, partition: i32) -> Sim<(i64, Vec<Bytes>)> {
    let place = format!("{name}/{partition}");
    let failed = |e: &dyn std::fmt::Display| Failure(format!("{place} cannot be read: {e}"));
    let (start, end) = log.offsets(id, partition).ok_or_else(|| Failure(format!("{place} is gone")))?;
    let (mut next, mut values) = (start, vec![]);
    while next < end {
        let slice = log.read(id, partition, next, READ_BYTES).map_err(|e| failed(&e))?;
        if slice.batches.is_empty() {
            return Err(Failure(format!("{place} has nothing at offset {next}, and ends at {end}")));
        }
        for batch in slice.batches.into_iter().flat_map(Batches::new) {
            let batch = batch.map_err(|e| failed(&e))?;
            batch.verify().map_err(|e| failed(&e))?;
            for record in batch.records().map_err(|e| failed(&e))? {
                let record = record.map_err(|e| failed(&e))?;
                if record.offset < next {
                    continue;
                }
                if record.offset != next {
                    return Err(Failure(format!("{place} goes from offset {next} to {}", record.offset)));
                }
                values.push(record.value.unwrap_or_default());
                next += 1;
            }
        }
    }
    Ok((start, values))
}

/// The row that a record is, by its id.
fn id_of(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    match text.strip_prefix("bad ") {
        Some(id) => id.parse().ok(),
        None => serde_json::from_str::<serde_json::Value>(text).ok()?.get("id")?.as_u64(),
    }
}

/// Whether a record says what a row says.
fn says(value: &[u8], row: &Row) -> bool {
    if row.is_bad {
        return value == row.to_json().as_bytes();
    }
    let Ok(found) = serde_json::from_slice::<serde_json::Value>(value) else { return false };
    let number = |name: &str| found.get(name).and_then(serde_json::Value::as_i64);
    number("k") == row.k && number("v") == row.v && found.get("s").and_then(|s| s.as_str()) == row.s
}

impl World {
    /// What was acknowledged is there once, where it was said to be and in its order; what was not sent is not there; what was seen
    /// once stays; what was sent together is there together.
    pub(super) fn check_records(&mut self) -> Sim<()> {
        let log = self.life()?.server.log().clone();
        let mut found: BTreeMap<u64, (usize, i32, i64)> = BTreeMap::new();
        for (n, stream) in self.model.streams.iter_mut().enumerate() {
            let Some(id) = stream.id else { continue };
            for (p, partition) in stream.partitions.iter_mut().enumerate() {
                let place = format!("{}/{p}", stream.name);
                let (start, values) = read(&log, stream.name, id, p as i32)?;
                let end = start + values.len() as i64;
                if start < partition.start || end < partition.end {
                    let (had_start, had_end) = (partition.start, partition.end);
                    return Err(Failure(format!("{place} was {had_start}..{had_end} and is {start}..{end}")));
                }
                if start > partition.may_start && !stream.has_retention {
                    let may = partition.may_start;
                    return Err(Failure(format!("{place} begins at {start}, and at most {may} was asked for")));
                }
                (partition.start, partition.end) = (start, end);
                for (offset, value) in (start..).zip(&values) {
                    let id =
                        id_of(value).ok_or_else(|| Failure(format!("{place} has at {offset} what nobody sent")))?;
                    if let Some((m, q, other)) = found.insert(id, (n, p as i32, offset)) {
                        return Err(Failure(format!("row {id} is at {place}@{offset} and at {m}/{q}@{other}")));
                    }
                    let sent = self.model.sent.get(&id).filter(|s| says(value, &s.row) && s.stream == n);
                    let sent =
                        sent.ok_or_else(|| Failure(format!("{place} has at {offset} what nobody sent there")))?;
                    if sent.partition.is_some_and(|wanted| wanted != p as i32) {
                        return Err(Failure(format!("row {id} is in {place}, and was sent elsewhere")));
                    }
                    let seen = *partition.seen.entry(offset).or_insert(id);
                    if seen != id {
                        return Err(Failure(format!("{place} has row {id} at {offset}, where row {seen} was seen")));
                    }
                }
            }
        }
        for sent in self.model.sent.values() {
            self.check_sent(sent, &found)?;
        }
        self.check_together(&found)?;
        self.check_order(&found)?;
        let digest = found.iter().fold(0, |d, f| crate::trace::mix(d, format!("{f:?}").as_bytes()));
        self.trace.mix(&digest.to_be_bytes());
        Ok(())
    }

    fn check_sent(&self, sent: &Sent, found: &BTreeMap<u64, (usize, i32, i64)>) -> Sim<()> {
        let stream = &self.model.streams[sent.stream];
        let (id, name) = (sent.row.id, stream.name);
        match (sent.told, found.get(&id)) {
            (Told::Out, Some((_, p, offset))) => {
                Err(Failure(format!("row {id} was refused, and is in {name}/{p} at {offset}")))
            }
            (Told::In(Some(said)), Some((_, p, offset))) if said != *offset => {
                Err(Failure(format!("row {id} was acknowledged at {name}/{p}@{said}, and is at {offset}")))
            }
            (Told::In(Some(said)), None) => {
                let start = sent.partition.map_or(0, |p| stream.partitions[p as usize].start);
                if said < start {
                    return Ok(());
                }
                Err(Failure(format!("row {id} was acknowledged at {name}/{:?}@{said}, and is gone", sent.partition)))
            }
            (Told::In(None), None) => Err(Failure(format!("row {id} was acknowledged in {name}, and is gone"))),
            _ => Ok(()),
        }
    }

    fn check_together(&self, found: &BTreeMap<u64, (usize, i32, i64)>) -> Sim<()> {
        let mut together: BTreeMap<u64, BTreeSet<bool>> = BTreeMap::new();
        for sent in self.model.sent.values() {
            let stream = &self.model.streams[sent.stream];
            if !stream.has_retention && stream.partitions.iter().all(|p| p.start == 0) {
                together.entry(sent.together).or_default().insert(found.contains_key(&sent.row.id));
            }
        }
        match together.iter().find(|(_, there)| there.len() > 1) {
            Some((number, _)) => Err(Failure(format!("of the append {number} some is there and some is not"))),
            None => Ok(()),
        }
    }

    fn check_order(&self, found: &BTreeMap<u64, (usize, i32, i64)>) -> Sim<()> {
        let mut last: BTreeMap<(usize, usize, i32), (u64, i64)> = BTreeMap::new();
        for (id, (stream, partition, offset)) in found {
            let Some(producer) = self.model.sent.get(id).and_then(|s| s.producer) else { continue };
            if let Some((before, at)) = last.insert((producer, *stream, *partition), (*id, *offset))
                && at >= *offset
            {
                return Err(Failure(format!(
                    "producer {producer} sent row {before} before {id}; they are at {at}, {offset}"
                )));
            }
        }
        Ok(())
    }
}
