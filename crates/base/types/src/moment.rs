//! The moments that times may have.

use std::ops::Range;

/// The years 1 to 9999, in milliseconds since 1970.
pub const KNOWN_MS: Range<i64> = -62_135_596_800_000..253_402_300_800_000;

/// What is wrong with milliseconds since 1970 that lie in none of these years.
pub fn far_ms(ms: i64) -> Option<String> {
    if KNOWN_MS.contains(&ms) {
        return None;
    }
    // From coarse to fine: what is too large for one unit mostly was meant in the next one.
    let finer = [("microseconds", 1_000), ("nanoseconds", 1_000_000)];
    let meant = finer.iter().find(|(_, per_ms)| KNOWN_MS.contains(&(ms / per_ms)));
    let hint = meant.map_or(String::new(), |(unit, _)| format!("; is it in {unit}?"));
    Some(format!("{ms} as milliseconds is outside of the years 1 to 9999{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_time_is_told_with_the_unit_that_it_may_have() {
        let now_ms = 1_790_000_000_000;
        assert_eq!([0, -1, now_ms, KNOWN_MS.start, KNOWN_MS.end - 1].map(far_ms), [const { None }; 5]);
        let hint = |ms: i64| far_ms(ms).and_then(|text| Some(text.split_once("; ")?.1.to_string()));
        assert_eq!(hint(now_ms * 1_000).as_deref(), Some("is it in microseconds?"));
        assert_eq!(hint(now_ms * 1_000_000).as_deref(), Some("is it in nanoseconds?"));
        assert_eq!(
            far_ms(KNOWN_MS.end).as_deref(),
            Some("253402300800000 as milliseconds is outside of the years 1 to 9999; is it in microseconds?")
        );
        assert!(far_ms(KNOWN_MS.start - 1).is_some() && far_ms(i64::MIN).is_some() && far_ms(i64::MAX).is_some());
    }
}
