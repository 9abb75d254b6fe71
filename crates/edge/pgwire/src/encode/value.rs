use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeBinaryArray, PrimitiveArray, StringArray, StringBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::*;
use arrow::json::writer::{EncoderOptions, make_encoder};
use bytes::{BufMut, BytesMut};

use super::numeric::Digits;
use super::{Write, list, text};
use crate::error::{PgError, PgResult, code};

/// Microseconds and days from 1970-01-01 to 2000-01-01, where PostgreSQL's binary times start.
const EPOCH_US: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i64 = 10_957;

/// How to write the values of an array.
pub(super) fn writer(array: &ArrayRef, binary: bool) -> PgResult<Write> {
    let t = array.data_type();
    Ok(match t {
        DataType::Null => Box::new(|_, _| {}),
        DataType::Boolean => {
            let a = array.as_boolean().clone();
            let (yes, no) = if binary { (1, 0) } else { (b't', b'f') };
            Box::new(move |i, out| out.put_u8(if a.value(i) { yes } else { no }))
        }
        DataType::Int8 => int2(native::<Int8Type, _>(array, i16::from), binary),
        DataType::Int16 => int2(native::<Int16Type, _>(array, |v| v), binary),
        DataType::UInt8 => int2(native::<UInt8Type, _>(array, i16::from), binary),
        DataType::Int32 => int4(native::<Int32Type, _>(array, |v| v), binary),
        DataType::UInt16 => int4(native::<UInt16Type, _>(array, i32::from), binary),
        DataType::Int64 => int8(native::<Int64Type, _>(array, |v| v), binary),
        DataType::UInt32 => int8(native::<UInt32Type, _>(array, i64::from), binary),
        DataType::UInt64 => decimal(native::<UInt64Type, _>(array, |v| v), 0, binary),
        DataType::Float16 => float4(native::<Float16Type, _>(array, f32::from), binary),
        DataType::Float32 => float4(native::<Float32Type, _>(array, |v| v), binary),
        DataType::Float64 => float8(native::<Float64Type, _>(array, |v| v), binary),
        DataType::Decimal32(_, s) => decimal(native::<Decimal32Type, _>(array, |v| v), *s, binary),
        DataType::Decimal64(_, s) => decimal(native::<Decimal64Type, _>(array, |v| v), *s, binary),
        DataType::Decimal128(_, s) => decimal(native::<Decimal128Type, _>(array, |v| v), *s, binary),
        DataType::Decimal256(_, s) => decimal(native::<Decimal256Type, _>(array, |v| v), *s, binary),
        DataType::Utf8 => strings(array.as_string::<i32>().clone(), |a, i| a.value(i).as_bytes()),
        DataType::LargeUtf8 => strings(array.as_string::<i64>().clone(), |a, i| a.value(i).as_bytes()),
        DataType::Utf8View => strings(array.as_string_view().clone(), |a, i| a.value(i).as_bytes()),
        DataType::Binary => bytea(array.as_binary::<i32>().clone(), |a, i| a.value(i), binary),
        DataType::LargeBinary => bytea(array.as_binary::<i64>().clone(), |a, i| a.value(i), binary),
        DataType::BinaryView => bytea(array.as_binary_view().clone(), |a, i| a.value(i), binary),
        DataType::FixedSizeBinary(_) => {
            bytea(array.as_fixed_size_binary().clone(), |a: &FixedSizeBinaryArray, i| a.value(i), binary)
        }
        DataType::Date32 => date(native::<Date32Type, _>(array, i64::from), binary),
        DataType::Date64 => date(native::<Date64Type, _>(array, |v| v.div_euclid(86_400_000)), binary),
        DataType::Time32(_) | DataType::Time64(_) => time(times(array)?, binary),
        DataType::Timestamp(_, zone) => timestamp(timestamps(array)?, zone.is_some(), binary),
        DataType::Interval(_) | DataType::Duration(_) => interval(intervals(array)?, binary),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => list::writer(array, binary)?,
        DataType::Struct(_) | DataType::Map(_, _) => json(array)?,
        DataType::Dictionary(_, v) => return writer(&cast_to(array, v)?, binary),
        DataType::RunEndEncoded(_, v) => return writer(&cast_to(array, v.data_type())?, binary),
        other => {
            return Err(PgError::error(
                code::FEATURE_NOT_SUPPORTED,
                format!("a column of type {other} cannot be sent over the PostgreSQL protocol"),
            )
            .hint("cast it to TEXT in the query"));
        }
    })
}

fn cast_to(array: &ArrayRef, to: &DataType) -> PgResult<ArrayRef> {
    cast(array, to).map_err(|e| PgError::error(code::INTERNAL, format!("a column could not be read: {e}")))
}

/// Reads a primitive array as another native type.
fn native<T: ArrowPrimitiveType, V>(
    array: &ArrayRef,
    convert: impl Fn(T::Native) -> V + Send + Sync + 'static,
) -> impl Fn(usize) -> V + Send + Sync + 'static {
    let values: PrimitiveArray<T> = array.as_primitive::<T>().clone();
    move |i| convert(values.value(i))
}

fn int2(get: impl Fn(usize) -> i16 + Send + Sync + 'static, binary: bool) -> Write {
    if binary { Box::new(move |i, out| out.put_i16(get(i))) } else { int_text(move |i| i64::from(get(i))) }
}

fn int4(get: impl Fn(usize) -> i32 + Send + Sync + 'static, binary: bool) -> Write {
    if binary { Box::new(move |i, out| out.put_i32(get(i))) } else { int_text(move |i| i64::from(get(i))) }
}

fn int8(get: impl Fn(usize) -> i64 + Send + Sync + 'static, binary: bool) -> Write {
    if binary { Box::new(move |i, out| out.put_i64(get(i))) } else { int_text(get) }
}

fn int_text(get: impl Fn(usize) -> i64 + Send + Sync + 'static) -> Write {
    Box::new(move |i, out| text::put_int(out, get(i)))
}

fn float4(get: impl Fn(usize) -> f32 + Send + Sync + 'static, binary: bool) -> Write {
    if binary {
        return Box::new(move |i, out| out.put_f32(get(i)));
    }
    Box::new(move |i, out| {
        let v = get(i);
        text::put_float(out, f64::from(v), v, 6);
    })
}

fn float8(get: impl Fn(usize) -> f64 + Send + Sync + 'static, binary: bool) -> Write {
    if binary {
        return Box::new(move |i, out| out.put_f64(get(i)));
    }
    Box::new(move |i, out| {
        let v = get(i);
        text::put_float(out, v, v, 15);
    })
}

fn decimal<V: std::fmt::Display>(get: impl Fn(usize) -> V + Send + Sync + 'static, scale: i8, binary: bool) -> Write {
    Box::new(move |i, out| {
        let value = get(i).to_string();
        let digits = Digits::parse(&value, scale);
        if binary { digits.put_binary(out) } else { digits.put_text(out) }
    })
}

fn strings<A: Send + Sync + 'static>(array: A, get: impl Fn(&A, usize) -> &[u8] + Send + Sync + 'static) -> Write {
    Box::new(move |i, out| {
        let bytes = get(&array, i);
        out.put_slice(bytes);
    })
}

fn bytea<A: Send + Sync + 'static>(
    array: A,
    get: impl Fn(&A, usize) -> &[u8] + Send + Sync + 'static,
    binary: bool,
) -> Write {
    if binary { strings(array, get) } else { Box::new(move |i, out| text::put_bytea(out, get(&array, i))) }
}

fn date(get: impl Fn(usize) -> i64 + Send + Sync + 'static, binary: bool) -> Write {
    if binary {
        return Box::new(move |i, out| out.put_i32((get(i) - EPOCH_DAYS) as i32));
    }
    Box::new(move |i, out| text::put_date(out, get(i)))
}

type Get<V> = Box<dyn Fn(usize) -> V + Send + Sync>;

/// Microseconds of the day.
fn times(array: &ArrayRef) -> PgResult<Get<i64>> {
    Ok(match array.data_type() {
        DataType::Time32(TimeUnit::Second) => {
            Box::new(native::<Time32SecondType, _>(array, |v| i64::from(v) * 1_000_000))
        }
        DataType::Time32(_) => Box::new(native::<Time32MillisecondType, _>(array, |v| i64::from(v) * 1000)),
        DataType::Time64(TimeUnit::Microsecond) => Box::new(native::<Time64MicrosecondType, _>(array, |v| v)),
        _ => Box::new(native::<Time64NanosecondType, _>(array, |v| v / 1000)),
    })
}

fn time(get: Get<i64>, binary: bool) -> Write {
    if binary {
        return Box::new(move |i, out| out.put_i64(get(i)));
    }
    Box::new(move |i, out| text::put_time(out, get(i)))
}

/// Microseconds since 1970.
fn timestamps(array: &ArrayRef) -> PgResult<Get<i64>> {
    Ok(match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            Box::new(native::<TimestampSecondType, _>(array, |v| v.saturating_mul(1_000_000)))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            Box::new(native::<TimestampMillisecondType, _>(array, |v| v.saturating_mul(1000)))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => Box::new(native::<TimestampMicrosecondType, _>(array, |v| v)),
        _ => Box::new(native::<TimestampNanosecondType, _>(array, |v| v.div_euclid(1000))),
    })
}

fn timestamp(get: Get<i64>, with_zone: bool, binary: bool) -> Write {
    if binary {
        return Box::new(move |i, out| out.put_i64(get(i).saturating_sub(EPOCH_US)));
    }
    Box::new(move |i, out| text::put_timestamp(out, get(i), with_zone))
}

/// Months, days and microseconds.
fn intervals(array: &ArrayRef) -> PgResult<Get<(i32, i32, i64)>> {
    Ok(match array.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            Box::new(native::<IntervalYearMonthType, _>(array, |v| (v, 0, 0)))
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            Box::new(native::<IntervalDayTimeType, _>(array, |v| (0, v.days, i64::from(v.milliseconds) * 1000)))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            Box::new(native::<IntervalMonthDayNanoType, _>(array, |v| (v.months, v.days, v.nanoseconds / 1000)))
        }
        DataType::Duration(TimeUnit::Second) => {
            Box::new(native::<DurationSecondType, _>(array, |v| (0, 0, v.saturating_mul(1_000_000))))
        }
        DataType::Duration(TimeUnit::Millisecond) => {
            Box::new(native::<DurationMillisecondType, _>(array, |v| (0, 0, v.saturating_mul(1000))))
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            Box::new(native::<DurationMicrosecondType, _>(array, |v| (0, 0, v)))
        }
        _ => Box::new(native::<DurationNanosecondType, _>(array, |v| (0, 0, v / 1000))),
    })
}

fn interval(get: Get<(i32, i32, i64)>, binary: bool) -> Write {
    Box::new(move |i, out: &mut BytesMut| {
        let (months, days, us) = get(i);
        if binary {
            out.put_i64(us);
            out.put_i32(days);
            out.put_i32(months);
        } else {
            text::put_interval(out, months, days, us);
        }
    })
}

/// Structs, maps and nested lists, whole column at once: Arrow's JSON encoder borrows what it reads.
pub(super) fn json(array: &ArrayRef) -> PgResult<Write> {
    let column = json_strings(array).map_err(|e| {
        PgError::error(
            code::INTERNAL,
            format!("a column of type {} could not be shown as JSON: {e}", array.data_type()),
        )
    })?;
    Ok(strings(column, |a, i| a.value(i).as_bytes()))
}

fn json_strings(array: &ArrayRef) -> Result<StringArray, arrow::error::ArrowError> {
    let field: FieldRef = Arc::new(Field::new("value", array.data_type().clone(), true));
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(&field, array, &options)?;
    let mut out = StringBuilder::new();
    let mut buf = Vec::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            out.append_null();
            continue;
        }
        buf.clear();
        encoder.encode(row, &mut buf);
        out.append_value(String::from_utf8_lossy(&buf));
    }
    Ok(out.finish())
}
