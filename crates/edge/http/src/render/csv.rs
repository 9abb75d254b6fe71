//! Rows as CSV (RFC 4180): a header line; NULL is an empty field, an empty text is `""`.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fleuve_types::Result;

use super::cell::{Form, cells};

pub(crate) struct Csv;

impl Csv {
    pub(crate) fn header(schema: &SchemaRef) -> String {
        let mut out = String::new();
        for (n, field) in schema.fields().iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            push_field(field.name(), &mut out);
        }
        out + "\r\n"
    }

    pub(crate) fn rows(batch: &RecordBatch) -> Result<String> {
        let columns = cells(batch)?;
        let (mut out, mut text) = (String::new(), String::new());
        for row in 0..batch.num_rows() {
            for (n, cells) in columns.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                if !cells.is_null(row) {
                    text.clear();
                    cells.write(row, Form::Text, &mut text);
                    push_field(&text, &mut out);
                }
            }
            out.push_str("\r\n");
        }
        Ok(out)
    }
}

fn push_field(text: &str, out: &mut String) {
    if !text.is_empty() && !text.contains([',', '"', '\r', '\n']) {
        return out.push_str(text);
    }
    out.push('"');
    out.push_str(&text.replace('"', "\"\""));
    out.push('"');
}
