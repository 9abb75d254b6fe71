//! One value from plain text: a CSV field, or a JSON or Avro string where the column is no text.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::column::{Bad, Column, Data, Taken, quoted};
use crate::json::{Budget, Cursor, decode_value, named_float, parse_float, push_decimal};
use crate::limits::MAX_DEPTH;
use crate::number::parse_integer;
use crate::time::{NANOS_PER_SECOND, millis_to_unit, parse_date, parse_time, parse_timestamp, per_second, to_unit};

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
        Data::Date(_) => match parse_date(text).filter(|days| i32::try_from(*days).is_ok()) {
            Some(days) => column.push_i64(days),
            None => return wrong(column),
        },
        Data::Time(unit, _) => match parse_time(text) {
            Some(nanos) => column.push_i64(nanos / (NANOS_PER_SECOND / per_second(*unit))),
            None => return wrong(column),
        },
        Data::Timestamp(unit, _) => {
            let ticks = match parse_timestamp(text) {
                Some(moment) => to_unit(moment, *unit),
                None => {
                    let millis = parse_integer(text).ok().and_then(|v| i64::try_from(v).ok());
                    millis.and_then(|m| millis_to_unit(m, *unit))
                }
            };
            match ticks {
                Some(ticks) => column.push_i64(ticks),
                None => return wrong(column),
            }
        }
        Data::List { .. } | Data::Struct(_) => return wrong(column),
    }
    Ok(())
}

/// Like [`push_text`], with arrays and structs as JSON and blanks around anything but text ignored.
pub(crate) fn push_field(column: &mut Column, text: &[u8], budget: &mut Budget) -> Taken {
    match &column.data {
        Data::Text(_) => push_text(column, text),
        Data::List { .. } | Data::Struct(_) => {
            let mut cursor = Cursor::new(text);
            cursor.blanks();
            decode_value(column, &mut cursor, MAX_DEPTH, budget)?;
            cursor.blanks();
            match cursor.peek() {
                None => Ok(()),
                Some(_) => Err(cursor.syntax("the end of the field")),
            }
        }
        _ => push_text(column, text.trim_ascii()),
    }
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
