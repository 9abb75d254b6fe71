use std::ops::Range;

use bytes::Bytes;

use super::header::BatchHeader;
use super::varint::Cursor;
use super::{BatchError, invalid};
use crate::limits;

/// The fewest bytes a record can take: length, attributes, two deltas, key and value length, header count.
const RECORD_BYTES_MIN: usize = 7;

/// One record. Key, value and headers are slices of the (decompressed) batch and share its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds: the producer's, or the log's on topics with `LogAppendTime`.
    pub timestamp_ms: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone.
    pub value: Option<Bytes>,
    /// The headers in the order they came in, duplicates and all. A header's value may be absent.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// The records of a batch, in order. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records {
    body: Bytes,
    at: usize,
    left: i32,
    base_offset: i64,
    last_offset_delta: i32,
    base_timestamp_ms: i64,
    append_time_ms: Option<i64>,
}

impl Records {
    pub(super) fn new(header: &BatchHeader, body: Bytes) -> Result<Self, BatchError> {
        if (header.record_count as usize).saturating_mul(RECORD_BYTES_MIN) > body.len() {
            return Err(invalid(format!(
                "a batch says it has {} records in {} bytes",
                header.record_count,
                body.len()
            )));
        }
        Ok(Self {
            body,
            at: 0,
            left: header.record_count,
            base_offset: header.base_offset,
            last_offset_delta: header.last_offset_delta,
            base_timestamp_ms: header.base_timestamp_ms,
            append_time_ms: header.is_log_append_time().then_some(header.max_timestamp_ms),
        })
    }

    /// How many records are left.
    pub fn remaining(&self) -> usize {
        self.left as usize
    }

    /// The records that are left as slices of this iterator's memory: nothing is counted or copied. Ends after the first
    /// error.
    pub fn refs(&self) -> RecordRefs<'_> {
        RecordRefs { records: self, at: self.at, left: self.left }
    }

    /// The places of the fields of the record at `at`, and where the next one begins.
    fn fields(&self, at: usize) -> Result<(Fields, usize), BatchError> {
        let mut outer = Cursor::new(&self.body, at);
        let len = outer.varint()?;
        let len = usize::try_from(len).map_err(|_| invalid(format!("a record has length {len}")))?;
        let place = outer.skip(len)?;
        let end = place.end;
        let mut c = Cursor::new(&self.body[..end], place.start);
        let _attributes = c.byte()?;
        let timestamp_delta = c.varlong()?;
        let offset_delta = c.varint()?;
        if !(0..=self.last_offset_delta).contains(&offset_delta) {
            return Err(invalid(format!(
                "a record has offset delta {offset_delta} in a batch of {}",
                self.last_offset_delta
            )));
        }
        let fields = Fields {
            offset: self.base_offset + i64::from(offset_delta),
            timestamp_ms: self.append_time_ms.unwrap_or_else(|| self.base_timestamp_ms.wrapping_add(timestamp_delta)),
            key: c.nullable()?,
            value: c.nullable()?,
            headers: read_headers(&mut c)?,
        };
        if c.remaining() != 0 {
            return Err(invalid(format!("a record has {} bytes too many", c.remaining())));
        }
        Ok((fields, end))
    }

    /// The record at `at`, with `left` still to come: moves both. Bytes behind the last record mean that the count is
    /// wrong: that is said once.
    fn step(&self, at: &mut usize, left: &mut i32) -> Option<Result<Fields, BatchError>> {
        if *left == 0 {
            let rest = self.body.len() - *at;
            *at = self.body.len();
            return (rest != 0).then(|| Err(invalid(format!("{rest} bytes follow the last record of a batch"))));
        }
        match self.fields(*at) {
            Ok((fields, end)) => {
                (*at, *left) = (end, *left - 1);
                Some(Ok(fields))
            }
            Err(e) => {
                (*at, *left) = (self.body.len(), 0);
                Some(Err(e))
            }
        }
    }
}

/// A record's fields as places in the body.
struct Fields {
    offset: i64,
    timestamp_ms: i64,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: HeaderPlaces,
}

type HeaderPlaces = Vec<(Range<usize>, Option<Range<usize>>)>;

fn read_headers(c: &mut Cursor<'_>) -> Result<HeaderPlaces, BatchError> {
    let count = c.varint()?;
    // Two bytes are the least a header takes.
    let count = usize::try_from(count)
        .ok()
        .filter(|n| *n <= limits::RECORD_HEADERS && n.saturating_mul(2) <= c.remaining())
        .ok_or_else(|| invalid(format!("a record says it has {count} headers in {} bytes", c.remaining())))?;
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let key = c.nullable()?.ok_or_else(|| invalid("a header has no name"))?;
        headers.push((key, c.nullable()?));
    }
    Ok(headers)
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut at, mut left) = (self.at, self.left);
        let fields = self.step(&mut at, &mut left)?;
        (self.at, self.left) = (at, left);
        let slice = |r: Range<usize>| self.body.slice(r);
        Some(fields.map(|f| Record {
            offset: f.offset,
            timestamp_ms: f.timestamp_ms,
            key: f.key.map(slice),
            value: f.value.map(slice),
            headers: f.headers.into_iter().map(|(k, v)| (slice(k), v.map(slice))).collect(),
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize + 1))
    }
}

/// A record whose fields are borrowed from its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds; see [`Record::timestamp_ms`].
    pub timestamp_ms: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers in the order they came in, duplicates and all.
    pub headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

/// Goes over records without taking shares of their memory; see [`Records::refs`].
#[derive(Clone, Debug)]
pub struct RecordRefs<'a> {
    records: &'a Records,
    at: usize,
    left: i32,
}

impl<'a> Iterator for RecordRefs<'a> {
    type Item = Result<RecordRef<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let fields = self.records.step(&mut self.at, &mut self.left)?;
        let body: &'a [u8] = &self.records.body;
        Some(fields.map(|f| RecordRef {
            offset: f.offset,
            timestamp_ms: f.timestamp_ms,
            key: f.key.map(|r| &body[r]),
            value: f.value.map(|r| &body[r]),
            headers: f.headers.into_iter().map(|(k, v)| (&body[k], v.map(|r| &body[r]))).collect(),
        }))
    }
}
