//! Every bound of the log in one place. What an operator may want to change is in [`LogOptions`](crate::LogOptions);
//! these are its defaults and the limits that protect the process.

/// Default size at which data of one partition starts a new segment file, in bytes.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Default size at which a write-ahead file is closed and handed to the mover, in bytes.
pub const WAL_BYTES: u64 = 64 << 20;
/// Smallest accepted `wal_bytes` and `segment_bytes`.
pub const FILE_BYTES_MIN: u64 = 4 << 10;
/// Default for the largest record batch, in bytes (header included); Kafka's `message.max.bytes` is 1 MiB and a bit.
pub const BATCH_BYTES: usize = 16 << 20;
/// Default `max.message.bytes` of a topic (Kafka's default).
pub const MESSAGE_BYTES: usize = 1_048_588;
/// Most bytes in one append (all its partitions and marks together).
pub const APPEND_BYTES: usize = 128 << 20;
/// Most partitions in one atomic append.
pub const APPEND_PARTS: usize = 100_000;
/// Default for the bytes that may wait for the writer; more makes `append` wait.
pub const QUEUE_BYTES: usize = 64 << 20;
/// Bytes of appends that one write and one fdatasync carry at most (one append may be larger by itself).
pub const GROUP_BYTES: usize = 16 << 20;
/// Default size of the cache of recently written data, in bytes.
pub const TAIL_CACHE_BYTES: usize = 32 << 20;
/// What one group commit costs in the tail cache besides its bytes.
pub const TAIL_CACHE_ENTRY_BYTES: usize = 256;
/// Closed write-ahead files that may wait for the mover before the current one is let grow.
pub const CLOSED_WALS: usize = 4;
/// How many times `wal_bytes` a write-ahead file may grow while the mover is behind; then appends are refused.
pub const WAL_GROWTH: u64 = 4;
/// How many times that it may grow for appends whose callers do not wait; then the log fails.
pub const OWN_GROWTH: u64 = 4;
/// Most topics.
pub const TOPICS: usize = 10_000;
/// Most partitions of one topic.
pub const TOPIC_PARTITIONS: i32 = 10_000;
/// Most partitions of all topics.
pub const PARTITIONS: usize = 100_000;
/// Most bytes of a mark's name.
pub const MARK_KEY_BYTES: usize = 2048;
/// Most bytes of a mark's value.
pub const MARK_VALUE_BYTES: usize = 8 << 20;
/// Most bytes of all marks together (names and values).
pub const MARKS_BYTES: usize = 512 << 20;
/// Distance between two entries of a segment's sparse index, in bytes of data.
pub const INDEX_INTERVAL_BYTES: u64 = 16 << 10;
/// Segment files kept open, with their index in memory.
pub const OPEN_SEGMENTS: usize = 128;
/// Small neighbouring segments of about the same size that are merged into one.
pub const MERGE_FAN_IN: usize = 8;
/// Idempotent producers remembered per partition; the one that was silent for longest is forgotten first.
pub const PARTITION_PRODUCERS: usize = 10_000;
/// Batches remembered per producer and partition (what Kafka's clients rely on with 5 requests in flight).
pub const PRODUCER_BATCHES: usize = 5;
/// How long a silent producer is remembered, in milliseconds (Kafka's `producer.id.expiration.ms`).
pub const PRODUCER_EXPIRY_MS: i64 = 24 * 3600 * 1000;
/// Producer ids taken from the durable counter at once.
pub const PRODUCER_ID_BLOCK: i64 = 1000;
/// Most bytes that one `read` returns, unless a single batch is larger.
pub const READ_BYTES: usize = 64 << 20;
/// Most bytes that the records of one batch may take once decompressed.
pub const DECOMPRESSED_BYTES: usize = 128 << 20;
/// Most headers of one record.
pub const RECORD_HEADERS: usize = 10_000;
/// Window with which a zstd frame may ask the decoder to work, as a power of two.
pub const ZSTD_WINDOW_LOG: u32 = 27;
