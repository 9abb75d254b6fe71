//! Parameters of `Bind` as DataFusion scalars, from PostgreSQL's text and binary forms.

mod binary;
mod text;

use arrow::datatypes::DataType;
use bytes::Bytes;
use datafusion::scalar::ScalarValue;

use crate::error::{PgError, PgResult, code};
use crate::types::{element_of, parameter_type, type_oid};

/// The most elements that an array parameter may have.
const MAX_ARRAY_ELEMENTS: usize = 1 << 20;

/// One parameter as the client sent it.
pub(crate) struct Parameter<'a> {
    /// Its number, from 1, for messages.
    pub(crate) number: usize,
    /// The type the client declared; 0 leaves it to the server.
    pub(crate) declared_oid: u32,
    /// The type the statement needs.
    pub(crate) wanted: &'a DataType,
    pub(crate) binary: bool,
    /// `None` is NULL.
    pub(crate) value: Option<&'a Bytes>,
}

impl Parameter<'_> {
    /// The parameter as a scalar of the type that the statement needs.
    pub(crate) fn decode(&self) -> PgResult<ScalarValue> {
        let Some(bytes) = self.value else { return self.null() };
        let sent_as = match self.declared_oid {
            0 => type_oid(self.wanted),
            declared if parameter_type(declared).is_some() => declared,
            other => {
                return Err(PgError::error(
                    code::FEATURE_NOT_SUPPORTED,
                    format!("parameter ${} has type {other}, which is not supported", self.number),
                ));
            }
        };
        // Text of no declared type is read as what the statement needs, as PostgreSQL does.
        let value = self.value_of(sent_as, bytes)?;
        self.cast(value)
    }

    fn value_of(&self, oid: u32, bytes: &Bytes) -> PgResult<ScalarValue> {
        if let Some(element) = element_of(oid) {
            let items = if self.binary { binary::array(bytes, element) } else { text::array(utf8(bytes)?, element) }
                .map_err(|e| self.invalid(e))?;
            let mut item_type = parameter_type(element).unwrap_or(DataType::Utf8);
            if let Some(first) = items.iter().find(|v| !v.is_null()) {
                item_type = first.data_type();
            }
            let items = unify(items, &item_type).map_err(|e| self.invalid(e))?;
            return Ok(ScalarValue::List(ScalarValue::new_list_nullable(&items, &item_type)));
        }
        if self.binary { binary::value(bytes, oid) } else { text::value(utf8(bytes)?, oid) }
            .map_err(|e| self.invalid(e))
    }

    fn null(&self) -> PgResult<ScalarValue> {
        ScalarValue::try_from(self.wanted)
            .map_err(|e| PgError::error(code::INTERNAL, format!("parameter ${}: {e}", self.number)))
    }

    fn cast(&self, value: ScalarValue) -> PgResult<ScalarValue> {
        if value.data_type() == *self.wanted {
            return Ok(value);
        }
        let wanted = self.wanted;
        let failed = |e: String| {
            let code = if wanted.is_numeric() { code::NUMERIC_OUT_OF_RANGE } else { code::INVALID_TEXT_REPRESENTATION };
            PgError::error(
                code,
                format!("parameter ${} does not fit {}: {e}", self.number, fleuve_types::sql_type_name(wanted)),
            )
        };
        // A fraction must not be cut off silently where a whole number is wanted.
        if wanted.is_integer() && !value.data_type().is_integer() && value.data_type().is_numeric() {
            let whole = value.cast_to(wanted).map_err(|e| failed(e.to_string()))?;
            let back = whole.cast_to(&value.data_type()).map_err(|e| failed(e.to_string()))?;
            return if back == value { Ok(whole) } else { Err(failed("it has a fraction".to_string())) };
        }
        let cast = value.cast_to(wanted).map_err(|e| failed(e.to_string()))?;
        if cast.is_null() && !value.is_null() {
            return Err(failed("it is out of range".to_string()));
        }
        Ok(cast)
    }

    fn invalid(&self, e: Invalid) -> PgError {
        let code = match e {
            Invalid::Text(_) => code::INVALID_TEXT_REPRESENTATION,
            Invalid::DateTime(_) => code::INVALID_DATETIME,
            Invalid::Range(_) => code::NUMERIC_OUT_OF_RANGE,
            Invalid::Binary(_) => code::INVALID_BINARY_REPRESENTATION,
            Invalid::Limit(_) => code::PROGRAM_LIMIT,
        };
        let (Invalid::Text(m) | Invalid::DateTime(m) | Invalid::Range(m) | Invalid::Binary(m) | Invalid::Limit(m)) = e;
        PgError::error(code, format!("parameter ${}: {m}", self.number))
    }
}

/// Why a parameter could not be read.
#[derive(Debug)]
enum Invalid {
    Text(String),
    DateTime(String),
    Range(String),
    Binary(String),
    Limit(String),
}

fn utf8(bytes: &Bytes) -> PgResult<&str> {
    std::str::from_utf8(bytes)
        .map_err(|_| PgError::error(code::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\""))
}

/// Elements of one type: numerics come each with their own scale.
fn unify(items: Vec<ScalarValue>, to: &DataType) -> Result<Vec<ScalarValue>, Invalid> {
    let same = items.iter().all(|v| v.data_type() == *to);
    if same {
        return Ok(items);
    }
    items.into_iter().map(|v| v.cast_to(to).map_err(|e| Invalid::Range(e.to_string()))).collect()
}

/// A decimal of any size: digits and the place of the point. 38 digits fit 128 bits, 76 fit 256.
fn decimal(negative: bool, digits: &str, scale: i32) -> Result<ScalarValue, Invalid> {
    let (digits, scale) = if scale < 0 {
        if scale < -76 {
            return Err(Invalid::Range("the number is too large for NUMERIC".to_string()));
        }
        (format!("{digits}{}", "0".repeat(scale.unsigned_abs() as usize)), 0)
    } else {
        (digits.to_string(), scale)
    };
    let digits = digits.trim_start_matches('0');
    let precision = digits.len().max(scale as usize).max(1);
    let text = if negative { format!("-{digits}") } else { digits.to_string() };
    let text = if digits.is_empty() { "0" } else { &text };
    let too_long = || Invalid::Range("a NUMERIC has at most 76 digits".to_string());
    if precision <= 38 {
        let value = text.parse().map_err(|_| too_long())?;
        Ok(ScalarValue::Decimal128(Some(value), precision as u8, scale as i8))
    } else if precision <= 76 {
        let value = arrow::datatypes::i256::from_string(text).ok_or_else(too_long)?;
        Ok(ScalarValue::Decimal256(Some(value), precision as u8, scale as i8))
    } else {
        Err(too_long())
    }
}

#[cfg(test)]
mod tests;
