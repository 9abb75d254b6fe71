use bytes::Bytes;
use fleuve_log::batch::{BatchBuilder, NewRecord, ProducerSequence};
use fleuve_log::groups::{CommittedOffset, offset_key};
use fleuve_log::{AppendError, Appended};
use fleuve_types::{Clock, Error, ErrorKind, ObjectId};

use crate::model::{Producer, Row, Told};
use crate::world::{World, outcome, within};
use crate::{Failure, Sim};

fn batch(rows: &[Row], timestamp_ms: i64, producer: Option<ProducerSequence>) -> Sim<Bytes> {
    let mut builder = BatchBuilder::new();
    if let Some(producer) = producer {
        builder = builder.producer(producer);
    }
    for row in rows {
        let value = row.to_json();
        let record = NewRecord { timestamp_ms, key: None, value: Some(value.as_bytes()), headers: &[] };
        builder.push(&record).map_err(|e| Failure(e.to_string()))?;
    }
    builder.build().map_err(|e| Failure(e.to_string()))
}

/// An answer, as the client takes it.
fn told(result: &Result<Appended, AppendError>) -> (Told, Option<Error>) {
    match result {
        Ok(appended) => (Told::In(Some(appended.base_offset)), None),
        Err(e) => {
            let error = Error::from(e.clone());
            (World::told_by(&error), Some(error))
        }
    }
}

fn shown(result: &Result<Appended, AppendError>) -> String {
    match result {
        Ok(a) => format!("{}..={}{}", a.base_offset, a.last_offset, if a.duplicate { " (was there)" } else { "" }),
        Err(e) => format!("{:?}", Error::from(e.clone()).kind),
    }
}

impl World {
    fn rows(&mut self, most: usize) -> Vec<Row> {
        let count = 1 + self.random.below(most);
        (0..count).map(|_| self.model.row(&mut self.random)).collect()
    }

    /// A stream and one of its partitions.
    fn place(&mut self) -> Sim<(usize, ObjectId, i32)> {
        let n = self.random.below(self.model.streams.len());
        let stream = &self.model.streams[n];
        let id = stream.id.ok_or_else(|| Failure(format!("{} was not made", stream.name)))?;
        let partition = self.random.below(stream.partitions.len()) as i32;
        Ok((n, id, partition))
    }

    /// One batch, mostly from an idempotent producer, which sends again what was not answered.
    pub(super) async fn produce(&mut self) -> Sim<()> {
        let (n, id, partition) = self.place()?;
        let name = self.model.streams[n].name;
        let timestamp_ms = self.clock.now_ms();
        if self.random.chance(30) {
            let (rows, together) = (self.rows(4), self.model.together());
            self.model.send(&rows, n, Some(partition), None, together);
            let bytes = batch(&rows, timestamp_ms, None)?;
            let durable = self.random.chance(80);
            let log = self.life()?.server.log().clone();
            let result = within("an append", log.append(id, partition, bytes, durable)).await?;
            let (told, error) = told(&result);
            // What was not waited for may be lost; its offset is none until it is seen.
            self.model.told(&rows, if durable { told } else { Told::Nothing });
            let how = if durable { "" } else { ", not waited for" };
            self.trace.say(format!("append {} to {name}/{partition}{how}: {}", rows.len(), shown(&result)));
            return self.excuse(error.as_ref());
        }
        let Some(number) = self.producer().await? else { return Ok(()) };
        let again = self.model.producers[number].again.get(&(n, partition)).cloned();
        let sequence = |p: &Producer| p.next.get(&(n, partition)).copied().unwrap_or(0);
        let (base_sequence, rows) = match &again {
            Some((base, ids)) => (*base, ids.iter().map(|id| self.model.sent[id].row.clone()).collect()),
            None => {
                let rows = self.rows(4);
                let together = self.model.together();
                self.model.send(&rows, n, Some(partition), Some(number), together);
                (sequence(&self.model.producers[number]), rows)
            }
        };
        let producer = &mut self.model.producers[number];
        let bytes =
            batch(&rows, timestamp_ms, Some(ProducerSequence { producer_id: producer.id, epoch: 0, base_sequence }))?;
        producer.again.insert((n, partition), (base_sequence, rows.iter().map(|r| r.id).collect()));
        let log = self.life()?.server.log().clone();
        let result = within("an append", log.append(id, partition, bytes, true)).await?;
        let (told, error) = told(&result);
        self.trace.say(format!(
            "producer {number} sends {}{} to {name}/{partition}: {}",
            rows.len(),
            if again.is_some() { " again" } else { "" },
            shown(&result)
        ));
        match told {
            Told::Out => {
                let error = error.map(|e| e.to_string()).unwrap_or_default();
                return Err(Failure(format!("producer {number} is refused: {error}")));
            }
            Told::In(_) => {
                self.model.told(&rows, told);
                let producer = &mut self.model.producers[number];
                producer.again.remove(&(n, partition));
                producer.next.insert((n, partition), base_sequence + rows.len() as i32);
            }
            Told::Nothing => {}
        }
        self.excuse(error.as_ref())
    }

    /// One of few idempotent producers; a new one gets an id from the server.
    async fn producer(&mut self) -> Sim<Option<usize>> {
        let known = self.model.producers.len();
        if known > 0 && (known > 3 || self.random.chance(80)) {
            return Ok(Some(self.random.below(known)));
        }
        let log = self.life()?.server.log().clone();
        let id = within("a producer id", log.next_producer_id()).await?.map_err(Error::from);
        self.trace.say(format!("a new producer: {}", outcome(&id)));
        self.excuse(id.as_ref().err())?;
        let Ok(id) = id else { return Ok(None) };
        if !self.model.producer_ids.insert(id) {
            return Err(Failure(format!("producer id {id} was given out twice")));
        }
        self.model.producers.push(Producer { id, next: Default::default(), again: Default::default() });
        Ok(Some(known))
    }

    /// Appends that are under way together, as those of many clients are.
    pub(super) async fn produce_side_by_side(&mut self) -> Sim<()> {
        let timestamp_ms = self.clock.now_ms();
        let log = self.life()?.server.log().clone();
        let mut sent = vec![];
        for _ in 0..2 + self.random.below(4) {
            let ((n, id, partition), rows) = (self.place()?, self.rows(3));
            let together = self.model.together();
            self.model.send(&rows, n, Some(partition), None, together);
            sent.push((id, partition, batch(&rows, timestamp_ms, None)?, rows));
        }
        let appends = sent.iter().map(|(id, partition, bytes, _)| log.append(*id, *partition, bytes.clone(), true));
        let results = within("appends", futures::future::join_all(appends)).await?;
        let mut words = vec![];
        for ((_, _, _, rows), result) in sent.iter().zip(&results) {
            let (told, error) = told(result);
            self.model.told(rows, told);
            words.push(shown(result));
            self.excuse(error.as_ref())?;
        }
        self.trace.say(format!("{} appends side by side: {}", sent.len(), words.join(", ")));
        Ok(())
    }

    /// Batches for several partitions and a mark, all or nothing.
    pub(super) async fn append_atomically(&mut self) -> Sim<()> {
        let timestamp_ms = self.clock.now_ms();
        let together = self.model.together();
        let (mut parts, mut sent) = (vec![], vec![]);
        for _ in 0..1 + self.random.below(4) {
            let ((n, id, partition), rows) = (self.place()?, self.rows(3));
            self.model.send(&rows, n, Some(partition), None, together);
            parts.push((id, partition, batch(&rows, timestamp_ms, None)?));
            sent.push(rows);
        }
        let log = self.life()?.server.log().clone();
        let mark = ("sim".to_string(), Some(Bytes::copy_from_slice(&together.to_be_bytes())));
        let result = within("an append", log.append_atomic(parts, vec![mark])).await?;
        match &result {
            Ok(appended) => {
                for (rows, appended) in sent.iter().zip(appended) {
                    self.model.told(rows, Told::In(Some(appended.base_offset)));
                }
            }
            Err(e) => {
                let told = World::told_by(&Error::from(e.clone()));
                sent.iter().for_each(|rows| self.model.told(rows, told));
            }
        }
        let result = result.map_err(Error::from);
        self.trace.say(format!("append to {} partitions at once: {}", sent.len(), outcome(&result)));
        self.excuse(result.as_ref().err())
    }

    /// `INSERT`, which waits until the engine has seen the rows.
    pub(super) async fn insert(&mut self) -> Sim<()> {
        let (n, rows) = (self.random.below(2), self.rows(5));
        let rows: Vec<Row> = rows.into_iter().map(|r| Row { is_bad: false, ..r }).collect();
        let together = self.model.together();
        self.model.send(&rows, n, None, None, together);
        let values: Vec<String> = rows.iter().map(Row::to_values).collect();
        let name = self.model.streams[n].name;
        let sql = format!("INSERT INTO {name} VALUES {}", values.join(", "));
        let done = match self.carry(self.life()?.session.execute(&sql)).await? {
            None => {
                self.trace.say(format!("insert {} into {name}: no answer", rows.len()));
                return Ok(());
            }
            Some(done) => done.map(|_| ()),
        };
        self.trace.say(format!("insert {} into {name}: {}", rows.len(), outcome(&done)));
        match &done {
            Ok(()) => self.model.told(&rows, Told::In(None)),
            Err(e) => self.model.told(&rows, World::told_by(e)),
        }
        self.excuse(done.as_ref().err())
    }

    /// A consumer group commits an offset.
    pub(super) async fn commit_group(&mut self) -> Sim<()> {
        let (n, id, partition) = self.place()?;
        let group = format!("g{}", self.random.below(2));
        let offset = self.random.below(50) as i64;
        let commit =
            CommittedOffset { offset, leader_epoch: -1, commit_ms: self.clock.now_ms(), metadata: String::new() };
        let key = offset_key(&group, id, partition);
        let possible = self.model.groups.entry(key.clone()).or_insert_with(|| vec![None]);
        possible.push(Some(offset));
        let log = self.life()?.server.log().clone();
        let done = within("a commit", log.append_atomic(vec![], vec![(key.clone(), Some(commit.encode()))])).await?;
        let done = done.map_err(Error::from);
        if done.is_ok() {
            self.model.groups.insert(key, vec![Some(offset)]);
        }
        let name = self.model.streams[n].name;
        self.trace.say(format!("{group} commits {offset} of {name}/{partition}: {}", outcome(&done)));
        self.excuse(done.as_ref().err())
    }

    /// Records go: by retention, or because somebody wants it.
    pub(super) async fn forget_records(&mut self) -> Sim<()> {
        let log = self.life()?.server.log().clone();
        if self.random.chance(50) {
            let done = within("retention", self.life()?.server.enforce_retention()).await?;
            self.trace.say(format!("retention: {}", outcome(&done)));
            return self.excuse(done.as_ref().err());
        }
        let Some(n) = self.model.streams.iter().position(|s| s.has_retention) else { return Ok(()) };
        let partition = self.random.below(self.model.streams[n].partitions.len());
        let Some(id) = self.model.streams[n].id else { return Ok(()) };
        let Some((start, end)) = log.offsets(id, partition as i32) else { return Ok(()) };
        let before = start + self.random.below((end - start + 1) as usize) as i64;
        let done = within("a deletion", self.life()?.server.delete_records(id, partition as i32, before)).await?;
        if let Ok(start) = &done {
            self.model.streams[n].partitions[partition].start = *start;
        }
        self.trace.say(format!("records of r0/{partition} before {before} go: {}", outcome(&done)));
        if done.as_ref().is_err_and(|e| e.kind == ErrorKind::Retry) {
            // A sink has not written its first answer yet, say.
            return Ok(());
        }
        self.excuse(done.as_ref().err())
    }
}
