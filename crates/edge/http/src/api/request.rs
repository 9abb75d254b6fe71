//! Reading a request's body within limits.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use fleuve_types::{Error, ErrorKind};

use crate::error::Refusal;

/// Largest body of a request.
pub const MAX_BODY_BYTES: usize = 16 << 20;
/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What a body says it is. Types that a form of another site could send without asking are not among them, but for text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyType {
    Json,
    Text,
}

/// The body with its type.
pub(super) async fn read(request: Request) -> Result<(BodyType, String), Refusal> {
    let kind = body_type(request.headers())?;
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(request.into_body(), MAX_BODY_BYTES)).await;
    let read = read.map_err(|_| {
        let message = format!("the body did not come within {} seconds", BODY_TIMEOUT.as_secs());
        Refusal::new(StatusCode::REQUEST_TIMEOUT, Error::new(ErrorKind::Limit, message))
    })?;
    let bytes = read.map_err(|e| {
        let too_long = std::error::Error::source(&e).is_some_and(|s| s.to_string().contains("length limit"));
        match too_long {
            true => Error::new(ErrorKind::Limit, format!("the body is longer than {MAX_BODY_BYTES} bytes")),
            false => Error::input(format!("the body could not be read: {e}")),
        }
    })?;
    let text = String::from_utf8(bytes.into()).map_err(|_| Error::input("the body is not UTF-8"))?;
    Ok((kind, text))
}

fn body_type(headers: &HeaderMap) -> Result<BodyType, Refusal> {
    let said = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let essence = said.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(BodyType::Json),
        "text/plain" => Ok(BodyType::Text),
        _ => {
            let message = format!("the content type '{said}' is not taken");
            let error = Error::new(ErrorKind::Input, message).hint("send application/json");
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error))
        }
    }
}

/// A body that must be JSON.
pub(super) fn parse<'a, T: serde::Deserialize<'a>>(text: &'a str, example: &str) -> Result<T, Refusal> {
    serde_json::from_str(text)
        .map_err(|e| Error::input(format!("the body is not what this path expects: {e}")).hint(example).into())
}
