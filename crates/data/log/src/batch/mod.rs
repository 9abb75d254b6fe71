//! Record batches in Kafka's format v2 (KIP-98), read and written from bytes. Holds no state.
//!
//! All lengths in a batch come from outside: each is checked against the bytes that are there before anything is
//! reserved or sliced, so hostile bytes give a [`BatchError`], never a panic or a large allocation. Decompression has a
//! bound on its output.

mod builder;
mod compress;
mod header;
mod records;
mod varint;

#[cfg(test)]
mod tests;

pub use builder::{BatchBuilder, NewRecord, ProducerSequence};
pub use compress::Compression;
pub use header::{Batch, BatchHeader, Batches, HEADER_BYTES, NO_PRODUCER_ID, NO_TIMESTAMP};
pub(crate) use header::{CRC_FROM, crc32c, patch, patch_append_time};
pub use records::{Record, RecordRef, RecordRefs, Records};

/// Why bytes are not a readable batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the batch says it has {expected} bytes, {found} are there")]
    Truncated {
        /// What the length field asks for, in bytes.
        expected: usize,
        /// What is there.
        found: usize,
    },
    /// A format before v2.
    #[error("record batch format v{0} is not supported")]
    Magic(i8),
    /// The CRC32C does not fit the bytes.
    #[error("checksum is {found:08x}, the batch says {expected:08x}")]
    Checksum {
        /// The one in the header.
        expected: u32,
        /// The one of the bytes.
        found: u32,
    },
    /// A field has an impossible value.
    #[error("{0}")]
    Invalid(String),
    /// The records do not decompress, or to more than the bound.
    #[error("cannot decompress: {0}")]
    Decompress(String),
}

pub(crate) fn invalid(message: impl Into<String>) -> BatchError {
    BatchError::Invalid(message.into())
}
