use std::fmt;

/// What the caller can do about an error. Few and coarse; wire edges map a kind to their protocol's codes in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request or its data is wrong: fix the input.
    Input,
    /// A named thing does not exist.
    NotFound,
    /// A named thing exists already.
    AlreadyExists,
    /// A setting is wrong: fix the configuration.
    Config,
    /// A limit was reached; nothing happened.
    Limit,
    /// It did not happen; the same call may go through later.
    Retry,
    /// It may or may not have happened (an unknown outcome): read back before retrying.
    Unknown,
    /// Understood, but not offered.
    Unsupported,
    /// The disk or the operating system failed.
    Io,
    /// An invariant is broken: report a bug.
    Bug,
}

/// A place in the user's text. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Location {
    /// The file, if the text came from one.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file}:{}:{}", self.line, self.column),
            None => write!(f, "line {}, column {}", self.line, self.column),
        }
    }
}

/// An error that says what, where and what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Error {
    /// What the caller can do.
    pub kind: ErrorKind,
    /// What went wrong, in one line, without the place.
    pub message: String,
    /// Where in the user's text.
    pub location: Option<Location>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Error {
    /// An error of a kind with its message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), location: None, hint: None }
    }

    /// Shorthand for [`ErrorKind::Input`].
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// Shorthand for [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Shorthand for [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Shorthand for [`ErrorKind::Io`].
    pub fn io(what: impl fmt::Display, source: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Io, format!("{what}: {source}"))
    }

    /// Shorthand for [`ErrorKind::Bug`].
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, message)
    }

    /// Adds the place.
    pub fn at(mut self, location: Location) -> Self {
        self.location = Some(location);
        self
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// The result that most of Fleuve's calls give.
pub type Result<T, E = Error> = std::result::Result<T, E>;
