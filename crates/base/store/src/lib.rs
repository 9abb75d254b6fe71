//! Immutable objects: put once, read, list, delete.
//!
//! Checkpoints and, later, lake files stand on [`Blob`]. Invariants: an object that was put is there whole after any crash, or not
//! at all; it never changes. This crate knows neither what objects mean nor who owns them, and promises no order of listing beyond
//! names.

mod fs;
mod memory;

pub use fs::FsBlob;
pub use memory::MemoryBlob;

use bytes::Bytes;
use fleuve_types::Result;

/// A store of immutable objects.
pub trait Blob: Send + Sync {
    /// Writes an object; durable and visible whole when it returns. Putting a name again replaces it whole.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`]; [`fleuve_types::ErrorKind::Input`] for a name that leaves the store.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// Reads an object.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::NotFound`], or as [`Blob::put`].
    fn get(&self, name: &str) -> Result<Bytes>;

    /// The names that begin with `prefix`, in order.
    ///
    /// # Errors
    /// As [`Blob::put`].
    fn list(&self, prefix: &str) -> Result<Vec<String>>;

    /// Removes an object; one that is not there is no error.
    ///
    /// # Errors
    /// As [`Blob::put`].
    fn delete(&self, name: &str) -> Result<()>;
}

#[cfg(test)]
mod tests;
