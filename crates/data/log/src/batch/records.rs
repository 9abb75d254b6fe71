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

    fn read(&mut self) -> Result<Record, BatchError> {
        let mut outer = Cursor::new(&self.body, self.at);
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
        let key = c.nullable()?;
        let value = c.nullable()?;
        let headers = read_headers(&mut c)?;
        if c.remaining() != 0 {
            return Err(invalid(format!("a record has {} bytes too many", c.remaining())));
        }
        let slice = |r: Range<usize>| self.body.slice(r);
        let record = Record {
            offset: self.base_offset + i64::from(offset_delta),
            timestamp_ms: self.append_time_ms.unwrap_or_else(|| self.base_timestamp_ms.saturating_add(timestamp_delta)),
            key: key.map(slice),
            value: value.map(slice),
            headers: headers.into_iter().map(|(k, v)| (slice(k), v.map(slice))).collect(),
        };
        self.at = end;
        Ok(record)
    }
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
        if self.left == 0 {
            // Bytes behind the last record mean that the count is wrong: say so once.
            let rest = self.body.len() - self.at;
            if rest != 0 {
                self.at = self.body.len();
                return Some(Err(invalid(format!("{rest} bytes follow the last record of a batch"))));
            }
            return None;
        }
        let record = self.read();
        if record.is_ok() {
            self.left -= 1;
        } else {
            self.left = 0;
            self.at = self.body.len();
        }
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize + 1))
    }
}
