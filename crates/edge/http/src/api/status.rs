//! `GET /healthz`, `GET /readyz`, `GET /metrics`, `GET /v1/status`

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::json;

use super::Api;

pub(super) async fn healthz(State(api): State<Api>) -> impl IntoResponse {
    if api.observe.ready() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "starting\n") }
}

pub(super) async fn readyz(State(api): State<Api>) -> impl IntoResponse {
    match api.observe.not_ready() {
        None => (StatusCode::OK, Json(json!({"ready": true}))),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"ready": false, "reason": reason}))),
    }
}

pub(super) async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.observe.metrics())
}

pub(super) async fn status(State(api): State<Api>) -> impl IntoResponse {
    Json(api.observe.status())
}
