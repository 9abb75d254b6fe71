//! What all connections share.

use std::net::SocketAddr;
use std::sync::Arc;

use fleuve_log::Log;
use fleuve_types::{Clock, ObjectId};
use kafka_protocol::messages::{BrokerId, TopicName};
use tokio::sync::watch;
use uuid::Uuid;

use crate::codec::string;
use crate::coordinator::Coordinator;
use crate::fetch_memory::FetchMemory;
use crate::{Counters, HostPort, KafkaOptions, TopicEntry, Topics};

/// The one node that there is.
pub(crate) const NODE_ID: BrokerId = BrokerId(1);
/// Nothing ever takes over from this leader, so its epoch stays.
pub(crate) const LEADER_EPOCH: i32 = 0;
/// "Not asked for" where the protocol has a set of allowed operations.
pub(crate) const NO_OPERATIONS: i32 = i32::MIN;
/// Read, write, create, delete, alter, describe, describe and alter configs.
pub(crate) const TOPIC_OPERATIONS: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
/// Read, delete, describe.
pub(crate) const GROUP_OPERATIONS: i32 = bits(&[3, 6, 8]);
/// Create, alter, describe, describe and alter configs, idempotent write.
pub(crate) const CLUSTER_OPERATIONS: i32 = bits(&[5, 7, 8, 10, 11, 12]);

const fn bits(operations: &[u32]) -> i32 {
    let mut set = 0;
    let mut i = 0;
    while i < operations.len() {
        set |= 1 << operations[i];
        i += 1;
    }
    set
}

/// The parts that a handler works with.
pub(crate) struct Broker {
    pub(crate) options: KafkaOptions,
    pub(crate) log: Log,
    pub(crate) topics: Arc<dyn Topics>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) groups: Coordinator,
    pub(crate) counters: Arc<Counters>,
    pub(crate) fetch_memory: Arc<FetchMemory>,
}

/// One connection, as a handler sees it.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) broker: Arc<Broker>,
    /// Where the client reached us.
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    /// True once nobody waits for answers any more: the client left or the server stops.
    pub(crate) gone: watch::Receiver<bool>,
}

impl Session {
    /// Where this client is told to connect to.
    pub(crate) fn advertised(&self) -> HostPort {
        match &self.broker.options.advertised {
            Some(told) => told.clone(),
            // A client may have no route to a literal `::1`, but it has one to the name that it used.
            None if self.local.is_ipv6() && self.local.ip().is_loopback() => {
                HostPort { host: "localhost".into(), port: self.local.port() }
            }
            None => HostPort::from(self.local),
        }
    }

    /// Returns when nobody waits for the answer any more.
    pub(crate) async fn until_gone(&self) {
        let mut gone = self.gone.clone();
        // An error means that the connection's task has ended, which is the same.
        let _ = gone.wait_for(|gone| *gone).await;
    }

    /// The topic that a request names by id (newer versions) or by name.
    pub(crate) fn topic(&self, by_id: bool, name: &TopicName, id: Uuid) -> Option<TopicEntry> {
        if by_id { self.broker.topics.by_id(object_id(id)) } else { self.broker.topics.by_name(name) }
    }
}

/// A topic id of the protocol as an object's id.
pub(crate) fn object_id(id: Uuid) -> ObjectId {
    ObjectId(id.as_u128())
}

/// An object's id as a topic id of the protocol.
pub(crate) fn topic_id(id: ObjectId) -> Uuid {
    Uuid::from_u128(id.0)
}

/// A topic's name in the protocol's type.
pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(string(name))
}

impl TopicEntry {
    /// True for the number of a partition that the topic has.
    pub(crate) fn has_partition(&self, partition: i32) -> bool {
        u32::try_from(partition).is_ok_and(|p| p < self.partitions)
    }

    /// The partition numbers.
    pub(crate) fn partition_numbers(&self) -> std::ops::Range<i32> {
        0..i32::try_from(self.partitions).unwrap_or(i32::MAX)
    }
}
