//! The incremental engine: any SELECT kept up to date by computing changes from changes.
//!
//! Theory: DBSP (Budiu et al., VLDB 2023). Practice: vectorised Arrow, interpreted plans, DataFusion's planner and expressions.
//!
//! Invariants: the answer of a circuit is a function of the rows it was given, whatever the batching, the number of shards, or a
//! restart in between; every change is a [`fleuve_types::Delta`]. All state here is *derived*: it can be thrown away and built
//! again from the log. The engine must not know the log, the catalog, SQL text, or any wire; those are joined to it by the app.
//! It does not promise an order of rows, nor that two runs fail at the same row.

mod circuit;
mod event_time;
mod held;
mod keep;
mod lookup;
mod lower;
mod operators;
mod output;
mod paging;
mod profile;
mod provider;
mod run;
mod scan;
mod session;
mod state;

pub use circuit::{Circuit, CircuitInput};
pub use event_time::{Complete, Mark, TimeColumns};
pub use held::PartSize;
pub use lookup::{LookUp, RelationIndex};
pub use lower::{Relations, lower, lower_index, lower_on_close};
pub use operators::DeadRow;
pub use output::{ViewRows, ViewSnapshot};
pub use paging::{StateRuns, Unwritten};
pub use profile::{OperatorStatus, Profile};
pub use provider::ViewTable;
pub use run::*;
pub use session::{STACK_BYTES, session_state};
pub use state::runs::{MemoryFiles, RunFile, RunFileWriter, RunFiles};
