//! What is looked at before batches are queued: pure checks on bytes from clients.

use bytes::Bytes;
use fleuve_types::{ObjectId, far_ms};

use crate::AppendError;
use crate::batch::{BatchError, BatchHeader, CRC_FROM, crc32c};
use crate::limits;

/// Batches for one partition whose bytes are well-formed.
#[derive(Debug)]
pub(crate) struct CheckedPart {
    pub(crate) topic: ObjectId,
    pub(crate) partition: i32,
    pub(crate) bytes: Bytes,
    /// At least one.
    pub(crate) headers: Vec<BatchHeader>,
}

impl CheckedPart {
    /// Offsets that the batches take.
    pub(crate) fn records(&self) -> i64 {
        self.headers.iter().map(|h| i64::from(h.last_offset_delta) + 1).sum()
    }
}

/// Checks magic, lengths, checksum, counts and what is not offered yet.
pub(crate) fn part(
    topic: ObjectId,
    partition: i32,
    bytes: Bytes,
    max_batch_bytes: usize,
) -> Result<CheckedPart, AppendError> {
    if bytes.len() > limits::APPEND_BYTES {
        return Err(AppendError::MessageTooLarge { bytes: bytes.len(), limit_bytes: limits::APPEND_BYTES });
    }
    let mut headers = Vec::with_capacity(1);
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let header = BatchHeader::parse(rest).map_err(from_batch_error)?;
        batch(&header, &rest[..header.size_bytes], max_batch_bytes)?;
        at += header.size_bytes;
        headers.push(header);
    }
    if headers.is_empty() {
        return Err(AppendError::InvalidRecord("there is no batch".into()));
    }
    Ok(CheckedPart { topic, partition, bytes, headers })
}

/// Refuses what a client's batches give as their first and their largest timestamp if no row could have it.
pub(crate) fn times(part: &CheckedPart) -> Result<(), AppendError> {
    let mut given = part.headers.iter().flat_map(|h| [h.base_timestamp_ms, h.max_timestamp_ms]);
    given.find_map(far_ms).map_or(Ok(()), |problem| Err(AppendError::InvalidTimestamp(problem)))
}

fn from_batch_error(e: BatchError) -> AppendError {
    match e {
        BatchError::Magic(magic) if (0..2).contains(&magic) => AppendError::UnsupportedMessageFormat { magic },
        e => AppendError::CorruptMessage(e.to_string()),
    }
}

fn batch(h: &BatchHeader, bytes: &[u8], max_batch_bytes: usize) -> Result<(), AppendError> {
    if bytes.len() > max_batch_bytes {
        return Err(AppendError::MessageTooLarge { bytes: bytes.len(), limit_bytes: max_batch_bytes });
    }
    let found = crc32c(&bytes[CRC_FROM..]);
    if found != h.crc {
        return Err(AppendError::CorruptMessage(BatchError::Checksum { expected: h.crc, found }.to_string()));
    }
    h.compression().map_err(|e| AppendError::CorruptMessage(e.to_string()))?;
    if h.is_control() {
        return Err(AppendError::Transactional("a client cannot write a control batch".into()));
    }
    if h.is_transactional() {
        return Err(AppendError::Transactional("the batch is part of a transaction".into()));
    }
    if h.record_count == 0 || i64::from(h.record_count) != i64::from(h.last_offset_delta) + 1 {
        return Err(AppendError::InvalidRecord(format!(
            "a batch has {} records and a last offset delta of {}",
            h.record_count, h.last_offset_delta
        )));
    }
    if h.is_log_append_time() || h.has_delete_horizon() {
        return Err(AppendError::InvalidRecord("a client's batch has flags that only the log sets".into()));
    }
    if h.has_producer() && (h.producer_epoch < 0 || h.base_sequence < 0) {
        return Err(AppendError::InvalidRecord(format!(
            "producer {} came with epoch {} and sequence {}",
            h.producer_id, h.producer_epoch, h.base_sequence
        )));
    }
    Ok(())
}

/// Checks the size of an atomic append and of its marks.
pub(crate) fn atomic(parts: &[CheckedPart], marks: &[(String, Option<Bytes>)]) -> Result<(), AppendError> {
    if parts.len() > limits::APPEND_PARTS {
        return Err(AppendError::Limit(format!("{} parts, at most {}", parts.len(), limits::APPEND_PARTS)));
    }
    if parts.is_empty() && marks.is_empty() {
        return Err(AppendError::InvalidRecord("there is nothing to append".into()));
    }
    for (key, value) in marks {
        let bytes = value.as_ref().map_or(0, Bytes::len);
        if key.len() > limits::MARK_KEY_BYTES || bytes > limits::MARK_VALUE_BYTES {
            return Err(AppendError::Limit(format!(
                "a mark has a name of {} bytes (at most {}) and a value of {bytes} (at most {})",
                key.len(),
                limits::MARK_KEY_BYTES,
                limits::MARK_VALUE_BYTES
            )));
        }
    }
    let marks_bytes: usize = marks.iter().map(|(k, v)| k.len() + v.as_ref().map_or(0, Bytes::len)).sum();
    let bytes = parts.iter().map(|p| p.bytes.len()).sum::<usize>() + marks_bytes;
    if bytes > limits::APPEND_BYTES {
        return Err(AppendError::Limit(format!("an append of {bytes} bytes, at most {}", limits::APPEND_BYTES)));
    }
    Ok(())
}
