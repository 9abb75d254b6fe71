use std::fs::{self, File};
use std::io::{ErrorKind as Io, Write};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fleuve_types::{Error, Result};

use crate::{Blob, BlobReader, BlobWriter};

/// Objects as files of one folder. Ground state: what was put stays.
#[derive(Debug)]
pub struct FsBlob {
    root: PathBuf,
    temporary: AtomicU64,
}

impl FsBlob {
    /// The store in `root`, which is made if it is not there. Left-overs of writes that a crash cut short are removed.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(|e| Error::io(format!("make the folder {}", root.display()), e))?;
        let store = Self { root, temporary: AtomicU64::new(0) };
        for name in store.files()? {
            if name.ends_with(".tmp") {
                let _ = fs::remove_file(store.root.join(name));
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

    fn files(&self) -> Result<Vec<String>> {
        let mut out = vec![];
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder).map_err(|e| Error::io(format!("list {}", folder.display()), e))?;
            for entry in entries {
                let entry = entry.map_err(|e| Error::io(format!("list {}", folder.display()), e))?;
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(name) = path.strip_prefix(&self.root) {
                    out.push(name.to_string_lossy().into_owned());
                }
            }
        }
        out.sort();
        Ok(out)
    }
}

impl FsBlob {
    /// Makes a new file that is not yet the object.
    fn temporary(&self, path: &Path) -> std::io::Result<(PathBuf, File)> {
        fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{number}.tmp"));
        let file = File::create(&temporary)?;
        Ok((temporary, file))
    }
}

struct Writer {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
}

impl BlobWriter for Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io(format!("write {}", self.path.display()), e))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        fs::rename(&self.temporary, &self.path).map_err(|e| Error::io(format!("write {}", self.path.display()), e))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Not there any more if it was finished.
        let _ = fs::remove_file(&self.temporary);
    }
}

struct Reader {
    path: PathBuf,
    file: File,
}

impl BlobReader for Reader {
    fn size(&self) -> Result<u64> {
        let size = self.file.metadata().map(|m| m.len());
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
        let fresh = !folder.exists();
        fs::create_dir_all(folder).map_err(failed)?;
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{number}.tmp"));
        let written = File::create(&temporary)
            .and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| File::open(folder)?.sync_all())
            .and_then(|()| if fresh { File::open(&self.root)?.sync_all() } else { Ok(()) });
        written.map_err(|e| {
            let _ = fs::remove_file(&temporary);
            failed(e)
        })
    }

    fn get(&self, name: &str) -> Result<Bytes> {
        let path = self.path(name)?;
        fs::read(&path).map(Bytes::from).map_err(|e| match e.kind() {
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
        Ok(Box::new(Writer { path, temporary, file }))
    }

    fn sync(&self, names: &[String]) -> Result<()> {
        let mut folders = std::collections::BTreeSet::from([self.root.clone()]);
        for name in names {
            let path = self.path(name)?;
            let synced = File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(|e| Error::io(format!("write {}", path.display()), e))?;
            folders.extend(path.ancestors().skip(1).take_while(|f| f.starts_with(&self.root)).map(Path::to_path_buf));
        }
        for folder in folders {
            let synced = File::open(&folder).and_then(|file| file.sync_all());
            synced.map_err(|e| Error::io(format!("write {}", folder.display()), e))?;
        }
        Ok(())
    }

    fn open(&self, name: &str) -> Result<Box<dyn BlobReader>> {
        let path = self.path(name)?;
        match File::open(&path) {
            Ok(file) => Ok(Box::new(Reader { path, file })),
            Err(e) if e.kind() == Io::NotFound => {
                Err(Error::not_found(format!("there is no object {}", path.display())))
            }
            Err(e) => Err(Error::io(format!("read {}", path.display()), e)),
        }
    }

    fn delete(&self, name: &str) -> Result<()> {
        let path = self.path(name)?;
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == Io::NotFound => Ok(()),
            Err(e) => Err(Error::io(format!("remove {}", path.display()), e)),
        }
    }
}
