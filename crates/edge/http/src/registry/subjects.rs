//! `/subjects` and `/compatibility`.

use axum::extract::{Path, Query, Request, State};
use fleuve_registry::{Registry, VersionRef};
use serde_json::{Value, json};

use super::schemas::text_of;
use super::wire::{Answer, Flags, Reply, SchemaBody, body, version_fields};

pub(super) async fn list(State(registry): State<Registry>, Query(flags): Query<Flags>) -> Reply<Vec<String>> {
    let prefix = flags.subject_prefix.filter(|p| p != ":*:").unwrap_or_default();
    Reply(registry.subjects(&prefix, flags.deleted))
}

pub(super) async fn lookup(
    State(registry): State<Registry>,
    Path(subject): Path<String>,
    Query(flags): Query<Flags>,
    request: Request,
) -> Answer<Value> {
    let draft = body::<SchemaBody>(request).await?.draft()?;
    Ok(Reply(version_fields(&registry.find(&subject, draft, flags.deleted).await?)))
}

pub(super) async fn delete_all(
    State(registry): State<Registry>,
    Path(subject): Path<String>,
    Query(flags): Query<Flags>,
) -> Answer<Vec<i32>> {
    Ok(Reply(registry.delete_subject(&subject, flags.permanent).await?))
}

pub(super) async fn versions(
    State(registry): State<Registry>,
    Path(subject): Path<String>,
    Query(flags): Query<Flags>,
) -> Answer<Vec<i32>> {
    Ok(Reply(registry.versions(&subject, flags.deleted)?))
}

pub(super) async fn register(
    State(registry): State<Registry>,
    Path(subject): Path<String>,
    request: Request,
) -> Answer<Value> {
    let draft = body::<SchemaBody>(request).await?.draft()?;
    let registered = registry.submit(&subject, draft).await?;
    Ok(Reply(json!({"id": registered.schema.id})))
}

pub(super) async fn version(
    State(registry): State<Registry>,
    Path((subject, version)): Path<(String, String)>,
    Query(flags): Query<Flags>,
) -> Answer<Value> {
    Ok(Reply(version_fields(&registry.version(&subject, VersionRef::parse(&version)?, flags.deleted)?)))
}

pub(super) async fn delete_one(
    State(registry): State<Registry>,
    Path((subject, version)): Path<(String, String)>,
    Query(flags): Query<Flags>,
) -> Answer<i32> {
    Ok(Reply(registry.delete_version(&subject, VersionRef::parse(&version)?, flags.permanent).await?))
}

pub(super) async fn text(
    State(registry): State<Registry>,
    Path((subject, version)): Path<(String, String)>,
    Query(flags): Query<Flags>,
) -> Answer<Value> {
    let found = registry.version(&subject, VersionRef::parse(&version)?, flags.deleted)?;
    Ok(Reply(text_of(&found.schema)))
}

pub(super) async fn referenced_by(
    State(registry): State<Registry>,
    Path((subject, version)): Path<(String, String)>,
) -> Answer<Vec<i32>> {
    Ok(Reply(registry.referenced_by(&subject, VersionRef::parse(&version)?)?))
}

pub(super) async fn compatible_with_all(
    State(registry): State<Registry>,
    Path(subject): Path<String>,
    Query(flags): Query<Flags>,
    request: Request,
) -> Answer<Value> {
    compatible(&registry, &subject, None, flags.verbose, request).await
}

pub(super) async fn compatible_with_one(
    State(registry): State<Registry>,
    Path((subject, version)): Path<(String, String)>,
    Query(flags): Query<Flags>,
    request: Request,
) -> Answer<Value> {
    compatible(&registry, &subject, Some(VersionRef::parse(&version)?), flags.verbose, request).await
}

async fn compatible(
    registry: &Registry,
    subject: &str,
    against: Option<VersionRef>,
    verbose: bool,
    request: Request,
) -> Answer<Value> {
    let draft = body::<SchemaBody>(request).await?.draft()?;
    let why = registry.check(subject, draft, against).await?;
    let mut answer = json!({"is_compatible": why.is_empty()});
    if verbose {
        answer["messages"] = json!(why);
    }
    Ok(Reply(answer))
}
