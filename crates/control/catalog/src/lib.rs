//! The catalog: which objects exist, under which names, and where the engine's last checkpoint stands.
//!
//! **Ground state**, in one SQLite file (`catalog.db`): objects with the text of their statements, settings of the
//! installation, and the checkpoint (frontier and state manifests). SQLite runs in WAL mode with `synchronous = FULL`, so what a
//! call has answered survives a loss of power.
//!
//! Invariants:
//! - A list of commands is applied whole or not at all, in one transaction; so is a checkpoint.
//! - What a list of commands does is decided by [`decide`], a function without I/O; the store only writes the decision down.
//! - A name means at most one object; an object's dependencies exist and never form a cycle.
//! - Ids are durable and never given out twice; names live only here.
//!
//! It must not know what a statement means (that is `fleuve-sql`), nor anything about the log, the engine or a protocol.
//!
//! It does not promise: protection against a second process on the same file (the app locks the data folder), history of
//! dropped objects, or more than one environment yet (`main`; the tables already name it).

mod checkpoint;
mod decide;
mod object;
mod store;

pub use checkpoint::{Checkpoint, MAX_MANIFEST_BYTES};
pub use decide::{Changes, Command, MAX_COMMANDS, MAX_NAME_BYTES, MAX_OBJECTS, MAX_SQL_BYTES, Replaced, State, decide};
pub use object::{Object, ObjectKind};
pub use store::{Catalog, CommitFaults, MAX_SETTING_BYTES};
