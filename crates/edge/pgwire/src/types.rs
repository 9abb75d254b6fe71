//! Which PostgreSQL type shows an Arrow type, and which Arrow type a PostgreSQL parameter becomes.

use arrow::datatypes::{DataType, Field, IntervalUnit, SchemaRef, TimeUnit};

use crate::wire::Column;

/// Object ids of PostgreSQL's built-in types (`pg_type.dat`).
pub(crate) mod oid {
    pub(crate) const BOOL: u32 = 16;
    pub(crate) const BYTEA: u32 = 17;
    pub(crate) const CHAR: u32 = 18;
    pub(crate) const NAME: u32 = 19;
    pub(crate) const INT8: u32 = 20;
    pub(crate) const INT2: u32 = 21;
    pub(crate) const INT4: u32 = 23;
    pub(crate) const REGPROC: u32 = 24;
    pub(crate) const TEXT: u32 = 25;
    pub(crate) const OID: u32 = 26;
    pub(crate) const JSON: u32 = 114;
    pub(crate) const FLOAT4: u32 = 700;
    pub(crate) const FLOAT8: u32 = 701;
    pub(crate) const UNKNOWN: u32 = 705;
    pub(crate) const BPCHAR: u32 = 1042;
    pub(crate) const VARCHAR: u32 = 1043;
    pub(crate) const DATE: u32 = 1082;
    pub(crate) const TIME: u32 = 1083;
    pub(crate) const TIMESTAMP: u32 = 1114;
    pub(crate) const TIMESTAMPTZ: u32 = 1184;
    pub(crate) const INTERVAL: u32 = 1186;
    pub(crate) const NUMERIC: u32 = 1700;
    pub(crate) const REGCLASS: u32 = 2205;
    pub(crate) const REGTYPE: u32 = 2206;
    pub(crate) const UUID: u32 = 2950;
    pub(crate) const JSONB: u32 = 3802;
}

/// `(element, array)` type ids.
const ARRAYS: [(u32, u32); 22] = [
    (oid::BOOL, 1000),
    (oid::BYTEA, 1001),
    (oid::CHAR, 1002),
    (oid::NAME, 1003),
    (oid::INT2, 1005),
    (oid::INT4, 1007),
    (oid::TEXT, 1009),
    (oid::BPCHAR, 1014),
    (oid::VARCHAR, 1015),
    (oid::INT8, 1016),
    (oid::FLOAT4, 1021),
    (oid::FLOAT8, 1022),
    (oid::OID, 1028),
    (oid::TIMESTAMP, 1115),
    (oid::DATE, 1182),
    (oid::TIME, 1183),
    (oid::TIMESTAMPTZ, 1185),
    (oid::INTERVAL, 1187),
    (oid::NUMERIC, 1231),
    (oid::JSON, 199),
    (oid::UUID, 2951),
    (oid::JSONB, 3807),
];

/// The array type of an element type.
pub(crate) fn array_of(element: u32) -> Option<u32> {
    ARRAYS.iter().find(|(e, _)| *e == element).map(|(_, a)| *a)
}

/// The element type of an array type.
pub(crate) fn element_of(array: u32) -> Option<u32> {
    ARRAYS.iter().find(|(_, a)| *a == array).map(|(e, _)| *e)
}

/// The PostgreSQL type that shows an Arrow type. Structs, maps and nested lists are shown as JSON.
pub(crate) fn type_oid(t: &DataType) -> u32 {
    match t {
        DataType::Boolean => oid::BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => oid::INT2,
        DataType::Int32 | DataType::UInt16 => oid::INT4,
        DataType::Int64 | DataType::UInt32 => oid::INT8,
        DataType::UInt64
        | DataType::Decimal32(_, _)
        | DataType::Decimal64(_, _)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _) => oid::NUMERIC,
        DataType::Float16 | DataType::Float32 => oid::FLOAT4,
        DataType::Float64 => oid::FLOAT8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => oid::BYTEA,
        DataType::Date32 | DataType::Date64 => oid::DATE,
        DataType::Time32(_) | DataType::Time64(_) => oid::TIME,
        DataType::Timestamp(_, None) => oid::TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => oid::TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => oid::INTERVAL,
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => element_array(f.data_type()),
        DataType::Struct(_) | DataType::Map(_, _) => oid::JSON,
        DataType::Dictionary(_, v) => type_oid(v),
        DataType::RunEndEncoded(_, v) => type_oid(v.data_type()),
        _ => oid::TEXT,
    }
}

fn element_array(element: &DataType) -> u32 {
    match type_oid(element) {
        oid::JSON => oid::JSON,
        e if element_of(e).is_some() => oid::JSON, // a list of lists need not be rectangular
        e => array_of(e).unwrap_or(oid::JSON),
    }
}

/// `pg_type.typlen`
pub(crate) fn type_len(type_oid: u32) -> i16 {
    match type_oid {
        oid::BOOL | oid::CHAR => 1,
        oid::INT2 => 2,
        oid::INT4 | oid::FLOAT4 | oid::DATE | oid::OID => 4,
        oid::INT8 | oid::FLOAT8 | oid::TIME | oid::TIMESTAMP | oid::TIMESTAMPTZ => 8,
        oid::INTERVAL | oid::UUID => 16,
        oid::NAME => 64,
        _ => -1,
    }
}

/// `pg_attribute.atttypmod`: precision and scale of a decimal, digits of a coarse time, -1 for none.
pub(crate) fn type_mod(t: &DataType) -> i32 {
    let decimal = |p: u8, s: i8| ((i32::from(p) << 16) | (i32::from(s) & 0x7ff)) + 4;
    let digits = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond | TimeUnit::Nanosecond => -1,
    };
    match t {
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => decimal(*p, *s),
        DataType::UInt64 => decimal(20, 0),
        DataType::Timestamp(unit, _) | DataType::Time32(unit) | DataType::Time64(unit) => digits(unit),
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => type_mod(f.data_type()),
        DataType::Dictionary(_, v) => type_mod(v),
        _ => -1,
    }
}

/// A field as a column of a `RowDescription`.
pub(crate) fn column(field: &Field) -> Column {
    let type_oid = type_oid(field.data_type());
    Column { name: field.name().clone(), type_oid, type_len: type_len(type_oid), type_mod: type_mod(field.data_type()) }
}

/// All columns of an answer.
pub(crate) fn columns(schema: &SchemaRef) -> Vec<Column> {
    schema.fields().iter().map(|f| column(f)).collect()
}

/// The Arrow type that a parameter declared with a PostgreSQL type becomes; `None` for types this door does not know.
pub(crate) fn parameter_type(type_oid: u32) -> Option<DataType> {
    Some(match type_oid {
        oid::BOOL => DataType::Boolean,
        oid::INT2 => DataType::Int16,
        oid::INT4 | oid::OID | oid::REGCLASS | oid::REGTYPE | oid::REGPROC => DataType::Int32,
        oid::INT8 => DataType::Int64,
        oid::FLOAT4 => DataType::Float32,
        oid::FLOAT8 => DataType::Float64,
        oid::TEXT
        | oid::VARCHAR
        | oid::BPCHAR
        | oid::NAME
        | oid::CHAR
        | oid::UNKNOWN
        | oid::JSON
        | oid::JSONB
        | oid::UUID => DataType::Utf8,
        oid::BYTEA => DataType::Binary,
        oid::DATE => DataType::Date32,
        oid::TIME => DataType::Time64(TimeUnit::Microsecond),
        oid::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        oid::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        oid::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        // A numeric has no fixed scale: this is only what an untouched placeholder looks like before its value is known.
        oid::NUMERIC => DataType::Decimal128(38, 10),
        array => {
            let element = parameter_type(element_of(array)?)?;
            DataType::List(std::sync::Arc::new(Field::new_list_field(element, true)))
        }
    })
}
