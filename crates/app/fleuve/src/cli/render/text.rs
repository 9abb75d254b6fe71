//! CSV and JSON, for programs.

use serde_json::Value;

use super::{Column, Rows, plain};

/// With a header line; NULL is empty, an empty text is quoted (as PostgreSQL's COPY does).
pub fn csv(rows: &Rows) -> String {
    let mut out = String::new();
    let header: Vec<String> = rows.columns.iter().map(|c| csv_field(&c.name)).collect();
    out.push_str(&header.join(","));
    out.push('\n');
    for row in &rows.rows {
        let fields: Vec<String> = row.iter().map(|v| plain(v).map_or_else(String::new, |t| csv_field(&t))).collect();
        out.push_str(&fields.join(","));
        out.push('\n');
    }
    out
}

fn csv_field(text: &str) -> String {
    match text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_string(),
    }
}

/// One JSON array, a row per line.
pub fn json_array(rows: &Rows) -> String {
    let lines: Vec<String> = rows.rows.iter().map(|row| json_object(rows, row)).collect();
    match lines.is_empty() {
        true => "[]\n".into(),
        false => format!("[{}]\n", lines.join(",\n ")),
    }
}

/// A row as an object, its columns in their order.
pub fn json_object(rows: &Rows, row: &[Value]) -> String {
    let value = |c: &Column, v: &Value| match v {
        // A number that came as text, so that it is the number that was sent; it is one again here.
        Value::String(text) if c.is_number() && text.parse::<f64>().is_ok_and(f64::is_finite) => text.clone(),
        other => other.to_string(),
    };
    let named = rows.columns.iter().zip(row);
    let fields: Vec<String> =
        named.map(|(c, v)| format!("{}:{}", Value::String(c.name.clone()), value(c, v))).collect();
    format!("{{{}}}", fields.join(","))
}
