//! Every bound of this crate, in one place.

/// How long a record's value may be unless the option `max_record_bytes` says otherwise.
pub const MAX_RECORD_BYTES: usize = 16 << 20;

/// The largest value of that option.
pub const MAX_RECORD_BYTES_OPTION: usize = 64 << 20;

/// The values that one call of [`crate::Decoder::decode`] takes together. Chosen with the two allowances below so that no
/// column of a run outgrows Arrow's 31-bit offsets.
pub const MAX_DECODE_BYTES: usize = 64 << 20;

/// How deep JSON and Avro values may nest.
pub const MAX_DEPTH: usize = 128;

/// How deep a column's type may nest.
pub const MAX_TYPE_DEPTH: usize = 32;

/// What a record may make beyond copying its bytes, for each of its bytes, plus [`ALLOWANCE_BASE`]: array elements (times the
/// columns below each), and bytes of text that it only refers to (names in an Avro schema). Both can be far larger in memory than
/// in the record: an empty Avro record as an array element takes no byte at all.
pub const ALLOWANCE_PER_BYTE: u64 = 16;

/// See [`ALLOWANCE_PER_BYTE`].
pub const ALLOWANCE_BASE: u64 = 64;

/// Writer schemas that one decoder keeps resolved.
pub const MAX_WRITER_SCHEMAS: usize = 1024;

/// Nodes of one Avro schema.
pub const MAX_SCHEMA_NODES: usize = 65_536;

/// JSON keys that one decoder remembers per object, to find columns without hashing.
pub const MAX_LEARNED_KEYS: usize = 1024;

/// A JSON key longer than this is not remembered.
pub const MAX_LEARNED_KEY_BYTES: usize = 128;

/// How much of a wrong value a reason quotes, in bytes.
pub const MAX_QUOTE_BYTES: usize = 64;

/// How long the reason of a bad record may be, in bytes.
pub const MAX_REASON_BYTES: usize = 512;
