use bytes::Bytes;
use fleuve_types::ObjectId;

use crate::TopicConfig;
use crate::batch::crc32c;
use crate::codec::{Decoded, Fields, Malformed, PutFields};

/// Magic, checksum, length of the body, durable position.
pub(super) const RECORD_HEADER_BYTES: usize = 20;
pub(super) const RECORD_MAGIC: [u8; 4] = *b"FlR\x01";
/// Kind, time, number of parts and marks.
const APPEND_HEADER_BYTES: usize = 17;
/// Topic, partition, offsets, largest timestamp, length.
const PART_HEADER_BYTES: usize = 48;
const MARK_HEADER_BYTES: usize = 9;

const KIND_APPEND: u8 = 1;
const KIND_TOPIC: u8 = 2;
const KIND_TRIM: u8 = 3;

/// A change to the topics. `generation` tells apart topics that had the same id one after the other.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum TopicEvent {
    Create { generation: u64, partitions: i32, config: TopicConfig },
    Configure { config: TopicConfig },
    AddPartitions { total: i32 },
    Delete,
}

/// Records before `start` are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trim {
    pub(crate) topic: ObjectId,
    pub(crate) partition: i32,
    pub(crate) start: i64,
}

/// Batches of one partition in a record. `place` is where they stand in the record's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WalPart {
    pub(crate) topic: ObjectId,
    pub(crate) partition: i32,
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) max_timestamp_ms: i64,
    pub(crate) place: std::ops::Range<usize>,
}

/// What one record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WalRecord {
    Append { now_ms: i64, parts: Vec<WalPart>, marks: Vec<(String, Option<Bytes>)> },
    Topic { topic: ObjectId, event: TopicEvent },
    Trim(Vec<Trim>),
}

/// Bytes of an append's record, header included.
pub(crate) fn append_record_bytes(parts: impl Iterator<Item = usize>, marks: &[(String, Option<Bytes>)]) -> usize {
    let marks: usize = marks.iter().map(|(k, v)| MARK_HEADER_BYTES + k.len() + v.as_ref().map_or(0, Bytes::len)).sum();
    let parts: usize = parts.map(|p| PART_HEADER_BYTES + p).sum();
    RECORD_HEADER_BYTES + APPEND_HEADER_BYTES + parts + marks
}

/// Checksum of a record. The log's secret and the place are part of it: bytes that a client put into a batch are never
/// taken for a record, nor is a record that stands where it was not written.
fn checksum(secret: u64, file_seq: u32, position: u64, rest: &[u8]) -> u32 {
    let mut place = [0u8; 20];
    place[..8].copy_from_slice(&secret.to_be_bytes());
    place[8..12].copy_from_slice(&file_seq.to_be_bytes());
    place[12..].copy_from_slice(&position.to_be_bytes());
    crc32c(rest) ^ crc32c(&place)
}

/// Writes records one after the other into a buffer that goes to `base` in file `file_seq`.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    secret: u64,
    file_seq: u32,
    base: u64,
    durable_to: u64,
    open_at: usize,
    pub(crate) out: Vec<u8>,
}

impl RecordWriter {
    pub(crate) fn new(secret: u64, file_seq: u32, base: u64, capacity: usize) -> Self {
        Self { secret, file_seq, base, durable_to: base, open_at: 0, out: Vec::with_capacity(capacity) }
    }

    fn begin(&mut self) {
        self.open_at = self.out.len();
        self.out.put(&RECORD_MAGIC);
        self.out.put_u32(0);
        self.out.put_u32(0);
        self.out.put_u64(self.durable_to);
    }

    /// Closes the record that is open: sets its length and checksum.
    pub(crate) fn end(&mut self) {
        let at = self.open_at;
        let len = (self.out.len() - at - RECORD_HEADER_BYTES) as u32;
        self.out[at + 8..at + 12].copy_from_slice(&len.to_be_bytes());
        let crc = checksum(self.secret, self.file_seq, self.base + at as u64, &self.out[at + 8..]);
        self.out[at + 4..at + 8].copy_from_slice(&crc.to_be_bytes());
    }

    /// Opens an append; [`RecordWriter::part`] and [`RecordWriter::marks`] follow, then [`RecordWriter::end`].
    pub(crate) fn begin_append(&mut self, now_ms: i64, parts: usize, marks: usize) {
        self.begin();
        self.out.put_u8(KIND_APPEND);
        self.out.put_i64(now_ms);
        self.out.put_u32(parts as u32);
        self.out.put_u32(marks as u32);
    }

    /// Adds a part; returns where its bytes begin in the buffer, for patching before [`RecordWriter::end`].
    pub(crate) fn part(&mut self, part: &WalPart, bytes: &[u8]) -> usize {
        self.out.put_id(part.topic);
        self.out.put_i32(part.partition);
        self.out.put_i64(part.base_offset);
        self.out.put_i64(part.last_offset);
        self.out.put_i64(part.max_timestamp_ms);
        self.out.put_u32(bytes.len() as u32);
        let at = self.out.len();
        self.out.put(bytes);
        at
    }

    /// Adds the marks.
    pub(crate) fn marks(&mut self, marks: &[(String, Option<Bytes>)]) {
        for (key, value) in marks {
            self.out.put_bytes(key.as_bytes());
            self.out.put_u8(u8::from(value.is_some()));
            self.out.put_bytes(value.as_deref().unwrap_or_default());
        }
    }

    /// A whole record with a change to a topic.
    pub(crate) fn topic(&mut self, topic: ObjectId, event: &TopicEvent) {
        self.begin();
        self.out.put_u8(KIND_TOPIC);
        self.out.put_id(topic);
        let json = serde_json::to_vec(event).expect("a topic event is plain data");
        self.out.put_bytes(&json);
        self.end();
    }

    /// A whole record that moves the start of partitions.
    pub(crate) fn trim(&mut self, trims: &[Trim]) {
        self.begin();
        self.out.put_u8(KIND_TRIM);
        self.out.put_u32(trims.len() as u32);
        for t in trims {
            self.out.put_id(t.topic);
            self.out.put_i32(t.partition);
            self.out.put_i64(t.start);
        }
        self.end();
    }

    /// Where the next byte goes in the file.
    pub(crate) fn position(&self) -> u64 {
        self.base + self.out.len() as u64
    }
}

/// A record's header as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordHeader {
    pub(super) body_bytes: usize,
    pub(super) durable_to: u64,
}

/// The header at the start of `bytes`, if it looks like one; the checksum is still to be compared.
pub(super) fn parse_header(bytes: &[u8]) -> Option<RecordHeader> {
    let mut f = Fields::new(bytes.get(..RECORD_HEADER_BYTES)?.strip_prefix(&RECORD_MAGIC)?);
    let _crc = f.u32().ok()?;
    Some(RecordHeader { body_bytes: f.u32().ok()? as usize, durable_to: f.u64().ok()? })
}

/// True when `record` (header and body) is what was written at that place.
pub(super) fn is_intact(secret: u64, file_seq: u32, position: u64, record: &[u8]) -> bool {
    let stored = u32::from_be_bytes([record[4], record[5], record[6], record[7]]);
    checksum(secret, file_seq, position, &record[8..]) == stored
}

/// Reads a body.
pub(super) fn decode_body(body: &[u8]) -> Decoded<WalRecord> {
    let mut f = Fields::new(body);
    let record = match f.u8()? {
        KIND_APPEND => decode_append(&mut f)?,
        KIND_TOPIC => {
            let topic = f.id()?;
            WalRecord::Topic { topic, event: serde_json::from_slice(f.bytes()?).map_err(|_| Malformed)? }
        }
        KIND_TRIM => {
            let trims = (0..f.count(28)?)
                .map(|_| Ok(Trim { topic: f.id()?, partition: f.i32()?, start: f.i64()? }))
                .collect::<Decoded<_>>()?;
            WalRecord::Trim(trims)
        }
        _ => return Err(Malformed),
    };
    if f.is_empty() { Ok(record) } else { Err(Malformed) }
}

fn decode_append(f: &mut Fields<'_>) -> Decoded<WalRecord> {
    let now_ms = f.i64()?;
    let part_count = f.count(PART_HEADER_BYTES)?;
    let mark_count = f.u32()? as usize;
    let mut parts = Vec::with_capacity(part_count);
    for _ in 0..part_count {
        let (topic, partition) = (f.id()?, f.i32()?);
        let (base_offset, last_offset, max_timestamp_ms) = (f.i64()?, f.i64()?, f.i64()?);
        let len = f.bytes()?.len();
        let end = f.position();
        parts.push(WalPart { topic, partition, base_offset, last_offset, max_timestamp_ms, place: end - len..end });
    }
    let mut marks = Vec::new();
    for _ in 0..mark_count {
        let key = f.string()?.to_owned();
        let is_set = f.u8()? != 0;
        let value = f.bytes()?;
        marks.push((key, is_set.then(|| Bytes::copy_from_slice(value))));
    }
    Ok(WalRecord::Append { now_ms, parts, marks })
}
