use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow::datatypes::{Field, SchemaRef};
use bytes::Bytes;
use fleuve_types::{Error, ErrorKind, Result};

use crate::{Format, FormatSpec, avro, combined_log, csv};

mod cells;
mod json;

pub(crate) use cells::{Cells, Values};
pub(crate) use json::{seconds, write_plain};

/// Turns rows into record values.
///
/// JSON: NULL is written as `null`, timestamps and dates as RFC 3339 writes them (without zone for columns that have none), decimals as
/// numbers, bytes as base64, floats that are no numbers as `"NaN"`, `"Infinity"` and `"-Infinity"`. CSV: fields are quoted where they
/// must be; arrays and structs are JSON. Access logs: the time in whole seconds, UTC. Avro: as [`crate::avro_schema_for`] says.
pub struct Encoder {
    format: Format,
    csv: crate::spec::CsvOptions,
    schema: SchemaRef,
    schema_id: u32,
}

impl Encoder {
    /// An encoder of rows with the columns `schema`. `schema_id` is the registry's id of [`crate::avro_schema_for`] that schema;
    /// needed for Avro only.
    ///
    /// # Errors
    /// Unsupported: a column type that the format cannot say. Input: columns that the format does not have. A bug of the caller:
    /// Avro without id.
    pub fn new(spec: &FormatSpec, schema: SchemaRef, schema_id: Option<u32>) -> Result<Encoder> {
        let format = spec.format();
        let schema_id = match (format, schema_id) {
            (Format::Avro, None) => return Err(Error::bug("an Avro encoder needs its schema's id")),
            (_, id) => id.unwrap_or(0),
        };
        if matches!(format, Format::Text | Format::Raw) && schema.fields().len() != 1 {
            return Err(Error::input(format!("format {format} takes exactly one column")));
        }
        if format == Format::Avro {
            avro::avro_schema_for(&schema, "row")?;
        }
        for field in schema.fields() {
            let cells = Cells::new(&new_empty_array(field.data_type()))
                .map_err(|e| Error::new(e.kind, format!("column '{}': {}", field.name(), e.message)))?;
            let fits = match (format, &cells.values) {
                (Format::Text, values) => matches!(values, Values::Text(_)),
                (Format::Raw, values) => matches!(values, Values::Bytes(_) | Values::Text(_)),
                _ => true,
            };
            if !fits {
                return Err(Error::input(format!("column '{}' is not of the type that {format} takes", field.name())));
            }
        }
        Ok(Encoder { format, csv: spec.csv.clone(), schema, schema_id })
    }

    /// The values of the rows, one each; together they share one buffer.
    ///
    /// # Errors
    /// Input: NULL in a NOT NULL column, or a value that the format cannot say. A bug of the caller: a batch with other columns.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Vec<Bytes>> {
        if batch.num_columns() != self.schema.fields().len() {
            return Err(Error::bug("a batch has other columns than its encoder"));
        }
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (field, array) in self.schema.fields().iter().zip(batch.columns()) {
            if field.data_type() != array.data_type() {
                return Err(Error::bug(format!("column '{}' has another type than its encoder's", field.name())));
            }
            if !field.is_nullable() && array.logical_null_count() > 0 {
                return Err(Error::input(format!("column '{}' is NOT NULL and has a NULL", field.name())));
            }
            columns.push((field.as_ref().clone(), Cells::new(array)?));
        }
        let mut out = Vec::new();
        let mut ends = Vec::with_capacity(batch.num_rows());
        let log = (self.format == Format::CombinedLog).then(|| combined_log::Writer::new(&columns));
        for row in 0..batch.num_rows() {
            match self.format {
                Format::Json => json::write_row(&mut out, &columns, row)?,
                Format::Avro => avro::write_row(&mut out, self.schema_id, &columns, row)?,
                Format::Csv => csv::write_row(&mut out, &self.csv, &columns, row)?,
                Format::CombinedLog => match &log {
                    Some(log) => log.write_row(&mut out, &columns, row)?,
                    None => return Err(Error::bug("a log without its writer")),
                },
                Format::Text | Format::Raw => write_whole(&mut out, &columns[0], row)?,
            }
            ends.push(out.len());
        }
        let all = Bytes::from(out);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        Ok(starts.zip(&ends).map(|(start, end)| all.slice(start..*end)).collect())
    }
}

fn write_whole(out: &mut Vec<u8>, (field, cells): &(Field, Cells), row: usize) -> Result<()> {
    match &cells.values {
        _ if cells.is_null(row) => {
            return Err(Error::input(format!("column '{}' is NULL, which is no value of a record", field.name())));
        }
        Values::Text(values) => out.extend_from_slice(values.value(row).as_bytes()),
        Values::Bytes(values) => out.extend_from_slice(values.value(row)),
        _ => return Err(Error::bug("a column of another type than checked")),
    }
    Ok(())
}

/// An error about a value that stands in a column.
pub(crate) fn unsayable(field: &Field, why: &str) -> Error {
    Error::input(format!("column '{}': {why}", field.name()))
}

/// Casts that Arrow has for every array that is taken here.
pub(crate) fn cast(array: &ArrayRef, to: &arrow::datatypes::DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    arrow::compute::cast(array, to).map_err(|e| Error::new(ErrorKind::Unsupported, e.to_string()))
}
