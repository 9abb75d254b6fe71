//! The vocabulary of Fleuve: ids, offsets, frontiers, deltas, errors and the clock.
//!
//! Every other crate may use this one; it uses nothing but Arrow. It holds no state and does no I/O.
//! It must not know about SQL, Kafka, files or the catalog.

mod clock;
mod column;
mod delta;
mod error;
mod frontier;
mod id;
mod moment;
mod replacement;
mod schema;
mod type_words;

pub use clock::{Clock, ManualClock, SystemClock};
pub use column::{ColumnPart, narrow_struct};
pub use delta::{Delta, consolidate_rows};
pub use error::{Error, ErrorKind, Location, Result};
pub use frontier::{Epoch, Frontier};
pub use id::ObjectId;
pub use moment::{KNOWN_MS, far_ms};
pub use replacement::{Keeps, KeptState, Replacement};
pub use schema::{AS_OF_FUNCTION, PSEUDO_COLUMNS, SESSION_FUNCTIONS, is_pseudo_column, pseudo_fields, sql_type_name};
pub use type_words::with_sql_types;
