//! `GET /healthz`, `GET /metrics`, `GET /v1/status`

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::Api;

pub(super) async fn healthz(State(api): State<Api>) -> impl IntoResponse {
    if api.observe.ready() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "starting\n") }
}

pub(super) async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.observe.metrics())
}

pub(super) async fn status(State(api): State<Api>) -> impl IntoResponse {
    Json(api.observe.status())
}
