//! `/config` and `/mode`.

use axum::extract::{Path, Query, Request, State};
use fleuve_registry::{Code, Compatibility, Registry, RegistryError};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::not_offered;
use super::wire::{Answer, Flags, Refused, Reply, body};

/// The only mode there is.
const MODE: &str = "READWRITE";

fn shown(level: Compatibility) -> Value {
    json!({"compatibilityLevel": level.as_str()})
}

pub(super) async fn level(State(registry): State<Registry>) -> Reply<Value> {
    Reply(shown(registry.default_level()))
}

pub(super) async fn set_level(State(registry): State<Registry>, request: Request) -> Answer<Value> {
    set(&registry, "", request).await
}

pub(super) async fn reset_level(State(registry): State<Registry>) -> Answer<Value> {
    let before = registry.default_level();
    registry.set_level("", None).await?;
    Ok(Reply(shown(before)))
}

pub(super) async fn subject_level(
    State(registry): State<Registry>,
    Path(subject): Path<String>,
    Query(flags): Query<Flags>,
) -> Answer<Value> {
    let level = if flags.default_to_global { registry.level(&subject) } else { registry.own_level(&subject)? };
    Ok(Reply(shown(level)))
}

pub(super) async fn set_subject_level(
    State(registry): State<Registry>,
    Path(subject): Path<String>,
    request: Request,
) -> Answer<Value> {
    set(&registry, &subject, request).await
}

pub(super) async fn reset_subject_level(
    State(registry): State<Registry>,
    Path(subject): Path<String>,
) -> Answer<Value> {
    let before = registry.own_level(&subject)?;
    registry.set_level(&subject, None).await?;
    Ok(Reply(shown(before)))
}

#[derive(Deserialize)]
struct ConfigBody {
    compatibility: Option<String>,
    /// Schemas are always kept in normal form, so this may be said or not.
    #[serde(rename = "normalize")]
    _normalize: Option<bool>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

async fn set(registry: &Registry, subject: &str, request: Request) -> Answer<Value> {
    let asked: ConfigBody = body(request).await?;
    if let Some((what, _)) = asked.rest.iter().find(|(_, value)| !value.is_null()) {
        return Err(not_offered(&format!("The setting '{what}' is")));
    }
    let word = asked.compatibility.unwrap_or_default();
    let level = Compatibility::from_word(&word).ok_or_else(|| {
        let message = "Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive";
        RegistryError::new(Code::InvalidCompatibility, message)
    })?;
    registry.set_level(subject, Some(level)).await?;
    Ok(Reply(json!({"compatibility": level.as_str()})))
}

pub(super) async fn mode() -> Reply<Value> {
    Reply(json!({"mode": MODE}))
}

pub(super) async fn subject_mode(Path(subject): Path<String>, Query(flags): Query<Flags>) -> Answer<Value> {
    if flags.default_to_global {
        return Ok(Reply(json!({"mode": MODE})));
    }
    let message = format!("Subject '{subject}' does not have subject-level mode configured");
    Err(RegistryError::new(Code::NoSubjectMode, message).into())
}

pub(super) async fn set_mode() -> Refused {
    not_offered("Modes other than READWRITE are")
}
