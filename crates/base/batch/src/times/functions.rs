//! `date_trunc`, `date_bin`, `to_char` and `to_timestamp` in microseconds. DataFusion's reckon in nanoseconds on the way,
//! or give them. And `coalesce` of times and texts.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, UInt32Array, make_array, new_empty_array};
use arrow::compute::{CastOptions, cast, cast_with_options, interleave, is_null, nullif, take};
use arrow::datatypes::{
    ArrowTimestampType, DataType, Decimal128Type, Field, FieldRef, Float64Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{Kind, MICROS, common};

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Puts the functions in the place of DataFusion's.
pub(crate) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    let signature = Signature::user_defined(Volatility::Immutable);
    let of = registry.udf("date_trunc")?;
    registry.register_udf(Arc::new(Truncated { of, signature: signature.clone() }.into()))?;
    let of = registry.udf("date_bin")?;
    registry.register_udf(Arc::new(Binned { of, signature: signature.clone() }.into()))?;
    let of = registry.udf("to_char")?;
    super::patterns::register(registry)?;
    registry.register_udf(Arc::new(Shown { of, signature }.into()))?;
    super::fields::register(registry)?;
    let of = registry.udf("coalesce")?;
    registry.register_udf(Arc::new(FirstOf { of }.into()))?;
    let of_epoch = OfEpoch { of: registry.udf("to_timestamp")?, of_micros: registry.udf("to_timestamp_micros")? };
    registry.register_udf(Arc::new(of_epoch.into()))?;
    for unit in ["seconds", "millis", "micros", "nanos"] {
        let of = registry.udf(&format!("to_timestamp_{unit}"))?;
        registry.register_udf(Arc::new(OfTexts { of }.into()))?;
    }
    super::series::lists(registry)
}

/// True for the times that are reckoned with here: those of UTC.
fn is_ours(data_type: &DataType) -> bool {
    is_utc(data_type, TimeUnit::Microsecond)
}

fn is_nanos(data_type: &DataType) -> bool {
    is_utc(data_type, TimeUnit::Nanosecond)
}

fn is_utc(data_type: &DataType, unit: TimeUnit) -> bool {
    let has_no_other = |zone: &Option<Arc<str>>| matches!(zone.as_deref(), None | Some("+00:00" | "UTC"));
    matches!(data_type, DataType::Timestamp(of, zone) if *of == unit && has_no_other(zone))
}

/// The type that a function takes a time of another one in.
fn taken(data_type: &DataType) -> Option<DataType> {
    match data_type {
        t if is_ours(t) => Some(t.clone()),
        DataType::Date32 | DataType::Date64 | DataType::Null => Some(MICROS),
        t if t.is_string() => Some(MICROS),
        _ => None,
    }
}

/// The types that a function of DataFusion's takes for others.
pub(super) fn as_the_other(types: &[DataType], of: &ScalarUDF) -> Result<Vec<DataType>> {
    let fields: Vec<FieldRef> = types.iter().map(|t| Arc::new(Field::new("f", t.clone(), true))).collect();
    Ok(fields_with_udf(&fields, of)?.iter().map(|f| f.data_type().clone()).collect())
}

fn out_of_range() -> datafusion::error::DataFusionError {
    exec_datafusion_err!("timestamp out of range")
}

/// What `args` make row by row: a scalar, if they are all scalars.
fn by_rows<T: ArrowTimestampType>(
    args: &ScalarFunctionArgs,
    of: impl FnOnce(&[ArrayRef]) -> Result<PrimitiveArray<T>>,
) -> Result<ColumnarValue> {
    let is_one = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
    let rows = if is_one { 1 } else { args.number_rows };
    let arrays = args.args.iter().map(|a| a.to_array(rows)).collect::<Result<Vec<_>>>()?;
    let DataType::Timestamp(_, zone) = args.return_type() else { return exec_err!("a time is a timestamp") };
    let times = of(&arrays)?.with_timezone_opt(zone.clone());
    Ok(match is_one {
        true => ColumnarValue::Scalar(ScalarValue::try_from_array(&times, 0)?),
        false => ColumnarValue::Array(Arc::new(times)),
    })
}

/// `date_trunc(part, time)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct Truncated {
    of: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Truncated {
    as_its_own!(but for its signature);

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [part, time] if part.is_string() => match taken(time) {
                Some(time) => Ok(vec![part.clone(), time]),
                None => as_the_other(types, &self.of),
            },
            _ => as_the_other(types, &self.of),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [_, time] => Ok(time.clone()),
            _ => exec_err!("date_trunc takes a part and a time"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [part, time] = args.arg_fields else { return exec_err!("date_trunc takes a part and a time") };
        let is_nullable = part.is_nullable() || time.is_nullable();
        Ok(Arc::new(Field::new(self.name(), time.data_type().clone(), is_nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let part = match args.args.as_slice() {
            [ColumnarValue::Scalar(part), _] if part.is_null() => {
                return ScalarValue::try_from(args.return_type()).map(ColumnarValue::Scalar);
            }
            [ColumnarValue::Array(_), _] => return self.by_part(&args),
            [ColumnarValue::Scalar(part), time] if is_ours(&time.data_type()) => {
                part.try_as_str().flatten().map(str::to_lowercase)
            }
            _ => None,
        };
        match part.as_deref().and_then(Part::named) {
            Some(part) => by_rows::<TimestampMicrosecondType>(&args, |arrays| {
                let times = arrays[1].as_primitive::<TimestampMicrosecondType>();
                times.try_unary(|time| part.start_of(time).ok_or_else(out_of_range))
            }),
            None => self.of.invoke_with_args(args),
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.of.output_ordering(input)
    }
}

impl Truncated {
    /// Where each row has a part of its own: the rows of each part together.
    fn by_part(&self, args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [part, time] = args.args.as_slice() else { return exec_err!("date_trunc takes a part and a time") };
        let parts = cast(&part.to_array(args.number_rows)?, &DataType::Utf8)?;
        let times = time.to_array(args.number_rows)?;
        let mut rows: BTreeMap<Option<&str>, Vec<u32>> = BTreeMap::new();
        for (row, part) in parts.as_string::<i32>().iter().enumerate() {
            rows.entry(part).or_default().push(row as u32);
        }
        let mut cut = vec![];
        let mut places = vec![(0, 0); args.number_rows];
        for (part, rows) in rows {
            rows.iter().enumerate().for_each(|(at, row)| places[*row as usize] = (cut.len(), at));
            let number_rows = rows.len();
            let times = take(&times, &UInt32Array::from(rows), None)?;
            let of = vec![ColumnarValue::Scalar(ScalarValue::from(part)), ColumnarValue::Array(times)];
            let one = ScalarFunctionArgs { args: of, number_rows, ..args.clone() };
            cut.push(self.invoke_with_args(one)?.into_array(number_rows)?);
        }
        if cut.is_empty() {
            return Ok(ColumnarValue::Array(new_empty_array(args.return_type())));
        }
        let cut: Vec<&dyn Array> = cut.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(interleave(&cut, &places)?))
    }
}

/// What a time is cut to.
#[derive(Clone, Copy)]
enum Part {
    Micros(i64),
    Week,
    Months(u32),
    /// Years from the first of so many on, which is the year 0 or 1.
    Years(i32, i32),
}

impl Part {
    fn named(name: &str) -> Option<Self> {
        Some(match name.strip_suffix('s').unwrap_or(name) {
            "microsecond" => Part::Micros(1),
            "millisecond" => Part::Micros(1_000),
            "second" => Part::Micros(SECOND),
            "minute" => Part::Micros(60 * SECOND),
            "hour" => Part::Micros(3_600 * SECOND),
            "day" => Part::Micros(DAY),
            "week" => Part::Week,
            "month" => Part::Months(1),
            "quarter" => Part::Months(3),
            "year" => Part::Months(12),
            "decade" => Part::Years(10, 0),
            "century" => Part::Years(100, 1),
            "millennium" => Part::Years(1000, 1),
            _ => return None,
        })
    }

    fn start_of(self, time: i64) -> Option<i64> {
        match self {
            Part::Micros(unit) => time.checked_sub(time.rem_euclid(unit)),
            Part::Week => {
                let day = time.div_euclid(DAY);
                // The first day of 1970 was a Thursday.
                (day - (day + 3).rem_euclid(7)).checked_mul(DAY)
            }
            Part::Months(months) => {
                let date = DateTime::from_timestamp_micros(time)?.date_naive();
                start_of_month(date.year(), date.month0() / months * months + 1)
            }
            Part::Years(years, first) => {
                let year = DateTime::from_timestamp_micros(time)?.year();
                start_of_month((year - first).div_euclid(years) * years + first, 1)
            }
        }
    }
}

fn start_of_month(year: i32, month: u32) -> Option<i64> {
    let first = NaiveDate::from_ymd_opt(year, month, 1)?;
    Some(first.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
}

/// `date_bin(stride, time [, origin])`
#[derive(Debug, PartialEq, Eq, Hash)]
struct Binned {
    of: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Binned {
    as_its_own!(but for its signature);

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let is_stride = |t: &DataType| matches!(t, DataType::Interval(_) | DataType::Null) || t.is_string();
        if let [stride, time, origin @ ..] = types
            && is_stride(stride)
            && let Some(time) = taken(time).or_else(|| is_nanos(time).then(|| time.clone()))
        {
            let is_origin = |t: &DataType| taken(t).is_some() || matches!(t, DataType::Timestamp(..));
            if origin.len() < 2 && origin.iter().all(is_origin) {
                return Ok([INTERVAL, time.clone()].into_iter().chain(origin.iter().map(|_| time.clone())).collect());
            }
        }
        as_the_other(types, &self.of)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.get(1).map(ColumnarValue::data_type) {
            Some(time) if is_ours(&time) => by_rows(&args, bins_of::<TimestampMicrosecondType>),
            // DataFusion's has no months with parts of a second before 1970.
            Some(time) if is_nanos(&time) => by_rows(&args, bins_of::<TimestampNanosecondType>),
            _ => self.of.invoke_with_args(args),
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.of.output_ordering(input)
    }
}

/// For each row of strides, times and origins.
fn bins_of<T: ArrowTimestampType>(arrays: &[ArrayRef]) -> Result<PrimitiveArray<T>> {
    let strides = arrays[0].as_primitive::<IntervalMonthDayNanoType>();
    let times = arrays[1].as_primitive::<T>();
    let origins = arrays.get(2).map(|o| o.as_primitive::<T>());
    let one = |row: usize| {
        let is_null = |array: &dyn Array| array.is_null(row);
        if is_null(strides) || is_null(times) || origins.is_some_and(|o| is_null(o)) {
            return Ok(None);
        }
        let origin = origins.map_or(0, |o| o.value(row));
        bin_of(strides.value(row), times.value(row), origin, T::UNIT).map(Some)
    };
    (0..times.len()).map(one).collect()
}

/// The last of the times `origin`, `origin` and a stride, and so on in both directions, that is not after `time`.
fn bin_of(stride: IntervalMonthDayNano, time: i64, origin: i64, unit: TimeUnit) -> Result<i64> {
    let IntervalMonthDayNano { months, days, nanoseconds } = stride;
    let (in_micro, nanos) = if unit == TimeUnit::Nanosecond { (1_000, 1) } else { (1, 1_000) };
    if nanoseconds % nanos != 0 {
        return exec_err!("date_bin takes a stride of whole microseconds");
    }
    if months != 0 && (days != 0 || nanoseconds != 0) {
        return exec_err!("date_bin takes a stride of months, or of days and parts of them, not of both");
    }
    let of_days = i64::from(days).checked_mul(DAY * in_micro);
    let length = of_days.and_then(|d| d.checked_add(nanoseconds / nanos)).ok_or_else(out_of_range)?;
    if months < 0 || months == 0 && length <= 0 {
        return exec_err!("the stride of date_bin is to be greater than zero");
    }
    if months == 0 {
        let passed = i128::from(time) - i128::from(origin);
        let bin = i128::from(time) - passed.rem_euclid(i128::from(length));
        return i64::try_from(bin).map_err(|_| out_of_range());
    }
    let bin = match unit {
        TimeUnit::Nanosecond => {
            let (at, from) = (DateTime::from_timestamp_nanos(time), DateTime::from_timestamp_nanos(origin));
            month_bin_of(months, at, from).and_then(|bin| bin.timestamp_nanos_opt())
        }
        _ => {
            let of = DateTime::from_timestamp_micros;
            of(time).zip(of(origin)).and_then(|(at, from)| Some(month_bin_of(months, at, from)?.timestamp_micros()))
        }
    };
    bin.ok_or_else(out_of_range)
}

fn month_bin_of(stride: i32, at: DateTime<Utc>, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let month = |of: DateTime<Utc>| of.year() * 12 + of.month0() as i32;
    let passed = (month(at) - month(from)).div_euclid(stride) * stride;
    let later = |months: i32| {
        let by = Months::new(months.unsigned_abs());
        if months < 0 { from.checked_sub_months(by) } else { from.checked_add_months(by) }
    };
    let bin = later(passed)?;
    if bin > at { later(passed - stride) } else { Some(bin) }
}

/// `to_char(time, pattern)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct Shown {
    of: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Shown {
    as_its_own!(but for its signature);

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [DataType::Timestamp(unit, Some(_)), pattern] if pattern.is_string() => {
                Ok(vec![DataType::Timestamp(*unit, Some("UTC".into())), DataType::Utf8])
            }
            _ => as_the_other(types, &self.of),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.of.invoke_with_args(args)
    }
}

/// `coalesce(...)`, which takes texts beside times for such.
#[derive(Debug, PartialEq, Eq, Hash)]
struct FirstOf {
    of: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for FirstOf {
    as_its_own!();

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let is_time = |t: &&DataType| matches!(t, DataType::Date32 | DataType::Time32(_) | DataType::Time64(_));
        let one = || {
            let mut others = types.iter().filter(|t| !t.is_string() && !t.is_null());
            let first = others.next().filter(is_time)?;
            others.all(|t| t == first).then(|| first.clone())
        };
        let has_text = types.iter().any(DataType::is_string);
        match common(types.iter().map(|t| Kind::of(t, false))).or_else(one).filter(|_| has_text) {
            Some(to) => Ok(vec![to; types.len()]),
            None => self.of.coerce_types(types),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.of.return_field_from_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.of.simplify(args, info)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.of.invoke_with_args(args)
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.of.conditional_arguments(args)
    }

    fn short_circuits(&self) -> bool {
        self.of.short_circuits()
    }
}

/// Microseconds of nanoseconds. It stands for a cast: where one is compared with a constant, DataFusion casts the constant
/// in its place, and takes what is out of range there for NULL.
pub(super) fn micros(nanos: Expr) -> Expr {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(Micros { signature }.into())
    });
    FUNCTION.call(vec![nanos])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Micros {
    signature: Signature,
}

impl ScalarUDFImpl for Micros {
    fn name(&self) -> &str {
        crate::MICROS_OF
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::Timestamp(_, zone)] => Ok(DataType::Timestamp(TimeUnit::Microsecond, zone.clone())),
            _ => exec_err!("{} takes a timestamp", self.name()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time] = args.args.as_slice() else { return exec_err!("{} takes a timestamp", self.name()) };
        time.cast_to(args.return_type(), None)
    }
}

/// `to_timestamp(seconds)`, `to_timestamp(text, pattern)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct OfEpoch {
    of: Arc<ScalarUDF>,
    /// DataFusion's function that gives microseconds, which takes numbers for such, too.
    of_micros: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for OfEpoch {
    as_its_own!();

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of_micros.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(of) = args.args.first().map(ColumnarValue::data_type) else { return self.of.invoke_with_args(args) };
        match of {
            t if t.is_string() => of_texts(&self.of_micros, args),
            t if args.args.len() == 1 && t.is_integer() => by_rows::<TimestampMicrosecondType>(&args, |arrays| {
                let seconds = cast(&arrays[0], &DataType::Int64)?;
                let micros = |s: i64| s.checked_mul(SECOND).ok_or_else(out_of_range);
                seconds.as_primitive::<Int64Type>().try_unary(micros)
            }),
            t if args.args.len() == 1 && t.is_floating() => by_rows::<TimestampMicrosecondType>(&args, |arrays| {
                let seconds = cast(&arrays[0], &DataType::Float64)?;
                let micros = |s: f64| {
                    let micros = (s * 1e6).round_ties_even();
                    if micros.abs() < 9.2e18 { Ok(micros as i64) } else { Err(out_of_range()) }
                };
                seconds.as_primitive::<Float64Type>().try_unary(micros)
            }),
            t if args.args.len() == 1 && t.is_decimal() => by_rows::<TimestampMicrosecondType>(&args, |arrays| {
                let strict = CastOptions { safe: false, ..CastOptions::default() };
                let seconds =
                    cast_with_options(&arrays[0], &DataType::Decimal128(38, 6), &strict).map_err(|_| out_of_range())?;
                let micros = |s: i128| i64::try_from(s).map_err(|_| out_of_range());
                seconds.as_primitive::<Decimal128Type>().try_unary(micros)
            }),
            DataType::Null | DataType::Timestamp(..) => args.args[0].cast_to(args.return_type(), None),
            _ => self.of.invoke_with_args(args),
        }
    }
}

/// `to_timestamp_seconds(...)` and its like, of other units.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OfTexts {
    of: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for OfTexts {
    as_its_own!();

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.first().map(ColumnarValue::data_type) {
            Some(t) if t.is_string() => of_texts(&self.of, args),
            _ => self.of.invoke_with_args(args),
        }
    }
}

/// Times of texts, in the type that is promised: DataFusion forgets the zone where they are columns, fails for a text that is NULL and
/// takes a pattern that is NULL for an empty one. Without a pattern it goes through nanoseconds.
fn of_texts(of: &ScalarUDF, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
    let wanted = args.return_type().clone();
    let is_one = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
    let rows = if is_one { 1 } else { args.number_rows };
    let mut arrays = args.args.iter().map(|a| a.to_array(rows)).collect::<Result<Vec<_>>>()?;
    let times = match arrays.as_slice() {
        [texts] => cast_with_options(texts, &wanted, &CastOptions { safe: false, ..CastOptions::default() })?,
        _ => {
            if let [texts, pattern] = arrays.as_mut_slice() {
                *texts = nullif(texts, &is_null(pattern)?)?;
            }
            args.args = arrays.into_iter().map(ColumnarValue::Array).collect();
            let args = ScalarFunctionArgs { number_rows: rows, ..args };
            // Not by itself: it would compare the types.
            let times = of.inner().invoke_with_args(args)?.to_array(rows)?;
            // They are moments already: a cast would take them for local times.
            make_array(times.to_data().into_builder().data_type(wanted).build()?)
        }
    };
    Ok(match is_one {
        true => ColumnarValue::Scalar(ScalarValue::try_from_array(&times, 0)?),
        false => ColumnarValue::Array(times),
    })
}
