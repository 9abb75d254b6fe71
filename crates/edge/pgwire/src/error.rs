//! Errors as PostgreSQL clients read them. The only place that knows SQLSTATE codes for [`ErrorKind`].

use std::sync::Arc;

use fleuve_types::{Error, ErrorKind, Location};

/// How bad it is, in PostgreSQL's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The statement failed; the session goes on.
    Error,
    /// The session ends.
    Fatal,
    /// Something the user should know.
    Warning,
    /// Something the user may like to know.
    Notice,
}

impl Severity {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
        }
    }
}

/// An `ErrorResponse` or `NoticeResponse` before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PgError {
    pub(crate) severity: Severity,
    /// SQLSTATE.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// Characters from 1 into the query string.
    pub(crate) position: Option<u64>,
}

pub(crate) type PgResult<T> = Result<T, PgError>;

/// SQLSTATE codes used at this door.
pub(crate) mod code {
    pub(crate) const SUCCESS: &str = "00000";
    pub(crate) const WARNING: &str = "01000";
    pub(crate) const PROTOCOL_VIOLATION: &str = "08P01";
    pub(crate) const FEATURE_NOT_SUPPORTED: &str = "0A000";
    pub(crate) const DATA_EXCEPTION: &str = "22000";
    pub(crate) const CARDINALITY_VIOLATION: &str = "21000";
    pub(crate) const INVALID_REGULAR_EXPRESSION: &str = "2201B";
    pub(crate) const NUMERIC_OUT_OF_RANGE: &str = "22003";
    pub(crate) const INVALID_DATETIME: &str = "22007";
    pub(crate) const DIVISION_BY_ZERO: &str = "22012";
    pub(crate) const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";
    pub(crate) const INVALID_PARAMETER_VALUE: &str = "22023";
    pub(crate) const INVALID_TEXT_REPRESENTATION: &str = "22P02";
    pub(crate) const INVALID_BINARY_REPRESENTATION: &str = "22P03";
    pub(crate) const NOT_NULL_VIOLATION: &str = "23502";
    pub(crate) const ACTIVE_TRANSACTION: &str = "25001";
    pub(crate) const NO_ACTIVE_TRANSACTION: &str = "25P01";
    pub(crate) const IN_FAILED_TRANSACTION: &str = "25P02";
    pub(crate) const INVALID_STATEMENT_NAME: &str = "26000";
    pub(crate) const INVALID_CATALOG: &str = "3D000";
    pub(crate) const INVALID_CURSOR_NAME: &str = "34000";
    pub(crate) const INVALID_SAVEPOINT: &str = "3B001";
    pub(crate) const SERIALIZATION_FAILURE: &str = "40001";
    pub(crate) const UNKNOWN_OUTCOME: &str = "40003";
    pub(crate) const SYNTAX_ERROR: &str = "42601";
    pub(crate) const AMBIGUOUS_COLUMN: &str = "42702";
    pub(crate) const UNDEFINED_COLUMN: &str = "42703";
    pub(crate) const UNDEFINED_FUNCTION: &str = "42883";
    pub(crate) const UNDEFINED_TABLE: &str = "42P01";
    pub(crate) const UNDEFINED_PARAMETER: &str = "42P02";
    pub(crate) const UNDEFINED_OBJECT: &str = "42704";
    pub(crate) const DATATYPE_MISMATCH: &str = "42804";
    pub(crate) const WRONG_OBJECT_TYPE: &str = "42809";
    pub(crate) const WINDOWING_ERROR: &str = "42P20";
    pub(crate) const DUPLICATE_TABLE: &str = "42P07";
    pub(crate) const DUPLICATE_PREPARED_STATEMENT: &str = "42P05";
    pub(crate) const DUPLICATE_CURSOR: &str = "42P03";
    pub(crate) const INSUFFICIENT_RESOURCES: &str = "53000";
    pub(crate) const TOO_MANY_CONNECTIONS: &str = "53300";
    pub(crate) const CONFIGURATION_LIMIT: &str = "53400";
    pub(crate) const PROGRAM_LIMIT: &str = "54000";
    pub(crate) const OBJECT_NOT_READY: &str = "55000";
    pub(crate) const QUERY_CANCELED: &str = "57014";
    pub(crate) const ADMIN_SHUTDOWN: &str = "57P01";
    pub(crate) const IO_ERROR: &str = "58030";
    pub(crate) const CONFIG_FILE_ERROR: &str = "F0000";
    pub(crate) const INTERNAL: &str = "XX000";
}

impl PgError {
    pub(crate) fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self { severity, code, message: message.into(), hint: None, position: None }
    }

    pub(crate) fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    pub(crate) fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Fatal, code, message)
    }

    pub(crate) fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    pub(crate) fn notice(message: impl Into<String>) -> Self {
        Self::new(Severity::Notice, code::SUCCESS, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn canceled() -> Self {
        Self::error(code::QUERY_CANCELED, "canceling statement due to user request")
    }

    pub(crate) fn in_failed_transaction() -> Self {
        Self::error(
            code::IN_FAILED_TRANSACTION,
            "current transaction is aborted, commands ignored until end of transaction block",
        )
    }

    /// An error of the platform about a statement that stands at `place`.
    pub(crate) fn from_fleuve(error: Error, place: &Place) -> Self {
        let position = error.location.as_ref().and_then(|at| place.position(at));
        Self {
            severity: Severity::Error,
            code: sqlstate(&error),
            message: match (&error.location, position) {
                // Without a caret the place must stay readable.
                (Some(at), None) => format!("{at}: {}", error.message),
                _ => error.message,
            },
            hint: error.hint,
            position,
        }
    }
}

/// Where a statement stands in the text that the client sent, against which the client draws its caret.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    query: Arc<str>,
    /// Characters before the statement.
    offset: u64,
}

impl Place {
    pub(crate) fn new(query: &str, offset: u64) -> Self {
        Self { query: query.into(), offset }
    }

    /// A statement that the client did not send as it stands.
    pub(crate) fn nowhere() -> Self {
        Self::new("", 0)
    }

    /// The same text, another statement in it.
    pub(crate) fn at(&self, offset: u64) -> Self {
        Self { query: self.query.clone(), offset }
    }

    /// A part of the statement that starts so many characters into it.
    pub(crate) fn inside(&self, characters: u64) -> Self {
        self.at(self.offset + characters)
    }

    /// The character, from 1, of a place given relative to the statement.
    fn position(&self, at: &Location) -> Option<u64> {
        if at.file.is_some() || at.line == 0 || at.column == 0 {
            return None;
        }
        let mut position = self.offset + 1;
        let (mut line, mut column) = (1, 1);
        for c in self.query.chars().skip(self.offset as usize) {
            if line == at.line && (column == at.column || c == '\n') {
                return Some(position);
            }
            if c == '\n' {
                line += 1;
                column = 1;
            } else {
                column += 1;
            }
            position += 1;
        }
        (line == at.line && position > self.offset + 1).then_some(position)
    }
}

/// The SQLSTATE of a platform error. [`ErrorKind`] decides; for wrong input the message tells the finer class, because
/// drivers turn `42601`, `42P01` and `22xxx` into different exceptions.
fn sqlstate(error: &Error) -> &'static str {
    match error.kind {
        ErrorKind::Input => input_sqlstate(&error.message),
        ErrorKind::NotFound => not_found_sqlstate(&error.message),
        ErrorKind::AlreadyExists => code::DUPLICATE_TABLE,
        ErrorKind::Config => code::CONFIG_FILE_ERROR,
        ErrorKind::Limit => limit_sqlstate(&error.message),
        ErrorKind::Retry => code::SERIALIZATION_FAILURE,
        ErrorKind::Unknown => code::UNKNOWN_OUTCOME,
        ErrorKind::Unsupported => code::FEATURE_NOT_SUPPORTED,
        ErrorKind::Io => code::IO_ERROR,
        ErrorKind::Bug => code::INTERNAL,
    }
}

/// Pairs of words in a message and the code they stand for; the first that is there counts.
type Classes = [(&'static str, &'static str)];

const INPUT_CLASSES: &Classes = &[
    ("gets null", code::NOT_NULL_VIOLATION),
    ("gives several rows", code::CARDINALITY_VIOLATION),
    ("invalid regular expression", code::INVALID_REGULAR_EXPRESSION),
    ("window functions stand in", code::WINDOWING_ERROR),
    ("requires an over clause", code::WRONG_OBJECT_TYPE),
    ("divide by zero", code::DIVISION_BY_ZERO),
    ("division by zero", code::DIVISION_BY_ZERO),
    ("overflow", code::NUMERIC_OUT_OF_RANGE),
    ("out of range", code::NUMERIC_OUT_OF_RANGE),
    ("too large to store", code::NUMERIC_OUT_OF_RANGE),
    ("parsing timestamp", code::INVALID_DATETIME),
    ("parsing date", code::INVALID_DATETIME),
    ("to date32", code::INVALID_DATETIME),
    ("cannot cast string", code::INVALID_TEXT_REPRESENTATION),
    ("cannot parse", code::INVALID_TEXT_REPRESENTATION),
    ("no field named", code::UNDEFINED_COLUMN),
    ("in more than one table", code::AMBIGUOUS_COLUMN),
    ("ambiguous", code::AMBIGUOUS_COLUMN),
    ("invalid function", code::UNDEFINED_FUNCTION),
    ("no function matches", code::UNDEFINED_FUNCTION),
    ("unrecognized configuration parameter", code::UNDEFINED_OBJECT),
    ("which cannot be read", code::WRONG_OBJECT_TYPE),
    ("type mismatch", code::DATATYPE_MISMATCH),
    ("cannot coerce arithmetic expression", code::UNDEFINED_FUNCTION),
    ("cannot get result type for", code::UNDEFINED_FUNCTION),
    ("cannot coerce", code::DATATYPE_MISMATCH),
    ("cannot infer common", code::DATATYPE_MISMATCH),
    ("common type", code::DATATYPE_MISMATCH),
    ("option", code::INVALID_PARAMETER_VALUE),
    ("arrow error", code::DATA_EXCEPTION),
    ("execution error", code::DATA_EXCEPTION),
];

const NOT_FOUND_CLASSES: &Classes = &[
    ("column", code::UNDEFINED_COLUMN),
    ("function", code::UNDEFINED_FUNCTION),
    ("setting", code::UNDEFINED_OBJECT),
    ("environment", code::INVALID_CATALOG),
];

fn input_sqlstate(message: &str) -> &'static str {
    let text = without_names(message);
    let tables = ["table", "relation"].iter().any(|w| text.contains(w));
    if tables && (text.contains("not found") || text.contains("does not exist")) {
        return code::UNDEFINED_TABLE;
    }
    class(&text, INPUT_CLASSES).unwrap_or(code::SYNTAX_ERROR)
}

fn not_found_sqlstate(message: &str) -> &'static str {
    class(&without_names(message), NOT_FOUND_CLASSES).unwrap_or(code::UNDEFINED_TABLE)
}

fn class(text: &str, classes: &Classes) -> Option<&'static str> {
    classes.iter().find(|(words, _)| text.contains(words)).map(|(_, code)| *code)
}

/// The message in lower case without what stands in double quotes: a name must not decide.
fn without_names(message: &str) -> String {
    message.to_lowercase().split('"').step_by(2).collect()
}

fn limit_sqlstate(message: &str) -> &'static str {
    if message.to_ascii_lowercase().contains("connection") {
        code::TOO_MANY_CONNECTIONS
    } else if message.to_ascii_lowercase().contains("memory") {
        code::INSUFFICIENT_RESOURCES
    } else {
        code::CONFIGURATION_LIMIT
    }
}

#[cfg(test)]
mod tests;
