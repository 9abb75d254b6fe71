//! Durations and sizes as options and intervals write them.

use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;

/// `7 days`, `24h`, `1 hour 30 minutes`, `250ms`, `01:30:00` in microseconds. `None` if it is not one, has months or years
/// (whose length is not fixed), or does not fit.
pub fn duration_us(text: &str) -> Option<i64> {
    let text = spaced(text)?;
    let interval = parse_interval_month_day_nano(&text).ok()?;
    if interval.months != 0 {
        return None;
    }
    let nanos = i128::from(interval.days) * 86_400_000_000_000 + i128::from(interval.nanoseconds);
    i64::try_from(nanos / 1000).ok()
}

/// Puts the blanks in and the short units out: `24h` becomes `24 hour`, which is what Arrow reads.
fn spaced(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() || text.len() > 100 {
        return None;
    }
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let letter = rest.chars().next().is_some_and(char::is_alphabetic);
        let end = rest.find(|c: char| c.is_whitespace() || c.is_alphabetic() != letter).unwrap_or(rest.len());
        let (part, tail) = rest.split_at(end);
        if !part.is_empty() {
            out.push_str(if letter { unit(part) } else { part });
            out.push(' ');
        }
        rest = tail.trim_start();
    }
    Some(out.trim_end().to_string())
}

fn unit(word: &str) -> &str {
    match word.to_ascii_lowercase().as_str() {
        "us" | "µs" => "microseconds",
        "ms" => "milliseconds",
        "s" | "sec" | "secs" => "seconds",
        "m" | "min" | "mins" => "minutes",
        "h" | "hr" | "hrs" => "hours",
        "d" => "days",
        "w" => "weeks",
        _ => word,
    }
}

/// `1 GB`, `512 MiB`, `1048576` in bytes. Decimal units count in thousands, binary ones (`KiB`) in 1024.
pub fn size_bytes(text: &str) -> Option<i64> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor: i64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" | "bytes" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(factor);
    }
    let value = number.parse::<f64>().ok()? * factor as f64;
    (value.is_finite() && value < i64::MAX as f64).then_some(value as i64)
}
