//! The commands of the prompt that begin with a backslash.

/// What such a command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meta {
    Help,
    Quit,
    /// Run these queries, each under its heading.
    Show(Vec<(&'static str, String)>),
    Expanded,
    Timing,
    Unknown(String),
}

pub(super) const HELP: &str = "\
A statement ends with ; and may span lines. Tab completes, the arrows and Ctrl-R go through what was typed before, Ctrl-C
cancels a running query, Ctrl-D leaves.

  \\d          all streams, views, sources and sinks      \\x        one line per column, for wide rows (on/off)
  \\d NAME     the columns of one                         \\timing   how long each statement took (on/off)
  \\ds         streams                                    \\?        this
  \\dv         views                                      \\q        leave
  SUBSCRIBE TO view;      its changes as they happen
  EXPLAIN SELECT ...;     how a query runs; EXPLAIN view; shows the running circuit";

/// Reads a command; `line` begins with a backslash.
pub(super) fn parse(line: &str) -> Meta {
    let line = line.trim().trim_end_matches(';').trim();
    let (command, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let list =
        |kinds: &[&'static str]| Meta::Show(kinds.iter().map(|k| (*k, format!("SHOW {}", k.to_uppercase()))).collect());
    match (command.trim_end_matches('+'), argument) {
        ("\\?" | "\\h" | "\\help", _) => Meta::Help,
        ("\\q" | "\\quit", _) => Meta::Quit,
        ("\\x", _) => Meta::Expanded,
        ("\\timing", _) => Meta::Timing,
        ("\\d", "") => list(&["Streams", "Views", "Sources", "Sinks"]),
        ("\\ds" | "\\dt", "") => list(&["Streams"]),
        ("\\dv" | "\\dm", "") => list(&["Views"]),
        ("\\d" | "\\ds" | "\\dv" | "\\dt" | "\\dm", name) => Meta::Show(vec![("", format!("DESCRIBE {name}"))]),
        (other, _) => Meta::Unknown(other.to_string()),
    }
}
