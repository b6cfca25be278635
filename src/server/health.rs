//! Is it alive, is it ready, what does it measure.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::router::ServerState;

/// The process answers.
pub(super) async fn healthz() -> Json<serde_json::Value> {
    Json(json!({"status": "ok"}))
}

/// Engines are loaded and sessions are taken.
pub(super) async fn readyz(State(state): State<ServerState>) -> Response {
    let ready = state.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": if ready { "ready" } else { "not ready" },
        "sessions": state.sessions.len(),
        "admission": state.admission.stats(),
        "pools": state.pools.stats(),
    });
    (status, Json(body)).into_response()
}

/// Metrics in Prometheus' text format.
pub(super) async fn metrics(State(state): State<ServerState>) -> Response {
    let format = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (format, state.metrics.render()).into_response()
}
