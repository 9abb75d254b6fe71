//! The file system as everything durable uses it: few calls, each with a meaning over a crash.
//!
//! What they promise is what POSIX does and no more: bytes are durable when their file was synced, a name (a new file, a rename, a
//! removal) when its folder was. Until then a loss of power may keep any of it, in any order, in part. [`LocalDisk`] is the
//! machine's; a simulated one can fail, tear and lose whatever the contract lets it.

mod local;

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use local::LocalDisk;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// One that is there, to be read.
    Read,
    /// One that is there, to be read and written.
    Write,
    /// A new and empty one, in place of what may be there.
    Create,
}

/// A file system.
pub trait Disk: Send + Sync + Debug {
    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound` when it is not there, and what the disk gives.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes a folder and those above it, unless they are there.
    ///
    /// # Errors
    /// What the disk gives.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The files and folders in a folder, in no order.
    ///
    /// # Errors
    /// `NotFound` when it is not there, and what the disk gives.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// Gives a file another name, in place of what may have it; at once for whoever looks.
    ///
    /// # Errors
    /// What the disk gives.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file away. Who has it open can go on reading.
    ///
    /// # Errors
    /// `NotFound` when it is not there, and what the disk gives.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Takes an empty folder away.
    ///
    /// # Errors
    /// When it is not empty or not there, and what the disk gives.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the disk gives; what is durable is then not known.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes a lock file, made if it is not there, until the answer is dropped. No lock of a process outlives it.
    ///
    /// # Errors
    /// `WouldBlock` when another has it, and what the disk gives.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;

    /// All bytes of a file.
    ///
    /// # Errors
    /// As [`Disk::open`] and [`DiskFile::read_exact_at`].
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, Open::Read)?;
        let mut bytes = vec![0; usize::try_from(file.size_bytes()?).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// Something in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is a folder.
    pub is_dir: bool,
}

/// An open file.
pub trait DiskFile: Send + Sync + Debug {
    /// Fills `bytes` from a position.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before, and what the disk gives.
    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()>;

    /// Writes all of `bytes` at a position.
    ///
    /// # Errors
    /// What the disk gives; some of the bytes may then be written.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Cuts the file off, or fills it up with zeros.
    ///
    /// # Errors
    /// What the disk gives.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// How long it is, in bytes.
    ///
    /// # Errors
    /// What the disk gives.
    fn size_bytes(&self) -> io::Result<u64>;

    /// Makes its bytes and its length durable.
    ///
    /// # Errors
    /// What the disk gives; what was written since the last sync may then be lost, even if a later sync succeeds.
    fn sync(&self) -> io::Result<()>;
}
