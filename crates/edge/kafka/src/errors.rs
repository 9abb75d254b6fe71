//! The one place where Fleuve's errors become the protocol's codes.

use fleuve_log::{AppendError, ReadError};
use fleuve_types::{Error, ErrorKind};
use kafka_protocol::ResponseError;

/// What a call was about; the same kind of error has another code for another thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// A topic or its partitions.
    Topic,
    /// Settings.
    Config,
    /// A change of the number of partitions.
    Partitions,
}

/// The code for an error of a call.
pub(crate) fn code(error: &Error, about: About) -> i16 {
    let code = match (error.kind, about) {
        (ErrorKind::NotFound, _) => ResponseError::UnknownTopicOrPartition,
        (ErrorKind::AlreadyExists, _) => ResponseError::TopicAlreadyExists,
        (ErrorKind::Input, About::Partitions) => ResponseError::InvalidPartitions,
        (ErrorKind::Input | ErrorKind::Config | ErrorKind::Unsupported, About::Config) => ResponseError::InvalidConfig,
        (ErrorKind::Limit, _) => ResponseError::PolicyViolation,
        (ErrorKind::Input | ErrorKind::Config | ErrorKind::Unsupported, _) => ResponseError::InvalidRequest,
        (ErrorKind::Retry, _) => ResponseError::RequestTimedOut,
        (ErrorKind::Io, _) => ResponseError::KafkaStorageError,
        (ErrorKind::Unknown | ErrorKind::Bug, _) => ResponseError::UnknownServerError,
    };
    code.code()
}

/// The code for an append that was not done.
pub(crate) fn append_code(error: &AppendError) -> i16 {
    let code = match error {
        AppendError::UnknownTopicOrPartition { .. } => ResponseError::UnknownTopicOrPartition,
        AppendError::CorruptMessage(_) => ResponseError::CorruptMessage,
        AppendError::MessageTooLarge { .. } => ResponseError::MessageTooLarge,
        AppendError::OutOfOrderSequence { .. } => ResponseError::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ResponseError::InvalidProducerEpoch,
        AppendError::InvalidRecord(_) => ResponseError::InvalidRecord,
        AppendError::InvalidTimestamp(_) => ResponseError::InvalidTimestamp,
        AppendError::UnsupportedMessageFormat { .. } => ResponseError::UnsupportedForMessageFormat,
        AppendError::Transactional(_) => ResponseError::InvalidTxnState,
        AppendError::Limit(_) | AppendError::Busy => ResponseError::PolicyViolation,
        AppendError::Io(_) => ResponseError::KafkaStorageError,
    };
    code.code()
}

/// The code for a read that was not answered.
pub(crate) fn read_code(error: &ReadError) -> i16 {
    let code = match error {
        ReadError::UnknownTopicOrPartition { .. } => ResponseError::UnknownTopicOrPartition,
        ReadError::OffsetOutOfRange { .. } => ResponseError::OffsetOutOfRange,
        ReadError::Io(_) => ResponseError::KafkaStorageError,
    };
    code.code()
}
