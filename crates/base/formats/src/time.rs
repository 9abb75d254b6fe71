//! Dates and times as text (ISO 8601 as RFC 3339 narrows it, and SQL's form with a blank). Strict, without allocation.
//! Civil dates after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".

use std::ops::Range;

use arrow::datatypes::TimeUnit;

pub(crate) const NANOS_PER_SECOND: i64 = 1_000_000_000;
pub(crate) const SECONDS_PER_DAY: i64 = 86_400;

/// The days of the years 1 to 9999, which dates and timestamps lie in.
const DAYS: Range<i64> = -719_162..2_932_897;
const SECONDS: Range<i64> = DAYS.start * SECONDS_PER_DAY..DAYS.end * SECONDS_PER_DAY;
/// What more digits of a fraction mean is less than what a floating-point number tells apart.
const MAX_FRACTION: usize = 17;

/// Why a text is no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MomentError {
    /// It does not say one.
    Syntax,
    /// It is outside of the years 1 to 9999, or of those that the unit can count.
    Range,
}

/// Ticks of a unit in one second.
pub(crate) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => NANOS_PER_SECOND,
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar.
pub(crate) fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = i64::from((month + 9) % 12);
    let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_from_civil`].
pub(crate) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Two digits.
fn two(text: &[u8], at: usize) -> Option<u32> {
    match text.get(at..at + 2)? {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some(u32::from(a - b'0') * 10 + u32::from(b - b'0')),
        _ => None,
    }
}

/// `YYYY-MM-DD`, or a year of 4 to 6 digits with its sign. Gives the days and how many bytes they took.
fn date_prefix(text: &[u8]) -> Option<(i64, usize)> {
    let (sign, start) = match text.first()? {
        b'-' => (-1, 1),
        b'+' => (1, 1),
        _ => (1, 0),
    };
    let digits = text[start..].iter().take(7).take_while(|b| b.is_ascii_digit()).count();
    if digits < 4 || digits > if start == 0 { 4 } else { 6 } {
        return None;
    }
    let at = start + digits;
    let year = sign * text[start..at].iter().fold(0i64, |n, b| n * 10 + i64::from(b - b'0'));
    if text.get(at) != Some(&b'-') || text.get(at + 3) != Some(&b'-') {
        return None;
    }
    let (month, day) = (two(text, at + 1)?, two(text, at + 4)?);
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    Some((days_from_civil(year, month, day), at + 6))
}

/// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.f`. Gives seconds, the digits of the fraction and the bytes taken. A leap second counts as
/// the first one of the next minute.
fn time_prefix(text: &[u8]) -> Option<(i64, &[u8], usize)> {
    let (hour, minute) = (two(text, 0)?, two(text, 3)?);
    if text[2] != b':' || hour > 23 || minute > 59 {
        return None;
    }
    let seconds = i64::from(hour * 3600 + minute * 60);
    if text.get(5) != Some(&b':') {
        return Some((seconds, &[], 5));
    }
    let second = two(text, 6)?;
    if second > 60 {
        return None;
    }
    let seconds = seconds + i64::from(second);
    if !matches!(text.get(8), Some(b'.' | b',')) {
        return Some((seconds, &[], 8));
    }
    let fraction = &text[9..];
    let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    Some((seconds, &fraction[..digits], 9 + digits))
}

/// The first of a fraction's digits as a number, filled up to `places`.
fn digits_as_number(digits: &[u8], places: usize) -> i64 {
    let padded = digits.iter().chain(std::iter::repeat(&b'0'));
    padded.take(places).fold(0, |n, digit| n * 10 + i64::from(digit - b'0'))
}

/// A fraction of a second in ticks of a unit, at most a whole second. Further digits are rounded as PostgreSQL does, which reads a
/// floating-point number.
fn fraction_in(digits: &[u8], unit: TimeUnit) -> i64 {
    let ticks = per_second(unit);
    let places = ticks.ilog10() as usize;
    if digits.len() <= places {
        return digits_as_number(digits, places);
    }
    let known = digits.len().min(MAX_FRACTION);
    let fraction = digits_as_number(digits, known) as f64 / 10f64.powi(known as i32);
    (fraction * ticks as f64).round_ties_even() as i64
}

/// Seconds east of UTC: nothing, `Z`, `+HH`, `+HHMM`, `+HH:MM`, each after an optional blank.
fn zone(text: &[u8]) -> Option<i64> {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let (sign, rest) = match text.split_first() {
        None => return Some(0),
        Some((b'Z' | b'z', [])) => return Some(0),
        Some((b'+', rest)) => (1, rest),
        Some((b'-', rest)) => (-1, rest),
        Some(_) => return None,
    };
    let (hours, minutes) = match rest.len() {
        2 => (two(rest, 0)?, 0),
        4 => (two(rest, 0)?, two(rest, 2)?),
        5 if rest[2] == b':' => (two(rest, 0)?, two(rest, 3)?),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then(|| sign * i64::from(hours * 3600 + minutes * 60))
}

/// A date, as days since 1970-01-01.
pub(crate) fn parse_date(text: &[u8]) -> Result<i64, MomentError> {
    match date_prefix(text) {
        Some((days, taken)) if taken == text.len() => known_day(days).ok_or(MomentError::Range),
        _ => Err(MomentError::Syntax),
    }
}

/// A time of day, as nanoseconds since midnight; further digits are cut.
pub(crate) fn parse_time(text: &[u8]) -> Option<i64> {
    let (seconds, fraction, taken) = time_prefix(text)?;
    let nanos = digits_as_number(fraction, 9);
    (taken == text.len() && seconds < SECONDS_PER_DAY).then_some(seconds * NANOS_PER_SECOND + nanos)
}

/// A moment in ticks of a unit since the Unix epoch: a date, alone or with `T` or a blank, a time and maybe a zone. Without a zone it
/// is UTC. Further digits are rounded.
pub(crate) fn parse_timestamp(text: &[u8], unit: TimeUnit) -> Result<i64, MomentError> {
    let (seconds, fraction) = moment(text).ok_or(MomentError::Syntax)?;
    to_unit(seconds, fraction_in(fraction, unit), unit).ok_or(MomentError::Range)
}

/// Seconds since the Unix epoch, and the digits behind them.
fn moment(text: &[u8]) -> Option<(i64, &[u8])> {
    let (days, taken) = date_prefix(text)?;
    let midnight = days * SECONDS_PER_DAY;
    match text.get(taken) {
        None => return Some((midnight, &[])),
        Some(b'T' | b't' | b' ') => {}
        Some(_) => return None,
    }
    let time = &text[taken + 1..];
    let (seconds, fraction, taken) = time_prefix(time)?;
    let east = zone(&time[taken..])?;
    Some((midnight + seconds - east, fraction))
}

/// A day, if it is one of the years 1 to 9999.
pub(crate) fn known_day(days: i64) -> Option<i64> {
    DAYS.contains(&days).then_some(days)
}

/// True for a moment of the years 1 to 9999. All that nanoseconds can count is.
#[inline]
pub(crate) fn is_known_moment(ticks: i64, unit: TimeUnit) -> bool {
    let per = per_second(unit);
    unit == TimeUnit::Nanosecond || (SECONDS.start * per..SECONDS.end * per).contains(&ticks)
}

/// Seconds and ticks of a unit together; `None` when that is out of range.
fn to_unit(seconds: i64, ticks: i64, unit: TimeUnit) -> Option<i64> {
    // Split so that the least moments of each unit do not overflow on the way.
    let (seconds, ticks) =
        if seconds < 0 && ticks > 0 { (seconds + 1, ticks - per_second(unit)) } else { (seconds, ticks) };
    let all = seconds.checked_mul(per_second(unit))?.checked_add(ticks)?;
    is_known_moment(all, unit).then_some(all)
}

/// A count of one unit since the Unix epoch in ticks of another, smaller parts cut; `None` when it is out of range.
pub(crate) fn between_units(count: i64, from: TimeUnit, to: TimeUnit) -> Option<i64> {
    if !is_known_moment(count, from) {
        return None;
    }
    if from == to {
        return Some(count);
    }
    let (from, to) = (per_second(from), per_second(to));
    if to > from { count.checked_mul(to / from) } else { Some(count.div_euclid(from / to)) }
}

fn push_padded(out: &mut Vec<u8>, value: i64, width: usize) {
    let at = out.len();
    out.resize(at + width, b'0');
    let mut rest = value;
    for place in out[at..].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Writes a date, with a sign and six digits for years that four cannot say. False when six cannot either.
pub(crate) fn write_date(out: &mut Vec<u8>, days: i64) -> bool {
    let (year, month, day) = civil_from_days(days);
    if (0..=9999).contains(&year) {
        push_padded(out, year, 4);
    } else if (-999_999..=999_999).contains(&year) {
        out.push(if year < 0 { b'-' } else { b'+' });
        push_padded(out, year.abs(), 6);
    } else {
        return false;
    }
    out.push(b'-');
    push_padded(out, i64::from(month), 2);
    out.push(b'-');
    push_padded(out, i64::from(day), 2);
    true
}

/// Writes a time of day given in ticks, with as many decimals as the unit has and the value needs (0, 3, 6 or 9).
pub(crate) fn write_time(out: &mut Vec<u8>, ticks: i64, unit: TimeUnit) {
    let nanos = (ticks % per_second(unit)) * (NANOS_PER_SECOND / per_second(unit));
    let seconds = ticks / per_second(unit);
    push_padded(out, seconds / 3600, 2);
    out.push(b':');
    push_padded(out, seconds / 60 % 60, 2);
    out.push(b':');
    push_padded(out, seconds % 60, 2);
    if nanos == 0 {
        return;
    }
    out.push(b'.');
    if nanos % 1_000_000 == 0 {
        push_padded(out, nanos / 1_000_000, 3);
    } else if nanos % 1_000 == 0 {
        push_padded(out, nanos / 1_000, 6);
    } else {
        push_padded(out, nanos, 9);
    }
}

/// Writes a moment given in ticks, in UTC, with `Z` when `zoned`. False when its year has more than six digits.
pub(crate) fn write_timestamp(out: &mut Vec<u8>, ticks: i64, unit: TimeUnit, zoned: bool) -> bool {
    let ticks_per_day = per_second(unit) * SECONDS_PER_DAY;
    if !write_date(out, ticks.div_euclid(ticks_per_day)) {
        return false;
    }
    out.push(b'T');
    write_time(out, ticks.rem_euclid(ticks_per_day), unit);
    if zoned {
        out.push(b'Z');
    }
    true
}
