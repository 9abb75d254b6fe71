//! One value from plain text: a CSV field, or a JSON or Avro string where the column is no text.

use std::fmt::Display;

use arrow::datatypes::TimeUnit;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::column::{Bad, Column, Data, Taken, quoted};
use crate::json::{Budget, Cursor, decode_value, named_float, parse_float, push_decimal};
use crate::limits::MAX_DEPTH;
use crate::number::{parse_integer, plain_integer};
use crate::time::{
    MomentError, NANOS_PER_SECOND, between_units, is_known_moment, parse_date, parse_time, parse_timestamp, per_second,
};

/// Base64 of RFC 4648, with or without padding.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A text into a column of any type but arrays and structs. For a text column the caller knows that it is UTF-8.
pub(crate) fn push_text(column: &mut Column, text: &[u8]) -> Taken {
    let wrong = |column: &Column| Err(Bad::expected(column, format!("\"{}\"", quoted(text))));
    match &column.data {
        Data::Text(_) => column.push_bytes(text),
        Data::Bytes(_) => match BASE64.decode(text) {
            Ok(bytes) => column.push_bytes(&bytes),
            Err(_) => return Err(Bad::new(format!("expected base64, found \"{}\"", quoted(text)))),
        },
        Data::Bool(_) => match boolean(text) {
            Some(value) => column.push_bool(value),
            None => return wrong(column),
        },
        Data::Int { min, max, .. } => match parse_integer(text).ok().and_then(|v| i64::try_from(v).ok()) {
            Some(value) if (*min..=*max).contains(&value) => column.push_i64(value),
            _ => return wrong(column),
        },
        Data::UInt64(_) => match parse_integer(text).ok().and_then(|v| u64::try_from(v).ok()) {
            Some(value) => column.push_u64(value),
            None => return wrong(column),
        },
        Data::Float { single, .. } => {
            let numeric = text.first().is_some_and(|b| matches!(b, b'+' | b'-' | b'.' | b'0'..=b'9'));
            let value = named_float(text).or_else(|| numeric.then(|| parse_float(text, *single)).flatten());
            match value {
                Some(value) => column.push_f64(value),
                None => return wrong(column),
            }
        }
        Data::Decimal { .. } | Data::Wide { .. } => return push_decimal(column, text),
        Data::Date(_) => match parse_date(text) {
            Ok(days) => column.push_i64(days),
            Err(MomentError::Range) => return Err(far(column, format!("\"{}\"", quoted(text)))),
            Err(MomentError::Syntax) => return wrong(column),
        },
        Data::Time(unit, _) => match parse_time(text) {
            Some(nanos) => column.push_i64(nanos / (NANOS_PER_SECOND / per_second(*unit))),
            None => return wrong(column),
        },
        Data::Timestamp(unit, _) => match parse_timestamp(text, *unit) {
            Ok(ticks) => column.push_i64(ticks),
            Err(MomentError::Range) => return Err(far(column, format!("\"{}\"", quoted(text)))),
            Err(MomentError::Syntax) => match parse_integer(text).ok().and_then(|v| i64::try_from(v).ok()) {
                Some(millis) => return push_count(column, millis, TimeUnit::Millisecond, ""),
                None => return wrong(column),
            },
        },
        Data::List { .. } | Data::Struct(_) => return wrong(column),
    }
    Ok(())
}

/// A count since the Unix epoch into a timestamp column; `prefix` is what a reason says before it.
pub(crate) fn push_count(column: &mut Column, count: i64, of: TimeUnit, prefix: &str) -> Taken {
    let Data::Timestamp(unit, _) = column.data else {
        return Err(Bad::expected(column, format!("{prefix}{count}")));
    };
    match between_units(count, of, unit) {
        Some(ticks) => {
            column.push_i64(ticks);
            Ok(())
        }
        None => Err(far_count(column, count, of, unit, prefix)),
    }
}

/// A date or moment that the type does not have.
#[cold]
pub(crate) fn far(column: &Column, found: impl Display) -> Box<Bad> {
    Bad::expected(column, format!("{found}, which is outside of {}", years(&column.data)))
}

#[cold]
fn far_count(column: &Column, count: i64, of: TimeUnit, to: TimeUnit, prefix: &str) -> Box<Bad> {
    // From coarse to fine: what is too large for one unit mostly was meant in the next one.
    let units = [TimeUnit::Microsecond, TimeUnit::Nanosecond].into_iter();
    let mut finer = units.filter(|u| of != TimeUnit::Second && per_second(*u) > per_second(of));
    let meant = finer.find(|u| is_known_moment(count, *u) && between_units(count, *u, to).is_some());
    let hint = meant.map_or(String::new(), |unit| format!("; is it in {}?", unit_name(unit)));
    far(column, format!("{prefix}{count}")).with(&format!(" as {}{hint}", unit_name(of)))
}

fn years(data: &Data) -> &'static str {
    match data {
        Data::Timestamp(TimeUnit::Nanosecond, _) => "the years 1677 to 2262",
        _ => "the years 1 to 9999",
    }
}

fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "seconds",
        TimeUnit::Millisecond => "milliseconds",
        TimeUnit::Microsecond => "microseconds",
        TimeUnit::Nanosecond => "nanoseconds",
    }
}

/// Like [`push_text`], with arrays and structs as JSON and blanks around anything but text ignored.
pub(crate) fn push_field(column: &mut Column, text: &[u8], budget: &mut Budget) -> Taken {
    match &column.data {
        Data::Text(_) => column.push_bytes(text),
        Data::Int { min, max, .. } => match plain_integer(text) {
            Some(value) if (*min..=*max).contains(&value) => column.push_i64(value),
            _ => return push_text(column, text.trim_ascii()),
        },
        Data::List { .. } | Data::Struct(_) => {
            let mut cursor = Cursor::new(text);
            cursor.blanks();
            decode_value(column, &mut cursor, MAX_DEPTH, budget)?;
            cursor.blanks();
            match cursor.peek() {
                None => {}
                Some(_) => return Err(cursor.syntax("the end of the field")),
            }
        }
        _ => return push_text(column, text.trim_ascii()),
    }
    Ok(())
}

fn boolean(text: &[u8]) -> Option<bool> {
    let is = |words: [&[u8]; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is([b"true", b"t", b"1"]) {
        Some(true)
    } else if is([b"false", b"f", b"0"]) {
        Some(false)
    } else {
        None
    }
}
