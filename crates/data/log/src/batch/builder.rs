use bytes::Bytes;

use super::compress::Compression;
use super::header::{CRC_FROM, HEADER_BYTES, LENGTH_PREFIX, NO_PRODUCER_ID, NO_TIMESTAMP, crc32c};
use super::varint::{put_varint, put_varlong, varint_len, varlong_len};
use super::{BatchError, invalid};

/// A record to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// Timestamp in milliseconds.
    pub timestamp_ms: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// Who writes a batch, for producers that are idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerSequence {
    /// The producer id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence number of the batch's first record.
    pub base_sequence: i32,
}

/// Builds one v2 batch, record by record.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    base_offset: i64,
    compression: Compression,
    producer: Option<ProducerSequence>,
    base_timestamp_ms: Option<i64>,
    max_timestamp_ms: i64,
    count: i32,
    body: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch, not compressed.
    pub fn new() -> Self {
        Self { max_timestamp_ms: NO_TIMESTAMP, ..Self::default() }
    }

    /// Compresses the records.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets the first offset; the log sets its own when it appends.
    pub fn base_offset(mut self, offset: i64) -> Self {
        self.base_offset = offset;
        self
    }

    /// Makes the batch that of an idempotent producer.
    pub fn producer(mut self, producer: ProducerSequence) -> Self {
        self.producer = Some(producer);
        self
    }

    /// Adds a record at the end.
    ///
    /// # Errors
    /// `Invalid` when the record or the batch would be larger than the format can say (2 GiB).
    pub fn push(&mut self, record: &NewRecord<'_>) -> Result<(), BatchError> {
        let base = *self.base_timestamp_ms.get_or_insert(record.timestamp_ms);
        let timestamp_delta = record.timestamp_ms.wrapping_sub(base);
        let field = |b: Option<&[u8]>| b.map_or(1, |b| varint_len(b.len() as i32) + b.len());
        let mut len =
            1 + varlong_len(timestamp_delta) + varint_len(self.count) + field(record.key) + field(record.value);
        len += varint_len(record.headers.len() as i32);
        len += record.headers.iter().map(|(k, v)| field(Some(k)) + field(*v)).sum::<usize>();
        if len.saturating_add(self.body.len()) > i32::MAX as usize - 1024 || self.count == i32::MAX {
            return Err(invalid("a batch holds at most 2 GiB"));
        }
        let out = &mut self.body;
        out.reserve(len + 5);
        put_varint(out, len as i32);
        out.push(0);
        put_varlong(out, timestamp_delta);
        put_varint(out, self.count);
        put_bytes(out, record.key);
        put_bytes(out, record.value);
        put_varint(out, record.headers.len() as i32);
        for (k, v) in record.headers {
            put_bytes(out, Some(k));
            put_bytes(out, *v);
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(record.timestamp_ms);
        self.count += 1;
        Ok(())
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// True when there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch so far, before compression.
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// The batch as bytes.
    ///
    /// # Errors
    /// `Invalid` when there is no record: a batch without one has no offset.
    pub fn build(self) -> Result<Bytes, BatchError> {
        if self.count == 0 {
            return Err(invalid("a batch needs a record"));
        }
        let mut out = Vec::with_capacity(HEADER_BYTES + self.body.len());
        out.resize(HEADER_BYTES, 0);
        self.compression.compress(&self.body, &mut out)?;
        let producer =
            self.producer.unwrap_or(ProducerSequence { producer_id: NO_PRODUCER_ID, epoch: -1, base_sequence: -1 });
        let length = (out.len() - LENGTH_PREFIX) as i32;
        out[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[12..16].copy_from_slice(&(-1i32).to_be_bytes());
        out[16] = 2;
        out[21..23].copy_from_slice(&i16::from(self.compression.code()).to_be_bytes());
        out[23..27].copy_from_slice(&(self.count - 1).to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp_ms.unwrap_or(NO_TIMESTAMP).to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp_ms.to_be_bytes());
        out[43..51].copy_from_slice(&producer.producer_id.to_be_bytes());
        out[51..53].copy_from_slice(&producer.epoch.to_be_bytes());
        out[53..57].copy_from_slice(&producer.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.count.to_be_bytes());
        let crc = crc32c(&out[CRC_FROM..]);
        out[17..21].copy_from_slice(&crc.to_be_bytes());
        Ok(out.into())
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(b) => {
            put_varint(out, b.len() as i32);
            out.extend_from_slice(b);
        }
    }
}
