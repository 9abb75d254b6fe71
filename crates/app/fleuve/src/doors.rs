//! The server's doors: binding them with clear errors, and `doors.json`, which tells scripts and the other commands where they are.
//!
//! `doors.json` is derived state: written at each start, removed at a clean stop, and a stale one does no harm because
//! whoever reads it finds nobody there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use fleuve_types::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::config::{Door, HostPort};

/// Where a running server listens; `None` is a door that is off. What `doors.json` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenDoors {
    /// Kafka clients.
    pub kafka: Option<SocketAddr>,
    /// PostgreSQL clients.
    pub postgres: Option<SocketAddr>,
    /// The HTTP API.
    pub http: Option<SocketAddr>,
    /// The schema registry.
    pub registry: Option<SocketAddr>,
    /// The server's process.
    pub pid: u32,
}

/// Binds a door; `None` when it is off. `name` is its setting.
///
/// # Errors
/// [`ErrorKind::Config`] naming the door and its address when it is taken or not this machine's.
pub async fn bind(name: &str, door: &Door) -> Result<Option<TcpListener>> {
    let Some(address) = door.address() else { return Ok(None) };
    let error = match TcpListener::bind((address.host.as_str(), address.port)).await {
        Ok(listener) => return Ok(Some(listener)),
        Err(error) => error,
    };
    let refused = |message: String| Error::new(ErrorKind::Config, message);
    Err(match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            refused(format!("{name} cannot listen on {address}: something else already does"))
                .hint(format!("stop that, or choose another place: --{name} {}:PORT, or --{name} off", address.host))
        }
        std::io::ErrorKind::AddrNotAvailable => {
            refused(format!("{name} cannot listen on {address}: this machine does not have that address"))
        }
        std::io::ErrorKind::PermissionDenied => {
            refused(format!("{name} cannot listen on {address}: the system does not allow it"))
                .hint("ports below 1024 are for root")
        }
        _ => refused(format!("{name} cannot listen on {address}: {error}")),
    })
}

impl OpenDoors {
    fn path(data: &Path) -> PathBuf {
        data.join("doors.json")
    }

    /// Writes `doors.json`; a reader sees the old or the new one, never half of it.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the folder cannot be written.
    pub fn write(&self, data: &Path) -> Result<()> {
        let path = Self::path(data);
        let fresh = path.with_extension("json.new");
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::bug(e.to_string()))?;
        std::fs::write(&fresh, text + "\n")
            .and_then(|()| std::fs::rename(&fresh, &path))
            .map_err(|e| Error::io(format!("cannot write {}", path.display()), e))
    }

    /// What a running server wrote; `None` if there is none or it is not readable.
    pub fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(data)).ok()?).ok()
    }

    /// Where a client on this machine reaches a door: one that listens on every address is at home too.
    pub fn from_here(address: SocketAddr) -> HostPort {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        HostPort { host: ip.to_string(), port: address.port() }
    }

    /// Takes `doors.json` away at a clean stop.
    pub fn remove(data: &Path) {
        // A stale file does no harm (see above), so a failure is of no interest.
        let _ = std::fs::remove_file(Self::path(data));
    }
}
