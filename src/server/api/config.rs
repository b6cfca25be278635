//! `GET` and `PUT /api/config`: the effective configuration, and changes of it while the server runs.
//!
//! Administrators alone. What a key means and when it acts is decided behind [`ConfigControl`], which `app`
//! implements: this module knows no key.

use std::fmt::Debug;
use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::server::access::{api_error, authenticate_admin};
use crate::server::router::ServerState;

/// Shows and changes the configuration of the running server.
pub trait ConfigControl: Debug + Send + Sync {
    /// The effective values, without secrets, and which keys wait for a restart.
    fn show(&self) -> Value;

    /// Applies a patch as a whole, or nothing of it.
    fn change(&self, patch: &str, format: BodyFormat) -> Result<Value, ConfigRefusal>;
}

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// A JSON object.
    Json,
    /// As the configuration file.
    Toml,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigRefusal {
    /// The configuration would be wrong.
    Invalid(Vec<RefusedKey>),
    /// Keys that act at the next start only.
    RestartNeeded(Vec<RefusedKey>),
}

/// A key that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedKey {
    /// Dotted key; empty where the body as a whole is at fault.
    pub key: String,
    /// Why.
    pub reason: String,
    /// What to write or do instead.
    pub advice: String,
}

/// Shows the effective configuration.
pub(in crate::server) async fn show(
    State(state): State<ServerState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    match authenticate_admin(&headers, peer, &state.config) {
        Ok(_) => Json(state.control.show()).into_response(),
        Err(refusal) => *refusal,
    }
}

/// Changes keys.
pub(in crate::server) async fn change(
    State(state): State<ServerState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let owner = match authenticate_admin(&headers, peer, &state.config) {
        Ok(owner) => owner,
        Err(refusal) => return *refusal,
    };
    match state.control.change(&body, format(&headers)) {
        Ok(changed) => {
            tracing::info!(by = %owner.0, "the configuration was changed");
            Json(changed).into_response()
        }
        Err(refusal) => refused(&refusal),
    }
}

fn format(headers: &HeaderMap) -> BodyFormat {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.contains("toml") { BodyFormat::Toml } else { BodyFormat::Json }
}

fn refused(refusal: &ConfigRefusal) -> Response {
    let (status, code, message, keys) = match refusal {
        ConfigRefusal::Invalid(keys) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_config",
            "The configuration would be wrong; nothing was changed.",
            keys,
        ),
        ConfigRefusal::RestartNeeded(keys) => (
            StatusCode::CONFLICT,
            "restart_required",
            "Some keys act at the next start only; nothing was changed.",
            keys,
        ),
    };
    if keys.is_empty() {
        return api_error(status, code, message);
    }
    let error = json!({
        "type": "invalid_request_error", "code": code, "message": message, "param": keys[0].key, "keys": keys,
    });
    (status, Json(json!({"error": error}))).into_response()
}
