//! Where runs lie.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleuve_types::{Error, Result};
use parking_lot::Mutex;

/// Files that are written once, as a stream, and then read in parts.
pub trait RunFiles: Send + Sync {
    /// Begins a file. It is not there before it is finished.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`]
    fn create(&self, name: &str) -> Result<Box<dyn RunFileWriter>>;

    /// Opens a finished file.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::NotFound`], [`fleuve_types::ErrorKind::Io`]
    fn open(&self, name: &str) -> Result<Arc<dyn RunFile>>;

    /// Makes finished files durable.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`]: none of them can be relied on after a crash.
    fn sync(&self, names: &[String]) -> Result<()>;

    /// Removes files. Best effort; readers that have one open go on.
    fn remove(&self, names: &[String]);

    /// The names of all finished files.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`]
    fn list(&self) -> Result<Vec<String>>;
}

/// A file being written. Dropped before it is finished, it leaves nothing.
pub trait RunFileWriter: Send {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`]
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// The file is whole: from now on it can be opened. It is durable only after [`RunFiles::sync`].
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`]
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A finished file.
pub trait RunFile: Send + Sync {
    /// How long it is, in bytes.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`]
    fn size(&self) -> Result<u64>;

    /// Reads exactly `buffer.len()` bytes from `offset` on.
    ///
    /// # Errors
    /// [`fleuve_types::ErrorKind::Io`], also when the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;
}

type Objects = Arc<Mutex<BTreeMap<String, Arc<Vec<u8>>>>>;

/// Files in memory, for tests.
#[derive(Clone, Default)]
pub struct MemoryFiles(Objects);

struct MemoryWriter {
    name: String,
    bytes: Vec<u8>,
    objects: Objects,
}

struct MemoryFile(Arc<Vec<u8>>);

impl MemoryFiles {
    /// Puts a file there as it is, or takes it away.
    pub fn set(&self, name: &str, bytes: Option<Vec<u8>>) {
        let mut objects = self.0.lock();
        match bytes {
            Some(bytes) => drop(objects.insert(name.into(), Arc::new(bytes))),
            None => drop(objects.remove(name)),
        }
    }

    /// The bytes of a file.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.0.lock().get(name).map(|b| b.to_vec())
    }
}

impl RunFiles for MemoryFiles {
    fn create(&self, name: &str) -> Result<Box<dyn RunFileWriter>> {
        Ok(Box::new(MemoryWriter { name: name.into(), bytes: vec![], objects: self.0.clone() }))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn RunFile>> {
        let found = self.0.lock().get(name).cloned();
        found
            .map(|bytes| Arc::new(MemoryFile(bytes)) as Arc<dyn RunFile>)
            .ok_or_else(|| Error::not_found(format!("there is no file {name}")))
    }

    fn sync(&self, _: &[String]) -> Result<()> {
        Ok(())
    }

    fn remove(&self, names: &[String]) {
        let mut objects = self.0.lock();
        names.iter().for_each(|name| drop(objects.remove(name)));
    }

    fn list(&self) -> Result<Vec<String>> {
        Ok(self.0.lock().keys().cloned().collect())
    }
}

impl RunFileWriter for MemoryWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.objects.lock().insert(self.name, Arc::new(self.bytes));
        Ok(())
    }
}

impl RunFile for MemoryFile {
    fn size(&self) -> Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = from.checked_add(buffer.len()).and_then(|to| self.0.get(from..to));
        buffer.copy_from_slice(part.ok_or_else(|| Error::io("read a state file", "it ends before"))?);
        Ok(())
    }
}
