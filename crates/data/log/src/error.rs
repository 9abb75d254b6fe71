use fleuve_types::{Error, ErrorKind, ObjectId};

/// Why an append was not done. Each variant stands for one Kafka error code. All but [`AppendError::Io`] mean that
/// nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// `UNKNOWN_TOPIC_OR_PARTITION`.
    #[error("topic {topic} has no partition {partition}, or does not exist")]
    UnknownTopicOrPartition {
        /// The topic that was asked for.
        topic: ObjectId,
        /// The partition that was asked for.
        partition: i32,
    },
    /// `CORRUPT_MESSAGE`: the bytes are not whole batches, or a checksum does not fit.
    #[error("corrupt record batch: {0}")]
    CorruptMessage(String),
    /// `MESSAGE_TOO_LARGE`.
    #[error("a batch of {bytes} bytes is larger than the limit of {limit_bytes} (max.message.bytes)")]
    MessageTooLarge {
        /// Its size.
        bytes: usize,
        /// The topic's or the log's limit.
        limit_bytes: usize,
    },
    /// `OUT_OF_ORDER_SEQUENCE_NUMBER`: an idempotent producer left something out.
    #[error("out of order sequence number of producer {producer_id}: got {got}, expected {expected}")]
    OutOfOrderSequence {
        /// The producer.
        producer_id: i64,
        /// The batch's first sequence number.
        got: i32,
        /// The one that would continue.
        expected: i32,
    },
    /// `INVALID_PRODUCER_EPOCH`: a newer incarnation of the producer has written.
    #[error("producer {producer_id} with epoch {got} is fenced by epoch {current}")]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: i64,
        /// The batch's epoch.
        got: i16,
        /// The epoch in force.
        current: i16,
    },
    /// `INVALID_RECORD`: well-formed bytes that say something impossible.
    #[error("invalid record batch: {0}")]
    InvalidRecord(String),
    /// `INVALID_TIMESTAMP`: not of the years 1 to 9999.
    #[error("invalid timestamp of a record: {0}")]
    InvalidTimestamp(String),
    /// `UNSUPPORTED_FOR_MESSAGE_FORMAT`: a format before v2.
    #[error("record batch format v{magic} is not supported; only v2 (Kafka 0.11 and later) is")]
    UnsupportedMessageFormat {
        /// The magic byte that was found.
        magic: i8,
    },
    /// `INVALID_TXN_STATE`: transactional and control batches are not offered yet.
    #[error("transactions are not supported: {0}")]
    Transactional(String),
    /// `POLICY_VIOLATION` or `RECORD_LIST_TOO_LARGE`: a limit of the log; nothing was written.
    #[error("limit reached: {0}")]
    Limit(String),
    /// `POLICY_VIOLATION`: too much waits to be written; nothing of this was. It may go through later.
    #[error("too much waits to be written; try again later")]
    Busy,
    /// `KAFKA_STORAGE_ERROR`: the disk failed or the log is closed. Unless the log was failed or closed before the
    /// call, it may have been written: read back before trying again.
    #[error("log storage: {0}")]
    Io(String),
}

impl From<AppendError> for Error {
    fn from(e: AppendError) -> Self {
        let kind = match &e {
            AppendError::UnknownTopicOrPartition { .. } => ErrorKind::NotFound,
            AppendError::CorruptMessage(_)
            | AppendError::OutOfOrderSequence { .. }
            | AppendError::InvalidProducerEpoch { .. }
            | AppendError::InvalidRecord(_)
            | AppendError::InvalidTimestamp(_) => ErrorKind::Input,
            AppendError::MessageTooLarge { .. } | AppendError::Limit(_) => ErrorKind::Limit,
            AppendError::Busy => ErrorKind::Retry,
            AppendError::UnsupportedMessageFormat { .. } | AppendError::Transactional(_) => ErrorKind::Unsupported,
            AppendError::Io(_) => ErrorKind::Io,
        };
        Error::new(kind, e.to_string())
    }
}

/// Why a read was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// `UNKNOWN_TOPIC_OR_PARTITION`.
    #[error("topic {topic} has no partition {partition}, or does not exist")]
    UnknownTopicOrPartition {
        /// The topic that was asked for.
        topic: ObjectId,
        /// The partition that was asked for.
        partition: i32,
    },
    /// `OFFSET_OUT_OF_RANGE`.
    #[error(
        "offset {offset} is out of range: the partition holds {log_start_offset} to {high_watermark} (not included)"
    )]
    OffsetOutOfRange {
        /// What was asked for.
        offset: i64,
        /// The first offset that can be read.
        log_start_offset: i64,
        /// The next offset that will be readable.
        high_watermark: i64,
    },
    /// `KAFKA_STORAGE_ERROR`: the disk failed, or the file does not hold what was written.
    #[error("log storage: {0}")]
    Io(String),
}

impl From<ReadError> for Error {
    fn from(e: ReadError) -> Self {
        let kind = match &e {
            ReadError::UnknownTopicOrPartition { .. } => ErrorKind::NotFound,
            ReadError::OffsetOutOfRange { .. } => ErrorKind::Input,
            ReadError::Io(_) => ErrorKind::Io,
        };
        Error::new(kind, e.to_string())
    }
}
