//! Bodies in and out, and errors, as Confluent's clients expect them.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleuve_registry::{Code, Draft, Reference, RegistryError, SchemaKind, Stored, Versioned};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::not_offered;

pub(super) const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Largest body: a schema with its JSON escapes, and some references.
const MAX_BODY_BYTES: usize = 4 << 20;
/// How long a client may take to send a body.
const BODY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

pub(super) type Answer<T> = Result<Reply<T>, Refused>;

/// A JSON answer with the registry's content type.
pub(super) struct Reply<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let text = serde_json::to_string(&self.0).expect("the registry's answers are always JSON");
        ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
    }
}

/// `{"error_code": ..., "message": ...}`
#[derive(Debug)]
pub(super) struct Refused {
    status: u16,
    code: u32,
    message: String,
}

impl Refused {
    /// An error that has no code but its status.
    pub(super) fn status(status: u16, message: impl Into<String>) -> Self {
        Self { status, code: u32::from(status), message: message.into() }
    }
}

impl From<RegistryError> for Refused {
    fn from(error: RegistryError) -> Self {
        Self { status: error.status(), code: error.code as u32, message: error.message }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(error = self.message, "a registry request failed");
        }
        (status, Reply(json!({"error_code": self.code, "message": self.message}))).into_response()
    }
}

/// The body as JSON. The content type must be one that a form of another site can't send.
pub(super) async fn body<T: DeserializeOwned>(request: Request) -> Result<T, Refused> {
    let said = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let essence = said.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let own = essence.starts_with("application/vnd.schemaregistry") && essence.ends_with("+json");
    if !own && essence != "application/json" && essence != "application/octet-stream" {
        return Err(Refused::status(415, format!("HTTP 415 Unsupported Media Type: send {CONTENT_TYPE}")));
    }
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(request.into_body(), MAX_BODY_BYTES)).await;
    let read = read.map_err(|_| Refused::status(408, "HTTP 408 Request Timeout"))?;
    let bytes = read.map_err(|_| {
        Refused::status(413, format!("The body can't be read, or is longer than {MAX_BODY_BYTES} bytes"))
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|e| RegistryError::new(Code::BadRequest, format!("The body is not what is expected: {e}")).into())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SchemaBody {
    schema: Option<String>,
    schema_type: Option<String>,
    references: Option<Vec<Reference>>,
    id: Option<i64>,
    metadata: Option<Value>,
    rule_set: Option<Value>,
}

impl SchemaBody {
    pub(super) fn draft(self) -> Result<Draft, Refused> {
        let empty = |v: &Value| v.is_null() || v.as_object().is_some_and(Map::is_empty);
        if self.rule_set.is_some_and(|v| !empty(&v)) {
            return Err(not_offered("Data rules (ruleSet) are"));
        }
        if self.metadata.is_some_and(|v| !empty(&v)) {
            return Err(not_offered("Schema metadata is"));
        }
        if self.id.is_some_and(|id| id > 0) {
            return Err(not_offered("Import mode (registering under a given id) is"));
        }
        let kind = match self.schema_type.as_deref() {
            None | Some("") => SchemaKind::Avro,
            Some(word) => SchemaKind::from_word(word)
                .ok_or_else(|| RegistryError::new(Code::InvalidSchema, format!("Invalid schema type {word}")))?,
        };
        let text = self.schema.filter(|s| !s.is_empty());
        let text = text.ok_or_else(|| RegistryError::new(Code::InvalidSchema, "Empty schema"))?;
        Ok(Draft { kind, text, references: self.references.unwrap_or_default() })
    }
}

/// `schema`, and what differs from plain Avro.
pub(super) fn schema_fields(stored: &Stored) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("schema".into(), stored.draft.text.clone().into());
    if stored.draft.kind != SchemaKind::Avro {
        fields.insert("schemaType".into(), stored.draft.kind.as_str().into());
    }
    if !stored.draft.references.is_empty() {
        fields.insert("references".into(), json!(stored.draft.references));
    }
    fields
}

pub(super) fn version_fields(version: &Versioned) -> Value {
    let mut fields = Map::new();
    fields.insert("subject".into(), version.subject.clone().into());
    fields.insert("version".into(), version.version.into());
    fields.insert("id".into(), version.schema.id.into());
    fields.extend(schema_fields(&version.schema));
    if version.deleted {
        fields.insert("deleted".into(), true.into());
    }
    fields.into()
}

/// The flags that Confluent's paths take; absent, or anything but `true`, is false.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Flags {
    #[serde(deserialize_with = "flag")]
    pub(super) deleted: bool,
    #[serde(deserialize_with = "flag")]
    pub(super) permanent: bool,
    #[serde(deserialize_with = "flag")]
    pub(super) verbose: bool,
    #[serde(deserialize_with = "flag")]
    pub(super) default_to_global: bool,
    #[serde(deserialize_with = "flag")]
    pub(super) latest_only: bool,
    pub(super) subject_prefix: Option<String>,
}

fn flag<'de, D: serde::Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(String::deserialize(from)?.eq_ignore_ascii_case("true"))
}
