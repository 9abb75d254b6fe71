//! Numbers as text: exact decimals and integers.

use arrow::array::ArrowNativeTypeOp;

use crate::words::digits_up_to_8;

/// Why a text is no decimal of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecimalError {
    /// Not a number.
    Syntax,
    /// More digits before the point than the type has.
    Range,
    /// Digits below the scale that are not zero, where none may be lost.
    Inexact,
}

/// A number cut into its parts: `digits` (with a point maybe) and the power of ten.
struct Parts<'a> {
    negative: bool,
    digits: &'a [u8],
    exponent: i64,
}

/// `[+-] digits [. digits] [e [+-] digits]`, with at least one digit.
fn parts(text: &[u8]) -> Option<Parts<'_>> {
    let (negative, rest) = match text.first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(rest.len());
    let digits = &rest[..end];
    let points = digits.iter().filter(|b| **b == b'.').count();
    if points > 1 || digits.len() == points || !digits.iter().all(|b| b.is_ascii_digit() || *b == b'.') {
        return None;
    }
    let exponent = match rest.get(end + 1..) {
        None => 0,
        Some(text) => {
            let (sign, text) = match text.first()? {
                b'-' => (-1, &text[1..]),
                b'+' => (1, &text[1..]),
                _ => (1, text),
            };
            if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
                return None;
            }
            // Far beyond any type; only its sign matters from here on.
            let value = text.iter().fold(0i64, |n, b| (n * 10 + i64::from(b - b'0')).min(1 << 40));
            sign * value
        }
    };
    Some(Parts { negative, digits, exponent })
}

/// The unscaled value of a decimal with that precision and scale. Digits below the scale are rounded, half away from zero, or
/// refused when `exact`.
pub(crate) fn parse_decimal<T: ArrowNativeTypeOp>(
    text: &[u8],
    precision: u8,
    scale: i8,
    exact: bool,
) -> Result<T, DecimalError> {
    if let Some(value) = small_decimal(text, precision, scale) {
        return Ok(value);
    }
    let Parts { negative, digits, exponent } = parts(text).ok_or(DecimalError::Syntax)?;
    let ten = T::usize_as(10);
    let range = |_| DecimalError::Range;
    // Digits that fit go to `value`; of those after them only the first says how to round.
    let (mut value, mut kept, mut power, mut after) = (T::ZERO, 0u32, exponent + i64::from(scale), 0u8);
    let (mut point, mut cut, mut lost) = (false, false, false);
    for byte in digits {
        if *byte == b'.' {
            point = true;
            continue;
        }
        let digit = byte - b'0';
        if !cut && kept < u32::from(precision.min(76)) {
            value = value.mul_checked(ten).and_then(|v| v.add_checked(T::usize_as(digit.into()))).map_err(range)?;
            kept += u32::from(kept > 0 || digit != 0);
            power -= i64::from(point);
            continue;
        }
        if !cut {
            (cut, after) = (true, digit);
        }
        lost |= digit != 0;
        power += i64::from(!point);
    }
    if value.is_zero() && !lost {
        return Ok(T::ZERO);
    }
    if power > 0 {
        // A cut digit at a power above zero would be one more digit than the precision has.
        if cut || power > 76 {
            return Err(DecimalError::Range);
        }
        for _ in 0..power {
            value = value.mul_checked(ten).map_err(range)?;
        }
    } else if power == 0 {
        if lost && exact {
            return Err(DecimalError::Inexact);
        }
        if after >= 5 {
            value = value.add_checked(T::ONE).map_err(range)?;
        }
    } else {
        (value, lost) = divide_rounding(value, power.unsigned_abs(), lost);
        if lost && exact {
            return Err(DecimalError::Inexact);
        }
    }
    let limit = ten.pow_checked(precision.min(76).into()).map_err(range)?;
    if value.is_ge(limit) {
        return Err(DecimalError::Range);
    }
    Ok(if negative { value.neg_wrapping() } else { value })
}

/// The common case of [`parse_decimal`]: plain digits that stay within 18 and lose none. `None` leaves it to the general one.
#[inline]
fn small_decimal<T: ArrowNativeTypeOp>(text: &[u8], precision: u8, scale: i8) -> Option<T> {
    let negative = text.first() == Some(&b'-');
    let (mut value, mut after_point, mut count) = (0u64, None, 0u32);
    for byte in &text[usize::from(negative)..] {
        match byte {
            b'0'..=b'9' => {
                count += 1;
                if count > 18 {
                    return None;
                }
                value = value * 10 + u64::from(byte - b'0');
                after_point = after_point.map(|n: u32| n + 1);
            }
            b'.' if after_point.is_none() => after_point = Some(0),
            _ => return None,
        }
    }
    let shift = u32::try_from(i64::from(scale) - i64::from(after_point.unwrap_or(0))).ok()?;
    if count == 0 || count + shift > 18 {
        return None;
    }
    value *= 10u64.pow(shift);
    if u32::from(precision) < 18 && value >= 10u64.pow(precision.into()) {
        return None;
    }
    let value = T::usize_as(usize::try_from(value).ok()?);
    Some(if negative { value.neg_wrapping() } else { value })
}

/// `value / 10^places`, half up, and whether anything was lost.
fn divide_rounding<T: ArrowNativeTypeOp>(mut value: T, places: u64, mut lost: bool) -> (T, bool) {
    let ten = T::usize_as(10);
    let mut last = T::ZERO;
    for _ in 0..places {
        lost |= !last.is_zero();
        if value.is_zero() {
            last = T::ZERO;
            break;
        }
        last = value.mod_wrapping(ten);
        value = value.div_wrapping(ten);
    }
    lost |= !last.is_zero();
    if last.is_ge(T::usize_as(5)) {
        value = value.add_wrapping(T::ONE);
    }
    (value, lost)
}

/// The common case of [`parse_integer`]: at most 16 plain digits, maybe with a minus. `None` leaves it to the general one.
#[inline]
pub(crate) fn plain_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let value = match digits.len() {
        ..=8 => digits_up_to_8(digits)?,
        9..=16 => {
            let (front, back) = digits.split_at(digits.len() - 8);
            digits_up_to_8(front)? * 100_000_000 + digits_up_to_8(back)?
        }
        _ => return None,
    } as i64;
    Some(if negative { -value } else { value })
}

/// The integer that a number is exactly (`12`, `1.20e1`), if it is one and fits.
pub(crate) fn parse_integer(text: &[u8]) -> Result<i128, DecimalError> {
    parse_decimal::<i128>(text, 38, 0, true)
}
