//! The routes of the main door, one file per verb.

mod apply;
mod flamegraph;
mod page;
mod query;
mod replay;
mod request;
mod status;
mod subscribe;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use fleuve_types::{Error, ErrorKind};
use tokio::sync::Semaphore;

use crate::error::Refusal;
use crate::{Observe, Sql};

pub use apply::MAX_APPLY_FILES;
pub use page::openapi;
pub use query::MAX_JSON_BYTES;
pub use request::MAX_BODY_BYTES;

/// Most queries over HTTP at once; one more is told to come back.
pub const MAX_QUERIES: usize = 64;
/// Most subscriptions over HTTP at once; one more is told to come back.
pub const MAX_SUBSCRIPTIONS: usize = 256;

/// What the routes work on.
#[derive(Clone)]
pub struct Api {
    sql: Arc<dyn Sql>,
    observe: Arc<dyn Observe>,
    queries: Arc<Semaphore>,
    subscriptions: Arc<Semaphore>,
    profiles: Arc<Semaphore>,
}

impl Api {
    /// The routes' view of the platform.
    pub fn new(sql: Arc<dyn Sql>, observe: Arc<dyn Observe>) -> Self {
        Self {
            sql,
            observe,
            queries: Arc::new(Semaphore::new(MAX_QUERIES)),
            subscriptions: Arc::new(Semaphore::new(MAX_SUBSCRIPTIONS)),
            profiles: Arc::new(Semaphore::new(1)),
        }
    }
}

/// All routes of the main door; `GET /openapi.json` describes them.
pub fn api_router(api: Api) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/openapi.json", get(page::openapi_json))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(status::metrics))
        .route("/debug/flamegraph", get(flamegraph::flamegraph))
        .route("/v1/status", get(status::status))
        .route("/v1/sql", post(query::sql))
        .route("/v1/replay", get(replay::replay))
        .route("/v1/apply", post(apply::apply))
        .route("/v1/subscribe", get(subscribe::subscribe))
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(api)
}

async fn no_route() -> Response {
    let error = Error::not_found("there is nothing at this path").hint("GET /openapi.json lists what there is");
    Refusal::from(error).into_response()
}

async fn wrong_method() -> Response {
    let error = Error::new(ErrorKind::Input, "this path does not take this method")
        .hint("GET /openapi.json lists what there is");
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error).into_response()
}

/// A place among a bounded number, held as long as the answer flows.
fn place(among: &Arc<Semaphore>, what: &str, limit: usize) -> Result<tokio::sync::OwnedSemaphorePermit, Refusal> {
    among.clone().try_acquire_owned().map_err(|_| {
        let message = format!("{limit} {what} are running, which is the limit of this door");
        Refusal::from(Error::new(ErrorKind::Retry, message).hint("try again when one has ended"))
    })
}

#[cfg(test)]
mod tests;
