//! Where a source stands. This is ground state once it is stored beside the records that were read up to it.

use fleuve_types::{Error, Result};
use serde::{Deserialize, Serialize};

use super::limits::FINGERPRINT_BYTES;

/// A hash (FNV-1a, 64 bits) of the bytes at the start of a file's uncompressed content, as far as they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    /// How many bytes it covers.
    pub(crate) bytes: u64,
    hash: u64,
    /// How many it shall cover.
    goal: u64,
}

impl Fingerprint {
    pub(crate) fn new() -> Self {
        Self { bytes: 0, hash: 0xcbf2_9ce4_8422_2325, goal: FINGERPRINT_BYTES }
    }

    /// What is known to be the same in many files, a header line, does not count.
    pub(crate) fn leave_out(&mut self, header_bytes: u64) {
        self.goal += header_bytes;
    }

    /// Covers the bytes that follow those covered. `whole` is false when bytes are missing after them.
    pub(crate) fn extend(&mut self, bytes: &[u8], whole: bool) {
        let wanted = usize::try_from(self.goal - self.bytes).unwrap_or(usize::MAX);
        for byte in bytes.iter().take(wanted) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.bytes += bytes.len().min(wanted) as u64;
        if !whole {
            self.goal = self.bytes;
        }
    }

    /// True when it covers enough to tell any two files apart.
    pub(crate) fn is_strong(&self) -> bool {
        self.bytes >= FINGERPRINT_BYTES && self.bytes == self.goal
    }

    /// True when a file begins with the bytes that this covers. `head` is its beginning, at least as long if the file is.
    pub(crate) fn matches(&self, head: &[u8]) -> bool {
        let Some(covered) = usize::try_from(self.bytes).ok().and_then(|bytes| head.get(..bytes)) else { return false };
        let mut of_head = Fingerprint { goal: self.bytes, ..Fingerprint::new() };
        of_head.extend(covered, true);
        of_head.hash == self.hash
    }
}

/// A file and how far it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Where it was last seen.
    pub(crate) path: String,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// The next byte to read, in the uncompressed content; a line begins there.
    pub(crate) offset: u64,
    /// Lines before it.
    pub(crate) lines: u64,
    pub(crate) fingerprint: Fingerprint,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    files: Vec<Known>,
}

const VERSION: u32 = 1;

pub(crate) fn encode<'a>(files: impl Iterator<Item = &'a Known>) -> Result<Vec<u8>> {
    serde_json::to_vec(&Stored { version: VERSION, files: files.cloned().collect() })
        .map_err(|e| Error::bug(format!("a position cannot be written: {e}")))
}

/// # Errors
/// Input: the bytes are no position that this version of the connector wrote.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Known>> {
    let stored: Stored = serde_json::from_slice(bytes)
        .map_err(|e| Error::input(format!("the stored position of a file source cannot be read: {e}")))?;
    if stored.version != VERSION {
        let version = stored.version;
        return Err(Error::input(format!(
            "the stored position of a file source is of version {version}, not {VERSION}"
        )));
    }
    Ok(stored.files)
}
