use arrow::datatypes::{Decimal128Type, Decimal256Type, DecimalType, Field, TimeUnit};
use base64::Engine as _;
use fleuve_types::{Error, Result};

use super::{Cells, Values, unsayable};
use crate::text_value::BASE64;
use crate::time::{write_date, write_time, write_timestamp};

/// Writes a row as a JSON object.
pub(crate) fn write_row(out: &mut Vec<u8>, fields: &[(Field, Cells)], row: usize) -> Result<()> {
    for (at, (field, cells)) in fields.iter().enumerate() {
        out.push(if at == 0 { b'{' } else { b',' });
        write_json(out, field.name().as_str())?;
        out.push(b':');
        write_value(out, field, cells, row)?;
    }
    out.extend_from_slice(if fields.is_empty() { b"{}" } else { b"}" });
    Ok(())
}

fn write_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<()> {
    serde_json::to_writer(out, value).map_err(|e| Error::bug(e.to_string()))
}

/// Writes a value as JSON.
pub(crate) fn write_value(out: &mut Vec<u8>, field: &Field, cells: &Cells, row: usize) -> Result<()> {
    if cells.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match &cells.values {
        Values::Text(values) => write_json(out, values.value(row)),
        Values::List(offsets, items) => {
            out.push(b'[');
            for at in offsets[row]..offsets[row + 1] {
                if at > offsets[row] {
                    out.push(b',');
                }
                write_value(out, field, items, at as usize)?;
            }
            out.push(b']');
            Ok(())
        }
        Values::Struct(fields) => write_row(out, fields, row),
        Values::Bytes(_) | Values::Date(_) | Values::Time(..) | Values::Timestamp { .. } => {
            out.push(b'"');
            write_plain(out, field, cells, row)?;
            out.push(b'"');
            Ok(())
        }
        Values::Float32(values) if !values.value(row).is_finite() => {
            write_json(out, float_name(values.value(row).into()))
        }
        Values::Float64(values) if !values.value(row).is_finite() => write_json(out, float_name(values.value(row))),
        _ => write_plain(out, field, cells, row),
    }
}

/// What JSON has no number for.
fn float_name(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// Writes a value without quotes around it; arrays and structs as JSON. It is not NULL.
pub(crate) fn write_plain(out: &mut Vec<u8>, field: &Field, cells: &Cells, row: usize) -> Result<()> {
    let in_range = |ok: bool| if ok { Ok(()) } else { Err(unsayable(field, "a date has a year beyond six digits")) };
    match &cells.values {
        Values::Null => {}
        Values::Bool(values) => out.extend_from_slice(if values.value(row) { b"true" } else { b"false" }),
        Values::Int(values) => write_json(out, &values.value(row))?,
        Values::UInt64(values) => write_json(out, &values.value(row))?,
        Values::Float32(values) => {
            let value = values.value(row);
            if value.is_finite() {
                write_json(out, &value)?;
            } else {
                out.extend_from_slice(float_name(value.into()).as_bytes());
            }
        }
        Values::Float64(values) => {
            let value = values.value(row);
            if value.is_finite() {
                write_json(out, &value)?;
            } else {
                out.extend_from_slice(float_name(value).as_bytes());
            }
        }
        Values::Decimal(values, scale) => {
            let text = Decimal128Type::format_decimal(values.value(row), values.precision(), *scale);
            out.extend_from_slice(text.as_bytes());
        }
        Values::Wide(values, scale) => {
            let text = Decimal256Type::format_decimal(values.value(row), values.precision(), *scale);
            out.extend_from_slice(text.as_bytes());
        }
        Values::Text(values) => out.extend_from_slice(values.value(row).as_bytes()),
        Values::Bytes(values) => out.extend_from_slice(BASE64.encode(values.value(row)).as_bytes()),
        Values::Date(values) => in_range(write_date(out, values.value(row)))?,
        Values::Time(unit, values) => {
            let ticks = values.value(row);
            if !(0..crate::time::per_second(*unit) * crate::time::SECONDS_PER_DAY).contains(&ticks) {
                return Err(unsayable(field, "a time is not within a day"));
            }
            write_time(out, ticks, *unit);
        }
        Values::Timestamp { unit, zoned, ticks } => {
            in_range(write_timestamp(out, ticks.value(row), *unit, *zoned))?;
        }
        Values::List(..) | Values::Struct(_) => write_value(out, field, cells, row)?,
    }
    Ok(())
}

/// The moment of a row in whole seconds since the Unix epoch, if the column is one.
pub(crate) fn seconds(cells: &Cells, row: usize) -> Option<i64> {
    let per = |unit: TimeUnit| crate::time::per_second(unit);
    match &cells.values {
        Values::Timestamp { unit, ticks, .. } => Some(ticks.value(row).div_euclid(per(*unit))),
        _ => None,
    }
}
