//! Small things about files.

use std::io;
use std::path::Path;

use fleuve_store::Disk;
use fleuve_types::Error;

/// Makes an I/O error say what was tried and where.
pub(crate) fn error<'a>(what: &'a str, path: &'a Path) -> impl Fn(io::Error) -> Error + 'a {
    move |e| Error::io(format!("{what} {}", path.display()), e)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    disk.sync_dir(dir).map_err(error("cannot sync", dir))
}
