//! A small Kafka client for `produce`, `consume` and `topics`: one connection to one broker, envelopes by `kafka-protocol`,
//! record batches by `fleuve_log::batch`. It works with any broker that leads all the partitions it is asked about.

mod connection;
mod group;
mod records;
mod topics;

#[cfg(test)]
mod tests;

pub use connection::Connection;
pub use group::{Member, Standing};
pub use records::{Fetched, Position, Producer, partition_of_key};
pub use topics::{EARLIEST, LATEST};

use fleuve_types::{Error, ErrorKind, Result};
use kafka_protocol::ResponseError;
use kafka_protocol::error::ParseResponseErrorCode;

use super::args::BrokerArgs;
use crate::config::{HostPort, server_data_folder};
use crate::doors::OpenDoors;

const DEFAULT_PORT: u16 = 9092;

/// The broker that was named, else the one that wrote its doors into the data folder, else the default address.
pub fn find(args: &BrokerArgs) -> HostPort {
    let written = || OpenDoors::read(&server_data_folder())?.kafka.map(OpenDoors::from_here);
    let default = || HostPort { host: "127.0.0.1".into(), port: DEFAULT_PORT };
    args.kafka.clone().or_else(written).unwrap_or_else(default)
}

/// An error code of the protocol as an error that says what was tried.
pub(super) fn check(code: i16, message: Option<&str>, what: impl FnOnce() -> String) -> Result<()> {
    let Some(error) = code.err() else { return Ok(()) };
    let kind = match error {
        ResponseError::UnknownTopicOrPartition | ResponseError::UnknownTopicId => ErrorKind::NotFound,
        ResponseError::TopicAlreadyExists => ErrorKind::AlreadyExists,
        ResponseError::MessageTooLarge | ResponseError::RecordListTooLarge => ErrorKind::Limit,
        ResponseError::UnsupportedVersion => ErrorKind::Unsupported,
        _ if error.is_retriable() => ErrorKind::Retry,
        _ => ErrorKind::Input,
    };
    let reason = match (&error, message) {
        (_, Some(message)) if !message.is_empty() => message.to_string(),
        (ResponseError::UnknownTopicOrPartition, _) => "there is no such topic or partition".into(),
        (ResponseError::TopicAlreadyExists, _) => "it exists already".into(),
        (ResponseError::MessageTooLarge, _) => "the records are larger than the server takes".into(),
        (ResponseError::OffsetOutOfRange, _) => "the offset is outside of what the partition holds".into(),
        (error, _) => format!("{error}"),
    };
    Err(Error::new(kind, format!("{}: {reason}", what())))
}
