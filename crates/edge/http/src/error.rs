//! Errors on their way out.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleuve_types::{Error, ErrorKind};
use serde::Serialize;

/// The status of an error: the one place where kinds become HTTP.
pub fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Input => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::AlreadyExists => StatusCode::CONFLICT,
        ErrorKind::Limit => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Retry => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Config | ErrorKind::Unknown | ErrorKind::Io | ErrorKind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The kind's word in a body.
fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Input => "input",
        ErrorKind::NotFound => "not_found",
        ErrorKind::AlreadyExists => "already_exists",
        ErrorKind::Config => "config",
        ErrorKind::Limit => "limit",
        ErrorKind::Retry => "retry",
        ErrorKind::Unknown => "unknown",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Io => "io",
        ErrorKind::Bug => "bug",
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: Shown<'a>,
}

#[derive(Serialize)]
struct Shown<'a> {
    kind: &'static str,
    message: &'a str,
    location: Option<Place<'a>>,
    hint: Option<&'a str>,
}

#[derive(Serialize)]
struct Place<'a> {
    file: Option<&'a str>,
    line: u64,
    column: u64,
}

/// `{"error": {...}}`
pub(crate) fn body(error: &Error) -> String {
    let location = error.location.as_ref();
    let location = location.map(|l| Place { file: l.file.as_deref(), line: l.line, column: l.column });
    let shown = Shown { kind: word(error.kind), message: &error.message, location, hint: error.hint.as_deref() };
    serde_json::to_string(&Body { error: shown }).expect("strings and numbers are always JSON")
}

/// An error as an answer. A status other than its kind's is for what only HTTP knows (415, 408, ...).
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    error: Error,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, error: Error) -> Self {
        Self { status, error }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { status: status_of(error.kind), error }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        if self.status.is_server_error() && self.error.kind != ErrorKind::Retry {
            tracing::warn!(error = %self.error, "a request failed");
        }
        let json = HeaderValue::from_static("application/json");
        let mut response = (self.status, [(header::CONTENT_TYPE, json)], body(&self.error)).into_response();
        if self.error.kind == ErrorKind::Retry {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
