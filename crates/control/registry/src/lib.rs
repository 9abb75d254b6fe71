//! The schema registry: subjects, versions, ids, references and compatibility, with the meaning that Confluent's registry
//! gives them, so that its serializers work unchanged.
//!
//! **Ground state** in tables of the catalog's SQLite file; all of it is also held in memory (derived, loaded at open), so that
//! reading never waits and [`Registry::schema_by_id`] can stand on the decode path.
//!
//! Invariants:
//! - An id means one schema for ever; it is never given out again, even after a permanent deletion.
//! - What is deleted for good is gone for clients and stays for decoders: records that name it are rows as before.
//! - The same schema (normal form, type and references) has the same id under every subject.
//! - What is answered is durable. A change is decided by pure functions over [`State`] and written in one transaction.
//! - A version that another schema refers to can't be deleted.
//!
//! It must not know about HTTP (the routes are in `fleuve-http`), streams or views.
//!
//! It does not promise: checking of JSON Schema and Protobuf (stored only where compatibility is `NONE`), contexts, data rules and metadata,
//! import mode, or sharing the file with another process.

pub mod avro;
mod compatibility;
mod error;
mod registry;
mod state;
mod store;

pub use compatibility::Compatibility;
pub use error::{Code, RegistryError, Result};
pub use registry::{Listed, Registry};
pub use state::{
    Draft, MAX_REFERENCES, MAX_RETIRED, MAX_RETIRED_BYTES, MAX_SCHEMAS, MAX_SUBJECT_BYTES, MAX_TOTAL_BYTES, Reference,
    SchemaKind, State, Stored, VersionRef, Versioned,
};
