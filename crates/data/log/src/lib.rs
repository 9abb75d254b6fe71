//! The durable log of Fleuve.

pub mod batch;
mod error;
pub mod groups;
pub mod limits;
mod log;
mod options;

pub use error::{AppendError, ReadError};
pub use log::{Appended, Log, PendingAppend, ReadSlice};
pub use options::{LogOptions, TimestampType, TopicConfig, TopicInfo, TopicSpec};
