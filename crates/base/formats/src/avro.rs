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

use crate::SchemaLookup;
use crate::column::{Bad, StructData, Taken};
use crate::json::Budget;
use crate::limits::MAX_WRITER_SCHEMAS;

pub use describe::avro_schema_for;
pub(crate) use write::write_row;

use datum::Datum;
use read::Plan;

/// Length of the framing.
const FRAME_BYTES: usize = 5;

/// Decodes with the schemas that it has looked up. Derived state.
pub(crate) struct AvroDecoder {
    lookup: Arc<dyn SchemaLookup>,
    /// Of each schema; or why it cannot be used.
    plans: Vec<Result<Plan, String>>,
    /// By schema id.
    positions: HashMap<u32, usize>,
    /// The id before, and its position: most records of a run have the same.
    last: Option<(u32, usize)>,
    /// Ids that the registry did not know when the run began.
    unknown: HashSet<u32>,
}

impl AvroDecoder {
    pub(crate) fn new(lookup: Arc<dyn SchemaLookup>) -> Self {
        Self { lookup, plans: Vec::new(), positions: HashMap::new(), last: None, unknown: HashSet::new() }
    }

    /// A run begins.
    pub(crate) fn begin(&mut self) {
        self.unknown.clear();
        if self.plans.len() >= MAX_WRITER_SCHEMAS {
            self.plans.clear();
            self.positions.clear();
            self.last = None;
        }
    }

    /// Makes the schema of a record ready.
    ///
    /// # Errors
    /// Those of the lookup.
    #[inline]
    pub(crate) fn resolve(&mut self, record: &[u8], columns: &StructData) -> Result<()> {
        match schema_id(record) {
            Some(id) if self.position(id).is_none() && !self.unknown.contains(&id) => self.look_up(id, columns),
            _ => Ok(()),
        }
    }

    #[cold]
    fn look_up(&mut self, id: u32, columns: &StructData) -> Result<()> {
        match self.lookup.schema_by_id(id)? {
            Some(text) => {
                self.positions.insert(id, self.plans.len());
                self.plans.push(Plan::new(&text, columns));
            }
            None => {
                self.unknown.insert(id);
            }
        }
        Ok(())
    }

    /// Where a schema's plan is, if there is one.
    #[inline]
    fn position(&mut self, id: u32) -> Option<usize> {
        if let Some((last, position)) = self.last
            && last == id
        {
            return Some(position);
        }
        let position = *self.positions.get(&id)?;
        self.last = Some((id, position));
        Some(position)
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
        match self.position(id).map(|at| &self.plans[at]) {
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
