//! SQL: the dialect, binding, sessions.
//!
//! Text comes in; out come rows, or a list of catalog changes for the app to carry out. This room knows DataFusion's planner and the
//! catalog's objects. It must not know the log, the engine, or any wire protocol: it reaches the running platform only
//! through [`Backend`].

mod backend;
mod session;

pub use backend::*;
pub use session::{Applied, Extension, Outcome, ParsedStatement, Prepared, ProjectFile, RowStream, Session};
