//! The forms of texts that Arrow reads.

use std::borrow::Cow;

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{NaiveDateTime, TimeDelta};

/// Most zeros that an exponent stands for.
const MAX_EXPONENT: i32 = 400;

/// A text that is cast, as Arrow reads it.
pub fn text_for<'t>(text: &'t str, to: &DataType) -> Cow<'t, str> {
    match to {
        DataType::Timestamp(unit, _) => time_text(text, *unit),
        decimal if decimal.is_decimal() => decimal_text(text),
        DataType::Date32 | DataType::Time64(_) => Cow::Borrowed(text.trim_ascii()),
        number if number.is_numeric() => Cow::Borrowed(text.trim_ascii()),
        _ => Cow::Borrowed(text),
    }
}

/// A number without blanks and exponent: `12.5` for ` 1.25e1 `. What is none stays as it is.
fn decimal_text(text: &str) -> Cow<'_, str> {
    let text = text.trim_ascii();
    match without_exponent(text) {
        Some(plain) => Cow::Owned(plain),
        None => Cow::Borrowed(text),
    }
}

fn without_exponent(text: &str) -> Option<String> {
    let (digits, exponent) = text.split_once(['e', 'E'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (sign, digits) = match digits.strip_prefix(['-', '+']) {
        Some(rest) => (if digits.starts_with('-') { "-" } else { "" }, rest),
        None => ("", digits),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number =
        !(whole.is_empty() && part.is_empty()) && whole.bytes().chain(part.bytes()).all(|b| b.is_ascii_digit());
    if !is_number || exponent.abs() > MAX_EXPONENT {
        return None;
    }
    let all = format!("{whole}{part}");
    // Where the point is, counted in digits.
    let point = i32::try_from(whole.len()).ok()? + exponent;
    Some(match usize::try_from(point) {
        Ok(point) if point >= all.len() => format!("{sign}{all}{}", "0".repeat(point - all.len())),
        Ok(point) => format!("{sign}{}.{}", &all[..point], &all[point..]),
        Err(_) => format!("{sign}0.{}{all}", "0".repeat(point.unsigned_abs() as usize)),
    })
}

/// The text of a time as DataFusion reads it: with seconds, with no more digits behind them than the unit has, and without blanks around it.
pub fn time_text(text: &str, unit: TimeUnit) -> Cow<'_, str> {
    let digits = match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    let text = text.trim_ascii();
    rounded(text, digits).map_or_else(|| with_seconds(text), Cow::Owned)
}

/// A time that has more digits behind its seconds, rounded to so many.
fn rounded(text: &str, digits: usize) -> Option<String> {
    let (whole, rest) = text.split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (part, rest) = rest.split_at(end);
    if part.len() <= digits {
        return None;
    }
    let form = if whole.contains(['T', 't']) { "%Y-%m-%dT%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    let whole = NaiveDateTime::parse_from_str(&whole.replace('t', "T"), form).ok()?;
    let scale = 10_f64.powi(digits as i32);
    // As PostgreSQL does, which reads the part as a floating-point number.
    let count = (format!("0.{part}").parse::<f64>().ok()? * scale).round_ties_even();
    let nanos = TimeDelta::nanoseconds(count as i64 * 10_i64.pow(9 - digits as u32));
    let time = whole.checked_add_signed(nanos)?.format("%Y-%m-%d %H:%M:%S%.9f").to_string();
    Some(format!("{}{rest}", &time[..time.len() - (9 - digits) - usize::from(digits == 0)]))
}

/// `2026-05-01 08:00` with the seconds that it leaves out.
fn with_seconds(text: &str) -> Cow<'_, str> {
    let shape = b"0000-00-00 00:00";
    let Some((minutes, rest)) = text.split_at_checked(shape.len()) else { return Cow::Borrowed(text) };
    let fits = minutes.bytes().zip(shape).all(|(have, want)| match want {
        b'0' => have.is_ascii_digit(),
        b' ' => matches!(have, b' ' | b'T' | b't'),
        want => have == *want,
    });
    let ends = rest.chars().next().is_none_or(|c| matches!(c, ' ' | '+' | '-' | 'Z' | 'z'));
    if fits && ends { Cow::Owned(format!("{minutes}:00{rest}")) } else { Cow::Borrowed(text) }
}

/// The elements of `{1,NULL,"a b"}`; `None` is NULL. Of what is no such list, or one of lists, nothing.
pub fn list_items(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim_ascii().strip_prefix('{')?.strip_suffix('}')?;
    if inner.trim_ascii().is_empty() {
        return Some(vec![]);
    }
    let mut items = vec![];
    let mut rest = inner;
    loop {
        let (item, behind) = item(rest.trim_ascii_start())?;
        items.push(item);
        let behind = behind.trim_ascii_start();
        if behind.is_empty() {
            return Some(items);
        }
        rest = behind.strip_prefix(',')?;
    }
}

/// The element that a text begins with, and what is behind it.
fn item(text: &str) -> Option<(Option<String>, &str)> {
    let quoted = text.strip_prefix('"');
    let from = quoted.unwrap_or(text);
    let mut item = String::new();
    let mut chars = from.char_indices();
    let mut end = from.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => item.push(chars.next()?.1),
            '"' if quoted.is_some() => return Some((Some(item), &from[at + 1..])),
            ',' if quoted.is_none() => {
                end = at;
                break;
            }
            '{' | '}' | '"' if quoted.is_none() => return None,
            c => item.push(c),
        }
    }
    let plain = item.trim_ascii_end();
    if quoted.is_some() || plain.is_empty() {
        return None;
    }
    let item = (!plain.eq_ignore_ascii_case("null")).then(|| plain.to_string());
    Some((item, &from[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_be_left_out() {
        let cases = [
            ("2026-05-01 08:00", "2026-05-01 08:00:00"),
            ("2026-05-01T08:00Z", "2026-05-01T08:00:00Z"),
            (" 2026-05-01 08:00+02 ", "2026-05-01 08:00:00+02"),
            ("2026-05-01 08:00:30", "2026-05-01 08:00:30"),
            ("2026-05-01", "2026-05-01"),
            ("2026-05-01 8:00", "2026-05-01 8:00"),
            ("ééééééééééééééééé", "ééééééééééééééééé"),
        ];
        for (text, wanted) in cases {
            assert_eq!(time_text(text, TimeUnit::Microsecond), wanted);
        }
    }

    #[test]
    fn digits_beyond_the_unit_are_rounded() {
        let cases = [
            ("2024-01-01 00:00:00.1234567", TimeUnit::Microsecond, "2024-01-01 00:00:00.123457"),
            ("2024-12-31T23:59:59.9999999Z", TimeUnit::Microsecond, "2025-01-01 00:00:00.000000Z"),
            ("2024-01-01 00:00:00.1234565 +02", TimeUnit::Microsecond, "2024-01-01 00:00:00.123456 +02"),
            ("2024-01-01 00:00:00.123456", TimeUnit::Microsecond, "2024-01-01 00:00:00.123456"),
            ("2024-01-01 00:00:00.6", TimeUnit::Second, "2024-01-01 00:00:01"),
            ("2024-01-01 00:00:00.0006", TimeUnit::Millisecond, "2024-01-01 00:00:00.001"),
            ("2024-01-01 00:00:00.1234567", TimeUnit::Nanosecond, "2024-01-01 00:00:00.1234567"),
            ("x.1234567", TimeUnit::Microsecond, "x.1234567"),
        ];
        for (text, unit, wanted) in cases {
            assert_eq!(time_text(text, unit), wanted);
        }
    }

    #[test]
    fn exponents_are_written_out() {
        for (text, wanted) in [
            ("1e3", "1000"),
            (" -1.25E1 ", "-12.5"),
            ("+12e-3", "0.012"),
            (".5e1", "5"),
            ("0e5", "000000"),
            ("12", "12"),
            ("e5", "e5"),
            ("1e999", "1e999"),
            ("1ex", "1ex"),
        ] {
            assert_eq!(decimal_text(text), wanted, "{text}");
        }
    }

    #[test]
    fn lists_are_read_as_postgresql_writes_them() {
        let of = |items: &[Option<&str>]| Some(items.iter().map(|i| i.map(str::to_string)).collect::<Vec<_>>());
        for (text, wanted) in [
            ("{}", of(&[])),
            (" { } ", of(&[])),
            ("{CO,WN}", of(&[Some("CO"), Some("WN")])),
            ("{ a b , NULL,\"NULL\", \"c,\\\"d\" }", of(&[Some("a b"), None, Some("NULL"), Some("c,\"d")])),
            ("{\"\",x\\,y}", of(&[Some(""), Some("x,y")])),
            ("a", None),
            ("{a", None),
            ("{a,}", None),
            ("{,a}", None),
            ("{{1},{2}}", None),
            ("{\"a}", None),
            ("{\"a\"b}", None),
        ] {
            assert_eq!(list_items(text), wanted, "{text}");
        }
    }
}
