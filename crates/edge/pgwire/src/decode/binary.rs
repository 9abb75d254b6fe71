use arrow::datatypes::IntervalMonthDayNano;
use bytes::{Buf, Bytes};
use datafusion::scalar::ScalarValue;

use super::{Invalid, MAX_ARRAY_ELEMENTS, decimal};
use crate::types::{oid, parameter_type};

/// Microseconds and days from 1970-01-01 to 2000-01-01, where PostgreSQL's binary times start.
const EPOCH_US: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

fn wrong() -> Invalid {
    Invalid::Binary("incorrect binary data format".to_string())
}

/// A scalar in the binary form of its type (`*_recv` in PostgreSQL).
pub(super) fn value(bytes: &Bytes, type_oid: u32) -> Result<ScalarValue, Invalid> {
    let fixed = |n: usize| if bytes.len() == n { Ok(bytes.clone()) } else { Err(wrong()) };
    Ok(match type_oid {
        oid::BOOL => ScalarValue::Boolean(Some(fixed(1)?.get_u8() != 0)),
        oid::INT2 => ScalarValue::Int16(Some(fixed(2)?.get_i16())),
        oid::INT4 | oid::OID | oid::REGCLASS | oid::REGTYPE | oid::REGPROC => {
            ScalarValue::Int32(Some(fixed(4)?.get_i32()))
        }
        oid::INT8 => ScalarValue::Int64(Some(fixed(8)?.get_i64())),
        oid::FLOAT4 => ScalarValue::Float32(Some(fixed(4)?.get_f32())),
        oid::FLOAT8 => ScalarValue::Float64(Some(fixed(8)?.get_f64())),
        oid::BYTEA => ScalarValue::Binary(Some(bytes.to_vec())),
        oid::DATE => ScalarValue::Date32(Some(fixed(4)?.get_i32().checked_add(EPOCH_DAYS).ok_or_else(wrong)?)),
        oid::TIME => ScalarValue::Time64Microsecond(Some(fixed(8)?.get_i64())),
        oid::TIMESTAMP => ScalarValue::TimestampMicrosecond(Some(timestamp(fixed(8)?)?), None),
        oid::TIMESTAMPTZ => ScalarValue::TimestampMicrosecond(Some(timestamp(fixed(8)?)?), Some("+00:00".into())),
        oid::INTERVAL => {
            let mut b = fixed(16)?;
            let (us, days, months) = (b.get_i64(), b.get_i32(), b.get_i32());
            let nanos = us.checked_mul(1000).ok_or_else(|| Invalid::Range("interval out of range".to_string()))?;
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, days, nanos)))
        }
        oid::NUMERIC => numeric(bytes.clone())?,
        oid::UUID => ScalarValue::Utf8(Some(uuid(&fixed(16)?))),
        oid::JSONB => text(&bytes.get(1..).map(Bytes::copy_from_slice).ok_or_else(wrong)?)?,
        _ => text(bytes)?,
    })
}

fn text(bytes: &Bytes) -> Result<ScalarValue, Invalid> {
    let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
    Ok(ScalarValue::Utf8(Some(text.to_string())))
}

fn timestamp(mut b: Bytes) -> Result<i64, Invalid> {
    b.get_i64()
        .checked_add(EPOCH_US)
        .ok_or_else(|| Invalid::DateTime("infinite timestamps are not supported".to_string()))
}

fn uuid(b: &[u8]) -> String {
    let mut out = String::with_capacity(36);
    for (i, byte) in b.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

/// Base-10000 digits (`numeric_recv`).
fn numeric(mut b: Bytes) -> Result<ScalarValue, Invalid> {
    if b.len() < 8 {
        return Err(wrong());
    }
    let (count, weight) = (b.get_u16() as usize, i32::from(b.get_i16()));
    let (sign, scale) = (b.get_u16(), i32::from(b.get_u16()));
    if b.len() != count * 2 {
        return Err(wrong());
    }
    if sign != 0 && sign != 0x4000 {
        return Err(Invalid::Range("NaN and infinite NUMERIC values are not supported".to_string()));
    }
    if count > 40 || weight.abs() > 40 || scale > 76 {
        return Err(Invalid::Range("a NUMERIC has at most 76 digits".to_string()));
    }
    let mut digits = String::with_capacity(count * 4);
    for _ in 0..count {
        let group = b.get_u16();
        if group > 9999 {
            return Err(wrong());
        }
        digits.push_str(&format!("{group:04}"));
    }
    // The groups stand for `digits * 10^exponent`; bring that to the declared scale.
    let exponent = (weight + 1 - count as i32) * 4;
    let shift = scale + exponent;
    if shift >= 0 {
        digits.push_str(&"0".repeat(shift as usize));
    } else {
        let cut = digits.len().saturating_sub(shift.unsigned_abs() as usize);
        digits.truncate(cut); // digits beyond the scale are zeros
    }
    decimal(sign != 0, &digits, scale)
}

/// A one-dimensional array (`array_recv`).
pub(super) fn array(bytes: &Bytes, element_oid: u32) -> Result<Vec<ScalarValue>, Invalid> {
    let mut b = bytes.clone();
    let take = |b: &mut Bytes| b.try_get_i32().map_err(|_| wrong());
    let (dimensions, _has_null, element) = (take(&mut b)?, take(&mut b)?, take(&mut b)? as u32);
    if dimensions == 0 {
        return Ok(Vec::new());
    }
    if dimensions != 1 {
        return Err(Invalid::Text("arrays of more than one dimension are not supported".to_string()));
    }
    let element = if parameter_type(element).is_some() { element } else { element_oid };
    let (count, _lower_bound) = (take(&mut b)?, take(&mut b)?);
    let count = usize::try_from(count).map_err(|_| wrong())?;
    if count > MAX_ARRAY_ELEMENTS {
        return Err(Invalid::Limit(format!("an array parameter has at most {MAX_ARRAY_ELEMENTS} elements")));
    }
    let mut items = Vec::new();
    for _ in 0..count {
        let length = take(&mut b)?;
        if length == -1 {
            let t = parameter_type(element).ok_or_else(wrong)?;
            items.push(ScalarValue::try_from(&t).map_err(|_| wrong())?);
            continue;
        }
        let length = usize::try_from(length).map_err(|_| wrong())?;
        if length > b.len() {
            return Err(wrong());
        }
        items.push(value(&b.split_to(length), element)?);
    }
    Ok(items)
}
