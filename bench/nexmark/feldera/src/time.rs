//! Times in milliseconds since 1970.

use crate::text::Text;

/// A second.
pub const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 24 * 60 * MINUTE;

/// The start of the window of this width in which a time lies.
pub fn window(time: i64, width: i64) -> i64 {
    time - time.rem_euclid(width)
}

/// The number of a time's day.
pub fn day(time: i64) -> i64 {
    time.div_euclid(DAY)
}

/// The number of a time's minute in its day.
pub fn minute(time: i64) -> i64 {
    time.rem_euclid(DAY) / MINUTE
}

/// The hour of a time in its day.
pub fn hour(time: i64) -> i64 {
    minute(time) / 60
}

/// A day as `2026-11-28`.
pub fn day_text(day: i64) -> Text {
    // Years begin in March here, so that a leap day is the last of its year; 400 years have 146,097 days.
    let days = day + 719_468;
    let (era, in_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * in_year + 2) / 153;
    let in_month = in_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    Text::new(&format!("{year:04}-{month:02}-{in_month:02}"))
}

/// A minute of a day as `13:07`.
pub fn minute_text(minute: i64) -> Text {
    Text::new(&format!("{:02}:{:02}", minute / 60, minute % 60))
}
