//! The schema registry's door: Confluent's REST interface, paths, bodies and error codes.

mod config;
mod schemas;
mod subjects;
mod wire;

use axum::Router;
use axum::routing::{delete, get, post};
use fleuve_registry::{Code, Registry, RegistryError};

use wire::Refused;

/// All routes of the registry's door.
pub fn registry_router(registry: Registry) -> Router {
    Router::new()
        .route("/", get(schemas::root))
        .route("/contexts", get(schemas::contexts))
        .route("/v1/metadata/id", get(schemas::cluster))
        .route("/schemas", get(schemas::list))
        .route("/schemas/types", get(schemas::types))
        .route("/schemas/ids/{id}", get(schemas::by_id))
        .route("/schemas/ids/{id}/schema", get(schemas::text_by_id))
        .route("/schemas/ids/{id}/subjects", get(schemas::subjects_of))
        .route("/schemas/ids/{id}/versions", get(schemas::versions_of))
        .route("/subjects", get(subjects::list))
        .route("/subjects/{subject}", post(subjects::lookup).delete(subjects::delete_all))
        .route("/subjects/{subject}/versions", get(subjects::versions).post(subjects::register))
        .route("/subjects/{subject}/versions/{version}", get(subjects::version).delete(subjects::delete_one))
        .route("/subjects/{subject}/versions/{version}/schema", get(subjects::text))
        .route("/subjects/{subject}/versions/{version}/referencedby", get(subjects::referenced_by))
        .route("/compatibility/subjects/{subject}/versions", post(subjects::compatible_with_all))
        .route("/compatibility/subjects/{subject}/versions/{version}", post(subjects::compatible_with_one))
        .route("/config", get(config::level).put(config::set_level).delete(config::reset_level))
        .route(
            "/config/{subject}",
            get(config::subject_level).put(config::set_subject_level).merge(delete(config::reset_subject_level)),
        )
        .route("/mode", get(config::mode).put(config::set_mode))
        .route("/mode/{subject}", get(config::subject_mode).put(config::set_mode))
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(registry)
}

async fn no_route() -> Refused {
    Refused::status(404, "HTTP 404 Not Found")
}

async fn wrong_method() -> Refused {
    Refused::status(405, "HTTP 405 Method Not Allowed")
}

fn not_offered(what: &str) -> Refused {
    RegistryError::new(Code::NotPermitted, format!("{what} not supported by this registry")).into()
}

#[cfg(test)]
mod tests;
