use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fleuve_types::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use crate::{Blob, BlobReader, BlobWriter};

/// Objects in memory, for tests: writes can be told to fail.
#[derive(Clone, Debug, Default)]
pub struct MemoryBlob {
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    failing: Arc<AtomicU64>,
}

struct Writer {
    store: MemoryBlob,
    name: String,
    bytes: Vec<u8>,
}

impl BlobWriter for Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.store.put(&self.name, &self.bytes)
    }
}

impl BlobReader for Bytes {
    fn size(&self) -> Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = from.checked_add(buffer.len()).and_then(|to| self.get(from..to));
        buffer.copy_from_slice(part.ok_or_else(|| Error::new(ErrorKind::Io, "an object ends before what is read"))?);
        Ok(())
    }
}

impl MemoryBlob {
    /// The next `writes` puts fail without effect.
    pub fn fail_next(&self, writes: u64) {
        self.failing.store(writes, Ordering::SeqCst);
    }
}

impl Blob for MemoryBlob {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let fails = self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if fails {
            return Err(Error::new(ErrorKind::Io, format!("write {name}: told to fail")));
        }
        self.objects.lock().insert(name.into(), Bytes::copy_from_slice(bytes));
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Bytes> {
        let found = self.objects.lock().get(name).cloned();
        found.ok_or_else(|| Error::not_found(format!("there is no object {name}")))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(self.objects.lock().keys().filter(|n| n.starts_with(prefix)).cloned().collect())
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.objects.lock().remove(name);
        Ok(())
    }

    fn create(&self, name: &str) -> Result<Box<dyn BlobWriter>> {
        Ok(Box::new(Writer { store: self.clone(), name: name.into(), bytes: vec![] }))
    }

    fn sync(&self, _: &[String]) -> Result<()> {
        Ok(())
    }

    fn open(&self, name: &str) -> Result<Box<dyn BlobReader>> {
        self.get(name).map(|bytes| Box::new(bytes) as Box<dyn BlobReader>)
    }
}
