//! `/schemas`: by global id.

use axum::extract::{Path, Query, State};
use fleuve_registry::{Code, Listed, Registry, RegistryError, Stored};
use serde_json::{Value, json};

use super::wire::{Answer, Flags, Reply, schema_fields, version_fields};

pub(super) async fn root() -> Reply<Value> {
    Reply(json!({}))
}

pub(super) async fn contexts() -> Reply<Value> {
    Reply(json!(["."]))
}

pub(super) async fn cluster() -> Reply<Value> {
    Reply(json!({"scope": {"path": [], "clusters": {"schema-registry-cluster": "fleuve"}}, "id": ""}))
}

pub(super) async fn types() -> Reply<Value> {
    Reply(json!(["JSON", "PROTOBUF", "AVRO"]))
}

pub(super) async fn list(State(registry): State<Registry>, Query(flags): Query<Flags>) -> Reply<Vec<Value>> {
    let listed = Listed {
        // Clients write `:*:` for "in every context".
        prefix: flags.subject_prefix.filter(|p| p != ":*:").unwrap_or_default(),
        deleted: flags.deleted,
        latest_only: flags.latest_only,
    };
    Reply(registry.list(&listed).iter().map(version_fields).collect())
}

fn stored(registry: &Registry, id: &str) -> Result<std::sync::Arc<Stored>, RegistryError> {
    let id = id.parse().map_err(|_| RegistryError::new(Code::SchemaNotFound, format!("Schema {id} not found")))?;
    registry.schema(id)
}

pub(super) async fn by_id(State(registry): State<Registry>, Path(id): Path<String>) -> Answer<Value> {
    Ok(Reply(schema_fields(&*stored(&registry, &id)?).into()))
}

pub(super) async fn text_by_id(State(registry): State<Registry>, Path(id): Path<String>) -> Answer<Value> {
    Ok(Reply(text_of(&*stored(&registry, &id)?)))
}

/// The schema as it is: JSON where it is JSON, else a string.
pub(super) fn text_of(stored: &Stored) -> Value {
    serde_json::from_str(&stored.draft.text).unwrap_or_else(|_| stored.draft.text.clone().into())
}

pub(super) async fn subjects_of(
    State(registry): State<Registry>,
    Path(id): Path<String>,
    Query(flags): Query<Flags>,
) -> Answer<Vec<String>> {
    let id = stored(&registry, &id)?.id;
    let mut subjects: Vec<String> = registry.uses(id, flags.deleted)?.into_iter().map(|(subject, _)| subject).collect();
    subjects.dedup();
    Ok(Reply(subjects))
}

pub(super) async fn versions_of(
    State(registry): State<Registry>,
    Path(id): Path<String>,
    Query(flags): Query<Flags>,
) -> Answer<Vec<Value>> {
    let id = stored(&registry, &id)?.id;
    let uses = registry.uses(id, flags.deleted)?;
    Ok(Reply(uses.into_iter().map(|(subject, version)| json!({"subject": subject, "version": version})).collect()))
}
