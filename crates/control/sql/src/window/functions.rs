//! The scalar functions behind `TUMBLE`, `HOP` and `CUMULATE`. They count in the timestamp's own unit, from 1970-01-01
//! 00:00, also before it, and never fail on a value: what cannot be counted is NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, ListArray, PrimitiveArray, make_array};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, TimeUnit};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::WindowKind;

/// Most windows that one row may fall into (`size / slide`).
pub const MAX_WINDOWS: i64 = 10_000;

/// What a function gives for a timestamp and its lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// `fleuve_tumble(ts, size)`: the start of the window that holds `ts`.
    Tumble,
    /// `fleuve_shift(ts, size)`: `ts + size`.
    Shift,
    /// `fleuve_hop(ts, slide, size)`: the starts of the windows that hold `ts`, ascending.
    Hop,
    /// `fleuve_cumulate(ts, step, size)`: the ends of the windows that hold `ts`, ascending.
    Cumulate,
}

impl Kind {
    fn lengths(self) -> usize {
        match self {
            Self::Tumble | Self::Shift => 1,
            Self::Hop | Self::Cumulate => 2,
        }
    }

    fn gives_list(self) -> bool {
        matches!(self, Self::Hop | Self::Cumulate)
    }
}

/// `fleuve_tumble(ts, size)`: the start of the window that holds `ts`.
pub(super) fn tumble() -> Arc<ScalarUDF> {
    function(Kind::Tumble)
}

/// `fleuve_shift(ts, length)`: `ts + length`, NULL where that does not fit.
pub(super) fn shift() -> Arc<ScalarUDF> {
    function(Kind::Shift)
}

/// `fleuve_hop(ts, slide, size)`: the starts of the windows that hold `ts`.
pub(super) fn hop() -> Arc<ScalarUDF> {
    function(Kind::Hop)
}

/// `fleuve_cumulate(ts, step, size)`: the ends of the windows that hold `ts`.
pub(super) fn cumulate() -> Arc<ScalarUDF> {
    function(Kind::Cumulate)
}

/// All functions of this module.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    vec![tumble(), shift(), hop(), cumulate()]
}

fn function(kind: Kind) -> Arc<ScalarUDF> {
    let signature = Signature::new(TypeSignature::UserDefined, Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(WindowFunction { kind, signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowFunction {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for WindowFunction {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Tumble => "fleuve_tumble",
            Kind::Shift => "fleuve_shift",
            Kind::Hop => "fleuve_hop",
            Kind::Cumulate => "fleuve_cumulate",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let Some((time, lengths)) = arg_types.split_first() else {
            return plan_err!("{} needs a timestamp", self.name());
        };
        let time = match time {
            DataType::Timestamp(..) => time.clone(),
            DataType::Null => DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Date32 | DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
            other => return plan_err!("{} needs a timestamp, not {other}", self.name()),
        };
        if lengths.len() != self.kind.lengths() {
            return plan_err!("{} takes a timestamp and {} lengths", self.name(), self.kind.lengths());
        }
        let interval = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
        Ok(std::iter::once(time).chain(lengths.iter().map(|_| interval.clone())).collect())
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let Some(time) = arg_types.first() else { return plan_err!("{} needs a timestamp", self.name()) };
        Ok(match self.kind.gives_list() {
            true => DataType::List(item_field(time)),
            false => time.clone(),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let Some((time, lengths)) = args.args.split_first() else {
            return exec_err!("{} needs a timestamp", self.name());
        };
        let DataType::Timestamp(unit, _) = time.data_type() else {
            return exec_err!("{} needs a timestamp, not {}", self.name(), time.data_type());
        };
        let mut counted = Vec::with_capacity(2);
        for length in lengths {
            match length {
                ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(Some(v))) => {
                    counted.push(length_in(unit, v.months, v.days, v.nanoseconds)?);
                }
                _ => return exec_err!("the lengths of {} are constant intervals", self.name()),
            }
        }
        check_lengths(self.kind, &counted)?;
        let is_scalar = matches!(time, ColumnarValue::Scalar(_));
        let times = time.to_array(if is_scalar { 1 } else { rows })?;
        let result = apply(self.kind, &times, &counted)?;
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

fn item_field(time: &DataType) -> Arc<Field> {
    Arc::new(Field::new_list_field(time.clone(), true))
}

/// An interval as a number of `unit`s.
pub(super) fn length_in(unit: TimeUnit, months: i32, days: i32, nanos: i64) -> Result<i64> {
    if months != 0 {
        return exec_err!("a length in months or years has no fixed number of seconds");
    }
    let total = i128::from(days) * 86_400_000_000_000 + i128::from(nanos);
    let per_unit: i128 = match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    if total % per_unit != 0 {
        return exec_err!("the length is finer than the timestamp counts ({unit:?})");
    }
    i64::try_from(total / per_unit)
        .map_err(|_| datafusion::error::DataFusionError::Execution("the length is too long".into()))
}

/// Checks that lengths are positive and make a bounded number of windows.
fn check_lengths(kind: Kind, lengths: &[i64]) -> Result<()> {
    if kind == Kind::Shift {
        return Ok(());
    }
    if lengths.iter().any(|l| *l <= 0) {
        return exec_err!("the length of a window must be positive");
    }
    if let [step, size] = lengths {
        if size / step > MAX_WINDOWS {
            return exec_err!("a row would fall into more than {MAX_WINDOWS} windows");
        }
        if kind == Kind::Cumulate && size % step != 0 {
            return exec_err!("the size of CUMULATE must be a multiple of its step");
        }
    }
    Ok(())
}

/// [`check_lengths`] for the planner.
pub(super) fn check(kind: WindowKind, lengths: &[i64]) -> Result<()> {
    let kind = match kind {
        // One length that has to be positive, as a size.
        WindowKind::Tumble | WindowKind::Session => Kind::Tumble,
        WindowKind::Hop => Kind::Hop,
        WindowKind::Cumulate => Kind::Cumulate,
    };
    match check_lengths(kind, lengths) {
        Err(e) => Err(datafusion::error::DataFusionError::Plan(
            e.strip_backtrace().trim_start_matches("Execution error: ").to_string(),
        )),
        Ok(()) => Ok(()),
    }
}

fn apply(kind: Kind, times: &ArrayRef, lengths: &[i64]) -> Result<ArrayRef> {
    let time_type = times.data_type().clone();
    let values = cast(times, &DataType::Int64)?;
    let values = values.as_any().downcast_ref::<Int64Array>().expect("cast gives what was asked for");
    match (kind, lengths) {
        (Kind::Tumble, [size]) => {
            Ok(retyped(values.iter().map(|t| floor(t?, *size)).collect::<PrimitiveArray<Int64Type>>(), &time_type)?)
        }
        (Kind::Shift, [by]) => {
            Ok(retyped(values.iter().map(|t| t?.checked_add(*by)).collect::<PrimitiveArray<Int64Type>>(), &time_type)?)
        }
        (Kind::Hop, [slide, size]) => lists(values, &time_type, |t, out| hop_starts(t, *slide, *size, out)),
        (Kind::Cumulate, [step, size]) => lists(values, &time_type, |t, out| cumulate_ends(t, *step, *size, out)),
        _ => exec_err!("wrong number of lengths"),
    }
}

/// The counts as timestamps again; no value changes.
pub(super) fn retyped(values: Int64Array, time_type: &DataType) -> Result<ArrayRef> {
    let data = values.into_data().into_builder().data_type(time_type.clone()).build()?;
    Ok(make_array(data))
}

fn lists(values: &Int64Array, time_type: &DataType, each: impl Fn(i64, &mut Vec<i64>)) -> Result<ArrayRef> {
    let mut flat: Vec<i64> = Vec::with_capacity(values.len());
    let mut offsets: Vec<i32> = Vec::with_capacity(values.len() + 1);
    offsets.push(0);
    for value in values {
        if let Some(t) = value {
            each(t, &mut flat);
        }
        match i32::try_from(flat.len()) {
            Ok(end) => offsets.push(end),
            Err(_) => return exec_err!("a batch falls into too many windows"),
        }
    }
    let items = retyped(Int64Array::from(flat), time_type)?;
    let nulls: Option<NullBuffer> = values.nulls().cloned();
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    Ok(Arc::new(ListArray::try_new(item_field(time_type), offsets, items, nulls)?))
}

/// The greatest multiple of `size` that is not after `t`.
fn floor(t: i64, size: i64) -> Option<i64> {
    t.checked_sub(t.rem_euclid(size))
}

/// `start <= t < start + size` for every multiple `start` of `slide`.
fn hop_starts(t: i64, slide: i64, size: i64, out: &mut Vec<i64>) {
    let from = out.len();
    let mut start = floor(t, slide);
    while let Some(s) = start {
        if i128::from(t) - i128::from(s) >= i128::from(size) {
            break;
        }
        out.push(s);
        start = s.checked_sub(slide);
    }
    out[from..].reverse();
}

/// Ends `start + k * step` after `t`, up to `start + size`, where `start` is the window of `size` that holds `t`.
fn cumulate_ends(t: i64, step: i64, size: i64, out: &mut Vec<i64>) {
    let Some(start) = floor(t, size) else { return };
    let Some(mut end) = floor(t, step).and_then(|s| s.checked_add(step)) else { return };
    // `size` is a multiple of `step`, so both grids meet at `start`.
    while i128::from(end) <= i128::from(start) + i128::from(size) {
        out.push(end);
        match end.checked_add(step) {
            Some(next) => end = next,
            None => return,
        }
    }
}
