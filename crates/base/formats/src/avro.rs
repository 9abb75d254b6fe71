//! Avro in Confluent framing: a zero byte, the writer schema's id (four bytes, big endian), the datum.
//!
//! A writer's schema is resolved to the stream's columns once, by name; what the stream does not have is walked over, what
//! the writer does not have is NULL. Specification: Apache Avro 1.12.

mod datum;
mod describe;
mod read;
mod resolve;
mod schema;
mod write;

use std::sync::Arc;

use fleuve_types::Result;
use hashbrown::{HashMap, HashSet};

use crate::column::{Bad, StructData, Taken};
use crate::json::Budget;
use crate::limits::MAX_WRITER_SCHEMAS;
use crate::{RecordRef, SchemaLookup};

pub use describe::avro_schema_for;
pub(crate) use write::write_row;

use datum::Datum;
use read::Plan;

/// Length of the framing.
const FRAME_BYTES: usize = 5;

/// Decodes with the schemas that it has looked up. Derived state.
pub(crate) struct AvroDecoder {
    lookup: Arc<dyn SchemaLookup>,
    /// By schema id; or why a schema cannot be used.
    plans: HashMap<u32, Result<Plan, String>>,
    /// Ids that the registry did not know when the run began.
    unknown: HashSet<u32>,
}

impl AvroDecoder {
    pub(crate) fn new(lookup: Arc<dyn SchemaLookup>) -> Self {
        Self { lookup, plans: HashMap::new(), unknown: HashSet::new() }
    }

    /// Makes the schemas of a run ready.
    ///
    /// # Errors
    /// Those of the lookup.
    pub(crate) fn resolve(&mut self, records: &[RecordRef<'_>], columns: &StructData) -> Result<()> {
        self.unknown.clear();
        if self.plans.len() >= MAX_WRITER_SCHEMAS {
            self.plans.clear();
        }
        for id in records.iter().filter_map(|r| schema_id(r.value?)) {
            if self.plans.contains_key(&id) || self.unknown.contains(&id) {
                continue;
            }
            match self.lookup.schema_by_id(id)? {
                Some(text) => {
                    self.plans.insert(id, Plan::new(&text, columns));
                }
                None => {
                    self.unknown.insert(id);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn decode_record(
        &mut self,
        columns: &mut StructData,
        base: usize,
        bytes: &[u8],
        budget: &mut Budget,
    ) -> Taken {
        let Some(id) = schema_id(bytes) else {
            return Err(Bad::new("not Avro in Confluent framing (a zero byte and the schema's id in four bytes)"));
        };
        match self.plans.get(&id) {
            Some(Ok(plan)) => {
                let mut datum = Datum::new(&bytes[FRAME_BYTES..]);
                plan.decode(columns, base, &mut datum, budget)?;
                match datum.left() {
                    0 => Ok(()),
                    left => Err(Bad::new(format!("{left} bytes follow the Avro datum of schema {id}"))),
                }
            }
            Some(Err(why)) => Err(Bad::new(format!("schema {id} cannot be used: {why}"))),
            None => Err(Bad::new(format!("the registry has no schema {id}"))),
        }
    }
}

/// The schema id of a framed value.
fn schema_id(bytes: &[u8]) -> Option<u32> {
    match bytes.first_chunk::<FRAME_BYTES>()? {
        [0, a, b, c, d] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}
