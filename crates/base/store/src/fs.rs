use std::collections::{BTreeSet, HashSet};
use std::io::ErrorKind as Io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fleuve_types::{Error, Result};
use parking_lot::Mutex;

use crate::{Blob, BlobReader, BlobWriter, Disk, DiskFile, LocalDisk, Open};

/// Objects as files of one folder. Ground state: what was put stays.
#[derive(Debug)]
pub struct FsBlob {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    temporary: AtomicU64,
    /// Files whose sync failed. What of them is not on disk can be read, and no later sync writes it (see [`DiskFile::sync`]).
    unsynced: Mutex<HashSet<PathBuf>>,
}

/// A file is copied in parts of this size.
const COPY_BYTES: usize = 1 << 20;

impl FsBlob {
    /// The store in `root`, which is made if it is not there. Left-overs of writes that a crash cut short are removed.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        Self::open_on(Arc::new(LocalDisk), root)
    }

    /// As [`FsBlob::open`], on another file system than the machine's.
    ///
    /// # Errors
    /// As [`FsBlob::open`].
    pub fn open_on(disk: Arc<dyn Disk>, root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let above = root.parent().filter(|p| !p.as_os_str().is_empty());
        disk.create_dir_all(&root)
            .and_then(|()| above.map_or(Ok(()), |above| disk.sync_dir(above)))
            .map_err(|e| Error::io(format!("make the folder {}", root.display()), e))?;
        let store = Self { disk, root, temporary: AtomicU64::new(0), unsynced: Mutex::default() };
        for name in store.files()? {
            if name.ends_with(".tmp") {
                let _ = store.disk.remove_file(&store.root.join(name));
            }
        }
        Ok(store)
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        let inside = Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
        if !inside || name.is_empty() || name.ends_with(".tmp") {
            return Err(Error::input(format!("'{name}' is not a name of an object")));
        }
        Ok(self.root.join(name))
    }

    /// Makes the names in a folder durable, and those of the folders on the way to it.
    fn sync_folders(&self, folder: &Path) -> std::io::Result<()> {
        folder.ancestors().take_while(|f| f.starts_with(&self.root)).try_for_each(|f| self.disk.sync_dir(f))
    }

    fn files(&self) -> Result<Vec<String>> {
        let mut out = vec![];
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let entries = self.disk.list(&folder).map_err(|e| Error::io(format!("list {}", folder.display()), e))?;
            for entry in entries {
                if entry.is_dir {
                    folders.push(entry.path);
                } else if let Ok(name) = entry.path.strip_prefix(&self.root) {
                    out.push(name.to_string_lossy().into_owned());
                }
            }
        }
        out.sort();
        Ok(out)
    }
}

impl FsBlob {
    /// Makes the bytes of a file durable.
    fn sync_file(&self, path: &Path) -> std::io::Result<()> {
        if self.unsynced.lock().contains(path) {
            self.write_again(path)?;
            self.unsynced.lock().remove(path);
            return Ok(());
        }
        let synced = self.disk.open(path, Open::Read)?.sync();
        if synced.is_err() {
            self.unsynced.lock().insert(path.to_path_buf());
        }
        synced
    }

    /// Puts a durable copy of a file in its place, of what can be read of it now. Whoever has it open reads on in the old one, which may no
    /// longer have what is not in memory of it.
    fn write_again(&self, path: &Path) -> std::io::Result<()> {
        let from = self.disk.open(path, Open::Read)?;
        let (temporary, file) = self.temporary(path)?;
        let copy = || {
            let (size, mut at) = (from.size_bytes()?, 0);
            let mut part = vec![0; COPY_BYTES];
            while at < size {
                let len = usize::try_from(size - at).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
                from.read_exact_at(&mut part[..len], at)?;
                file.write_all_at(&part[..len], at)?;
                at += len as u64;
            }
            file.sync()?;
            self.disk.rename(&temporary, path)
        };
        copy().inspect_err(|_| {
            let _ = self.disk.remove_file(&temporary);
        })
    }

    /// Makes a new file that is not yet the object.
    fn temporary(&self, path: &Path) -> std::io::Result<(PathBuf, Arc<dyn DiskFile>)> {
        // A folder that is there may have been made by a call that failed before it was durable: its name is synced each time.
        self.disk.create_dir_all(path.parent().unwrap_or(&self.root))?;
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{number}.tmp"));
        let file = self.disk.open(&temporary, Open::Create)?;
        Ok((temporary, file))
    }
}

struct Writer {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    temporary: PathBuf,
    file: Arc<dyn DiskFile>,
    written: u64,
}

impl BlobWriter for Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all_at(bytes, self.written);
        written.map_err(|e| Error::io(format!("write {}", self.path.display()), e))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let renamed = self.disk.rename(&self.temporary, &self.path);
        renamed.map_err(|e| Error::io(format!("write {}", self.path.display()), e))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Not there any more if it was finished.
        let _ = self.disk.remove_file(&self.temporary);
    }
}

struct Reader {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl BlobReader for Reader {
    fn size(&self) -> Result<u64> {
        let size = self.file.size_bytes();
        size.map_err(|e| Error::io(format!("read {}", self.path.display()), e))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact_at(buffer, offset);
        read.map_err(|e| Error::io(format!("read {}", self.path.display()), e))
    }
}

impl Blob for FsBlob {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(name)?;
        let failed = |e: std::io::Error| Error::io(format!("write {}", path.display()), e);
        let folder = path.parent().unwrap_or(&self.root);
        // One that is there may have been made by a call that failed before it was durable: its name is synced each time.
        self.disk.create_dir_all(folder).map_err(failed)?;
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{number}.tmp"));
        let written = self
            .disk
            .open(&temporary, Open::Create)
            .and_then(|file| {
                file.write_all_at(bytes, 0)?;
                file.sync()
            })
            .and_then(|()| self.disk.rename(&temporary, &path))
            .and_then(|()| self.sync_folders(folder));
        written.map_err(|e| {
            let _ = self.disk.remove_file(&temporary);
            failed(e)
        })
    }

    fn get(&self, name: &str) -> Result<Bytes> {
        let path = self.path(name)?;
        self.disk.read(&path).map(Bytes::from).map_err(|e| match e.kind() {
            Io::NotFound => Error::not_found(format!("there is no object {}", path.display())),
            _ => Error::io(format!("read {}", path.display()), e),
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(self.files()?.into_iter().filter(|n| n.starts_with(prefix) && !n.ends_with(".tmp")).collect())
    }

    fn create(&self, name: &str) -> Result<Box<dyn BlobWriter>> {
        let path = self.path(name)?;
        let made = self.temporary(&path);
        let (temporary, file) = made.map_err(|e| Error::io(format!("write {}", path.display()), e))?;
        Ok(Box::new(Writer { disk: self.disk.clone(), path, temporary, file, written: 0 }))
    }

    fn sync(&self, names: &[String]) -> Result<()> {
        let mut folders = BTreeSet::from([self.root.clone()]);
        for name in names {
            let path = self.path(name)?;
            let synced = self.sync_file(&path);
            synced.map_err(|e| Error::io(format!("write {}", path.display()), e))?;
            folders.extend(path.ancestors().skip(1).take_while(|f| f.starts_with(&self.root)).map(Path::to_path_buf));
        }
        for folder in folders {
            let synced = self.disk.sync_dir(&folder);
            synced.map_err(|e| Error::io(format!("write {}", folder.display()), e))?;
        }
        Ok(())
    }

    fn open(&self, name: &str) -> Result<Box<dyn BlobReader>> {
        let path = self.path(name)?;
        match self.disk.open(&path, Open::Read) {
            Ok(file) => Ok(Box::new(Reader { path, file })),
            Err(e) if e.kind() == Io::NotFound => {
                Err(Error::not_found(format!("there is no object {}", path.display())))
            }
            Err(e) => Err(Error::io(format!("read {}", path.display()), e)),
        }
    }

    fn delete(&self, name: &str) -> Result<()> {
        let path = self.path(name)?;
        self.unsynced.lock().remove(&path);
        match self.disk.remove_file(&path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == Io::NotFound => Ok(()),
            Err(e) => Err(Error::io(format!("remove {}", path.display()), e)),
        }
    }
}
