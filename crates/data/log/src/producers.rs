//! What is remembered of a partition's idempotent producers: a pure state machine over batch headers.
//!
//! Derived state: it follows from the batches in the write-ahead files and from the manifest.

use std::collections::{HashMap, VecDeque};

use crate::AppendError;
use crate::batch::BatchHeader;
use crate::codec::{Decoded, Fields, PutFields};
use crate::limits;

/// A batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    first_sequence: i32,
    last_sequence: i32,
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    last_append_ms: i64,
    /// The latest batches, oldest first; never empty.
    seen: VecDeque<Seen>,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    Duplicate(Seen),
}

/// The producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Producers {
    by_id: HashMap<i64, Producer>,
}

fn follows(last: i32) -> i32 {
    if last == i32::MAX { 0 } else { last + 1 }
}

impl Producer {
    fn verdict(&self, h: &BatchHeader) -> Result<Verdict, AppendError> {
        let producer_id = h.producer_id;
        let out_of_order = |expected| AppendError::OutOfOrderSequence { producer_id, got: h.base_sequence, expected };
        if h.producer_epoch < self.epoch {
            return Err(AppendError::InvalidProducerEpoch { producer_id, got: h.producer_epoch, current: self.epoch });
        }
        if h.producer_epoch > self.epoch {
            return if h.base_sequence == 0 { Ok(Verdict::Append) } else { Err(out_of_order(0)) };
        }
        let same = |s: &&Seen| s.first_sequence == h.base_sequence && s.last_sequence == h.last_sequence();
        if let Some(seen) = self.seen.iter().find(same) {
            return Ok(Verdict::Duplicate(*seen));
        }
        let expected = self.seen.back().map_or(0, |s| follows(s.last_sequence));
        if h.base_sequence == expected { Ok(Verdict::Append) } else { Err(out_of_order(expected)) }
    }

    fn record(&mut self, h: &BatchHeader, base_offset: i64, now_ms: i64) {
        if h.producer_epoch != self.epoch {
            self.epoch = h.producer_epoch;
            self.seen.clear();
        }
        if self.seen.len() == limits::PRODUCER_BATCHES {
            self.seen.pop_front();
        }
        self.last_append_ms = now_ms;
        self.seen.push_back(Seen {
            first_sequence: h.base_sequence,
            last_sequence: h.last_sequence(),
            base_offset,
            last_offset: base_offset + i64::from(h.last_offset_delta),
        });
    }

    fn is_expired(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.last_append_ms) > limits::PRODUCER_EXPIRY_MS
    }
}

impl Producers {
    /// Decides about batches that would be appended together. All are new or all are duplicates; a mix is out of order.
    /// A producer that is not known may begin with any sequence number, as in Kafka: it may have been forgotten.
    pub(crate) fn check(&self, batches: &[BatchHeader], now_ms: i64) -> Result<Verdict, AppendError> {
        let known = |id: i64| self.by_id.get(&id).filter(|p| !p.is_expired(now_ms));
        if let [h] = batches {
            return match known(h.producer_id) {
                Some(p) if h.has_producer() => p.verdict(h),
                _ => Ok(Verdict::Append),
            };
        }
        // Several batches: play them through on copies of the producers they touch.
        let mut scratch: HashMap<i64, Producer> = HashMap::new();
        let mut duplicate: Option<Seen> = None;
        let mut fresh = false;
        for h in batches {
            if !h.has_producer() {
                fresh = true;
                continue;
            }
            let current = scratch.get(&h.producer_id).or_else(|| known(h.producer_id));
            match current.map_or(Ok(Verdict::Append), |p| p.verdict(h))? {
                Verdict::Duplicate(seen) => {
                    let whole = duplicate.get_or_insert(seen);
                    whole.last_offset = whole.last_offset.max(seen.last_offset);
                }
                Verdict::Append => {
                    fresh = true;
                    let producer = current.cloned().unwrap_or_else(|| new_producer(h, now_ms));
                    scratch.entry(h.producer_id).or_insert(producer).record(h, 0, now_ms);
                }
            }
        }
        match duplicate {
            None => Ok(Verdict::Append),
            Some(seen) if !fresh => Ok(Verdict::Duplicate(seen)),
            Some(_) => {
                Err(AppendError::InvalidRecord("batches that are new and batches sent before came together".into()))
            }
        }
    }

    /// Remembers a batch that gets `base_offset`.
    pub(crate) fn record(&mut self, h: &BatchHeader, base_offset: i64, now_ms: i64) {
        if !h.has_producer() {
            return;
        }
        if self.by_id.len() >= limits::PARTITION_PRODUCERS && !self.by_id.contains_key(&h.producer_id) {
            self.make_room(now_ms);
        }
        let producer = self.by_id.entry(h.producer_id).or_insert_with(|| new_producer(h, now_ms));
        if producer.is_expired(now_ms) {
            *producer = new_producer(h, now_ms);
        }
        producer.record(h, base_offset, now_ms);
    }

    /// Forgets producers that were silent for too long.
    pub(crate) fn expire(&mut self, now_ms: i64) {
        self.by_id.retain(|_, p| !p.is_expired(now_ms));
    }

    /// Forgets the expired and then the tenth that was silent for longest, so that the work is rare.
    fn make_room(&mut self, now_ms: i64) {
        self.expire(now_ms);
        if self.by_id.len() < limits::PARTITION_PRODUCERS {
            return;
        }
        let mut by_age: Vec<_> = self.by_id.iter().map(|(id, p)| (p.last_append_ms, *id)).collect();
        by_age.sort_unstable();
        for (_, id) in &by_age[..limits::PARTITION_PRODUCERS / 10 + 1] {
            self.by_id.remove(id);
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut ids: Vec<_> = self.by_id.keys().copied().collect();
        ids.sort_unstable();
        out.put_u32(ids.len() as u32);
        for id in ids {
            let p = &self.by_id[&id];
            out.put_i64(id);
            out.put_i16(p.epoch);
            out.put_i64(p.last_append_ms);
            out.put_u32(p.seen.len() as u32);
            for s in &p.seen {
                out.put_i32(s.first_sequence);
                out.put_i32(s.last_sequence);
                out.put_i64(s.base_offset);
                out.put_i64(s.last_offset);
            }
        }
    }

    pub(crate) fn decode(f: &mut Fields<'_>) -> Decoded<Self> {
        let mut by_id = HashMap::new();
        for _ in 0..f.count(22)? {
            let id = f.i64()?;
            let (epoch, last_append_ms) = (f.i16()?, f.i64()?);
            let mut seen = VecDeque::new();
            for _ in 0..f.count(24)? {
                seen.push_back(Seen {
                    first_sequence: f.i32()?,
                    last_sequence: f.i32()?,
                    base_offset: f.i64()?,
                    last_offset: f.i64()?,
                });
            }
            by_id.insert(id, Producer { epoch, last_append_ms, seen });
        }
        Ok(Self { by_id })
    }
}

fn new_producer(h: &BatchHeader, now_ms: i64) -> Producer {
    Producer { epoch: h.producer_epoch, last_append_ms: now_ms, seen: VecDeque::with_capacity(1) }
}
