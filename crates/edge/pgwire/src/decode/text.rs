use datafusion::scalar::ScalarValue;

use arrow::datatypes::{DataType, TimeUnit};
use fleuve_sql::time_text;

use super::{Invalid, MAX_ARRAY_ELEMENTS, decimal};
use crate::types::{oid, parameter_type};

/// A scalar in the text form of its type (`*_in` in PostgreSQL).
pub(super) fn value(text: &str, type_oid: u32) -> Result<ScalarValue, Invalid> {
    let wrong = |what: &str| Invalid::Text(format!("invalid input syntax for type {what}: \"{text}\""));
    let t = text.trim();
    Ok(match type_oid {
        oid::BOOL => ScalarValue::Boolean(Some(boolean(t).ok_or_else(|| wrong("boolean"))?)),
        oid::INT2 => ScalarValue::Int16(Some(integer(t, "smallint")?)),
        oid::INT4 | oid::OID | oid::REGCLASS | oid::REGTYPE | oid::REGPROC => {
            ScalarValue::Int32(Some(integer(t, "integer")?))
        }
        oid::INT8 => ScalarValue::Int64(Some(integer(t, "bigint")?)),
        oid::FLOAT4 => ScalarValue::Float32(Some(t.parse().map_err(|_| wrong("real"))?)),
        oid::FLOAT8 => ScalarValue::Float64(Some(t.parse().map_err(|_| wrong("double precision"))?)),
        oid::NUMERIC => numeric(t).ok_or_else(|| wrong("numeric"))??,
        oid::BYTEA => ScalarValue::Binary(Some(bytea(text).ok_or_else(|| wrong("bytea"))?)),
        oid::DATE => temporal(t, &DataType::Date32, "date")?,
        oid::TIME => temporal(t, &DataType::Time64(TimeUnit::Microsecond), "time")?,
        oid::TIMESTAMP => temporal(t, &DataType::Timestamp(TimeUnit::Microsecond, None), "timestamp")?,
        oid::TIMESTAMPTZ => {
            let with_zone = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
            temporal(t, &with_zone, "timestamp with time zone")?
        }
        oid::INTERVAL => {
            let t = &DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
            temporal(&interval_words(text), t, "interval")?
        }
        _ => ScalarValue::Utf8(Some(text.to_string())),
    })
}

fn boolean(t: &str) -> Option<bool> {
    match t.to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "on" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn integer<T: TryFrom<i64>>(t: &str, what: &str) -> Result<T, Invalid> {
    let wide: i128 = t.parse().map_err(|_| Invalid::Text(format!("invalid input syntax for type {what}: \"{t}\"")))?;
    let range = || Invalid::Range(format!("value \"{t}\" is out of range for type {what}"));
    let wide = i64::try_from(wide).map_err(|_| range())?;
    T::try_from(wide).map_err(|_| range())
}

/// `-12.5e3`; `None` if it is no number.
fn numeric(t: &str) -> Option<Result<ScalarValue, Invalid>> {
    let (negative, rest) = match t.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, t.strip_prefix('+').unwrap_or(t)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i32>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let scale = (fraction.len() as i32).saturating_sub(exponent);
    if scale > 76 || digits.len() > 200 {
        return Some(Err(Invalid::Range("a NUMERIC has at most 76 digits".to_string())));
    }
    Some(decimal(negative, &digits, scale))
}

/// `\x` and hex, or the older escape form.
fn bytea(text: &str) -> Option<Vec<u8>> {
    if let Some(hex) = text.strip_prefix("\\x") {
        let hex = hex.as_bytes();
        if hex.len() % 2 != 0 {
            return None;
        }
        let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
        return hex.chunks_exact(2).map(|p| Some(digit(p[0])? << 4 | digit(p[1])?)).collect();
    }
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                out.push(b'\\');
                rest = tail;
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            (b'\\', _) => return None,
            (byte, tail) => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    Some(out)
}

/// Arrow's own readers know ISO dates, times with zones and intervals, but want seconds in a timestamp.
fn temporal(text: &str, to: &DataType, what: &str) -> Result<ScalarValue, Invalid> {
    let wrong = || Invalid::DateTime(format!("invalid input syntax for type {what}: \"{text}\""));
    let form = match to {
        DataType::Timestamp(unit, _) => time_text(text, *unit),
        _ => text.into(),
    };
    let value = ScalarValue::Utf8(Some(form.into_owned())).cast_to(to).map_err(|_| wrong())?;
    if value.is_null() { Err(wrong()) } else { Ok(value) }
}

/// `1 day 02:03:04.5` (what drivers send) in the words that Arrow reads: a clock time becomes hours, minutes and seconds.
fn interval_words(text: &str) -> String {
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        let parts: Vec<&str> = word.split(':').collect();
        if parts.len() < 2 || parts.len() > 3 {
            words.push(word.replace("mons", "months").replace("mon", "month").replace("monthths", "months"));
            continue;
        }
        let sign = if word.starts_with('-') { "-" } else { "" };
        let hours = parts[0].trim_start_matches(['-', '+']);
        words.push(format!("{sign}{hours} hours {sign}{} minutes", parts[1]));
        if let Some(seconds) = parts.get(2) {
            words.push(format!("{sign}{seconds} seconds"));
        }
    }
    words.join(" ")
}

/// `{1,NULL,"a b"}`
pub(super) fn array(text: &str, element_oid: u32) -> Result<Vec<ScalarValue>, Invalid> {
    let wrong = || Invalid::Text(format!("malformed array literal: \"{text}\""));
    let inner = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(wrong)?;
    let mut items = Vec::new();
    if inner.trim().is_empty() {
        return Ok(items);
    }
    let mut chars = inner.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let (mut item, mut quoted) = (String::new(), false);
        if chars.next_if_eq(&'"').is_some() {
            quoted = true;
            loop {
                match chars.next().ok_or_else(wrong)? {
                    '"' => break,
                    '\\' => item.push(chars.next().ok_or_else(wrong)?),
                    c => item.push(c),
                }
            }
            while chars.next_if(|c| c.is_whitespace()).is_some() {}
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                match c {
                    '{' | '}' | '"' => return Err(wrong()),
                    '\\' => item.push(chars.next().ok_or_else(wrong)?),
                    c => item.push(c),
                }
            }
            item.truncate(item.trim_end().len());
            if item.is_empty() {
                return Err(wrong());
            }
        }
        if items.len() == MAX_ARRAY_ELEMENTS {
            return Err(Invalid::Limit(format!("an array parameter has at most {MAX_ARRAY_ELEMENTS} elements")));
        }
        if !quoted && item.eq_ignore_ascii_case("null") {
            let t = parameter_type(element_oid).unwrap_or(DataType::Utf8);
            items.push(ScalarValue::try_from(&t).map_err(|_| wrong())?);
        } else {
            items.push(value(&item, element_oid)?);
        }
        match chars.next() {
            None => return Ok(items),
            Some(',') => {}
            Some(_) => return Err(wrong()),
        }
    }
}
