use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use fleuve_types::{Error, Result, sql_type_name};
use serde_json::{Value, json};

/// The Avro schema (a record called `name`) that [`crate::Encoder`] writes for rows with these columns. Nullable columns are unions with
/// null first and as the default, so that a later schema may drop or add them. Column comments are not known here.
///
/// # Errors
/// Input: a name that Avro does not allow. Unsupported: a type that Avro cannot say.
pub fn avro_schema_for(schema: &Schema, name: &str) -> Result<String> {
    let valid_name = name.split('.').all(is_avro_name);
    if !valid_name {
        return Err(Error::input(format!("'{name}' is no Avro name")).hint("letters, digits and _ only"));
    }
    let record = record(schema.fields().iter().map(AsRef::as_ref), name, name)?;
    serde_json::to_string(&record).map_err(|e| Error::bug(e.to_string()))
}

fn is_avro_name(name: &str) -> bool {
    let first = name.bytes().next();
    first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `path` keeps the names of nested records apart.
fn record<'a>(fields: impl Iterator<Item = &'a Field>, name: &str, path: &str) -> Result<Value> {
    let mut described = Vec::new();
    for field in fields {
        if !is_avro_name(field.name()) {
            return Err(Error::input(format!("column '{}' has no Avro name", field.name()))
                .hint("name it with AS: letters, digits and _ only"));
        }
        let inner = nullable_type(field, &format!("{path}_{}", field.name()))?;
        described.push(match field.is_nullable() {
            true => json!({"name": field.name(), "type": inner, "default": null}),
            false => json!({"name": field.name(), "type": inner}),
        });
    }
    Ok(json!({"type": "record", "name": name, "fields": described}))
}

fn nullable_type(field: &Field, path: &str) -> Result<Value> {
    let inner = avro_type(field.name(), field.data_type(), path)?;
    Ok(if field.is_nullable() { json!(["null", inner]) } else { inner })
}

fn avro_type(column: &str, data_type: &DataType, path: &str) -> Result<Value> {
    let logical = |avro: &str, logical: &str| json!({"type": avro, "logicalType": logical});
    Ok(match data_type {
        DataType::Boolean => json!("boolean"),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => json!("int"),
        DataType::Int64 | DataType::UInt32 => json!("long"),
        DataType::UInt64 => json!({"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 0}),
        DataType::Float16 | DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s)
            if *s >= 0 =>
        {
            json!({"type": "bytes", "logicalType": "decimal", "precision": p, "scale": s})
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => json!("string"),
        DataType::Interval(_) | DataType::Duration(_) => json!("string"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            json!("bytes")
        }
        DataType::Date32 | DataType::Date64 => logical("int", "date"),
        DataType::Time32(_) => logical("int", "time-millis"),
        DataType::Time64(_) => logical("long", "time-micros"),
        DataType::Timestamp(unit, zone) => {
            let unit = match unit {
                TimeUnit::Second | TimeUnit::Millisecond => "millis",
                TimeUnit::Microsecond => "micros",
                TimeUnit::Nanosecond => "nanos",
            };
            let local = if zone.is_some() { "" } else { "local-" };
            logical("long", &format!("{local}timestamp-{unit}"))
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            json!({"type": "array", "items": nullable_type(item, &format!("{path}_item"))?})
        }
        DataType::Struct(fields) => record(fields.iter().map(AsRef::as_ref), &path.replace('.', "_"), path)?,
        DataType::Dictionary(_, value) => avro_type(column, value, path)?,
        DataType::Null => json!("null"),
        other => {
            let name = sql_type_name(other);
            return Err(Error::unsupported(format!("column '{column}' is of type {name}, which Avro cannot say")));
        }
    })
}
