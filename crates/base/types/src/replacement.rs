//! What replacing a view comes to, as the engine says it and EXPLAIN shows it.

use crate::ObjectId;

/// What replacing a view would come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The view.
    pub view: ObjectId,
    /// Its new circuit as text lines; operators that are kept say so, with their state.
    pub circuit: Vec<String>,
    /// What of the running view it keeps.
    pub keeps: Keeps,
}

/// What a replacement keeps of the view whose place it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Everything: the circuit is the one that runs, and nothing is built.
    All,
    /// The same, if no row goes that what it reads was said never to lose; else nothing.
    AllUnlessRowsGo,
    /// The state of some operators, which the others begin with.
    Some(KeptState),
    /// Nothing, and why: its inputs are read from the start.
    None(String),
}

/// State that a replacement keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptState {
    /// Rows and groups of the operators whose present answers the new ones begin with, about.
    pub rows: u64,
    /// Rows and groups of all operators that are kept.
    pub state_rows: u64,
    /// Their bytes, in memory and on disk.
    pub state_bytes: u64,
}
