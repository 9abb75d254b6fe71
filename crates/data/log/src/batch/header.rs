use bytes::Bytes;

use super::compress::Compression;
use super::records::Records;
use super::{BatchError, invalid};

/// Bytes of a v2 batch before its records.
pub const HEADER_BYTES: usize = 61;
/// Bytes before the part that the batch's length field counts.
pub(crate) const LENGTH_PREFIX: usize = 12;
/// Where the bytes that the checksum covers begin.
pub(crate) const CRC_FROM: usize = 21;
/// The producer id of a batch whose producer is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;
/// A timestamp that was not set.
pub const NO_TIMESTAMP: i64 = -1;

const ATTR_COMPRESSION: i16 = 0x07;
const ATTR_LOG_APPEND_TIME: i16 = 0x08;
const ATTR_TRANSACTIONAL: i16 = 0x10;
const ATTR_CONTROL: i16 = 0x20;
const ATTR_DELETE_HORIZON: i16 = 0x40;

/// The fixed part of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes of the whole batch, this header included.
    pub size_bytes: usize,
    /// Leader epoch of the partition when it was appended.
    pub leader_epoch: i32,
    /// CRC32C of everything behind the checksum field.
    pub crc: u32,
    /// Flags; see the methods.
    pub attributes: i16,
    /// The last record's offset less the first one's.
    pub last_offset_delta: i32,
    /// Timestamp of the first record, in milliseconds.
    pub base_timestamp_ms: i64,
    /// The largest timestamp, in milliseconds.
    pub max_timestamp_ms: i64,
    /// The idempotent producer, or [`NO_PRODUCER_ID`].
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
    /// How many records.
    pub record_count: i32,
}

fn be<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the caller has checked the length")
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`. Of the batch's body only the presence is checked, with no checksum.
    ///
    /// # Errors
    /// `Truncated`, `Magic`, or `Invalid` for counts and lengths that cannot be.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = Self::parse_prefix(bytes)?;
        if bytes.len() < header.size_bytes {
            return Err(BatchError::Truncated { expected: header.size_bytes, found: bytes.len() });
        }
        Ok(header)
    }

    /// As [`BatchHeader::parse`], when only the first [`HEADER_BYTES`] need to be there.
    ///
    /// # Errors
    /// As [`BatchHeader::parse`].
    pub fn parse_prefix(bytes: &[u8]) -> Result<Self, BatchError> {
        // The magic byte is at the same place in all formats, so an old format is told apart from rubbish.
        if bytes.len() > 16 && bytes[16] != 2 {
            return Err(BatchError::Magic(bytes[16] as i8));
        }
        if bytes.len() < HEADER_BYTES {
            return Err(BatchError::Truncated { expected: HEADER_BYTES, found: bytes.len() });
        }
        let length = i32::from_be_bytes(be(bytes, 8));
        let size_bytes = usize::try_from(length).ok().and_then(|l| l.checked_add(LENGTH_PREFIX)).unwrap_or(0);
        if size_bytes < HEADER_BYTES {
            return Err(invalid(format!("a batch says it has length {length}")));
        }
        let header = Self {
            base_offset: i64::from_be_bytes(be(bytes, 0)),
            size_bytes,
            leader_epoch: i32::from_be_bytes(be(bytes, 12)),
            crc: u32::from_be_bytes(be(bytes, 17)),
            attributes: i16::from_be_bytes(be(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(be(bytes, 23)),
            base_timestamp_ms: i64::from_be_bytes(be(bytes, 27)),
            max_timestamp_ms: i64::from_be_bytes(be(bytes, 35)),
            producer_id: i64::from_be_bytes(be(bytes, 43)),
            producer_epoch: i16::from_be_bytes(be(bytes, 51)),
            base_sequence: i32::from_be_bytes(be(bytes, 53)),
            record_count: i32::from_be_bytes(be(bytes, 57)),
        };
        if header.last_offset_delta < 0 || header.record_count < 0 {
            return Err(invalid(format!(
                "a batch says it has {} records and a last offset delta of {}",
                header.record_count, header.last_offset_delta
            )));
        }
        if header.base_offset.checked_add(i64::from(header.last_offset_delta) + 1).is_none() {
            return Err(invalid(format!("a batch begins at offset {}", header.base_offset)));
        }
        Ok(header)
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// Sequence number of the last record; sequence numbers go from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        (last % (i64::from(i32::MAX) + 1)) as i32
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// `Invalid` for an unknown codec.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        Compression::from_code((self.attributes & ATTR_COMPRESSION) as u8)
    }

    /// The log gave the timestamp: it is [`BatchHeader::max_timestamp_ms`] for all records.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & ATTR_LOG_APPEND_TIME != 0
    }

    /// The batch is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & ATTR_TRANSACTIONAL != 0
    }

    /// The batch holds a transaction marker.
    pub fn is_control(&self) -> bool {
        self.attributes & ATTR_CONTROL != 0
    }

    /// The base timestamp is the delete horizon of a compacted log.
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & ATTR_DELETE_HORIZON != 0
    }

    /// The producer is idempotent.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }
}

/// Sets the fields that the log owns. They are outside the checksum.
pub(crate) fn patch(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Gives all records of a batch the log's timestamp, and the batch its new checksum.
pub(crate) fn patch_append_time(batch: &mut [u8], now_ms: i64) {
    let attributes = i16::from_be_bytes(be(batch, 21)) | ATTR_LOG_APPEND_TIME;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&now_ms.to_be_bytes());
    let crc = crc32c(&batch[CRC_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// CRC32C (Castagnoli), as Kafka uses it.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// One whole batch.
#[derive(Clone, Debug)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// Takes the batch at the start of `bytes`; what follows it is left out. The checksum is not checked.
    ///
    /// # Errors
    /// As [`BatchHeader::parse`].
    pub fn parse(bytes: &Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        Ok(Self { header, bytes: bytes.slice(..header.size_bytes) })
    }

    /// The fixed part.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch as it is in the log.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Compares the checksum.
    ///
    /// # Errors
    /// `Checksum`.
    pub fn verify(&self) -> Result<(), BatchError> {
        let found = crc32c(&self.bytes[CRC_FROM..]);
        if found == self.header.crc { Ok(()) } else { Err(BatchError::Checksum { expected: self.header.crc, found }) }
    }

    /// The records, decompressed to at most [`DECOMPRESSED_BYTES`](crate::limits::DECOMPRESSED_BYTES).
    ///
    /// # Errors
    /// `Decompress`, or `Invalid` for an unknown codec or a count that the bytes cannot hold.
    pub fn records(&self) -> Result<Records, BatchError> {
        self.records_within(crate::limits::DECOMPRESSED_BYTES)
    }

    /// The records, decompressed to at most `max_bytes`.
    ///
    /// # Errors
    /// As [`Batch::records`].
    pub fn records_within(&self, max_bytes: usize) -> Result<Records, BatchError> {
        let body = self.bytes.slice(HEADER_BYTES..);
        let body = self.header.compression()?.decompress(&body, max_bytes)?;
        Records::new(&self.header, body)
    }
}

/// The batches in bytes that hold several back to back.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// Goes over `bytes`. Ends after the first error.
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = Batch::parse(&self.rest);
        self.rest = match &batch {
            Ok(b) => self.rest.slice(b.header.size_bytes..),
            Err(_) => Bytes::new(),
        };
        Some(batch)
    }
}
