//! What a client knows: what it sent, what it was told, what it saw. Whatever the server does, it must fit to this.

use std::collections::{BTreeMap, BTreeSet};

use fleuve_types::ObjectId;

use crate::random::Random;

/// Event times begin here (2024-01-01), in seconds.
pub(crate) const EPOCH_S: i64 = 1_704_067_200;

/// A row that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Tells it from all others of the run.
    pub(crate) id: u64,
    /// A key of few values.
    pub(crate) k: Option<i64>,
    /// A value.
    pub(crate) v: Option<i64>,
    /// A text.
    pub(crate) s: Option<&'static str>,
    /// Seconds after [`EPOCH_S`].
    pub(crate) ts: Option<i64>,
    /// It is no JSON: a dead letter.
    pub(crate) is_bad: bool,
}

impl Row {
    /// A random row.
    pub(crate) fn new(random: &mut Random, id: u64, around_s: i64) -> Self {
        Self {
            id,
            k: random.chance(92).then(|| random.below(5) as i64),
            v: random.chance(92).then(|| random.below(12) as i64 - 3),
            s: random.chance(90).then(|| *random.pick(&["a", "b", "", "a longer text"])),
            ts: random.chance(95).then(|| around_s + random.below(16) as i64 - 8),
            is_bad: random.chance(3),
        }
    }

    /// The record.
    pub(crate) fn to_json(&self) -> String {
        if self.is_bad {
            return format!("bad {}", self.id);
        }
        let mut fields = vec![format!("\"id\": {}", self.id)];
        fields.extend(self.k.map(|k| format!("\"k\": {k}")));
        fields.extend(self.v.map(|v| format!("\"v\": {v}")));
        fields.extend(self.s.map(|s| format!("\"s\": \"{s}\"")));
        fields.extend(self.ts.map(|ts| format!("\"ts\": \"{}\"", stamp(ts))));
        format!("{{{}}}", fields.join(", "))
    }

    /// As a line of `VALUES`.
    pub(crate) fn to_values(&self) -> String {
        let number = |n: Option<i64>| n.map_or("NULL".into(), |n| n.to_string());
        let s = self.s.map_or("NULL".into(), |s| format!("'{s}'"));
        let ts = self.ts.map_or("NULL".into(), |ts| format!("TIMESTAMP '{}'", stamp(ts).replace('T', " ")));
        format!("({}, {}, {}, {s}, {ts})", self.id, number(self.k), number(self.v))
    }
}

/// A time of the first day as text.
fn stamp(seconds: i64) -> String {
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    format!("2024-01-{:02}T{:02}:{:02}:{:02}", day + 1, second / 3600, second / 60 % 60, second % 60)
}

/// What the client was told about something that it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is in: at this offset, if that was said.
    In(Option<i64>),
    /// It is not in.
    Out,
    /// Nothing it could rely on.
    Nothing,
}

/// A row, where it was sent to, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// The row.
    pub(crate) row: Row,
    /// The number of the stream.
    pub(crate) stream: usize,
    /// The partition, unless the server chose.
    pub(crate) partition: Option<i32>,
    /// What was said.
    pub(crate) told: Told,
    /// Rows with the same number are in together or not at all.
    pub(crate) together: u64,
    /// The producer that promised an order.
    pub(crate) producer: Option<usize>,
}

/// A partition as it was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partition {
    /// By offset: the row that was seen there. Nothing else may ever be.
    pub(crate) seen: BTreeMap<i64, u64>,
    /// The first offset, at least.
    pub(crate) start: i64,
    /// How far its owner has asked for it to be forgotten; more is not allowed.
    pub(crate) may_start: i64,
    /// The next offset to be written, at least.
    pub(crate) end: i64,
}

/// A stream.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its id, once it is there.
    pub(crate) id: Option<ObjectId>,
    /// Its partitions.
    pub(crate) partitions: Vec<Partition>,
    /// Whether retention may take records at any time.
    pub(crate) has_retention: bool,
}

/// An idempotent producer.
#[derive(Clone, Debug)]
pub(crate) struct Producer {
    /// The id that the server gave.
    pub(crate) id: i64,
    /// By stream and partition: the next sequence number.
    pub(crate) next: BTreeMap<(usize, i32), i32>,
    /// What has to be sent again, as it was, before anything else.
    pub(crate) again: BTreeMap<(usize, i32), (i32, Vec<u64>)>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// What was sent, by the rows' ids.
    pub(crate) sent: BTreeMap<u64, Sent>,
    /// The streams.
    pub(crate) streams: Vec<Stream>,
    /// Idempotent producers.
    pub(crate) producers: Vec<Producer>,
    /// Producer ids that were given out.
    pub(crate) producer_ids: BTreeSet<i64>,
    /// By mark: the offsets that a group may have, the last one surely told first.
    pub(crate) groups: BTreeMap<String, Vec<Option<i64>>>,
    next_id: u64,
    next_together: u64,
    /// Event times are around this.
    pub(crate) now_s: i64,
}

impl Model {
    /// A new row; event time goes on.
    pub(crate) fn row(&mut self, random: &mut Random) -> Row {
        self.next_id += 1;
        self.now_s += random.below(4) as i64;
        Row::new(random, self.next_id, self.now_s + 60)
    }

    /// Notes rows that are about to be sent; they are in together or not at all.
    pub(crate) fn send(
        &mut self,
        rows: &[Row],
        stream: usize,
        partition: Option<i32>,
        producer: Option<usize>,
        together: u64,
    ) {
        for row in rows {
            let sent = Sent { row: row.clone(), stream, partition, told: Told::Nothing, together, producer };
            self.sent.insert(row.id, sent);
        }
    }

    /// A number for rows that are in together.
    pub(crate) fn together(&mut self) -> u64 {
        self.next_together += 1;
        self.next_together
    }

    /// Notes an answer about rows in a row; `base` is the offset of the first.
    pub(crate) fn told(&mut self, rows: &[Row], told: Told) {
        for (n, row) in rows.iter().enumerate() {
            if let Some(sent) = self.sent.get_mut(&row.id) {
                sent.told = match told {
                    Told::In(base) => Told::In(base.map(|base| base + n as i64)),
                    other => other,
                };
            }
        }
    }
}
