use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fleuve_types::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use crate::Blob;

/// Objects in memory, for tests: writes can be told to fail.
#[derive(Debug, Default)]
pub struct MemoryBlob {
    objects: Mutex<BTreeMap<String, Bytes>>,
    failing: AtomicU64,
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
}
