//! `TUMBLE`, `HOP` and `CUMULATE` in `FROM`, planned as ordinary relational nodes, so that any engine that runs DataFusion's
//! plans runs them: projections, a filter on NULL, and an unnest.
//!
//! Flink's semantics: a window is `[start, end)`; all windows stand on a grid from 1970-01-01 00:00; `HOP` puts a row into
//! every window that holds it; `CUMULATE` lets a window of `size` grow by `step`. A row whose time is NULL is in no window.

mod functions;
mod planner;
mod scan;

#[cfg(test)]
mod tests;

pub use functions::{MAX_WINDOWS, all as window_functions};
pub(crate) use planner::WindowPlanner;
pub(crate) use scan::ScanPlanner;

/// The columns that a window table function adds.
pub const WINDOW_COLUMNS: [&str; 2] = ["window_start", "window_end"];

/// Which of the three a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowKind {
    Tumble,
    Hop,
    Cumulate,
}

impl WindowKind {
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Tumble, Self::Hop, Self::Cumulate].into_iter().find(|k| k.name().eq_ignore_ascii_case(name))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tumble => "TUMBLE",
            Self::Hop => "HOP",
            Self::Cumulate => "CUMULATE",
        }
    }

    /// The arguments after the table and the time, by their names.
    pub(crate) fn lengths(self) -> &'static [&'static str] {
        match self {
            Self::Tumble => &["size"],
            Self::Hop => &["slide", "size"],
            Self::Cumulate => &["step", "size"],
        }
    }

    pub(crate) fn usage(self) -> String {
        let lengths: Vec<_> = self.lengths().iter().map(|l| format!("{l} INTERVAL '...'")).collect();
        format!("{}(table, time column, {})", self.name(), lengths.join(", "))
    }
}
