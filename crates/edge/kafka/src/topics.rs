//! What the door needs to know about topics, and asks its owner for. The log knows ids only; names live in the catalog.

use std::collections::BTreeMap;

use async_trait::async_trait;
use fleuve_types::{ObjectId, Result};

/// A topic as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicEntry {
    /// The durable id; clients name topics by it in newer versions of the protocol.
    pub id: ObjectId,
    /// The name that clients use.
    pub name: String,
    /// How many partitions, numbered from 0.
    pub partitions: u32,
    /// Made by Fleuve for itself; clients may read it but neither write, change nor delete it.
    pub internal: bool,
    /// The settings that were given; what is absent has its default (see [`crate::config`]).
    pub configs: BTreeMap<String, String>,
}

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// The name, already checked to be one that the protocol allows.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// The settings, already checked.
    pub configs: BTreeMap<String, String>,
}

/// Names and their topics. Lookups answer from memory; changes are durable when they return.
#[async_trait]
pub trait Topics: Send + Sync {
    /// The topic of that name.
    fn by_name(&self, name: &str) -> Option<TopicEntry>;

    /// The topic with that id.
    fn by_id(&self, id: ObjectId) -> Option<TopicEntry>;

    /// Every topic that clients may see, in the order of their names.
    fn list(&self) -> Vec<TopicEntry>;

    /// Why no topic can have this name, although Kafka's rules allow it.
    fn name_problem(&self, _name: &str) -> Option<String> {
        None
    }

    /// Makes a topic, or only says whether it could be made.
    ///
    /// # Errors
    /// `AlreadyExists`; `Input` for a name or a setting that cannot be; `Limit`.
    async fn create(&self, topic: NewTopic, validate_only: bool) -> Result<TopicEntry>;

    /// Deletes a topic and its records.
    ///
    /// # Errors
    /// `NotFound`; `Input` when something depends on it.
    async fn delete(&self, name: &str) -> Result<()>;

    /// Gives a topic more partitions: `partitions` in all.
    ///
    /// # Errors
    /// `NotFound`; `Input` when it has as many or more; `Limit`.
    async fn grow(&self, name: &str, partitions: u32, validate_only: bool) -> Result<()>;

    /// Sets (`Some`) or resets (`None`) settings, all or none of them. They are already checked.
    ///
    /// # Errors
    /// `NotFound`; `Input`.
    async fn alter_config(&self, name: &str, changes: Vec<(String, Option<String>)>, validate_only: bool)
    -> Result<()>;

    /// Forgets the records of a partition before an offset (-1: all that there are); gives the new first offset.
    ///
    /// # Errors
    /// `NotFound`; `Input` for an offset that is not there yet; `Retry`.
    async fn delete_records(&self, topic: ObjectId, partition: i32, before: i64) -> Result<i64>;

    /// Whether a client that asks for an unknown topic gets it made.
    fn auto_create(&self) -> bool;

    /// The name of this installation; stays the same over restarts.
    fn cluster_id(&self) -> String;
}

/// Says why a name cannot be a topic's, by the rules of Kafka: 1 to 249 of `a-z A-Z 0-9 . _ -`, but not `.` or `..`.
pub fn name_problem(name: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name {
        "" => Some("a topic name cannot be empty"),
        "." | ".." => Some("a topic cannot be named '.' or '..'"),
        n if n.len() > 249 => Some("a topic name has at most 249 characters"),
        n if !n.chars().all(allowed) => Some("a topic name has only letters, digits, '.', '_' and '-'"),
        _ => None,
    }
}
