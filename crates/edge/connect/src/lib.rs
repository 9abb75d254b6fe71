//! Connectors: how rows come in from other places than the Kafka door. One folder each.
//!
//! [`FileSource`] reads and follows files, plain and gzip-compressed, through every common kind of log rotation.
//!
//! Invariants
//! - A connector hands out its position together with what it read. Whoever stores both atomically and opens the connector
//!   with the stored position gets everything exactly once, whatever was stopped when.
//! - Everything is bounded: lines, batches, files, open handles (see [`limits`]).
//!
//! It must not know about the log, formats or SQL: it gives bytes. Of CSV it knows where a row and its fields end. It does blocking I/O
//! and wants a thread of its own.
//!
//! It does not promise what files cannot give: lines that a writer appended between the copy and the truncation of a
//! `copytruncate` rotation are lost before anyone can read them, and a file that is deleted before it was read is gone.

mod file;

pub use file::{Batch, CsvRows, FileOptions, FileSource, Line, limits, names_a_file};
