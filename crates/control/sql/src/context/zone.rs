//! `time AT TIME ZONE zone`, which is `timezone(zone, time)`, as PostgreSQL has it: the wall clock of a zone at a TIMESTAMPTZ, and the
//! moment at which the wall clock of a zone shows a TIMESTAMP.
//!
//! Zones are read as PostgreSQL reads them: a few abbreviations (`CET` is one hour east of Greenwich in summer, too), names of the IANA
//! database in any case (`europe/berlin`), POSIX's `UTC+3` or `+03`, which lies *west* of Greenwich, and intervals, which lie east.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use chrono::{DateTime, Days, MappedLocalTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::suggest::nearest;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// What a TIMESTAMPTZ is marked with.
const UTC: &str = "+00:00";

/// A zone that is further from Greenwich is none, in seconds: a week, as in PostgreSQL.
const MAX_OFFSET: i32 = 168 * 3600;

/// Abbreviations and how far they lie east of Greenwich, in minutes: those of PostgreSQL's default set that are in wide use.
#[rustfmt::skip]
const ABBREVIATIONS: &[(&str, i32)] = &[
    ("acdt", 630), ("acst", 570), ("adt", -180), ("aedt", 660), ("aest", 600), ("akdt", -480), ("akst", -540),
    ("art", -180), ("ast", -240), ("awst", 480), ("brt", -180), ("bst", 60), ("cdt", -300), ("cest", 120), ("cet", 60),
    ("cst", -360), ("edt", -240), ("eest", 180), ("eet", 120), ("est", -300), ("gmt", 0), ("hkt", 480), ("hst", -600),
    ("jst", 540), ("kst", 540), ("mdt", -360), ("mest", 120), ("met", 60), ("msd", 240), ("msk", 180),
    ("mst", -420), ("ndt", -150), ("nst", -210), ("nzdt", 780), ("nzst", 720), ("pdt", -420), ("pkt", 300),
    ("pst", -480), ("sast", 120), ("sgt", 480), ("ut", 0), ("utc", 0), ("wet", 0), ("z", 0), ("zulu", 0),
];

/// `timezone(zone, time)`.
pub(super) fn timezone() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(AtTimeZone { signature: Signature::user_defined(Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AtTimeZone {
    signature: Signature,
}

impl ScalarUDFImpl for AtTimeZone {
    fn name(&self) -> &str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [zone, time] = types else { return plan_err!("timezone takes a zone and a time") };
        let zone = match zone {
            DataType::Interval(_) => INTERVAL,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
            other => {
                let name = fleuve_types::sql_type_name(other);
                return plan_err!(
                    "a time zone is a text, as in AT TIME ZONE 'Europe/Berlin', or an INTERVAL, not a {name}"
                );
            }
        };
        let moment = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
        let time = match time {
            DataType::Timestamp(..) => time.clone(),
            DataType::Date32 | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => moment,
            other => {
                let name = fleuve_types::sql_type_name(other);
                return plan_err!("AT TIME ZONE takes a TIMESTAMP or a TIMESTAMPTZ, not a {name}");
            }
        };
        Ok(vec![zone, time])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [_, DataType::Timestamp(unit, Some(_))] => Ok(DataType::Timestamp(*unit, None)),
            [_, DataType::Timestamp(unit, None)] => Ok(DataType::Timestamp(*unit, Some(UTC.into()))),
            _ => plan_err!("timezone takes a zone and a timestamp"),
        }
    }

    /// A zone that is written down and is none is found before anything runs.
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if let [Some(zone), _] = args.scalar_arguments {
            zone_at(&zone.to_array()?, 0)?;
        }
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, true)))
    }

    /// In UTC it is a cast, which conditions on the clock know.
    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        if let [Expr::Literal(zone, _), time] = args.as_slice()
            && zone_at(&zone.to_array()?, 0)?.is_some_and(|zone| zone.is_utc())
        {
            let to = self.return_type(&[zone.data_type(), info.get_data_type(time)?])?;
            return Ok(ExprSimplifyResult::Simplified(Expr::Cast(Cast::new(Box::new(time.clone()), to))));
        }
        Ok(ExprSimplifyResult::Original(args))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [zones, times] = args.args.as_slice() else { return exec_err!("timezone takes a zone and a time") };
        let DataType::Timestamp(unit, zoned) = times.data_type() else {
            return exec_err!("timezone takes a timestamp");
        };
        let is_one = matches!((zones, times), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let rows = if is_one { 1 } else { args.number_rows };
        let times = cast(&times.to_array(rows)?, &DataType::Int64)?;
        let moved = match zones {
            ColumnarValue::Scalar(zone) => match zone_at(&zone.to_array()?, 0)? {
                None => Int64Array::new_null(rows),
                Some(zone) => all_moved(times.as_primitive(), unit, zoned.is_some(), |_| Ok(Some(&zone)))?,
            },
            ColumnarValue::Array(zones) => {
                // What has no time needs no zone.
                let zone = |row| if times.is_null(row) { Ok(None) } else { zone_at(zones, row) };
                let zones = (0..rows).map(zone).collect::<Result<Vec<_>>>()?;
                all_moved(times.as_primitive(), unit, zoned.is_some(), |row| Ok(zones[row].as_ref()))?
            }
        };
        let moved = cast(&moved, args.return_type())?;
        Ok(if is_one {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&moved, 0)?)
        } else {
            ColumnarValue::Array(moved)
        })
    }
}

/// Times in `unit`, each in its row's zone: as its wall clock shows them if they are moments, else as moments.
fn all_moved<'z>(
    times: &Int64Array,
    unit: TimeUnit,
    are_moments: bool,
    zone: impl Fn(usize) -> Result<Option<&'z Zone>>,
) -> Result<Int64Array> {
    let per_second = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    };
    let one = |(row, time): (usize, Option<i64>)| {
        let (Some(time), Some(zone)) = (time, zone(row)?) else { return Ok(None) };
        let seconds = time.div_euclid(per_second);
        let offset = if are_moments { zone.offset_at(seconds) } else { zone.offset_of(seconds).map(|o| -o) };
        let moved = offset.and_then(|offset| time.checked_add(i64::from(offset) * per_second));
        moved.map(Some).ok_or_else(|| exec_datafusion_err!("timestamp out of range"))
    };
    times.iter().enumerate().map(one).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zone {
    /// So many seconds east of Greenwich.
    East(i32),
    Named(Tz),
}

impl Zone {
    fn is_utc(self) -> bool {
        matches!(self, Zone::East(0) | Zone::Named(Tz::UTC | Tz::Etc__UTC))
    }

    /// How far the wall clock is ahead at a moment, in seconds since 1970; `None` where the calendar ends.
    fn offset_at(&self, seconds: i64) -> Option<i32> {
        match self {
            Zone::East(east) => Some(*east),
            Zone::Named(tz) => Some(ahead(tz, DateTime::from_timestamp(seconds, 0)?.naive_utc())),
        }
    }

    /// How far the wall clock is ahead of the moment at which it shows a time, in seconds since 1970. A time that it leaves out is reckoned
    /// as before the gap, and of two moments with the same time the later one is meant, as in PostgreSQL.
    fn offset_of(&self, seconds: i64) -> Option<i32> {
        let tz = match self {
            Zone::East(east) => return Some(*east),
            Zone::Named(tz) => tz,
        };
        let clock = DateTime::from_timestamp(seconds, 0)?.naive_utc();
        Some(match tz.offset_from_local_datetime(&clock) {
            MappedLocalTime::Single(offset) | MappedLocalTime::Ambiguous(_, offset) => offset.fix().local_minus_utc(),
            MappedLocalTime::None => ahead(tz, clock.checked_sub_days(Days::new(1))?),
        })
    }
}

fn ahead(tz: &Tz, utc: NaiveDateTime) -> i32 {
    tz.offset_from_utc_datetime(&utc).fix().local_minus_utc()
}

/// The zone in a row, which is a text or an interval.
fn zone_at(zones: &ArrayRef, row: usize) -> Result<Option<Zone>> {
    if zones.is_null(row) || zones.data_type() == &DataType::Null {
        return Ok(None);
    }
    if zones.data_type() == &INTERVAL {
        return zone_of_interval(zones.as_primitive::<IntervalMonthDayNanoType>().value(row)).map(Some);
    }
    let text = cast(&zones.slice(row, 1), &DataType::Utf8)?;
    zone_of(text.as_string::<i32>().value(0)).map(Some)
}

fn zone_of_interval(interval: IntervalMonthDayNano) -> Result<Zone> {
    if interval.months != 0 || interval.days != 0 {
        return exec_err!("an interval for a time zone has hours, minutes and seconds, and no months or days");
    }
    match i32::try_from(interval.nanoseconds / 1_000_000_000) {
        Ok(east) if east.abs() < MAX_OFFSET => Ok(Zone::East(east)),
        _ => exec_err!("an interval for a time zone is shorter than a week"),
    }
}

/// # Errors
/// A text that names no zone.
fn zone_of(text: &str) -> Result<Zone> {
    static NAMES: LazyLock<HashMap<String, Tz>> =
        LazyLock::new(|| TZ_VARIANTS.iter().map(|tz| (tz.name().to_lowercase(), *tz)).collect());
    let name = text.to_lowercase();
    if let Some((_, minutes)) = ABBREVIATIONS.iter().find(|(abbreviation, _)| *abbreviation == name) {
        return Ok(Zone::East(minutes * 60));
    }
    if let Some(tz) = NAMES.get(&name) {
        return Ok(Zone::Named(*tz));
    }
    if let Some(east) = posix(name.trim_start()) {
        return Ok(Zone::East(east));
    }
    let hint = nearest(&name, TZ_VARIANTS.iter().map(|tz| tz.name())).map(|near| format!(": is {near} meant?"));
    let hint = hint.unwrap_or_default();
    exec_err!("time zone \"{text}\" not recognized{hint}")
}

/// `utc+3`, `+05:30`, `-4`: what it lies east of Greenwich, in seconds. What has a plus lies west.
fn posix(text: &str) -> Option<i32> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    // A name, if there is one, has three letters or more.
    if matches!(text.len() - rest.len(), 1 | 2) {
        return None;
    }
    let (sign, digits) = match rest.split_at_checked(1)? {
        ("-", digits) => (1, digits),
        ("+", digits) => (-1, digits),
        _ => (-1, rest),
    };
    let mut seconds = 0;
    let mut parts = digits.split(':');
    for (unit, most) in [(3600, MAX_OFFSET / 3600), (60, 60), (1, 60)] {
        let Some(part) = parts.next() else { break };
        let is_number = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        let number: i32 = part.parse().ok().filter(|n| is_number && *n < most)?;
        seconds += number * unit;
    }
    parts.next().is_none().then_some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_those_of_posix() {
        let east = |text| posix(text);
        assert_eq!(east("+02"), Some(-7_200));
        assert_eq!(east("utc+3"), Some(-10_800));
        assert_eq!(east("-05:30"), Some(19_800));
        assert_eq!(east("+14:59:59"), Some(-53_999));
        assert_eq!(east("5"), Some(-18_000));
        for text in ["", "+", "x+1", "ab-1", "+168", "+0530", "+1:60", "+1:2:3:4", "utc", "+1x", "+-1", "é"] {
            assert_eq!(east(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_wrong_name_tells_the_next_one() {
        let error = zone_of("Europe/Berln").unwrap_err().strip_backtrace();
        assert!(error.contains("time zone \"Europe/Berln\" not recognized: is Europe/Berlin meant?"), "{error}");
    }
}
