//! Rows as JSON.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fleuve_types::{Result, sql_type_name};

use super::cell::{Cells, Form, cells};

/// `text` as a JSON string.
pub(crate) fn push_string(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("a string is always JSON"));
}

/// `[{"name": ..., "type": ...}, ...]`
pub(crate) fn columns_json(schema: &SchemaRef) -> String {
    let columns: Vec<_> = schema
        .fields()
        .iter()
        .map(|f| serde_json::json!({"name": f.name(), "type": sql_type_name(f.data_type())}))
        .collect();
    serde_json::Value::from(columns).to_string()
}

/// Each row as a list, with a comma before each unless `out` ends with the opening bracket. Stops once `out` is longer than
/// `max_bytes`, and says so.
pub(crate) fn rows_json(batch: &RecordBatch, max_bytes: usize, out: &mut String) -> Result<Fits> {
    let columns = cells(batch)?;
    for row in 0..batch.num_rows() {
        out.push_str(if out.ends_with("\"rows\":[") { "[" } else { ",[" });
        for (n, cells) in columns.iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            cells.write(row, Form::Json, out);
        }
        out.push(']');
        if out.len() > max_bytes {
            return Ok(Fits::No);
        }
    }
    Ok(Fits::Yes)
}

/// Whether rows found room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fits {
    Yes,
    No,
}

/// Columns with their names, ready to be written as objects.
pub(crate) struct Objects {
    /// `"name":`
    keys: Vec<String>,
    columns: Vec<Cells>,
}

/// The columns of a batch.
pub(crate) fn objects(batch: &RecordBatch) -> Result<Objects> {
    let schema = batch.schema();
    let keys = schema.fields().iter().map(|f| {
        let mut key = String::new();
        push_string(f.name(), &mut key);
        key + ":"
    });
    Ok(Objects { keys: keys.collect(), columns: cells(batch)? })
}

/// One row as an object.
pub(crate) fn object_row(objects: &Objects, row: usize, out: &mut String) {
    out.push('{');
    for (n, (key, cells)) in objects.keys.iter().zip(&objects.columns).enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str(key);
        cells.write(row, Form::Json, out);
    }
    out.push('}');
}

/// One object per line (`application/x-ndjson`).
pub(crate) struct Lines;

impl Lines {
    pub(crate) fn rows(batch: &RecordBatch) -> Result<String> {
        let objects = objects(batch)?;
        let mut out = String::new();
        for row in 0..batch.num_rows() {
            object_row(&objects, row, &mut out);
            out.push('\n');
        }
        Ok(out)
    }
}
