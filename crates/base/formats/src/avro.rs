use arrow::datatypes::Schema;
use fleuve_types::{Error, Result};

/// The Avro schema (a record called `name`) that [`crate::Encoder`] writes for rows with these columns.
///
/// # Errors
/// Input: a name that Avro does not allow. Unsupported: a type that Avro cannot say.
pub fn avro_schema_for(schema: &Schema, name: &str) -> Result<String> {
    let _ = (schema, name);
    Err(Error::unsupported("encoding"))
}
