//! An interval times or by a number, as PostgreSQL has it: what is left of a month goes to days (30 of them), what is left of a day
//! to the time. A time of day and an interval, which is one again: the clock goes round. And a date and an interval, which is a timestamp.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array, Int64Array, IntervalMonthDayNanoArray, Time64NanosecondArray};
use arrow::compute;
use arrow::datatypes::{
    DataType, Field, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Time64NanosecondType, TimeUnit,
};
use datafusion::common::{DFSchema, Result, exec_datafusion_err, exec_err};
use datafusion::logical_expr::expr::{Placeholder, ScalarFunction};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    binary_expr, cast,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const DAYS_PER_MONTH: f64 = 30.0;
const NANOS_PER_DAY: f64 = 86_400e9;
const DAY_NS: i64 = 86_400 * 1_000_000_000;

/// Plans `interval * number`, `number * interval` and `interval / number`, also of the time between two others; `time + interval`, `interval + time` and
/// `time - interval`; and these of dates.
#[derive(Debug)]
pub(super) struct IntervalPlanner {
    /// A date and an interval is a date, without the hours, as in DataFusion (54.1).
    pub(super) dates_stay: bool,
}

impl ExprPlanner for IntervalPlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let divide = match expr.op {
            BinaryOperator::Multiply => false,
            BinaryOperator::Divide => true,
            BinaryOperator::Plus | BinaryOperator::Minus if self.dates_stay => return Ok(moved(expr, schema)),
            BinaryOperator::Plus | BinaryOperator::Minus => {
                return Ok(match moved(expr, schema) {
                    PlannerResult::Original(expr) => of_date(expr, schema),
                    planned => planned,
                });
            }
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(expr));
        };
        let is_interval = |t: &DataType| matches!(t, DataType::Interval(_) | DataType::Duration(_));
        let args = match (is_interval(&left), is_interval(&right)) {
            (true, false) if right.is_numeric() => vec![expr.left, expr.right],
            (false, true) if left.is_numeric() && !divide => vec![expr.right, expr.left],
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let signature = Signature::any(2, Volatility::Immutable);
        let func = Arc::new(ScalarUDF::new_from_impl(Scaled { divide, signature }));
        Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction { func, args })))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Scaled {
    divide: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Scaled {
    fn name(&self) -> &str {
        if self.divide { "interval_divided" } else { "interval_times" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(span @ DataType::Duration(_)) => Ok(span.clone()),
            _ => Ok(INTERVAL),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [intervals, numbers] = arrays.as_slice() else { return exec_err!("{} takes two values", self.name()) };
        let numbers = compute::cast(numbers, &DataType::Float64)?;
        if matches!(intervals.data_type(), DataType::Duration(_)) {
            let spans = compute::cast(intervals, &DataType::Int64)?;
            let spans = scaled_spans(spans.as_primitive(), numbers.as_primitive(), self.divide)?;
            return Ok(ColumnarValue::Array(compute::cast(&spans, intervals.data_type())?));
        }
        let intervals = compute::cast(intervals, &INTERVAL)?;
        let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
        let numbers: &Float64Array = numbers.as_primitive();
        let one = |i: usize| -> Result<Option<IntervalMonthDayNano>> {
            if intervals.is_null(i) || numbers.is_null(i) {
                return Ok(None);
            }
            let (interval, number) = (intervals.value(i), numbers.value(i));
            if self.divide && number == 0.0 {
                return exec_err!("division by zero");
            }
            match scaled(interval, number, self.divide) {
                Some(result) => Ok(Some(result)),
                None => exec_err!("interval out of range"),
            }
        };
        let result = (0..intervals.len()).map(one).collect::<Result<IntervalMonthDayNanoArray>>()?;
        Ok(ColumnarValue::Array(Arc::new(result)))
    }
}

/// Times between two others, times or by numbers.
fn scaled_spans(spans: &Int64Array, numbers: &Float64Array, divide: bool) -> Result<Int64Array> {
    let one = |(span, number): (Option<i64>, Option<f64>)| {
        let (Some(span), Some(number)) = (span, number) else { return Ok(None) };
        if divide && number == 0.0 {
            return exec_err!("division by zero");
        }
        // Exact where floating-point numbers would not be.
        let is_whole = !divide && number.fract() == 0.0 && number.abs() < 9e15;
        let of_part = || {
            let value = if divide { span as f64 / number } else { span as f64 * number }.round();
            (value.abs() < 9.2e18).then_some(value as i64)
        };
        let value = if is_whole { span.checked_mul(number as i64) } else { of_part() };
        value.map(Some).ok_or_else(|| exec_datafusion_err!("interval out of range"))
    };
    spans.iter().zip(numbers).map(one).collect()
}

/// `time + interval`, `interval + time` and `time - interval`, which DataFusion (54.1) takes for intervals; and `timestamp + $1`, whose other
/// side it takes for a timestamp.
fn moved(expr: RawBinaryExpr, schema: &DFSchema) -> PlannerResult<RawBinaryExpr> {
    let is_time = |t: &DataType| matches!(t, DataType::Time32(_) | DataType::Time64(_));
    let is_interval = |t: &DataType| matches!(t, DataType::Interval(_) | DataType::Duration(_));
    let back = expr.op == BinaryOperator::Minus;
    if !back && let Some(sum) = with_parameter(&expr, schema) {
        return PlannerResult::Planned(sum);
    }
    // In a long chain the right side is short.
    let right = expr.right.get_type(schema).ok().filter(|t| is_interval(t) || is_time(t) && !back);
    let Some(right) = right else { return PlannerResult::Original(expr) };
    let args = match expr.left.get_type(schema) {
        Ok(left) if is_time(&left) && is_interval(&right) => vec![expr.left, expr.right],
        Ok(left) if is_interval(&left) && is_time(&right) => vec![expr.right, expr.left],
        _ => return PlannerResult::Original(expr),
    };
    let signature = Signature::any(2, Volatility::Immutable);
    let func = Arc::new(ScalarUDF::new_from_impl(Moved { back, signature }));
    PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction { func, args }))
}

/// `date + interval`, `interval + date` and `date - interval`: the midnight of the date so much later, or earlier.
fn of_date(expr: RawBinaryExpr, schema: &DFSchema) -> PlannerResult<RawBinaryExpr> {
    let is_interval = |t: &DataType| matches!(t, DataType::Interval(_) | DataType::Duration(_));
    let is_date = |t: &DataType| matches!(t, DataType::Date32 | DataType::Date64);
    let back = expr.op == BinaryOperator::Minus;
    let right = expr.right.get_type(schema).ok().filter(|t| is_interval(t) || is_date(t) && !back);
    let Some(right) = right else { return PlannerResult::Original(expr) };
    let RawBinaryExpr { op, left, right: other } = expr;
    let midnight = |date: Expr| cast(date, DataType::Timestamp(TimeUnit::Microsecond, None));
    let (left, other) = match left.get_type(schema) {
        Ok(of_left) if is_date(&of_left) && is_interval(&right) => (midnight(left), other),
        Ok(of_left) if is_interval(&of_left) && is_date(&right) => (left, midnight(other)),
        _ => return PlannerResult::Original(RawBinaryExpr { op, left, right: other }),
    };
    let op = if back { Operator::Minus } else { Operator::Plus };
    PlannerResult::Planned(binary_expr(left, op, other))
}

/// A timestamp and a parameter whose type nobody says: an interval.
fn with_parameter(expr: &RawBinaryExpr, schema: &DFSchema) -> Option<Expr> {
    let is_open = |e: &Expr| matches!(e, Expr::Placeholder(p) if p.field.is_none());
    let is_timestamp = |e: &Expr| e.get_type(schema).is_ok_and(|t| matches!(t, DataType::Timestamp(..)));
    let typed = |e: &Expr| {
        let field = Arc::new(Field::new("", INTERVAL, true));
        match e {
            Expr::Placeholder(p) => Expr::Placeholder(Placeholder::new_with_field(p.id.clone(), Some(field))),
            other => other.clone(),
        }
    };
    let fits = is_open(&expr.right) && is_timestamp(&expr.left) || is_open(&expr.left) && is_timestamp(&expr.right);
    fits.then(|| typed(&expr.left) + typed(&expr.right))
}

/// A time of day so much later, or earlier. Days and months of the interval do not count.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Moved {
    back: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Moved {
    fn name(&self) -> &str {
        if self.back { "time_minus" } else { "time_plus" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [time, _] => Ok(time.clone()),
            _ => exec_err!("{} takes two values", self.name()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [times, intervals] = arrays.as_slice() else { return exec_err!("{} takes two values", self.name()) };
        let times = compute::cast(times, &DataType::Time64(TimeUnit::Nanosecond))?;
        let times = times.as_primitive::<Time64NanosecondType>();
        let intervals = compute::cast(intervals, &INTERVAL)?;
        let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
        let one = |(time, interval): (Option<i64>, Option<IntervalMonthDayNano>)| {
            let by = interval?.nanoseconds % DAY_NS;
            let by = if self.back { -by } else { by };
            Some((time? + by).rem_euclid(DAY_NS))
        };
        let moved: Time64NanosecondArray = times.iter().zip(intervals.iter()).map(one).collect();
        Ok(ColumnarValue::Array(compute::cast(&moved, args.return_type())?))
    }
}

/// `None` when it passes the range.
fn scaled(interval: IntervalMonthDayNano, number: f64, divide: bool) -> Option<IntervalMonthDayNano> {
    let IntervalMonthDayNano { months, days, nanoseconds } = interval;
    let is_whole = !divide && number.fract() == 0.0 && number.abs() < 9e15;
    if is_whole {
        // Exact, where floating-point numbers would lose nanoseconds.
        let by = number as i64;
        let small = |v: i32| i32::try_from(i64::from(v).checked_mul(by)?).ok();
        return Some(IntervalMonthDayNano::new(small(months)?, small(days)?, nanoseconds.checked_mul(by)?));
    }
    let scale = |v: f64| if divide { v / number } else { v * number };
    // What is lost in the last digits is not to become a microsecond.
    let tidy = |v: f64| (v * 1e6).round() / 1e6;
    let (all_months, all_days) = (scale(f64::from(months)), scale(f64::from(days)));
    let days_of_months = tidy((all_months - all_months.trunc()) * DAYS_PER_MONTH);
    let part_of_day = tidy((all_days - all_days.trunc() + days_of_months - days_of_months.trunc()) * 86_400.0) * 1e9;
    let more_days = (part_of_day / NANOS_PER_DAY).trunc();
    let nanos = scale(nanoseconds as f64) + part_of_day - more_days * NANOS_PER_DAY;
    let small = |v: f64| (v.is_finite() && v.abs() <= f64::from(i32::MAX)).then_some(v as i32);
    let micros = (nanos / 1e3).round();
    let nanos = (micros.is_finite() && micros.abs() < 9.2e15).then_some(micros as i64 * 1_000)?;
    Some(IntervalMonthDayNano::new(
        small(all_months.trunc())?,
        small(all_days.trunc() + days_of_months.trunc() + more_days)?,
        nanos,
    ))
}
