//! The PostgreSQL door: sessions over the PostgreSQL wire protocol (version 3.0, PostgreSQL 16 manual, chapter 55).
//!
//! It turns messages into calls of [`fleuve_sql::Session`] and Arrow batches into rows, and gives clients the system tables,
//! settings and answers about transactions that they expect of a PostgreSQL 16. Any client that speaks the protocol is
//! welcome: psql, psycopg, SQLAlchemy, JDBC, BI tools.
//!
//! Invariants
//! - Whatever a client sends, at worst its own connection ends. Messages, statements, portals, settings, connections and read
//!   ahead have limits, and nothing of a message's declared length is reserved before the bytes are there.
//! - While a statement runs, the client is watched: a cancel request, a closed socket, a timeout or the server's stop ends it.
//!   A statement that changes something is never cut off half-way; only the waiting for it is.
//! - Rows go out as they come: a subscription's change set is on the wire before the door waits for the next one.
//! - SQLSTATE codes are given in one place (`error.rs`).
//!
//! It must not know how a statement is planned or run, nor where rows come from.
//!
//! It does not promise transactions: `BEGIN` and `COMMIT` are answered as clients expect, but each statement commits by
//! itself, and a rollback that would have to undo something says so in a warning. There is no authentication and no TLS
//! yet (whoever wires the door keeps it on loopback), no COPY, and cursors move forward only.
//!
//! All state is derived: sessions live and die with their connection.

mod cancel;
mod catalog;
mod commands;
mod connection;
mod counters;
mod decode;
mod encode;
mod error;
mod extended;
mod io;
mod placeholders;
mod server;
mod settings;
mod sql;
mod startup;
mod statement;
mod transaction;
mod types;
mod wire;

pub use counters::PgCounters;
pub use server::{PgOptions, PgServer};
