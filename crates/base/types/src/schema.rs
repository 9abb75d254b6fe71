use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};

/// The columns that every stream has besides its own: where a record stands in the log and what came with it.
/// They are named in a query to be seen; `*` leaves them out.
pub const PSEUDO_COLUMNS: [&str; 5] = ["_partition", "_offset", "_timestamp", "_key", "_headers"];

/// True for a name in [`PSEUDO_COLUMNS`].
pub fn is_pseudo_column(name: &str) -> bool {
    PSEUDO_COLUMNS.contains(&name)
}

/// The window functions that `SESSION` is planned as: start and end of the session of a row, called as `(time, gap)` over a
/// partition ordered by time, with the gap as a whole number of the time's unit. Whoever runs such a plan may know them by name.
pub const SESSION_FUNCTIONS: [&str; 2] = ["fleuve_session_start", "fleuve_session_end"];

/// The window function that `ASOF JOIN` is planned as. `f(value, is_right, time) OVER (PARTITION BY keys ORDER BY time, is_right,
/// columns of the right rows)`, over the rows of both sides, is for a left row that has a time the value of the last right row before
/// it; for a right row it is NULL.
pub const AS_OF_FUNCTION: &str = "fleuve_as_of";

/// The Arrow fields of [`PSEUDO_COLUMNS`], in that order: `Int32`, `Int64`, `Timestamp(ms)` (the record's Kafka timestamp),
/// `Binary` (null when the record has no key), `Utf8` (a JSON array of `[name, value]` pairs, null when there are none;
/// a value that is not UTF-8 is shown as base64 with the prefix `base64:`).
pub fn pseudo_fields() -> Vec<FieldRef> {
    vec![
        Arc::new(Field::new("_partition", DataType::Int32, false)),
        Arc::new(Field::new("_offset", DataType::Int64, false)),
        Arc::new(Field::new("_timestamp", DataType::Timestamp(TimeUnit::Millisecond, None), false)),
        Arc::new(Field::new("_key", DataType::Binary, true)),
        Arc::new(Field::new("_headers", DataType::Utf8, true)),
    ]
}

/// The SQL spelling of an Arrow type, for messages and `DESCRIBE`.
pub fn sql_type_name(t: &DataType) -> String {
    match t {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::UInt8 => "TINYINT UNSIGNED".into(),
        DataType::UInt16 => "SMALLINT UNSIGNED".into(),
        DataType::UInt32 => "INT UNSIGNED".into(),
        DataType::UInt64 => "BIGINT UNSIGNED".into(),
        DataType::Float32 => "REAL".into(),
        DataType::Float64 => "DOUBLE PRECISION".into(),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => format!("DECIMAL({p},{s})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "TEXT".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTEA".into(),
        DataType::Date32 | DataType::Date64 => "DATE".into(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".into(),
        DataType::Timestamp(_, None) => "TIMESTAMP".into(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".into(),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".into(),
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => {
            format!("{}[]", sql_type_name(f.data_type()))
        }
        DataType::Struct(fields) => {
            let inner: Vec<_> =
                fields.iter().map(|f| format!("{} {}", f.name(), sql_type_name(f.data_type()))).collect();
            format!("STRUCT<{}>", inner.join(", "))
        }
        DataType::Dictionary(_, v) => sql_type_name(v),
        other => other.to_string(),
    }
}
