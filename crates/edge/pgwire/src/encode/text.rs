//! Values as PostgreSQL writes them in text (`DateStyle` ISO, `IntervalStyle` postgres, `bytea_output` hex).

use std::io::Write;

use bytes::{BufMut, BytesMut};

const DAY_US: i64 = 86_400_000_000;

pub(crate) fn put_int(out: &mut BytesMut, value: i64) {
    if value < 0 {
        out.put_u8(b'-');
    }
    put_digits(out, value.unsigned_abs(), 1);
}

/// At least `width` digits.
fn put_digits(out: &mut BytesMut, mut value: u64, width: usize) {
    let mut buf = [b'0'; 20];
    let mut at = buf.len();
    while value > 0 {
        at -= 1;
        buf[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.put_slice(&buf[at.min(buf.len() - width)..]);
}

/// The shortest text that reads back as the same number, laid out as `float8out` does: an exponent from 10^`wide` on.
pub(crate) fn put_float(out: &mut BytesMut, value: f64, shortest: impl std::fmt::LowerExp, wide: i32) {
    if value.is_nan() {
        return out.put_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.put_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
    if value == 0.0 {
        return out.put_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    }
    let mut buf = [0u8; 40];
    let mut rest = &mut buf[..];
    write!(rest, "{shortest:e}").expect("a float fits in 40 bytes");
    let left = rest.len();
    let text = &buf[..40 - left];
    let (mantissa, exponent) = text.split_at(text.iter().position(|b| *b == b'e').expect("an exponent was asked for"));
    let exponent: i32 = std::str::from_utf8(&exponent[1..]).ok().and_then(|e| e.parse().ok()).unwrap_or(0);
    let (negative, mantissa) = match mantissa.strip_prefix(b"-") {
        Some(m) => (true, m),
        None => (false, mantissa),
    };
    if negative {
        out.put_u8(b'-');
    }
    if exponent < -4 || exponent >= wide {
        out.put_slice(mantissa);
        out.put_slice(if exponent < 0 { b"e-" } else { b"e+" });
        return put_digits(out, u64::from(exponent.unsigned_abs()), 2);
    }
    let digits: Vec<u8> = mantissa.iter().copied().filter(|b| *b != b'.').collect();
    if exponent < 0 {
        out.put_slice(b"0.");
        out.put_bytes(b'0', (-exponent - 1) as usize);
        return out.put_slice(&digits);
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        out.put_slice(&digits);
        out.put_bytes(b'0', whole - digits.len());
    } else {
        out.put_slice(&digits[..whole]);
        out.put_u8(b'.');
        out.put_slice(&digits[whole..]);
    }
}

/// Year, month and day of a day since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms").
pub(crate) fn civil(days: i64) -> (i64, u64, u64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month as u64, day as u64)
}

/// True if the year is before Christ, which is written at the end.
fn put_civil(out: &mut BytesMut, days: i64) -> bool {
    let (year, month, day) = civil(days);
    let before_christ = year <= 0;
    put_digits(out, if before_christ { (1 - year) as u64 } else { year as u64 }, 4);
    out.put_u8(b'-');
    put_digits(out, month, 2);
    out.put_u8(b'-');
    put_digits(out, day, 2);
    before_christ
}

pub(crate) fn put_date(out: &mut BytesMut, days: i64) {
    if put_civil(out, days) {
        out.put_slice(b" BC");
    }
}

pub(crate) fn put_time(out: &mut BytesMut, us: i64) {
    let us = us.unsigned_abs();
    let seconds = us / 1_000_000;
    put_digits(out, seconds / 3600, 2);
    out.put_u8(b':');
    put_digits(out, seconds / 60 % 60, 2);
    out.put_u8(b':');
    put_digits(out, seconds % 60, 2);
    put_fraction(out, us % 1_000_000);
}

fn put_fraction(out: &mut BytesMut, us: u64) {
    if us > 0 {
        out.put_u8(b'.');
        put_digits(out, us, 6);
        while out.last() == Some(&b'0') {
            out.truncate(out.len() - 1);
        }
    }
}

pub(crate) fn put_timestamp(out: &mut BytesMut, us: i64, with_zone: bool) {
    let before_christ = put_civil(out, us.div_euclid(DAY_US));
    out.put_u8(b' ');
    put_time(out, us.rem_euclid(DAY_US));
    if with_zone {
        out.put_slice(b"+00");
    }
    if before_christ {
        out.put_slice(b" BC");
    }
}

pub(crate) fn put_interval(out: &mut BytesMut, months: i32, days: i32, us: i64) {
    let start = out.len();
    let mut before_negative = false;
    let mut unit = |out: &mut BytesMut, n: i32, one: &str| {
        if n == 0 {
            return;
        }
        if out.len() > start {
            out.put_u8(b' ');
        }
        if before_negative && n > 0 {
            out.put_u8(b'+');
        }
        before_negative = n < 0;
        put_int(out, i64::from(n));
        out.put_u8(b' ');
        out.put_slice(one.as_bytes());
        if n != 1 {
            out.put_u8(b's');
        }
    };
    unit(out, months / 12, "year");
    unit(out, months % 12, "mon");
    unit(out, days, "day");
    if us != 0 || out.len() == start {
        if out.len() > start {
            out.put_u8(b' ');
        }
        if us < 0 {
            out.put_u8(b'-');
        } else if before_negative {
            out.put_u8(b'+');
        }
        put_time(out, us);
    }
}

pub(crate) fn put_bytea(out: &mut BytesMut, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.reserve(2 + bytes.len() * 2);
    out.put_slice(b"\\x");
    for b in bytes {
        out.put_u8(HEX[usize::from(b >> 4)]);
        out.put_u8(HEX[usize::from(b & 15)]);
    }
}

/// An element of an array's text form, quoted where PostgreSQL's reader needs it.
pub(crate) fn put_array_element(out: &mut BytesMut, text: &[u8]) {
    let special = |b: &u8| matches!(b, b'{' | b'}' | b',' | b'"' | b'\\') || b.is_ascii_whitespace();
    if !text.is_empty() && !text.iter().any(special) && !text.eq_ignore_ascii_case(b"null") {
        return out.put_slice(text);
    }
    out.put_u8(b'"');
    for b in text {
        if matches!(b, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*b);
    }
    out.put_u8(b'"');
}
