//! What holds bytes: immutable objects (put once or written as a stream, read whole or in parts, listed, deleted), and the file
//! system under them and under the log.
//!
//! Checkpoints and, later, lake files stand on [`Blob`], the log on [`Disk`]. Invariants: an object that was put is there whole after
//! any crash, or not at all; it never changes. This crate knows neither what objects and files mean nor who owns them, and promises
//! no order of listing beyond names.

mod disk;
mod fs;
mod memory;

pub use disk::{Disk, DiskFile, Entry, LocalDisk, Open};
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

    /// Begins an object that is written as a stream. It is visible whole once it is finished, and after a crash only once it was
    /// made durable.
    ///
    /// # Errors
    /// As [`Blob::put`].
    fn create(&self, name: &str) -> Result<Box<dyn BlobWriter>>;

    /// Makes finished objects durable.
    ///
    /// # Errors
    /// As [`Blob::put`].
    fn sync(&self, names: &[String]) -> Result<()>;

    /// Opens an object to read parts of it, also after it was removed.
    ///
    /// # Errors
    /// As [`Blob::get`].
    fn open(&self, name: &str) -> Result<Box<dyn BlobReader>>;
}

/// An object being written. Dropped before it is finished, it leaves nothing.
pub trait BlobWriter: Send {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`]
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// The object is whole.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`]
    fn finish(self: Box<Self>) -> Result<()>;
}

/// An object, to be read in parts.
pub trait BlobReader: Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`]
    fn size(&self) -> Result<u64>;

    /// Reads exactly `buffer.len()` bytes from `offset` on.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`], also when the object ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;
}

#[cfg(test)]
mod tests;
