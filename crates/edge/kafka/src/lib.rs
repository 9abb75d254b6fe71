//! The Kafka door: serves the Kafka protocol over Fleuve's log, so that any Kafka client can produce, consume and manage
//! topics and groups.
//!
//! Invariants
//! - Record batches pass through as bytes; they are never decoded here.
//! - acks=1 and acks=all are answered after the batch is durable; so are committed offsets.
//! - Requests of a connection are answered in their order, and appends are made in that order.
//! - Whatever a client sends, it ends at worst its own connection: every length is checked against the bytes that are there
//!   before anything is decoded, and frames, requests in flight, connections, waits and memory have limits
//!   ([`KafkaOptions`]).
//!
//! It must not know SQL, the engine or how names are kept: topics come through [`Topics`].
//!
//! It does not promise (yet): transactions, compaction, TLS, SASL, ACLs, quotas, fetch sessions, the group protocol of
//! KIP-848. Clients are told so by `ApiVersions` or get a clear error. There is one node, which leads everything.

mod broker;
mod codec;
pub mod config;
mod connection;
mod coordinator;
mod counters;
mod errors;
mod fetch_memory;
mod handlers;
mod memory;
mod options;
mod server;
mod topics;

pub use codec::{APIS, Api, Header, MAX_ELEMENTS, Malformed, Request, decode_request};
pub use counters::{Counters, CountersSnapshot};
pub use memory::MemoryTopics;
pub use options::{HostPort, KafkaOptions};
pub use server::KafkaServer;
pub use topics::{NewTopic, TopicEntry, Topics, name_problem};
