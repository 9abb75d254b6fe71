//! `CREATE EXTERNAL TABLE … STORED AS CSV`: files whose rows go into a stream, or a table.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::sql::parser::{CreateExternalTable, DFParser, Statement};
use fleuve_types::{Error, Result, sql_type_name};

use super::foreign::{Column, TypeName, columns, listed};

/// Rows of one `INSERT`.
const ROWS: usize = 1000;
/// Rows that types are found from when the statement has no columns.
const INFERRED_FROM: usize = 1000;
/// Files of one table.
const MAX_FILES: usize = 10_000;

/// A table whose rows are in files.
#[derive(Clone, Debug, PartialEq)]
pub struct External {
    pub name: String,
    /// None when they are to be found in the file.
    columns: Vec<Column>,
    location: String,
    csv: Csv,
    pub if_not_exists: bool,
    pub or_replace: bool,
}

/// How the rows are written.
#[derive(Clone, Debug, PartialEq)]
struct Csv {
    header: bool,
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    comment: Option<u8>,
    terminator: Option<u8>,
    gzip: bool,
    truncated_rows: bool,
}

impl External {
    /// Reads the statement.
    ///
    /// # Errors
    /// Why it is not offered, and the table's name if it is known.
    pub fn new(sql: &str) -> std::result::Result<Self, (String, Option<String>)> {
        let statement = match DFParser::parse_sql(sql).map(|mut all| all.pop_front()) {
            Ok(Some(Statement::CreateExternalTable(statement))) => statement,
            _ => return Err(("CREATE EXTERNAL TABLE in a form that cannot be read".into(), None)),
        };
        let name = statement.name.to_string();
        Self::of(statement, name.clone()).map_err(|why| (why, Some(name)))
    }

    fn of(statement: CreateExternalTable, name: String) -> std::result::Result<Self, String> {
        let CreateExternalTable { columns: definitions, file_type, location, table_partition_cols, options, .. } =
            statement;
        if !file_type.eq_ignore_ascii_case("csv") {
            return Err(format!("CREATE EXTERNAL TABLE … STORED AS {} is not offered", file_type.to_uppercase()));
        }
        if !table_partition_cols.is_empty() {
            return Err("CREATE EXTERNAL TABLE … PARTITIONED BY is not offered".into());
        }
        let location = location.strip_prefix("file://").unwrap_or(&location).to_string();
        if location.contains("://") {
            return Err(format!("{location} is not a file"));
        }
        let mut csv = Csv::default();
        for (key, value) in options {
            csv.set(&key, &value.into_string().unwrap_or_default())?;
        }
        let (if_not_exists, or_replace) = (statement.if_not_exists, statement.or_replace);
        Ok(Self { name, columns: columns(&definitions)?, location, csv, if_not_exists, or_replace })
    }

    /// The files, of a folder those that end in `.csv`; relative to `folder`.
    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let path = folder.join(&self.location);
        let found = match path.is_dir() {
            true => matching(&path.join("*.csv*"), MAX_FILES)?,
            false => matching(&path, MAX_FILES)?,
        };
        match found.is_empty() {
            true => Err(Error::not_found(format!("{} is not there", self.location))),
            false => Ok(found),
        }
    }

    fn open(&self, file: &Path) -> Result<Box<dyn Read + Send>> {
        let opened = File::open(file).map_err(|e| Error::io(format!("cannot read {}", file.display()), e))?;
        let gzip = self.csv.gzip || file.extension().is_some_and(|e| e == "gz");
        Ok(if gzip { Box::new(flate2::read::MultiGzDecoder::new(opened)) } else { Box::new(opened) })
    }

    /// The columns, as CREATE STREAM and CREATE TABLE have them.
    ///
    /// # Errors
    /// When the file is not there or cannot be read.
    pub fn columns(&self, folder: &Path, type_name: TypeName) -> Result<String> {
        Ok(listed(&self.columns_of(&self.files(folder)?)?, type_name))
    }

    fn columns_of(&self, files: &[PathBuf]) -> Result<Vec<Column>> {
        let Some(first) = files.first().filter(|_| self.columns.is_empty()) else { return Ok(self.columns.clone()) };
        let format = self.csv.format();
        let (schema, _) = format.infer_schema(self.open(first)?, Some(INFERRED_FROM)).map_err(|e| wrong(first, e))?;
        let column = |field: &Arc<Field>| Column {
            name: format!("\"{}\"", field.name().replace('"', "\"\"")),
            of: match field.data_type() {
                DataType::Null => "TEXT".into(),
                other => sql_type_name(other),
            },
            not_null: false,
        };
        Ok(schema.fields().iter().map(column).collect())
    }

    /// The rows as the statements that insert them, one after the other.
    ///
    /// # Errors
    /// When the file is not there or cannot be read; so may each statement.
    pub fn inserts(
        &self,
        folder: &Path,
        type_name: TypeName,
    ) -> Result<impl Iterator<Item = Result<String>> + use<'_>> {
        let files = self.files(folder)?;
        let columns = self.columns_of(&files)?;
        // Everything is text here; what it is a text of is the database's to tell.
        let field = |column: &Column| Field::new(&column.name, DataType::Utf8, true);
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let types: Vec<String> = columns.iter().map(|column| type_name(&column.of)).collect();
        let reader = move |file: &Path| {
            let reader = ReaderBuilder::new(schema.clone()).with_format(self.csv.format()).with_batch_size(ROWS);
            let reader = reader.with_truncated_rows(self.csv.truncated_rows);
            reader.build(self.open(file)?).map_err(|e| wrong(file, e))
        };
        let name = self.name.clone();
        let statement = move |batch: &RecordBatch| {
            let rows: Vec<String> = (0..batch.num_rows()).map(|row| literals(batch, row, &types)).collect();
            format!("INSERT INTO {name} VALUES {}", rows.join(", "))
        };
        // Each file is opened when its turn comes.
        Ok(files.into_iter().flat_map(move |file| -> Box<dyn Iterator<Item = Result<String>> + Send> {
            let statement = statement.clone();
            match reader(&file) {
                Ok(rows) => Box::new(rows.map(move |batch| Ok(statement(&batch.map_err(|e| wrong(&file, e))?)))),
                Err(e) => Box::new(std::iter::once(Err(e))),
            }
        }))
    }
}

fn wrong(file: &Path, error: impl std::fmt::Display) -> Error {
    Error::input(format!("{} cannot be read as CSV: {error}", file.display()))
}

/// A row as VALUES has it.
fn literals(batch: &RecordBatch, row: usize, types: &[String]) -> String {
    let value = |(column, of): (&Arc<dyn Array>, &String)| match column.is_null(row) {
        true => "NULL".to_string(),
        false => format!("CAST('{}' AS {of})", column.as_string::<i32>().value(row).replace('\'', "''")),
    };
    format!("({})", batch.columns().iter().zip(types).map(value).collect::<Vec<_>>().join(", "))
}

impl Default for Csv {
    fn default() -> Self {
        Self {
            // As it is in DataFusion when the statement does not say.
            header: true,
            delimiter: b',',
            quote: None,
            escape: None,
            comment: None,
            terminator: None,
            gzip: false,
            truncated_rows: false,
        }
    }
}

impl Csv {
    fn set(&mut self, key: &str, value: &str) -> std::result::Result<(), String> {
        let key = key.to_ascii_lowercase();
        let key = key.strip_prefix("format.").unwrap_or(&key);
        let byte = || match value.as_bytes() {
            [byte] => Ok(*byte),
            b"\\t" => Ok(b'\t'),
            b"\\n" => Ok(b'\n'),
            b"\\r" => Ok(b'\r'),
            _ => Err(format!("the option {key} of CSV is '{value}', and one byte is wanted")),
        };
        let on = value.eq_ignore_ascii_case("true");
        match key {
            "has_header" => self.header = on,
            "delimiter" => self.delimiter = byte()?,
            "quote" => self.quote = Some(byte()?),
            "escape" => self.escape = Some(byte()?),
            "comment" => self.comment = Some(byte()?),
            "terminator" => self.terminator = Some(byte()?),
            "truncated_rows" => self.truncated_rows = on,
            "compression" if value.eq_ignore_ascii_case("gzip") => self.gzip = true,
            "compression" if value.eq_ignore_ascii_case("uncompressed") => {}
            // How the file is written, and from how much of it the types come.
            "newlines_in_values" | "double_quote" | "schema_infer_max_rec" | "compression_level" => {}
            _ => return Err(format!("the option {key} of CSV with the value '{value}' is not offered")),
        }
        Ok(())
    }

    fn format(&self) -> Format {
        let mut format = Format::default().with_header(self.header).with_delimiter(self.delimiter);
        if let Some(quote) = self.quote {
            format = format.with_quote(quote);
        }
        if let Some(escape) = self.escape {
            format = format.with_escape(escape);
        }
        if let Some(comment) = self.comment {
            format = format.with_comment(comment);
        }
        if let Some(terminator) = self.terminator {
            format = format.with_terminator(terminator);
        }
        format.with_truncated_rows(self.truncated_rows)
    }
}

/// The files that a path stands for, in which there may be `*`, `?` and `[…]`.
///
/// # Errors
/// When there are too many, or the pattern is none.
pub fn matching(path: &Path, at_most: usize) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let found = glob::glob(&path.to_string_lossy())
        .map_err(|e| Error::input(format!("'{}' is no pattern of file names: {e}", path.display())))?;
    let files: Vec<PathBuf> =
        found.filter_map(|path| path.ok()).filter(|path| path.is_file()).take(at_most + 1).collect();
    match files.len() > at_most {
        true => Err(Error::input(format!("'{}' stands for more than {at_most} files", path.display()))),
        false => Ok(files),
    }
}
