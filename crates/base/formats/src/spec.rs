use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use fleuve_types::{Error, Result, is_pseudo_column, sql_type_name};

use crate::limits::{MAX_RECORD_BYTES, MAX_RECORD_BYTES_OPTION, MAX_TYPE_DEPTH};

/// How the bytes of a stream's records become rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON object per record.
    Json,
    /// Avro in Confluent framing: a zero byte, the schema's id in four bytes, the datum.
    Avro,
    /// One CSV row per record.
    Csv,
    /// A line of a web server's access log, combined or common.
    CombinedLog,
    /// The value is one text.
    Text,
    /// The value as it is.
    Raw,
}

impl Format {
    /// All formats.
    pub const ALL: [Format; 6] =
        [Format::Json, Format::Avro, Format::Csv, Format::CombinedLog, Format::Text, Format::Raw];

    /// The word used in `WITH (format = ...)`.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Avro => "avro",
            Format::Csv => "csv",
            Format::CombinedLog => "combined_log",
            Format::Text => "text",
            Format::Raw => "raw",
        }
    }

    /// The options that the format takes, in lower case.
    pub fn option_names(self) -> &'static [&'static str] {
        match self {
            Format::Csv => &["delimiter", "header", "max_record_bytes", "null", "quote"],
            _ => &["max_record_bytes"],
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let lower = s.to_ascii_lowercase();
        Format::ALL.into_iter().find(|f| f.as_str() == lower).ok_or_else(|| {
            let names: Vec<_> = Format::ALL.iter().map(|f| f.as_str()).collect();
            Error::input(format!("there is no format '{s}'")).hint(nearest(&lower, &names))
        })
    }
}

/// How CSV is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CsvOptions {
    pub(crate) delimiter: u8,
    /// `None`: quotes are ordinary characters.
    pub(crate) quote: Option<u8>,
    /// The unquoted field that means NULL.
    pub(crate) null: String,
    pub(crate) header: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { delimiter: b',', quote: Some(b'"'), null: String::new(), header: false }
    }
}

/// A format with its options and columns, all checked.
#[derive(Clone, Debug)]
pub struct FormatSpec {
    format: Format,
    schema: SchemaRef,
    max_record_bytes: usize,
    pub(crate) csv: CsvOptions,
}

impl FormatSpec {
    /// Checks a format, its options (lower-case keys) and the declared columns. Without columns, those that the format brings.
    ///
    /// # Errors
    /// Input: an unknown format, option or value, a column type that records cannot hold, or columns missing.
    pub fn new(format: &str, options: &BTreeMap<String, String>, declared: Option<SchemaRef>) -> Result<FormatSpec> {
        let format: Format = format.parse()?;
        let mut csv = CsvOptions::default();
        let mut max_record_bytes = MAX_RECORD_BYTES;
        for (key, value) in options {
            match (format, key.as_str()) {
                (_, "max_record_bytes") => {
                    max_record_bytes = value
                        .parse()
                        .ok()
                        .filter(|bytes| (1..=MAX_RECORD_BYTES_OPTION).contains(bytes))
                        .ok_or_else(|| {
                            bad_option(key, value, &format!("a number of bytes from 1 to {MAX_RECORD_BYTES_OPTION}"))
                        })?;
                }
                (Format::Csv, "delimiter") => csv.delimiter = one_byte(key, value)?,
                (Format::Csv, "quote") if value.is_empty() || value == "none" => csv.quote = None,
                (Format::Csv, "quote") => csv.quote = Some(one_byte(key, value)?),
                (Format::Csv, "null") => csv.null.clone_from(value),
                (Format::Csv, "header") => {
                    csv.header =
                        value.to_ascii_lowercase().parse().map_err(|_| bad_option(key, value, "true or false"))?;
                }
                _ => {
                    return Err(Error::input(format!("format {format} has no option '{key}'"))
                        .hint(nearest(key, format.option_names())));
                }
            }
        }
        if csv.quote == Some(csv.delimiter) {
            return Err(Error::input("the CSV options delimiter and quote are the same character"));
        }
        let schema = match declared.or_else(|| format_columns(format.as_str())) {
            Some(schema) => schema,
            None => return Err(Error::input(format!("a stream in format {format} needs its columns declared"))),
        };
        let spec = FormatSpec { format, schema, max_record_bytes, csv };
        spec.check_columns()?;
        Ok(spec)
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The stream's own columns: the declared ones, or those that the format brings.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The longest value that is decoded; a longer one is a bad record.
    pub fn max_record_bytes(&self) -> usize {
        self.max_record_bytes
    }

    /// True when the first line of a file in this format names the columns and is not a row (CSV option `header`).
    pub fn header(&self) -> bool {
        self.csv.header
    }

    /// What stands between the fields of a CSV row, and what around those that hold it; `None` for other formats.
    pub fn csv_marks(&self) -> Option<(u8, Option<u8>)> {
        (self.format == Format::Csv).then_some((self.csv.delimiter, self.csv.quote))
    }

    fn check_columns(&self) -> Result<()> {
        let fields = self.schema.fields();
        if fields.is_empty() {
            return Err(Error::input(format!("a stream in format {} needs at least one column", self.format)));
        }
        for (at, field) in fields.iter().enumerate() {
            if is_pseudo_column(field.name()) {
                return Err(Error::input(format!("column '{}' has the name of a pseudo-column", field.name())));
            }
            if fields[..at].iter().any(|other| other.name() == field.name()) {
                return Err(Error::input(format!("column '{}' is declared twice", field.name())));
            }
            check_type(field.name(), field.data_type(), 0)?;
        }
        match self.format {
            Format::Text => self.check_single("TEXT", is_text),
            Format::Raw => self.check_single("BYTEA", is_bytes),
            Format::CombinedLog => fields.iter().try_for_each(|field| check_log_column(field)),
            Format::Json | Format::Avro | Format::Csv => Ok(()),
        }
    }

    fn check_single(&self, name: &str, fits: fn(&DataType) -> bool) -> Result<()> {
        match self.schema.fields().as_ref() {
            [only] if fits(only.data_type()) => Ok(()),
            _ => {
                Err(Error::input(format!("a stream in format {} has exactly one column, of type {name}", self.format)))
            }
        }
    }
}

/// The columns that a format brings when none are declared; `None` for formats that need them declared, and for
/// unknown ones.
pub fn format_columns(format: &str) -> Option<SchemaRef> {
    let column = |name: &str, data_type| Field::new(name, data_type, true);
    let fields = match format.parse::<Format>().ok()? {
        Format::CombinedLog => vec![
            column("host", DataType::Utf8),
            column("ident", DataType::Utf8),
            column("user_name", DataType::Utf8),
            column("ts", DataType::Timestamp(TimeUnit::Microsecond, None)),
            column("method", DataType::Utf8),
            column("path", DataType::Utf8),
            column("protocol", DataType::Utf8),
            column("status", DataType::Int32),
            column("bytes", DataType::Int64),
            column("referer", DataType::Utf8),
            column("agent", DataType::Utf8),
        ],
        Format::Text => vec![column("line", DataType::Utf8)],
        Format::Raw => vec![column("value", DataType::Binary)],
        Format::Json | Format::Avro | Format::Csv => return None,
    };
    Some(Arc::new(Schema::new(fields)))
}

pub(crate) fn is_text(t: &DataType) -> bool {
    matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

pub(crate) fn is_bytes(t: &DataType) -> bool {
    matches!(t, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// Columns declared over a log line must be among those that the line has, with a type that takes their values.
fn check_log_column(field: &Field) -> Result<()> {
    let brought = format_columns("combined_log").expect("the format brings columns");
    let Some((_, own)) = brought.column_with_name(field.name()) else {
        let names: Vec<&str> = brought.fields().iter().map(|f| f.name().as_str()).collect();
        return Err(Error::input(format!("format combined_log has no column '{}'", field.name()))
            .hint(nearest(field.name(), &names)));
    };
    let fits = match own.data_type() {
        DataType::Utf8 => is_text(field.data_type()),
        DataType::Timestamp(..) => matches!(field.data_type(), DataType::Timestamp(..)),
        _ => field.data_type().is_integer(),
    };
    if fits {
        return Ok(());
    }
    Err(Error::input(format!(
        "column '{}' of format combined_log is {}, not {}",
        field.name(),
        sql_type_name(own.data_type()),
        sql_type_name(field.data_type())
    )))
}

fn check_type(column: &str, data_type: &DataType, depth: usize) -> Result<()> {
    use DataType as T;
    if depth > MAX_TYPE_DEPTH {
        return Err(Error::input(format!("the type of column '{column}' nests deeper than {MAX_TYPE_DEPTH}")));
    }
    match data_type {
        T::Boolean | T::Float32 | T::Float64 | T::Date32 | T::Time32(_) | T::Time64(_) | T::Timestamp(..) => Ok(()),
        T::Decimal128(..) | T::Decimal256(..) => Ok(()),
        t if t.is_integer() || is_text(t) || is_bytes(t) => Ok(()),
        T::List(item) => check_type(column, item.data_type(), depth + 1),
        T::Struct(fields) if fields.is_empty() => {
            Err(Error::input(format!("the struct of column '{column}' has no fields")))
        }
        T::Struct(fields) => {
            fields.iter().try_for_each(|f| check_type(&format!("{column}.{}", f.name()), f.data_type(), depth + 1))
        }
        other => Err(Error::unsupported(format!(
            "column '{column}' is of type {}, which a stream's records cannot hold",
            sql_type_name(other)
        ))),
    }
}

fn one_byte(key: &str, value: &str) -> Result<u8> {
    match value {
        "\\t" | "tab" => Ok(b'\t'),
        _ => match value.as_bytes() {
            [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
            _ => Err(bad_option(key, value, "one ASCII character, no letter, digit or line end, or \\t")),
        },
    }
}

fn bad_option(key: &str, value: &str, wanted: &str) -> Error {
    Error::input(format!("option {key} = '{value}' is not {wanted}"))
}

/// A hint that names the nearest of `names`, or all of them when none is near.
fn nearest(word: &str, names: &[&str]) -> String {
    let best = names.iter().map(|name| (distance(word, name), *name)).min();
    match best {
        Some((edits, name)) if edits <= 1 + word.len() / 3 => format!("did you mean '{name}'?"),
        _ => format!("there are: {}", names.join(", ")),
    }
}

/// Levenshtein's distance, in characters; words longer than 64 bytes are far from everything.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
