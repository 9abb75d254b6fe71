use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fleuve_types::{Error, Result};

use crate::{FormatSpec, RecordRef, SchemaLookup};

/// What a run of records became.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The rows, with the projected columns in the order asked for.
    pub batch: RecordBatch,
    /// For each row, the index of its record in the run; grows strictly.
    pub rows: Vec<u32>,
    /// The records that are no row: index in the run and the reason, in order.
    pub bad: Vec<(u32, String)>,
}

/// Turns runs of records into rows. Keeps its buffers between runs; one per thread.
pub struct Decoder {}

impl Decoder {
    /// A decoder for a stream with the columns `schema`, of which it gives those in `projection` (positions in `schema`).
    /// `lookup` is needed for Avro only.
    ///
    /// # Errors
    /// A bug of the caller: a projection out of bounds, Avro without lookup, a type that [`FormatSpec::new`] refuses.
    pub fn new(
        spec: &FormatSpec,
        schema: SchemaRef,
        projection: &[usize],
        lookup: Option<Arc<dyn SchemaLookup>>,
    ) -> Result<Decoder> {
        let _ = (spec, schema, projection, lookup);
        Err(Error::unsupported("decoding"))
    }

    /// Decodes a run of records.
    ///
    /// # Errors
    /// Limit: the run's values are larger than [`crate::limits::MAX_DECODE_BYTES`] together; decode fewer. Else what
    /// [`SchemaLookup`] gave: nothing was decoded, try again.
    pub fn decode(&mut self, records: &[RecordRef<'_>]) -> Result<Decoded> {
        let _ = records;
        Err(Error::unsupported("decoding"))
    }
}
