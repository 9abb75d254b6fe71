//! The data folder: made when it does not exist, proved writable, and held by one server at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use fleuve_types::{Error, ErrorKind, Result};

/// The folder, held until this is dropped. The lock is the operating system's and goes with the process, however it ends.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Takes the folder.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when it cannot be made or written, or another server holds it.
    pub fn open(path: &Path) -> Result<Self> {
        let refused = |what: &str, e: std::io::Error| {
            let reason = match e.kind() {
                std::io::ErrorKind::PermissionDenied => "permission denied".to_string(),
                _ => e.to_string(),
            };
            Error::new(ErrorKind::Config, format!("cannot {what} the data folder {}: {reason}", path.display()))
                .hint("choose another with --data DIR")
        };
        let missing = |p: &&Path| !p.as_os_str().is_empty() && !p.exists();
        let fresh: Vec<&Path> = path.ancestors().take_while(missing).collect();
        std::fs::create_dir_all(path).map_err(|e| refused("make", e))?;
        for folder in fresh {
            // Its name, too, has to outlive a loss of power.
            let above = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(above).and_then(|above| above.sync_all()).map_err(|e| refused("make", e))?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("LOCK"))
            .map_err(|e| refused("write to", e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_path_buf(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::new(
                ErrorKind::Config,
                format!("another server is running on the data folder {}", path.display()),
            )
            .hint("stop it first, or choose another folder with --data DIR")),
            Err(TryLockError::Error(e)) => Err(refused("lock", e)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
