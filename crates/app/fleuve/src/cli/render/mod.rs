//! Rows as people and programs want to read them.

mod table;
mod text;

#[cfg(test)]
mod tests;

use fleuve_types::{Error, Result};
use serde_json::Value;

use table::printable;
pub use table::{TableStyle, expanded, fit, table, width};
pub use text::{csv, json_array, json_object};

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// Its SQL type.
    pub sql_type: String,
}

impl Column {
    /// Numbers stand on the right.
    pub fn is_number(&self) -> bool {
        const NUMBERS: [&str; 9] =
            ["TINYINT", "SMALLINT", "INT", "BIGINT", "REAL", "DOUBLE", "DECIMAL", "NUMERIC", "FLOAT"];
        let upper = self.sql_type.to_ascii_uppercase();
        let first = upper.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        NUMBERS.contains(&first.trim_end_matches(|c: char| c.is_ascii_digit()))
            || (first.starts_with("UINT") && !upper.ends_with("[]"))
    }
}

/// Rows with their columns.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Value>>,
}

impl Rows {
    /// A result of `POST /v1/sql`; `None` when it has no rows to show (a command tag).
    ///
    /// # Errors
    /// A bug when the answer has another shape.
    pub fn from_json(result: &mut Value) -> Result<Option<Self>> {
        let Some(columns) = result["columns"].as_array() else { return Ok(None) };
        let columns = columns
            .iter()
            .map(|c| Column {
                name: c["name"].as_str().unwrap_or_default().to_string(),
                sql_type: c["type"].as_str().unwrap_or_default().to_string(),
            })
            .collect();
        let Value::Array(rows) = result["rows"].take() else {
            return Err(Error::bug("the server's answer has columns but no rows"));
        };
        let rows = rows
            .into_iter()
            .map(|row| match row {
                Value::Array(values) => Ok(values),
                _ => Err(Error::bug("a row of the server's answer is not a list")),
            })
            .collect::<Result<_>>()?;
        Ok(Some(Self { columns, rows }))
    }
}

/// Rows for reading: a table and their number, or the lines of a plan as they are, because a plan that is cut off is of no use.
pub fn shown(rows: &Rows, style: TableStyle) -> String {
    if let [Column { name, .. }] = rows.columns.as_slice()
        && name == "QUERY PLAN"
    {
        let lines = rows.rows.iter().filter_map(|row| row.first().and_then(plain));
        return lines.map(|line| printable(&line) + "\n").collect();
    }
    let count = match rows.rows.len() {
        1 => "1 row".to_string(),
        n => format!("{n} rows"),
    };
    format!("{}{}\n", table(rows, &[], style), style.paint.dim(&count))
}

/// A value as it stands in a table or a CSV file; NULL is `None`.
pub fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
