//! `TUMBLE`, `HOP`, `CUMULATE` and `SESSION` in `FROM`, planned as ordinary relational nodes, so that any engine that runs
//! DataFusion's plans runs them: projections, a filter on NULL, an unnest, and window functions.
//!
//! Flink's semantics: a window is `[start, end)`; all windows but sessions stand on a grid from 1970-01-01 00:00; `HOP` puts a row
//! into every window that holds it; `CUMULATE` lets a window of `size` grow by `step`. A session of a key begins with a row that
//! is more than `gap` after the one before it, and ends `gap` after its last row. A row whose time is NULL is in no window.

mod as_of;
mod frames;
mod functions;
mod planner;
mod scan;
mod session;

#[cfg(test)]
mod tests;

pub(crate) use as_of::{mark as as_of_mark, part as as_of_part, part_value as as_of_part_value, value as as_of_value};
pub(crate) use frames::SlidingFrames;
pub use functions::{MAX_WINDOWS, all as window_functions};
pub(crate) use planner::WindowPlanner;
pub(crate) use scan::ScanPlanner;
pub(crate) use session::all as session_functions;

/// The columns that a window table function adds.
pub const WINDOW_COLUMNS: [&str; 2] = ["window_start", "window_end"];

/// Which of the four a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowKind {
    Tumble,
    Hop,
    Cumulate,
    Session,
}

impl WindowKind {
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Tumble, Self::Hop, Self::Cumulate, Self::Session]
            .into_iter()
            .find(|k| k.name().eq_ignore_ascii_case(name))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tumble => "TUMBLE",
            Self::Hop => "HOP",
            Self::Cumulate => "CUMULATE",
            Self::Session => "SESSION",
        }
    }

    /// The arguments after the table and the time, by their names.
    pub(crate) fn lengths(self) -> &'static [&'static str] {
        match self {
            Self::Tumble => &["size"],
            Self::Hop => &["slide", "size"],
            Self::Cumulate => &["step", "size"],
            Self::Session => &["gap"],
        }
    }

    pub(crate) fn usage(self) -> String {
        let lengths: Vec<_> = self.lengths().iter().map(|l| format!("{l} INTERVAL '...'")).collect();
        let keys = if self == Self::Session { " [PARTITION BY (key, ...)]" } else { "" };
        format!("{}(table{keys}, time column, {})", self.name(), lengths.join(", "))
    }
}
