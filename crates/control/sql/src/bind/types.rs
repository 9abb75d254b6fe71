//! SQL types to Arrow types, for the columns of streams.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType as Sql, ExactNumberInfo, TimezoneInfo};
use fleuve_types::{Error, Result};

use crate::rewrite::spelled;
use crate::suggest::nearest;

/// Deepest nesting of arrays and structs.
const MAX_DEPTH: usize = 16;

/// The Arrow type of a column's SQL type.
///
/// # Errors
/// A type that streams do not have; decimals beyond 38 digits.
pub(crate) fn arrow_type(sql: &Sql) -> Result<DataType> {
    at_depth(sql, 0)
}

fn at_depth(sql: &Sql, depth: usize) -> Result<DataType> {
    if depth > MAX_DEPTH {
        return Err(Error::input(format!("a type is nested more than {MAX_DEPTH} levels deep")));
    }
    Ok(match sql {
        Sql::Boolean | Sql::Bool => DataType::Boolean,
        Sql::TinyInt(_) => DataType::Int8,
        Sql::SmallInt(_) | Sql::Int2(_) => DataType::Int16,
        Sql::Int(_) | Sql::Integer(_) | Sql::Int4(_) => DataType::Int32,
        Sql::BigInt(_) | Sql::Int8(_) | Sql::Int64 => DataType::Int64,
        Sql::Real | Sql::Float4 => DataType::Float32,
        Sql::Float(ExactNumberInfo::Precision(p)) if *p <= 24 => DataType::Float32,
        Sql::Float(_) | Sql::Double(_) | Sql::DoublePrecision | Sql::Float8 | Sql::Float64 => DataType::Float64,
        Sql::Decimal(info) | Sql::Numeric(info) | Sql::Dec(info) => decimal(info)?,
        Sql::Text
        | Sql::String(_)
        | Sql::Varchar(_)
        | Sql::Char(_)
        | Sql::Character(_)
        | Sql::CharacterVarying(_)
        | Sql::CharVarying(_)
        | Sql::Nvarchar(_)
        | Sql::Uuid
        | Sql::JSON
        | Sql::JSONB => DataType::Utf8,
        Sql::Bytea | Sql::Blob(_) | Sql::Binary(_) | Sql::Varbinary(_) => DataType::Binary,
        Sql::Date => DataType::Date32,
        Sql::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => DataType::Time64(TimeUnit::Microsecond),
        Sql::Timestamp(precision, zone) => timestamp(*precision, zone)?,
        Sql::TimestampNtz(precision) => timestamp(*precision, &TimezoneInfo::None)?,
        Sql::Datetime(precision) => timestamp(*precision, &TimezoneInfo::None)?,
        Sql::Array(ArrayElemTypeDef::SquareBracket(inner, _) | ArrayElemTypeDef::AngleBracket(inner))
        | Sql::Array(ArrayElemTypeDef::Parenthesis(inner)) => {
            DataType::List(Arc::new(Field::new_list_field(at_depth(inner, depth + 1)?, true)))
        }
        Sql::Struct(fields, _) => {
            let mut out: Vec<Field> = Vec::with_capacity(fields.len());
            for (i, field) in fields.iter().enumerate() {
                let name = field.field_name.as_ref().map_or_else(|| format!("c{i}"), spelled);
                if out.iter().any(|f| *f.name() == name) {
                    return Err(Error::input(format!("a STRUCT has two fields \"{name}\"")));
                }
                out.push(Field::new(name, at_depth(&field.field_type, depth + 1)?, true));
            }
            DataType::Struct(Fields::from(out))
        }
        other => return Err(unknown(other)),
    })
}

fn unknown(sql: &Sql) -> Error {
    let known = [
        "BOOLEAN",
        "SMALLINT",
        "INT",
        "BIGINT",
        "REAL",
        "DOUBLE PRECISION",
        "DECIMAL",
        "TEXT",
        "BYTEA",
        "DATE",
        "TIME",
        "TIMESTAMP",
        "TIMESTAMPTZ",
        "STRUCT",
    ];
    let shown = sql.to_string();
    let error = Error::input(format!("\"{shown}\" is not a type of a stream's column"));
    match nearest(&shown, known) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint(format!("the types are {}, and arrays (type[])", known.join(", "))),
    }
}

fn decimal(info: &ExactNumberInfo) -> Result<DataType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => (38, 10),
        ExactNumberInfo::Precision(p) => (*p, 0),
        ExactNumberInfo::PrecisionAndScale(p, s) => (*p, *s),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(p @ 1..=38), Ok(s)) if s >= 0 && i64::from(s) <= i64::from(p) => Ok(DataType::Decimal128(p, s)),
        _ => Err(Error::input(format!("DECIMAL({precision},{scale}) is not possible"))
            .hint("a DECIMAL has 1 to 38 digits, and at most that many behind the point")),
    }
}

fn timestamp(precision: Option<u64>, zone: &TimezoneInfo) -> Result<DataType> {
    let unit = match precision {
        Some(0) => TimeUnit::Second,
        Some(1..=3) => TimeUnit::Millisecond,
        None | Some(4..=6) => TimeUnit::Microsecond,
        Some(7..=9) => TimeUnit::Nanosecond,
        Some(p) => return Err(Error::input(format!("TIMESTAMP({p}) is finer than nanoseconds"))),
    };
    let zone = match zone {
        TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => None,
        TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => Some("UTC".into()),
    };
    Ok(DataType::Timestamp(unit, zone))
}
