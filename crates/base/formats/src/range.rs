//! Rows whose dates and timestamps a stream's records could not say: those outside of the years 1 to 9999.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, max, min};
use arrow::datatypes::{DataType, Int64Type};
use fleuve_types::{Error, Result};

use crate::time::{is_known_moment, known_day, write_date, write_timestamp};

/// Refuses rows that a decoder would not take for their times.
///
/// # Errors
/// Input: a date or timestamp outside of the years 1 to 9999.
pub fn check_times(batch: &RecordBatch) -> Result<()> {
    let schema = batch.schema();
    schema.fields().iter().zip(batch.columns()).try_for_each(|(field, array)| check(field.name(), array))
}

fn check(column: &str, array: &ArrayRef) -> Result<()> {
    match array.data_type() {
        DataType::Date32 => ends(&cast(array, &DataType::Int32).map_err(bug)?)?
            .into_iter()
            .find(|day| known_day(*day).is_none())
            .map_or(Ok(()), |day| Err(far(column, |out| write_date(out, day)))),
        DataType::Timestamp(unit, zone) => ends(array)?
            .into_iter()
            .find(|ticks| !is_known_moment(*ticks, *unit))
            .map_or(Ok(()), |ticks| Err(far(column, |out| write_timestamp(out, ticks, *unit, zone.is_some())))),
        DataType::List(_) => check(column, array.as_list::<i32>().values()),
        DataType::Struct(fields) => fields
            .iter()
            .zip(array.as_struct().columns())
            .try_for_each(|(field, array)| check(&format!("{column}.{}", field.name()), array)),
        _ => Ok(()),
    }
}

/// The least and the greatest number.
fn ends(array: &ArrayRef) -> Result<Vec<i64>> {
    let numbers = cast(array, &DataType::Int64).map_err(bug)?;
    let numbers = numbers.as_primitive::<Int64Type>();
    Ok(min(numbers).into_iter().chain(max(numbers)).collect())
}

fn bug(e: arrow::error::ArrowError) -> Error {
    Error::bug(format!("a time is no number: {e}"))
}

fn far(column: &str, write: impl FnOnce(&mut Vec<u8>) -> bool) -> Error {
    let mut text = Vec::new();
    let shown = if write(&mut text) { String::from_utf8_lossy(&text).into_owned() } else { "a time".into() };
    Error::input(format!("column \"{column}\": {shown} is outside of the years 1 to 9999"))
}
