//! SQL: the dialect, binding, sessions.
//!
//! Text comes in; out come rows, or a list of catalog changes for the app to carry out. This room knows DataFusion's planner, the
//! catalog's objects and the columns that formats bring. It must not know the log, the engine, or any wire protocol: it
//! reaches the running platform only through [`Backend`].
//!
//! Invariants
//! - What a statement means depends on its text and the objects alone. The catalog keeps a canonical text of each `CREATE`, and
//!   binding that text again ([`bind_all`]) gives the same object.
//! - All tables of one statement are read from one [`Snapshot`].
//! - Every plan handed over holds ordinary relational nodes and scalar functions: the window table functions and the
//!   hiding of pseudo-columns are done when a query is planned.
//! - Text of any size or nesting ends in a statement or an error, not in a crash.
//!
//! It does not promise transactions (`BEGIN` is acknowledged, each statement stands alone), nor that a canonical text is
//! as the user wrote it.

mod backend;
mod bind;
mod checked;
mod context;
mod errors;
#[cfg(test)]
mod fake;
mod intervals;
mod lineage;
mod literals;
pub mod options;
pub mod parse;
mod rewrite;
mod session;
mod suggest;
mod window;

pub use backend::*;
pub use bind::{
    DEAD_SUFFIX, bind_all, check_expressions, check_stream_name, explain_unusable, plan_view, refused_rows,
    same_columns, same_view, view_key,
};
pub use context::query_runtime;
pub use fleuve_batch::{text_for, time_text};
pub use literals::bytes_of_text;
pub use parse::{OnError, parse};
pub use session::{Applied, Extension, Outcome, ParsedStatement, Prepared, ProjectFile, RowStream, Session};
pub use window::{MAX_WINDOWS, WINDOW_COLUMNS, window_functions};

/// The only environment, for now.
pub const ENVIRONMENT: &str = "main";
/// The namespace of names that say none.
pub const DEFAULT_NAMESPACE: &str = "public";
/// The namespace of the system tables.
pub const SYSTEM_NAMESPACE: &str = "fleuve";
