//! Bytes to Arrow and back: JSON, Avro (Confluent framing), CSV, web access logs, text and raw bytes.
//!
//! [`FormatSpec`] checks what a stream declares, [`Decoder`] turns a run of records into one `RecordBatch` and a list of
//! the records that did not fit, [`Encoder`] turns rows into record values.
//!
//! Invariants
//! - No bytes from outside make it panic, recurse without end or reserve more memory than a small multiple of their
//!   own length (see [`limits`]).
//! - A bad record never spoils another one: the rows of the good ones come out as if the bad one had not been there.
//! - Whether a record is bad depends on its bytes and on the stream's columns, never on the projection: a column that is
//!   not asked for is still checked, it is only not built. It does not depend on columns that the record is older than
//!   ([`Decoder::before`]).
//! - `decode(encode(rows)) == rows` for every type that a stream can have, as far as the format can tell values apart
//!   (CSV and logs: see [`Encoder`]) and dates and times lie in the years 1 to 9999 ([`check_times`]).
//!
//! It must not know about topics, the log, the catalog or SQL. Where Avro schemas come from is behind [`SchemaLookup`].
//!
//! It does not promise to keep what a format cannot say (the order of JSON keys, fields that are not declared, digits
//! below a column's scale), and it takes no clock: the same bytes always give the same rows.

mod avro;
mod column;
mod combined_log;
mod csv;
mod decoder;
mod encode;
mod json;
pub mod limits;
mod number;
mod range;
mod record;
mod spec;
mod text_value;
mod time;
mod words;

#[cfg(test)]
mod tests;

pub use avro::avro_schema_for;
pub use decoder::{Decoded, Decoder};
pub use encode::Encoder;
pub use range::check_times;
pub use record::{Header, Headers, RecordRef, pseudo_columns};
pub use spec::{Format, FormatSpec, format_columns};

use fleuve_types::Result;

/// Where Avro schemas come from. The app implements it over a registry, with a cache in front: it is called from the
/// decoding thread, once per schema id and decoder.
pub trait SchemaLookup: Send + Sync {
    /// The text of a schema, or `None` if the registry has no such id.
    ///
    /// # Errors
    /// The registry did not answer. The run of records that needs the schema is then not decoded at all, and can be tried again.
    fn schema_by_id(&self, id: u32) -> Result<Option<String>>;
}
