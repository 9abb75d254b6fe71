use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use fleuve_types::{Error, Result};

use crate::FormatSpec;

/// Turns rows into record values.
pub struct Encoder {}

impl Encoder {
    /// An encoder of rows with the columns `schema`. `schema_id` is the registry's id of [`crate::avro_schema_for`] that schema;
    /// needed for Avro only.
    ///
    /// # Errors
    /// Unsupported: a column type that the format cannot say. A bug of the caller: Avro without id.
    pub fn new(spec: &FormatSpec, schema: SchemaRef, schema_id: Option<u32>) -> Result<Encoder> {
        let _ = (spec, schema, schema_id);
        Err(Error::unsupported("encoding"))
    }

    /// The values of the rows, one each.
    ///
    /// # Errors
    /// Input: NULL in a NOT NULL column, or a value that the format cannot say.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Vec<Bytes>> {
        let _ = batch;
        Err(Error::unsupported("encoding"))
    }
}
