//! What the door can be told, with its limits. Plain data.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use fleuve_types::{Error, ErrorKind};

/// A name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A host name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for HostPort {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let wrong =
            || Error::new(ErrorKind::Config, format!("'{s}' is not HOST:PORT")).hint("write it like localhost:9092");
        let (host, port) = s.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self { host: host.to_string(), port: port.parse().map_err(|_| wrong())? })
    }
}

impl From<SocketAddr> for HostPort {
    /// The address as a client of that family writes it: an IPv4 address inside IPv6 is shown as IPv4.
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_canonical().to_string(), port: address.port() }
    }
}

/// The settings of the Kafka door.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Where to listen: `HOST:PORT`, port 0 for a free one.
    pub listen: HostPort,
    /// What clients are told to connect to. `None`: the address that the client itself reached, which is right unless a
    /// port is forwarded (a container, a load balancer).
    pub advertised: Option<HostPort>,
    /// Partitions of a topic whose creator asked for no number.
    pub default_partitions: u32,
    /// Partitions that one topic may have.
    pub max_partitions: u32,
    /// Connections at a time; one more is closed at once.
    pub max_connections: usize,
    /// Bytes of one request.
    pub max_request_bytes: usize,
    /// Bytes of the requests of all connections that are read or worked on at a time; one request may have half of it.
    pub request_memory_bytes: usize,
    /// Requests of one connection that are taken before the first is answered.
    pub max_in_flight: usize,
    /// A connection that asks nothing for so long is closed.
    pub idle_timeout_ms: u64,
    /// A request that stops coming, or an answer that is not taken, for so long closes the connection.
    pub stall_timeout_ms: u64,
    /// Record bytes of one fetch answer, whatever the client asks for (one batch is always given).
    pub max_fetch_bytes: usize,
    /// Record bytes of the fetch answers of all connections that are made or being sent; when little is left, answers are
    /// smaller.
    pub fetch_memory_bytes: usize,
    /// The longest that a fetch waits for data.
    pub max_fetch_wait_ms: u64,
    /// The shortest session timeout that a group member may ask for.
    pub min_session_timeout_ms: u32,
    /// The longest session timeout that a group member may ask for.
    pub max_session_timeout_ms: u32,
    /// How long the first member of an empty group waits for others.
    pub initial_rebalance_delay_ms: u32,
    /// Members of one group.
    pub max_group_members: usize,
    /// Groups that have members, or are known by name, at a time.
    pub max_groups: usize,
    /// How long the offsets of a group without members stay.
    pub offsets_retention_ms: i64,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            listen: HostPort { host: "127.0.0.1".into(), port: 9092 },
            advertised: None,
            default_partitions: 1,
            max_partitions: 10_000,
            max_connections: 4096,
            max_request_bytes: 100 << 20,
            request_memory_bytes: 256 << 20,
            max_in_flight: 32,
            idle_timeout_ms: 600_000,
            stall_timeout_ms: 30_000,
            max_fetch_bytes: 55 << 20,
            fetch_memory_bytes: 256 << 20,
            max_fetch_wait_ms: 60_000,
            min_session_timeout_ms: 1000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 200,
            max_group_members: 1000,
            max_groups: 10_000,
            offsets_retention_ms: 7 * 24 * 3_600_000,
        }
    }
}
