use std::collections::BTreeMap;

use fleuve_types::{Error, Result};

use super::limits::{MAX_LINE_BYTES, MAX_LINE_BYTES_RANGE};

/// What the rows of CSV files look like, and the columns that they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvRows {
    /// What stands between two fields.
    pub delimiter: u8,
    /// What stands around a field that holds line ends or delimiters; `None`: quotes are ordinary characters.
    pub quote: Option<u8>,
    /// The columns in their order; a header's names are looked up in them.
    pub columns: Vec<String>,
}

/// What `CREATE SOURCE ... WITH (connector = file, ...)` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// A path, or a pattern with `*`, `?`, `[...]` and `**`. A relative one starts at the process's working directory.
    pub path: String,
    /// True: go on for ever with what is appended and with new files. False: read what is there and end.
    pub follow: bool,
    /// The first line of each file is not a record.
    pub header: bool,
    /// A longer line is delivered cut off and marked, see [`crate::Line::oversize`].
    pub max_line_bytes: usize,
    /// Lines without any byte are no records.
    pub skip_empty_lines: bool,
    /// The files are CSV: a record is a row, which goes over line ends in quotes, with its fields in the order of the columns.
    pub csv: Option<CsvRows>,
}

impl FileOptions {
    /// The names of all options.
    pub const NAMES: [&'static str; 5] = ["follow", "header", "max_line_bytes", "path", "skip_empty_lines"];

    /// Options for a path, all others as they are by default.
    pub fn of_path(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            follow: false,
            header: false,
            max_line_bytes: MAX_LINE_BYTES,
            skip_empty_lines: false,
            csv: None,
        }
    }

    /// Reads options by their lower-case names (without `connector`).
    ///
    /// # Errors
    /// Input: an unknown option, a value that is none, or no path.
    pub fn new(options: &BTreeMap<String, String>) -> Result<Self> {
        let path = options.get("path").filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| Error::input("a file source needs the option path"))?;
        let mut parsed = Self::of_path(path);
        for (key, value) in options {
            match key.as_str() {
                "path" => {}
                "follow" => parsed.follow = boolean(key, value)?,
                "header" => parsed.header = boolean(key, value)?,
                "skip_empty_lines" => parsed.skip_empty_lines = boolean(key, value)?,
                "max_line_bytes" => {
                    parsed.max_line_bytes =
                        value.parse().ok().filter(|bytes| MAX_LINE_BYTES_RANGE.contains(bytes)).ok_or_else(|| {
                            let (least, most) = (MAX_LINE_BYTES_RANGE.start(), MAX_LINE_BYTES_RANGE.end());
                            Error::input(format!("option {key} = '{value}' is not a number from {least} to {most}"))
                        })?;
                }
                _ => {
                    return Err(Error::input(format!("a file source has no option '{key}'"))
                        .hint(format!("there are: {}", Self::NAMES.join(", "))));
                }
            }
        }
        if let Err(e) = glob::Pattern::new(&parsed.path) {
            return Err(Error::input(format!("path = '{}' is no pattern: {e}", parsed.path)));
        }
        Ok(parsed)
    }
}

fn boolean(key: &str, value: &str) -> Result<bool> {
    value
        .to_ascii_lowercase()
        .parse()
        .map_err(|_| Error::input(format!("option {key} = '{value}' is not true or false")))
}
