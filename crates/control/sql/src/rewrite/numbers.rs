//! Numbers with more digits than DataFusion (54.1) reads: it makes BIGINT or DOUBLE PRECISION of all, also of those
//! that become decimals.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, UnaryOperator, Value,
};

/// Most digits of a decimal, and of a text that is read as one.
const MAX_DIGITS: usize = 38;
const MAX_TEXT: usize = 76;
/// What a floating-point number holds of any number.
const DIGITS_OF_DOUBLE: usize = 15;

/// A number that is cast to a decimal is a text of its digits with that cast; one with too many digits for BIGINT or
/// DOUBLE PRECISION a decimal of its own digits. But not a factor: products and quotients of decimals have few digits
/// or too many.
pub(super) fn exact(expr: &mut Expr) {
    match expr {
        Expr::Cast {
            expr: value, data_type: DataType::Decimal(info) | DataType::Numeric(info), array: false, ..
        } => {
            // A text is not read as tens or hundreds.
            let is_whole = matches!(info, ExactNumberInfo::PrecisionAndScale(_, scale) if *scale < 0);
            if !is_whole && let Some(text) = plain_number(value).filter(|text| text.len() <= MAX_TEXT) {
                set_text(value, text);
            }
        }
        Expr::BinaryOp { left, op, right } => {
            use BinaryOperator::{Divide, Modulo, Multiply};
            if matches!(op, Divide | Modulo | Multiply) {
                [left, right].into_iter().for_each(|factor| keep(factor));
            }
        }
        // The least BIGINT.
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: value } => {
            if let Expr::Value(number) = value.as_mut()
                && let Value::Number(text, _) = &mut number.value
                && *text == i64::MIN.unsigned_abs().to_string()
            {
                text.insert(0, '-');
                *expr = Expr::Value(number.clone());
            }
        }
        Expr::Value(value) => {
            let Value::Number(text, false) = &value.value else { return };
            let has_exponent = text.contains(['e', 'E']);
            let Some((text, info)) = plain(text).and_then(|text| long(text, has_exponent)) else { return };
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(Expr::Value(Value::SingleQuotedString(text).with_span(value.span))),
                data_type: DataType::Decimal(info),
                array: false,
                format: None,
            };
        }
        _ => {}
    }
}

/// Marks a number to stay as it is, by the flag of other dialects' `1L`, which is never read here.
fn keep(expr: &mut Expr) {
    match expr {
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => keep(inner),
        Expr::Value(value) => {
            if let Value::Number(_, is_kept) = &mut value.value {
                *is_kept = true;
            }
        }
        _ => {}
    }
}

/// A number of too many digits and its type.
fn long(text: String, has_exponent: bool) -> Option<(String, ExactNumberInfo)> {
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    if part.is_empty() && text.parse::<i64>().is_ok() {
        return None;
    }
    let all = format!("{whole}{part}");
    let significant = all.trim_start_matches('0').trim_end_matches('0').len();
    let digits = whole.trim_start_matches('0').len() + part.len();
    // Some have one digit more and are told apart all the same.
    let is_kept = |text: &str| text.parse::<f64>().is_ok_and(|value| value.to_string() == text);
    let trimmed = if part.is_empty() { text.as_str() } else { text.trim_end_matches('0') };
    let is_long = significant > DIGITS_OF_DOUBLE && !is_kept(trimmed) || (part.is_empty() && !has_exponent);
    let info = ExactNumberInfo::PrecisionAndScale(digits as u64, part.len() as i64);
    (is_long && digits <= MAX_DIGITS).then_some((text, info))
}

/// The digits of a number, with its sign, that stands in a query.
pub(crate) fn plain_number(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) => plain_number(inner),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => plain_number(expr),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            let text = plain_number(expr)?;
            // Zero has no sign.
            let is_zero = !text.bytes().any(|b| matches!(b, b'1'..=b'9'));
            Some(match text.strip_prefix('-') {
                Some(rest) => rest.to_string(),
                None if is_zero => text,
                None => format!("-{text}"),
            })
        }
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => plain(text),
            _ => None,
        },
        _ => None,
    }
}

/// Puts a quoted text in the place of a number.
pub(crate) fn set_text(expr: &mut Expr, text: String) {
    match expr {
        Expr::Nested(inner) => set_text(inner, text),
        Expr::Value(value) => value.value = Value::SingleQuotedString(text),
        Expr::UnaryOp { expr: inner, .. } => {
            set_text(inner, text);
            *expr = std::mem::replace(inner, Expr::Value(Value::Null.with_empty_span()));
        }
        _ => {}
    }
}

/// A number as PostgreSQL's NUMERIC shows it: without an exponent, with a digit before the point.
fn plain(text: &str) -> Option<String> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().chain(part.bytes()).all(|b| b.is_ascii_digit()) || exponent.unsigned_abs() > 400 {
        return None;
    }
    let all = format!("{whole}{part}");
    // Where the point is, and how many digits are behind it.
    let point = whole.len() as i32 + exponent;
    let (whole, part) = match usize::try_from(point) {
        Ok(point) if point >= all.len() => (format!("{all}{}", "0".repeat(point - all.len())), String::new()),
        Ok(point) => (all[..point].to_string(), all[point..].to_string()),
        Err(_) => (String::new(), format!("{}{all}", "0".repeat(point.unsigned_abs() as usize))),
    };
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    Some(if part.is_empty() { whole.to_string() } else { format!("{whole}.{part}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_without_exponents() {
        for (text, wanted) in [
            ("1", "1"),
            ("007", "7"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1.50", "1.50"),
            ("1e3", "1000"),
            ("1.25e1", "12.5"),
            ("1.5E-3", "0.0015"),
            ("12e-2", "0.12"),
            ("0e5", "0"),
        ] {
            assert_eq!(plain(text).as_deref(), Some(wanted), "{text}");
        }
        for text in ["0x1F", "1e999", "1_000", "e5x"] {
            assert_eq!(plain(text), None, "{text}");
        }
    }

    #[test]
    fn long_numbers_are_decimals() {
        for (text, wanted) in [
            ("9223372036854775807", None),
            ("9223372036854775808", Some((19, 0))),
            ("0.123456789012345", None),
            ("0.1234567890123456", None),
            ("0.12345678901234567", Some((17, 17))),
            ("3.141592653589793", None),
            ("57.295779513082320", None),
            ("1.00000000000000000", None),
            ("12345678901234567.12", Some((19, 2))),
            ("1e30", None),
            ("1.234567890123456e5", None),
            ("1.23456789012345678e5", Some((18, 12))),
            ("1000000000000000000000000000000000000000", None),
        ] {
            let info = long(plain(text).unwrap(), text.contains('e')).map(|(_, info)| info);
            assert_eq!(info, wanted.map(|(p, s)| ExactNumberInfo::PrecisionAndScale(p, s)), "{text}");
        }
    }
}
