//! Small things about files.

use std::fs::File;
use std::io;
use std::path::Path;

use fleuve_types::Error;

/// Makes an I/O error say what was tried and where.
pub(crate) fn error<'a>(what: &'a str, path: &'a Path) -> impl Fn(io::Error) -> Error + 'a {
    move |e| Error::io(format!("{what} {}", path.display()), e)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(error("cannot sync", dir))
}
