//! `to_char` with PostgreSQL's patterns (its `formatting.c`), of timestamps, dates, intervals and times of day. A pattern with `%` is one of
//! `strftime`, as DataFusion has it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDate, Timelike, Weekday};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::MICROS;
use super::functions::as_the_other;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// Adds the function under a name of its own: that of DataFusion stays for queries that mean it.
pub(crate) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    let of = registry.udf("to_char")?;
    let signature = Signature::user_defined(Volatility::Immutable);
    registry.register_udf(Arc::new(Shown { of, aliases: ["fleuve_to_char".into()], signature }.into()))?;
    Ok(())
}

/// `to_char(time, pattern)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct Shown {
    of: Arc<ScalarUDF>,
    aliases: [String; 1],
    signature: Signature,
}

impl ScalarUDFImpl for Shown {
    fn name(&self) -> &str {
        "to_char"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [DataType::Interval(_), pattern] if pattern.is_string() || pattern.is_null() => {
                Ok(vec![INTERVAL, DataType::Utf8])
            }
            [DataType::Timestamp(unit, Some(_)), pattern] if pattern.is_string() || pattern.is_null() => {
                Ok(vec![DataType::Timestamp(*unit, Some("UTC".into())), DataType::Utf8])
            }
            _ => as_the_other(types, &self.of),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [times, patterns] = args.args.as_slice() else { return exec_err!("to_char takes a time and a pattern") };
        let is_one = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if is_one { 1 } else { args.number_rows };
        let texts = match patterns {
            ColumnarValue::Scalar(pattern) => {
                let of_all = pattern.try_as_str().flatten();
                self.of_pattern(&times.to_array(rows)?, of_all, &args)?
            }
            ColumnarValue::Array(patterns) => {
                let patterns = cast(patterns, &DataType::Utf8)?;
                let times = times.to_array(rows)?;
                let one = |(row, pattern)| {
                    let text = self.of_pattern(&times.slice(row, 1), pattern, &args)?;
                    Ok(text.is_valid(0).then(|| text.value(0).to_string()))
                };
                patterns.as_string::<i32>().iter().enumerate().map(one).collect::<Result<StringArray>>()?
            }
        };
        Ok(match is_one {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?),
            false => ColumnarValue::Array(Arc::new(texts)),
        })
    }
}

impl Shown {
    fn of_pattern(&self, times: &ArrayRef, pattern: Option<&str>, args: &ScalarFunctionArgs) -> Result<StringArray> {
        let Some(pattern) = pattern else { return Ok(StringArray::new_null(times.len())) };
        if pattern.contains('%') && !matches!(times.data_type(), DataType::Interval(_)) {
            let number_rows = times.len();
            let of = vec![ColumnarValue::Array(times.clone()), ColumnarValue::Scalar(ScalarValue::from(pattern))];
            let args = ScalarFunctionArgs { args: of, number_rows, ..args.clone() };
            let texts = self.of.inner().invoke_with_args(args)?.into_array(number_rows)?;
            return Ok(cast(&texts, &DataType::Utf8)?.as_string::<i32>().clone());
        }
        let pieces = pieces(pattern)?;
        let moments = moments(times)?;
        moments.into_iter().map(|moment| moment.map(|m| m.shown(&pieces)).transpose()).collect()
    }
}

/// What a pattern tells of.
#[derive(Clone, Copy, PartialEq)]
enum Key {
    Meridiem { dots: bool },
    Era { dots: bool },
    Century,
    DayName { whole: bool },
    DayOfYear,
    Day,
    DayOfWeek,
    Fraction(u32),
    Exact,
    Hour24,
    Hour12,
    IsoDayOfYear,
    IsoDayOfWeek,
    IsoWeek,
    IsoYear(u32),
    Julian,
    Minute,
    Month,
    MonthName { whole: bool },
    Offset,
    Quarter,
    Roman,
    SecondOfDay,
    Second,
    ZoneHours,
    ZoneMinutes,
    Zone,
    WeekOfYear,
    WeekOfMonth,
    YearInThousands,
    Year(u32),
}

/// Of those that begin alike longer ones come first. Each is also written in small letters.
const KEYS: &[(&str, Key)] = &[
    ("A.D.", Key::Era { dots: true }),
    ("A.M.", Key::Meridiem { dots: true }),
    ("AD", Key::Era { dots: false }),
    ("AM", Key::Meridiem { dots: false }),
    ("B.C.", Key::Era { dots: true }),
    ("BC", Key::Era { dots: false }),
    ("CC", Key::Century),
    ("DAY", Key::DayName { whole: true }),
    ("DDD", Key::DayOfYear),
    ("DD", Key::Day),
    ("DY", Key::DayName { whole: false }),
    ("D", Key::DayOfWeek),
    ("FF1", Key::Fraction(1)),
    ("FF2", Key::Fraction(2)),
    ("FF3", Key::Fraction(3)),
    ("FF4", Key::Fraction(4)),
    ("FF5", Key::Fraction(5)),
    ("FF6", Key::Fraction(6)),
    ("FX", Key::Exact),
    ("HH24", Key::Hour24),
    ("HH12", Key::Hour12),
    ("HH", Key::Hour12),
    ("IDDD", Key::IsoDayOfYear),
    ("ID", Key::IsoDayOfWeek),
    ("IW", Key::IsoWeek),
    ("IYYY", Key::IsoYear(4)),
    ("IYY", Key::IsoYear(3)),
    ("IY", Key::IsoYear(2)),
    ("I", Key::IsoYear(1)),
    ("J", Key::Julian),
    ("MI", Key::Minute),
    ("MM", Key::Month),
    ("MONTH", Key::MonthName { whole: true }),
    ("MON", Key::MonthName { whole: false }),
    ("MS", Key::Fraction(3)),
    ("OF", Key::Offset),
    ("P.M.", Key::Meridiem { dots: true }),
    ("PM", Key::Meridiem { dots: false }),
    ("Q", Key::Quarter),
    ("RM", Key::Roman),
    ("SSSSS", Key::SecondOfDay),
    ("SSSS", Key::SecondOfDay),
    ("SS", Key::Second),
    ("TZH", Key::ZoneHours),
    ("TZM", Key::ZoneMinutes),
    ("TZ", Key::Zone),
    ("US", Key::Fraction(6)),
    ("WW", Key::WeekOfYear),
    ("W", Key::WeekOfMonth),
    ("Y,YYY", Key::YearInThousands),
    ("YYYY", Key::Year(4)),
    ("YYY", Key::Year(3)),
    ("YY", Key::Year(2)),
    ("Y", Key::Year(1)),
];

#[derive(Clone, Copy, PartialEq)]
enum Case {
    Upper,
    Title,
    Lower,
}

enum Piece {
    Text(char),
    Field(Field),
}

struct Field {
    key: Key,
    case: Case,
    /// `FM`: without blanks and zeros that fill up. And `TM`, whose names have none.
    is_tight: bool,
    is_local: bool,
    /// `TH` and `th`.
    ordinal: Option<Case>,
}

/// The pieces of a pattern.
fn pieces(pattern: &str) -> Result<Vec<Piece>> {
    let mut pieces = vec![];
    let mut rest = pattern;
    while !rest.is_empty() {
        let prefix = ["FM", "TM"].into_iter().find(|p| starts(rest, p).is_some());
        let behind = prefix.map_or(rest, |_| &rest[2..]);
        if let Some((key, case, len)) = key_of(behind) {
            rest = &behind[len..];
            let ordinal = starts(rest, "TH");
            if starts(rest, "SP").is_some() {
                return exec_err!("to_char: SP is not supported");
            }
            if ordinal.is_some() {
                rest = &rest[2..];
            }
            let (is_tight, is_local) = (prefix == Some("FM"), prefix == Some("TM"));
            pieces.push(Piece::Field(Field { key, case, is_tight, is_local, ordinal }));
            continue;
        }
        let mut letters = behind.chars();
        match letters.next() {
            Some('"') => {
                // Text in double quotes stands for itself.
                while let Some(letter) = letters.next().filter(|l| *l != '"') {
                    let letter = if letter == '\\' { letters.next().unwrap_or(letter) } else { letter };
                    pieces.push(Piece::Text(letter));
                }
            }
            Some('\\') if letters.as_str().starts_with('"') => pieces.extend(letters.next().map(Piece::Text)),
            letter => pieces.extend(letter.map(Piece::Text)),
        }
        rest = letters.as_str();
    }
    Ok(pieces)
}

/// Whether a text begins with a word in capital or in small letters.
fn starts(text: &str, word: &str) -> Option<Case> {
    if text.starts_with(word) {
        Some(Case::Upper)
    } else if text.starts_with(&word.to_lowercase()) {
        Some(Case::Lower)
    } else {
        None
    }
}

/// The key that a text begins with, in what case it is written, and its length.
fn key_of(text: &str) -> Option<(Key, Case, usize)> {
    let title = |(word, key): &(&str, Key)| {
        let is_name = matches!(key, Key::DayName { .. } | Key::MonthName { .. });
        let title = format!("{}{}", &word[..1], word[1..].to_lowercase());
        (is_name && text.starts_with(&title)).then_some((*key, Case::Title, word.len()))
    };
    let plain = |(word, key): &(&str, Key)| starts(text, word).map(|case| (*key, case, word.len()));
    KEYS.iter().find_map(|entry| title(entry).or_else(|| plain(entry)))
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// A point in time, or an interval, in parts.
struct Moment {
    /// None of an interval.
    date: Option<NaiveDate>,
    has_zone: bool,
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
}

fn moments(times: &ArrayRef) -> Result<Vec<Option<Moment>>> {
    let of_span = |time: i64| Moment::of_interval(IntervalMonthDayNano::new(0, 0, time));
    Ok(match times.data_type() {
        DataType::Interval(_) => {
            let intervals = cast(times, &INTERVAL)?;
            let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
            intervals.iter().map(|i| i.map(Moment::of_interval)).collect()
        }
        DataType::Duration(unit) => {
            super::fields::spans(times, *unit)?.iter().map(|i| i.map(Moment::of_interval)).collect()
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            let times = cast(times, &DataType::Time64(TimeUnit::Nanosecond))?;
            times.as_primitive::<Time64NanosecondType>().iter().map(|t| t.map(of_span)).collect()
        }
        of => {
            let zone = if let DataType::Timestamp(_, zone) = of { zone.clone() } else { None };
            let micros = match &zone {
                Some(_) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
                None => MICROS,
            };
            let times = cast(times, &micros)?;
            let times = times.as_primitive::<TimestampMicrosecondType>();
            let one = |time: Option<i64>| time.map(|time| Moment::at(time, zone.is_some())).transpose();
            times.iter().map(one).collect::<Result<_>>()?
        }
    })
}

impl Moment {
    fn at(micros: i64, has_zone: bool) -> Result<Self> {
        let Some(time) = DateTime::from_timestamp_micros(micros) else { return exec_err!("timestamp out of range") };
        Ok(Self {
            date: Some(time.date_naive()),
            has_zone,
            year: i64::from(time.year()),
            month: i64::from(time.month()),
            day: i64::from(time.day()),
            hour: i64::from(time.hour()),
            minute: i64::from(time.minute()),
            second: i64::from(time.second()),
            micros: i64::from(time.nanosecond() / 1_000),
        })
    }

    fn of_interval(interval: IntervalMonthDayNano) -> Self {
        let IntervalMonthDayNano { months, days, nanoseconds } = interval;
        let micros = nanoseconds / 1_000;
        Self {
            date: None,
            has_zone: false,
            year: i64::from(months / 12),
            month: i64::from(months % 12),
            day: i64::from(days),
            hour: micros / 3_600_000_000,
            minute: micros / 60_000_000 % 60,
            second: micros / 1_000_000 % 60,
            micros: micros % 1_000_000,
        }
    }

    fn shown(&self, pieces: &[Piece]) -> Result<String> {
        let mut out = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(letter) => out.push(*letter),
                Piece::Field(field) => match self.number(field)? {
                    Some((value, width)) => out.push_str(&field.digits(value, width)),
                    None => out.push_str(&self.words(field)?),
                },
            }
        }
        Ok(out)
    }

    /// The date, which an interval has not.
    fn date(&self) -> Result<NaiveDate> {
        match self.date {
            Some(date) => Ok(date),
            None => exec_err!(
                "invalid format specification for an interval value: intervals are not tied to specific calendar dates"
            ),
        }
    }

    /// What a field counts, and its digits where it is filled up; `None` if it tells something else.
    fn number(&self, field: &Field) -> Result<Option<(i64, usize)>> {
        let of_year =
            |year: i64, digits: u32| (if digits < 4 { year % 10_i64.pow(digits) } else { year }, digits as usize);
        Ok(Some(match field.key {
            Key::Century => match self.date {
                Some(_) if self.year > 0 => ((self.year - 1) / 100 + 1, 2),
                _ => (self.year / 100, 2),
            },
            Key::DayOfYear => (self.day_of_year(), 3),
            Key::Day => (self.day, 2),
            Key::DayOfWeek => (i64::from(self.date()?.weekday().number_from_sunday()), 1),
            Key::Fraction(digits) => (self.micros / 10_i64.pow(6 - digits), digits as usize),
            Key::Hour24 => (self.hour, 2),
            Key::Hour12 => (if self.hour % 12 == 0 { 12 } else { self.hour % 12 }, 2),
            Key::IsoDayOfYear => {
                let date = self.date()?;
                let first = NaiveDate::from_isoywd_opt(date.iso_week().year(), 1, Weekday::Mon).unwrap_or(date);
                ((date - first).num_days() + 1, 3)
            }
            Key::IsoDayOfWeek => (i64::from(self.date()?.weekday().number_from_monday()), 1),
            Key::IsoWeek => (i64::from(self.date()?.iso_week().week()), 2),
            Key::IsoYear(digits) => of_year(i64::from(self.date()?.iso_week().year()), digits),
            // Day 1 of the common era is that day by the count of Julian days.
            Key::Julian => (i64::from(self.date()?.num_days_from_ce()) + 1_721_425, 1),
            Key::Minute => (self.minute, 2),
            Key::Month => (self.month, 2),
            Key::Quarter if self.month != 0 => ((self.month - 1) / 3 + 1, 1),
            Key::SecondOfDay => (self.hour * 3_600 + self.minute * 60 + self.second, 1),
            Key::Second => (self.second, 2),
            Key::WeekOfYear => ((self.day_of_year() - 1) / 7 + 1, 2),
            Key::WeekOfMonth => ((self.day - 1) / 7 + 1, 1),
            Key::Year(digits) => of_year(self.year, digits),
            _ => return Ok(None),
        }))
    }

    fn day_of_year(&self) -> i64 {
        self.date.map_or((self.year * 12 + self.month) * 30 + self.day, |date| i64::from(date.ordinal()))
    }

    /// What is no plain number.
    fn words(&self, field: &Field) -> Result<String> {
        let in_case = |word: &str| match field.case {
            Case::Upper => word.to_uppercase(),
            Case::Title => word.to_string(),
            Case::Lower => word.to_lowercase(),
        };
        let filled = |word: String, width: usize| match field.is_tight || field.is_local {
            true => word,
            false => format!("{word:width$}"),
        };
        let dotted = |word: &str, dots: bool| match dots {
            true => word.chars().flat_map(|letter| [letter, '.']).collect(),
            false => word.to_string(),
        };
        let named = |word: &str, whole: bool| if whole { filled(in_case(word), 9) } else { in_case(&word[..3]) };
        Ok(match field.key {
            Key::Meridiem { dots } => in_case(&dotted(if self.hour % 24 >= 12 { "PM" } else { "AM" }, dots)),
            Key::Era { dots } => {
                let era = if self.date()?.year() > 0 { "AD" } else { "BC" };
                in_case(&dotted(era, dots))
            }
            Key::DayName { whole } => named(day_name(self.date()?.weekday()), whole),
            Key::MonthName { whole } => named(MONTHS[self.date()?.month0() as usize], whole),
            Key::Roman => filled(in_case(ROMAN[self.date()?.month0() as usize]), 4),
            Key::YearInThousands => {
                let (thousands, rest) = (self.year / 1_000, self.year % 1_000);
                field.with_ordinal(format!("{thousands},{rest:03}"), self.year)
            }
            Key::Zone => {
                self.date()?;
                if self.has_zone { in_case("UTC") } else { String::new() }
            }
            Key::Offset | Key::ZoneHours => self.date().map(|_| "+00".to_string())?,
            Key::ZoneMinutes => self.date().map(|_| "00".to_string())?,
            // `FX` tells nothing, nor does the quarter of no month; the rest are numbers.
            _ => String::new(),
        })
    }
}

impl Field {
    fn digits(&self, value: i64, width: usize) -> String {
        let is_tight = self.is_tight && !matches!(self.key, Key::Fraction(_));
        let has_room_for_sign =
            matches!(self.key, Key::Hour24 | Key::Hour12 | Key::Minute | Key::Second | Key::Month | Key::Year(_));
        let width = if is_tight { 0 } else { width + usize::from(value < 0 && has_room_for_sign) };
        self.with_ordinal(format!("{value:0width$}"), value)
    }

    fn with_ordinal(&self, digits: String, value: i64) -> String {
        let Some(case) = self.ordinal else { return digits };
        let ending = match (value.abs() % 100, value.abs() % 10) {
            (11..=13, _) => "th",
            (_, 1) => "st",
            (_, 2) => "nd",
            (_, 3) => "rd",
            _ => "th",
        };
        let ending = if case == Case::Upper { ending.to_uppercase() } else { ending.into() };
        digits + &ending
    }
}

fn day_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Mon => "Monday",
        Weekday::Tue => "Tuesday",
        Weekday::Wed => "Wednesday",
        Weekday::Thu => "Thursday",
        Weekday::Fri => "Friday",
        Weekday::Sat => "Saturday",
        Weekday::Sun => "Sunday",
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn patterns_are_postgresqls() {
        let ts = "TIMESTAMP '2025-03-05 13:04:05.678'";
        let span = "(TIMESTAMP '2025-01-02 03:30:07.5' - TIMESTAMP '2025-01-01')";
        for (time, pattern, expected) in [
            (ts, "FMDD FMMonth FMHH12:MI", "5_March_1:04"),
            (ts, "DD FMmonth, FMDay MON Dy", "05_march,_Wednesday_MAR_Wed"),
            (ts, "[Month] [day] [TMMonth] [RM]", "[March____]_[wednesday]_[March]_[III_]"),
            (ts, "W WW Q D ID DDD IDDD J", "1_10_1_4_3_064_066_2460740"),
            (ts, "Y,YYY YYY YY Y IYYY IW CC AD b.c.", "2,025_025_25_5_2025_10_21_AD_a.d."),
            (ts, "MS US FF1 FF4 SSSS AM p.m.", "678_678000_6_6780_47045_PM_p.m."),
            (ts, "DDth FMDDTH YYYY\"th\"\\\"", "05th_5TH_2025th\""),
            (ts, "%Y", "2025"),
            ("DATE '2025-03-01'", "YYYY-MM-DD HH24", "2025-03-01_00"),
            ("TIME '13:04:05'", "HH24:MI:SS", "13:04:05"),
            (span, "DD HH24:MI:SS.MS", "01_03:30:07.500"),
            ("INTERVAL '27 hours'", "HH24:MI HH12", "27:00_03"),
            ("INTERVAL '-3 hours -30 minutes'", "HH24:MI", "-03:-30"),
            ("INTERVAL '14 months 3 days'", "YYYY MM DD DDD", "0001_02_03_423"),
        ] {
            let sql = format!("SELECT replace(fleuve_to_char({time}, '{pattern}'), ' ', '_') AS v");
            let rows = testing::rows("CREATE TABLE t (k INT)", 1, &sql).await.unwrap();
            assert_eq!(rows, [format!("|{expected}|")], "{pattern}");
        }
        for (time, pattern) in [("INTERVAL '1 day'", "Month"), (ts, "DDSP")] {
            let sql = format!("SELECT fleuve_to_char({time}, '{pattern}') AS v");
            assert!(testing::rows("CREATE TABLE t (k INT)", 1, &sql).await.is_err(), "{pattern}");
        }
        let table = "CREATE TABLE t AS SELECT * FROM (VALUES (1, 'YYYY'), (2, '%m'), (3, NULL)) AS q (k, p)";
        let sql = format!("SELECT fleuve_to_char({ts}, p) AS v FROM t ORDER BY k");
        assert_eq!(testing::rows(table, 1, &sql).await.unwrap(), ["|2025|", "|03|", "||"]);
    }
}
