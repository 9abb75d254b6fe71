use fleuve_types::{Error, ErrorKind};

/// Confluent's error codes, those that this registry gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Code {
    /// The schema is not compatible with earlier ones.
    Incompatible = 409,
    /// The request is not what the route expects.
    BadRequest = 400,
    /// No such subject.
    SubjectNotFound = 40401,
    /// No such version.
    VersionNotFound = 40402,
    /// No such schema.
    SchemaNotFound = 40403,
    /// The subject is deleted already (not permanently).
    SubjectSoftDeleted = 40404,
    /// The subject has to be deleted before it is deleted permanently.
    SubjectNotSoftDeleted = 40405,
    /// The version is deleted already (not permanently).
    VersionSoftDeleted = 40406,
    /// The version has to be deleted before it is deleted permanently.
    VersionNotSoftDeleted = 40407,
    /// The subject has no compatibility of its own.
    NoSubjectCompatibility = 40408,
    /// The subject has no mode of its own.
    NoSubjectMode = 40409,
    /// Not a schema, or one of an unknown type.
    InvalidSchema = 42201,
    /// Not a version.
    InvalidVersion = 42202,
    /// Not a compatibility level.
    InvalidCompatibility = 42203,
    /// Understood, but not offered.
    NotPermitted = 42205,
    /// Another schema refers to it.
    ReferenceExists = 42206,
    /// Not a subject's name.
    InvalidSubject = 42208,
    /// The store failed.
    Store = 50001,
}

/// An error as Confluent's registry would give it: `{"error_code": ..., "message": ...}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RegistryError {
    /// Which one.
    pub code: Code,
    /// What and what to do.
    pub message: String,
}

/// The result of the registry's calls.
pub type Result<T, E = RegistryError> = std::result::Result<T, E>;

impl RegistryError {
    /// An error of a code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The HTTP status that goes with it.
    pub fn status(&self) -> u16 {
        let code = self.code as u32;
        let status = if code >= 10_000 { code / 100 } else { code };
        status as u16
    }
}

impl From<RegistryError> for Error {
    fn from(error: RegistryError) -> Self {
        let kind = match error.status() {
            404 => ErrorKind::NotFound,
            500 => ErrorKind::Io,
            _ if error.code == Code::NotPermitted => ErrorKind::Unsupported,
            _ => ErrorKind::Input,
        };
        Error::new(kind, error.message)
    }
}
