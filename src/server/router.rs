//! The routes, and what their handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};
use tokio::sync::Semaphore;
use tower_http::set_header::SetResponseHeaderLayer;
use yawc::DeflatePool;

use super::api::config::{self as config_api, ConfigControl};
use super::config::{ServerConfig, ServerRole};
use super::secrets::ClientSecrets;
use super::{api, audio, chat, client_secrets, health, models, pages, realtime, unread, websocket};
use crate::engine::model::ModelInfo;
use crate::pool::ResourcePoolManager;
use crate::runtime::Runtime;
use crate::session::settings::SessionSettings;
use crate::session::{AdmissionGate, SessionRouter};
use crate::telemetry::gpus::GpuBoard;
use crate::telemetry::{AlertBoard, Metrics};

/// What pages may load: this server's own files, and its socket.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; \
     object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

/// What handlers share. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct ServerState {
    /// How the server listens.
    pub config: Arc<ServerConfig>,
    /// What a session starts with, but for what the configuration says.
    session_defaults: Arc<SessionSettings>,
    /// Lets sessions begin.
    pub admission: AdmissionGate,
    /// Opens and finds sessions.
    pub sessions: SessionRouter,
    /// The engines, for requests without a session.
    pub pools: ResourcePoolManager,
    /// What the engines told of their models.
    pub models: Arc<[ModelInfo]>,
    /// Where readers and writers run.
    pub runtime: Runtime,
    /// Shows and changes the configuration.
    pub control: Arc<dyn ConfigControl>,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What `/api/alerts` shows.
    pub alerts: AlertBoard,
    /// Memory of GPUs, for `/api/status`.
    pub gpus: GpuBoard,
    /// What opens sessions in place of an API key.
    pub(super) secrets: ClientSecrets,
    /// Files that may be sent at once.
    pub(super) uploads: Arc<Semaphore>,
    /// Compress what goes out, for clients that take it.
    pub(super) compressors: DeflatePool,
    ready: Arc<AtomicBool>,
}

impl ServerState {
    /// The state of a server that is not ready yet.
    pub fn new(
        config: ServerConfig,
        session_defaults: SessionSettings,
        (sessions, admission): (SessionRouter, AdmissionGate),
        (pools, models, runtime): (ResourcePoolManager, Arc<[ModelInfo]>, Runtime),
        (metrics, control, alerts): (Metrics, Arc<dyn ConfigControl>, AlertBoard),
    ) -> Self {
        Self {
            session_defaults: Arc::new(session_defaults),
            admission,
            sessions,
            pools,
            models,
            runtime,
            control,
            metrics,
            alerts,
            gpus: GpuBoard::default(),
            secrets: ClientSecrets::default(),
            uploads: Arc::new(Semaphore::new(config.uploads.max_at_once)),
            compressors: websocket::compressors(),
            ready: Arc::default(),
            config: Arc::new(config),
        }
    }

    /// Says that engines answer: `/readyz` is 200 from now on.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// What a session starts with whose client names `model`, by the configuration as it is now.
    pub fn session_settings(&self, model: Option<String>) -> SessionSettings {
        let live = self.sessions.settings();
        SessionSettings {
            model: model.unwrap_or_else(|| self.session_defaults.model.clone()),
            instructions: live.config.defaults.instructions.clone(),
            voice: live.config.defaults.voice.clone(),
            ..(*self.session_defaults).clone()
        }
    }

    /// Whether the server takes sessions.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.runtime.shutdown_token().is_cancelled()
    }
}

/// What every server has: engines without a session, and what its operator asks.
fn engine_routes(state: &ServerState) -> Router<ServerState> {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::one))
        .merge(audio::routes(&state.config.uploads))
        .merge(chat::routes())
        .route("/api/config", get(config_api::show).put(config_api::change))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .merge(api::routes())
}

/// What people need who talk.
fn session_routes() -> Router<ServerState> {
    Router::new()
        .route("/v1/realtime", get(realtime::upgrade))
        .route("/v1/realtime/client_secrets", client_secrets::route())
        .route("/v1/realtime/sessions", any(client_secrets::beta))
        .route("/v1/realtime/transcription_sessions", any(client_secrets::beta))
        .merge(api::session_routes())
        .route("/", get(pages::index))
        .route("/assets/{*path}", get(pages::asset))
}

/// All routes of the server's role.
pub fn router(state: ServerState) -> Router {
    let header = |name: &'static str, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let routes = match state.config.role {
        ServerRole::All => engine_routes(&state).merge(session_routes()).fallback(pages::not_found),
        ServerRole::Engines => engine_routes(&state).fallback(pages::not_of_engines),
    };
    routes
        .layer(from_fn_with_state(state.clone(), unread::read_on))
        .layer(header("content-security-policy", CONTENT_SECURITY_POLICY))
        .layer(header("x-content-type-options", "nosniff"))
        .layer(header("referrer-policy", "no-referrer"))
        .with_state(state)
}
