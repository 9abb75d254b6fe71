//! The connector `file`: each line of the files that match a path is one record, or of CSV files each row.

mod csv;
mod names;
mod options;
mod position;
mod reader;
mod scan;
mod source;

#[cfg(test)]
mod tests;

pub use options::{CsvRows, FileOptions};
pub use scan::names_a_file;
pub use source::{Batch, FileSource, Line};

/// Every bound of this connector, in one place.
pub mod limits {
    /// How long a line may be unless the option `max_line_bytes` says otherwise.
    pub const MAX_LINE_BYTES: usize = 1 << 20;
    /// The least and the largest value of that option.
    pub const MAX_LINE_BYTES_RANGE: std::ops::RangeInclusive<usize> = 4096..=16 << 20;
    /// Lines of one batch.
    pub const MAX_BATCH_LINES: usize = 1 << 16;
    /// Files that one source keeps positions of. More are refused.
    pub const MAX_FILES: usize = 10_000;
    /// Positions kept of files that are not there now, because a compressed copy of them may still turn up.
    pub const MAX_MISSING_FILES: usize = 256;
    /// Files held open between two polls.
    pub const MAX_OPEN_FILES: usize = 128;
    /// How many bytes at the start of a file, after its header line, tell it from other files.
    pub const FINGERPRINT_BYTES: u64 = 1024;
    /// How much is read from a file at once.
    pub const CHUNK_BYTES: usize = 64 << 10;
}
