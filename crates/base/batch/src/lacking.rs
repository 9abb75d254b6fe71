//! Functions of PostgreSQL's that DataFusion 54.1 lacks.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, IntervalMonthDayNanoArray, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType, Float64Type, Int32Type, IntervalMonthDayNano, IntervalUnit, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use fleuve_types::sql_type_name;

const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const DAY: i64 = 86_400_000_000;

/// Adds the functions.
pub(crate) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for what in [What::Age, What::MakeTimestamp, What::WidthBucket] {
        let signature = Signature::user_defined(Volatility::Immutable);
        registry.register_udf(Arc::new(ScalarUDF::new_from_impl(Lacking { what, signature })))?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    /// `age(later, earlier)`: the years, months, days and the time between two.
    Age,
    /// `make_timestamp(year, month, day, hour, minute, seconds)`
    MakeTimestamp,
    /// `width_bucket(value, low, high, count)`
    WidthBucket,
}

impl What {
    fn takes(self) -> Vec<DataType> {
        use DataType::{Float64, Int32};
        match self {
            What::Age => vec![MICROS, MICROS],
            What::MakeTimestamp => vec![Int32, Int32, Int32, Int32, Int32, Float64],
            What::WidthBucket => vec![Float64, Float64, Float64, Int32],
        }
    }

    fn gives(self) -> DataType {
        match self {
            What::Age => DataType::Interval(IntervalUnit::MonthDayNano),
            What::MakeTimestamp => MICROS,
            What::WidthBucket => DataType::Int32,
        }
    }

    fn compute(self, args: &[ArrayRef]) -> Result<ArrayRef> {
        let rows = 0..args.first().map_or(0, |a| a.len());
        let is_null = |row: usize| args.iter().any(|a| a.is_null(row));
        let int = |at: usize, row: usize| args[at].as_primitive::<Int32Type>().value(row);
        let double = |at: usize, row: usize| args[at].as_primitive::<Float64Type>().value(row);
        let time = |at: usize, row: usize| args[at].as_primitive::<TimestampMicrosecondType>().value(row);
        Ok(match self {
            What::Age => Arc::new(
                rows.map(|row| (!is_null(row)).then(|| age(time(0, row), time(1, row))).transpose())
                    .collect::<Result<IntervalMonthDayNanoArray>>()?,
            ),
            What::MakeTimestamp => {
                let one = |row| timestamp([0, 1, 2, 3, 4].map(|at| int(at, row)), double(5, row));
                Arc::new(
                    rows.map(|row| (!is_null(row)).then(|| one(row)).transpose())
                        .collect::<Result<TimestampMicrosecondArray>>()?,
                )
            }
            What::WidthBucket => {
                let one = |row| bucket(double(0, row), double(1, row), double(2, row), int(3, row));
                Arc::new(rows.map(|row| (!is_null(row)).then(|| one(row)).transpose()).collect::<Result<Int32Array>>()?)
            }
        })
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Lacking {
    what: What,
    signature: Signature,
}

impl ScalarUDFImpl for Lacking {
    fn name(&self) -> &str {
        match self.what {
            What::Age => "age",
            What::MakeTimestamp => "make_timestamp",
            What::WidthBucket => "width_bucket",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let takes = self.what.takes();
        let fits = |(given, taken): (&DataType, &DataType)| match taken {
            DataType::Timestamp(..) => {
                given.is_null() || given.is_string() || matches!(given, DataType::Timestamp(..) | DataType::Date32)
            }
            _ => given.is_null() || given.is_numeric(),
        };
        if types.len() != takes.len() || !types.iter().zip(&takes).all(fits) {
            let names = takes.iter().map(sql_type_name).collect::<Vec<_>>().join(", ");
            return plan_err!("write {}({names})", self.name());
        }
        Ok(takes)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.what.gives())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_one = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if is_one { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|a| a.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let values = self.what.compute(&arrays)?;
        Ok(match is_one {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?),
            false => ColumnarValue::Array(values),
        })
    }
}

fn moment(micros: i64) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| exec_datafusion_err!("timestamp out of range"))
}

/// As on a calendar: whole months first, those of the earlier time.
fn age(later: i64, earlier: i64) -> Result<IntervalMonthDayNano> {
    if later < earlier {
        let back = age(earlier, later)?;
        return Ok(IntervalMonthDayNano::new(-back.months, -back.days, -back.nanoseconds));
    }
    let (to, from) = (moment(later)?.date_naive(), moment(earlier)?.date_naive());
    let mut micros = later.rem_euclid(DAY) - earlier.rem_euclid(DAY);
    let mut days = to.day() as i32 - from.day() as i32;
    let mut months = (to.year() - from.year()) * 12 + to.month() as i32 - from.month() as i32;
    if micros < 0 {
        micros += DAY;
        days -= 1;
    }
    while days < 0 {
        days += i32::from(from.num_days_in_month());
        months -= 1;
    }
    Ok(IntervalMonthDayNano::new(months, days, micros * 1_000))
}

fn timestamp([year, month, day, hour, minute]: [i32; 5], seconds: f64) -> Result<i64> {
    let wrong = || {
        exec_datafusion_err!("date or time field value out of range: {year}-{month}-{day} {hour}:{minute}:{seconds}")
    };
    let part = |value: i32| u32::try_from(value).map_err(|_| wrong());
    let date = NaiveDate::from_ymd_opt(year, part(month)?, part(day)?).filter(|_| (1..=9999).contains(&year));
    let is_time = (0..24).contains(&hour) && (0..60).contains(&minute) && (0.0..=60.0).contains(&seconds)
        || hour == 24 && minute == 0 && seconds == 0.0;
    let midnight = date.filter(|_| is_time).and_then(|date| date.and_hms_opt(0, 0, 0)).ok_or_else(wrong)?;
    let of_day = i64::from(hour * 60 + minute) * 60_000_000 + (seconds * 1e6).round_ties_even() as i64;
    Ok(midnight.and_utc().timestamp_micros() + of_day)
}

fn bucket(value: f64, low: f64, high: f64, count: i32) -> Result<i32> {
    if count <= 0 {
        return exec_err!("count must be greater than zero");
    }
    if value.is_nan() || low.is_nan() || high.is_nan() {
        return exec_err!("operand, lower bound, and upper bound cannot be NaN");
    }
    if low == high || !low.is_finite() || !high.is_finite() {
        return exec_err!("lower bound cannot equal upper bound, and both must be finite");
    }
    let beyond = || count.checked_add(1).ok_or_else(|| exec_datafusion_err!("integer out of range"));
    let (is_before, is_behind) = if low < high { (value < low, value >= high) } else { (value > low, value <= high) };
    if is_before {
        return Ok(0);
    }
    if is_behind {
        return beyond();
    }
    let place = f64::from(count) * ((value - low) / (high - low));
    Ok((place as i32).min(count - 1) + 1)
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn they_answer_as_postgresql_does() {
        for (call, expected) in [
            ("age(TIMESTAMP '2024-03-01', TIMESTAMP '2024-01-31')", "1 mons 1 days"),
            ("age(TIMESTAMP '2023-03-01 10:00:00', TIMESTAMP '2023-02-28 11:00:00')", "23 hours"),
            ("age(TIMESTAMP '2024-01-31', TIMESTAMP '2024-03-01')", "-1 mons -1 days"),
            ("age(DATE '2024-05-01', DATE '2001-02-03')", "278 mons 26 days"),
            ("make_timestamp(2024, 2, 29, 23, 59, 58.5)", "2024-02-29T23:59:58.500"),
            ("make_timestamp(2024, 12, 31, 24, 0, 0)", "2025-01-01T00:00:00"),
            ("width_bucket(5.35, 0.024, 10.06, 5)", "3"),
            ("width_bucket(-1, 0, 10, 4)", "0"),
            ("width_bucket(10, 0, 10, 4)", "5"),
            ("width_bucket(2.5, 10, 0, 4)", "4"),
            ("width_bucket(NULL, 0, 10, 4)", ""),
        ] {
            let rows = testing::rows("SELECT 1", 1, &format!("SELECT {call} AS v")).await.unwrap();
            assert_eq!(rows, [format!("|{}|", expected.replace(' ', ""))], "{call}");
        }
        for call in
            ["make_timestamp(2023, 2, 29, 0, 0, 0)", "make_timestamp(2023, 2, 1, 0, 60, 0)", "width_bucket(1, 0, 1, 0)"]
        {
            assert!(testing::rows("SELECT 1", 1, &format!("SELECT {call} AS v")).await.is_err(), "{call}");
        }
    }
}
