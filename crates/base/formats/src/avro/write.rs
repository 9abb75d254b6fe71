use arrow::datatypes::{DataType, Field, TimeUnit, i256};
use fleuve_types::{Error, Result};

use crate::encode::{Cells, Values};
use crate::time::per_second;

/// Writes a row as the datum of [`super::avro_schema_for`] these columns, after its framing.
///
/// # Errors
/// Input: a value that Avro cannot say.
pub(crate) fn write_row(out: &mut Vec<u8>, schema_id: u32, fields: &[(Field, Cells)], row: usize) -> Result<()> {
    out.push(0);
    out.extend_from_slice(&schema_id.to_be_bytes());
    fields.iter().try_for_each(|(field, cells)| write_field(out, field, cells, row))
}

fn write_field(out: &mut Vec<u8>, field: &Field, cells: &Cells, row: usize) -> Result<()> {
    let null = cells.is_null(row);
    if field.is_nullable() {
        write_long(out, i64::from(!null));
    } else if null && *field.data_type() != DataType::Null {
        return Err(Error::input(format!("column '{}' is NOT NULL and has a NULL", field.name())));
    }
    if null { Ok(()) } else { write_value(out, field, cells, row) }
}

fn write_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

/// Two's complement, big endian, no longer than needed.
fn write_decimal(out: &mut Vec<u8>, value: i256) {
    let bytes = value.to_be_bytes();
    let fill = if value < i256::ZERO { 0xff } else { 0 };
    let mut start = 0;
    while start < 31 && bytes[start] == fill && (bytes[start + 1] & 0x80) == (fill & 0x80) {
        start += 1;
    }
    write_bytes(out, &bytes[start..]);
}

fn write_value(out: &mut Vec<u8>, field: &Field, cells: &Cells, row: usize) -> Result<()> {
    match &cells.values {
        Values::Null => {}
        Values::Bool(values) => out.push(u8::from(values.value(row))),
        Values::Int(values) => write_long(out, values.value(row)),
        Values::UInt64(values) => write_decimal(out, i256::from_i128(values.value(row).into())),
        Values::Float32(values) => out.extend_from_slice(&values.value(row).to_le_bytes()),
        Values::Float64(values) => out.extend_from_slice(&values.value(row).to_le_bytes()),
        Values::Decimal(values, _) => write_decimal(out, i256::from_i128(values.value(row))),
        Values::Wide(values, _) => write_decimal(out, values.value(row)),
        Values::Text(values) => write_bytes(out, values.value(row).as_bytes()),
        Values::Bytes(values) => write_bytes(out, values.value(row)),
        Values::Date(values) => write_long(out, values.value(row)),
        Values::Time(unit, values) => {
            let ticks = values.value(row);
            // What avro_schema_for says: millis for the small type, micros for the large one.
            let ticks = match unit {
                TimeUnit::Second => ticks * 1_000,
                TimeUnit::Nanosecond => ticks.div_euclid(1_000),
                TimeUnit::Millisecond | TimeUnit::Microsecond => ticks,
            };
            write_long(out, ticks);
        }
        Values::Timestamp { unit, ticks, .. } => {
            let factor = if *unit == TimeUnit::Second { per_second(TimeUnit::Millisecond) } else { 1 };
            match ticks.value(row).checked_mul(factor) {
                Some(ticks) => write_long(out, ticks),
                None => return Err(Error::input(format!("a moment in column '{}' is out of range", field.name()))),
            }
        }
        Values::List(offsets, items) => {
            let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
            let (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) =
                field.data_type()
            else {
                return Err(Error::bug("an array of another type"));
            };
            if end > start {
                write_long(out, (end - start) as i64);
                for at in start..end {
                    write_field(out, item, items, at)?;
                }
            }
            write_long(out, 0);
        }
        Values::Struct(fields) => {
            for (field, cells) in fields {
                write_field(out, field, cells, row)?;
            }
        }
    }
    Ok(())
}
