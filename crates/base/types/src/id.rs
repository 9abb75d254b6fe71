use std::fmt;
use std::str::FromStr;

use crate::{Error, ErrorKind};

/// The durable id of a catalog object (stream, view, source, sink). Names live only in the catalog; files, topics,
/// state and metrics are keyed by this. A stream's id is also its Kafka topic id. Shown as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub u128);

impl ObjectId {
    /// The 16 bytes of the id, most significant first (RFC 9562 order).
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id that [`ObjectId::to_bytes`] wrote.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            (v >> 96) as u32,
            (v >> 80) as u16,
            (v >> 64) as u16,
            (v >> 48) as u16,
            v & 0xffff_ffff_ffff
        )
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ObjectId {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let hex: String = s.chars().filter(|c| *c != '-').collect();
        if hex.len() != 32 {
            return Err(Error::new(ErrorKind::Input, format!("'{s}' is not an object id")));
        }
        u128::from_str_radix(&hex, 16)
            .map(ObjectId)
            .map_err(|_| Error::new(ErrorKind::Input, format!("'{s}' is not an object id")))
    }
}
