//! The composition root: the only module that knows backends, pools, sessions and server, and ties them
//! together.
//!
//! [`Server::start`] loads engines, listens and says where; [`Server::stop`] ends every session, then the
//! engines, and says what did not end.

mod alerts;
mod budget;
mod governor;
mod gpus;
mod https;
pub mod plan;
mod pools;
mod reload;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::audio::AudioFormat;
use crate::backend::LoadError;
use crate::backend::catalog::{self, EngineSet};
use crate::config::{Config, Problems};
use crate::engine::llm::{ToolChoice, Truncation};
use crate::engine::model::ModelInfo;
use crate::engine::turn::TurnDetector;
use crate::engine::vad::VadEngine;
use crate::pool::memory::OverBudget;
use crate::pool::{ResourcePoolManager, Scheduler};
use crate::runtime::{DrainTimeout, Runtime};
use crate::server::tls::TlsError;
use crate::server::{ServerState, router};
use crate::session::admission::AdmissionLimits;
use crate::session::health::SessionHealth;
use crate::session::settings::{EchoSettings, Modality, Purpose, SessionSettings, TurnDetection};
use crate::session::translation::TranslationDesk;
use crate::session::{AdmissionGate, LiveConfig, LiveSettings};
use crate::session::{SessionComponentFactory, SessionConfig, SessionRouter};
use crate::store::{self, SnapshotStore, StoreError};
use crate::telemetry::gpus::{self as gpu_memory, GpuReader};
use crate::telemetry::{AlertBoard, LogFilter, Metrics, TelemetryError, clock};
use https::Https;
use reload::{Live, Reloader};

pub use crate::backend::process::serve as serve_engine;
pub use budget::{check_declared as check_memory, missing_gpus};
pub use https::check_certificate;

/// How long engines may take to end. They promise to let go of a call within 50 ms.
const ENGINE_GRACE: Duration = Duration::from_secs(5);
/// What a client that names no model is told it speaks with.
const MODEL_NAME: &str = "antiphon";

/// What hears for all sessions: voice activity, and turns' ends where there is a model for them.
type Ears = (Arc<dyn VadEngine>, Option<Arc<dyn TurnDetector>>);

/// Why the server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Engines that could not be built.
    #[error("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Engines {
        /// All of them.
        errors: Vec<LoadError>,
    },
    /// What is configured takes more memory than there is for it.
    #[error(transparent)]
    Memory(#[from] OverBudget),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}. {}", next_step(source))]
    Bind {
        /// `server.bind`.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The address of HTTPS cannot be listened on.
    #[error(
        "cannot listen on {address} (server.tls.listen): {source}. Choose another address or port there."
    )]
    BindTls {
        /// `server.tls.listen`.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no certificate for HTTPS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Sessions cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Metrics cannot be collected.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

fn next_step(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "Another program has the port: stop it, or choose another with --bind 127.0.0.1:PORT."
        }
        std::io::ErrorKind::PermissionDenied => "Ports below 1024 need rights; choose another with --bind.",
        _ => "Set server.bind to an address of this machine.",
    }
}

/// The pools, what listens, and what models there are.
type Engines = (ResourcePoolManager, Ears, Arc<[ModelInfo]>);

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    runtime: Runtime,
    state: ServerState,
    reloader: Arc<Reloader>,
    grace: Duration,
    listener: JoinHandle<()>,
    https: Option<Https>,
}

impl Server {
    /// Loads the engines, listens, and is ready.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with_logs(config, LogFilter::default()).await
    }

    /// The same, for a process whose log filter follows changes of the configuration.
    pub async fn start_with_logs(config: Config, logs: LogFilter) -> Result<Self, StartError> {
        Self::start_on(config, logs, gpu_memory::nvml_reader()).await
    }

    /// The same where `gpus` tells the memory of GPUs: tests make them up.
    pub async fn start_on(config: Config, logs: LogFilter, gpus: GpuReader) -> Result<Self, StartError> {
        budget::check_declared(&config)?;
        let metrics = Metrics::install()?;
        let (address, listener) = listen(config.server.bind).await?;
        let https = https::bind(&config.server.tls)?;
        let store = open_store(&config).await?;
        let pools_config = reload::pools_config(&config);
        let scheduler = Scheduler::new(&pools_config);
        let engines = load(&config, &scheduler).await?;
        budget::check_loaded(&config, &engines)?;
        let ears = (Arc::clone(&engines.vad), engines.turn.clone());
        let models = engines.models();
        let pools = pools::assemble(&pools_config, engines, scheduler);
        let engines = (pools, ears, models.into());
        let mut server = Self::assemble(config, (engines, store), (metrics, logs), (address, listener));
        server.watch_gpus(gpus);
        let routes = || router(server.state.clone());
        server.https = https.map(|bound| bound.serve(&server.runtime, routes(), server.grace));
        Ok(server)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of HTTPS, where that is on.
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.https.as_ref().map(|https| https.address)
    }

    /// The sessions, for whom the server serves.
    pub fn sessions(&self) -> &SessionRouter {
        &self.state.sessions
    }

    /// The pools, for tests that look at what is held.
    pub fn pools(&self) -> &ResourcePoolManager {
        &self.state.pools
    }

    /// Goes over to a configuration that was read anew, as far as it may change while the server runs: the rest
    /// is logged as waiting for a restart. One with problems changes nothing. The certificate is read again too.
    pub fn reload(&self, newer: Result<Config, Problems>) {
        self.reloader.reload(newer);
        if let Some(https) = &self.https {
            https.renew();
        }
    }

    /// Ends every session and waits for all tasks, then ends the engines' threads.
    pub async fn stop(self) -> Result<(), DrainTimeout> {
        let drained = self.runtime.drain(self.grace).await;
        if self.listener.await.is_err() {
            tracing::error!("the listener panicked");
        }
        if let Some(https) = self.https {
            https.join().await;
        }
        self.state.sessions.flush_store().await;
        drop(self.reloader);
        join_engines(self.state).await;
        drained
    }

    fn watch_gpus(&self, read: GpuReader) {
        let ServerState { runtime, gpus: board, pools, .. } = &self.state;
        let watch =
            gpus::watch(board.clone(), read, pools.scheduler.clone(), runtime.shutdown_token().clone());
        drop(runtime.spawn("gpu memory", watch));
    }

    fn assemble(
        config: Config,
        ((pools, (vad, turn), models), store): (Engines, Option<Arc<dyn SnapshotStore>>),
        (metrics, logs): (Metrics, LogFilter),
        (address, listener): (SocketAddr, TcpListener),
    ) -> Self {
        let runtime = Runtime::new();
        pools.supervise(&runtime);
        let factory = SessionComponentFactory {
            translations: TranslationDesk::new(pools.clone(), runtime.clone()),
            pools,
            vad,
            turn,
            runtime: runtime.clone(),
            live: LiveConfig::new(LiveSettings::new(config.session.clone(), config.features)),
        };
        let grace = Duration::from_millis(config.server.shutdown_grace_ms);
        let limits = AdmissionLimits::new(config.server.max_sessions, &config.server.admission);
        let (pools, admission) = (factory.pools.clone(), AdmissionGate::new(limits));
        let sessions = SessionRouter::new(factory).with_store(store);
        drop(runtime.spawn("session store", sessions.clone().tend_store(runtime.shutdown_token().clone())));
        let (server_config, defaults) = (config.server.clone(), session_defaults(&config.session));
        let alerts = AlertBoard::new(config.alerts);
        let ram_budget = Some(budget::budget(&config).ram_bytes).filter(|bytes| *bytes < u64::MAX);
        let live = Live {
            sessions: sessions.clone(),
            admission: admission.clone(),
            pools: pools.clone(),
            logs,
            alerts: alerts.clone(),
        };
        let reloader = Arc::new(Reloader::new(config, live));
        let control = Arc::clone(&reloader) as Arc<_>;
        let state = ServerState::new(
            server_config,
            defaults,
            (sessions, admission),
            (pools, models, runtime.clone()),
            (metrics, control, alerts),
        );
        state.set_ready();
        tend(&state, ram_budget);
        let listener = serve(listener, &state);
        Self { address, runtime, state, reloader, grace, listener, https: None }
    }
}

/// Starts the tasks that look after the server; they end at shutdown.
fn tend(state: &ServerState, ram_budget: Option<u64>) {
    let ServerState { runtime, sessions, admission, pools, .. } = state;
    let shutdown = || runtime.shutdown_token().clone();
    drop(runtime.spawn("admission", admission.clone().tend(shutdown())));
    let followers = (sessions.live().clone(), admission.clone());
    drop(runtime.spawn("governor", governor::govern(pools.clone(), followers, shutdown())));
    let health = SessionHealth::new(sessions.clone());
    drop(runtime.spawn("session health", health.clone().run(shutdown())));
    let (pools, admission, gpus) = (pools.clone(), admission.clone(), state.gpus.clone());
    let measured = alerts::Measured { pools, admission, health, ram_budget, gpus };
    drop(runtime.spawn("alerts", alerts::watch(state.alerts.clone(), measured, shutdown())));
    drop(runtime.spawn("metrics", fold_metrics(state.metrics.clone(), shutdown())));
}

/// Serves who comes over plain HTTP, until shutdown.
fn serve(listener: TcpListener, state: &ServerState) -> JoinHandle<()> {
    let shutdown = state.runtime.shutdown_token().clone();
    let service = router(state.clone()).into_make_service_with_connect_info::<SocketAddr>();
    // Small frames go out at once and do not wait for the client to acknowledge the last one.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a connection goes on without TCP_NODELAY");
        }
    });
    state.runtime.spawn("listener", async move {
        // Upgraded sockets are not waited for here; sessions are tasks of the runtime, which is drained.
        let served = axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the listener failed");
        }
    })
}

/// Drops the last handles to the engines, which joins their threads. One that is caught in native code may never
/// end: the process does not wait for it.
async fn join_engines(state: ServerState) {
    let pools = state.pools.stats();
    let busy = pools.iter().flat_map(|pool| &pool.instances).filter(|instance| instance.in_use > 0);
    let busy: Vec<_> = busy.map(|instance| instance.name.to_string()).collect();
    let (joined, has_joined) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("engines' end".to_owned());
    let spawned = thread.spawn(move || {
        drop(state);
        joined.send(()).ok();
    });
    let ended = tokio::time::timeout(ENGINE_GRACE, has_joined).await.is_ok_and(|joined| joined.is_ok());
    if spawned.is_err() || !ended {
        tracing::error!(engines = ?busy, "engines did not end with their calls; the process ends without them");
    }
}

/// Folds metric samples now and then, so that they take no memory where nobody scrapes them.
async fn fold_metrics(metrics: Metrics, shutdown: CancellationToken) {
    let mut every = tokio::time::interval(Metrics::UPKEEP_EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = every.tick() => metrics.upkeep(),
        }
    }
}

/// Opens where sessions are kept: a file that is read and tidied.
async fn open_store(config: &Config) -> Result<Option<Arc<dyn SnapshotStore>>, StoreError> {
    if config.serves_engines_alone() {
        return Ok(None); // there are no sessions
    }
    let (store, grace) = (config.store.clone(), Duration::from_secs(config.session.resume.grace_s));
    blocking(move || store::open(&store, grace, clock::unix_ms())).await
}

async fn listen(bind: SocketAddr) -> Result<(SocketAddr, TcpListener), StartError> {
    let error = |source| StartError::Bind { address: bind, source };
    let listener = TcpListener::bind(bind).await.map_err(error)?;
    Ok((listener.local_addr().map_err(error)?, listener))
}

/// Loads the engines: models take seconds, and the port answers meanwhile.
async fn load(config: &Config, scheduler: &Scheduler) -> Result<EngineSet, StartError> {
    let (engines, gate) = (config.engines.clone(), scheduler.gate());
    let loaded = blocking(move || catalog::load(&engines, gate)).await;
    loaded.map_err(|errors| StartError::Engines { errors })
}

/// Waits for what would hold up a tokio worker, done on a thread of its own. A panic goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn session_defaults(config: &SessionConfig) -> SessionSettings {
    SessionSettings {
        purpose: Purpose::Conversation,
        model: MODEL_NAME.to_owned(),
        instructions: config.defaults.instructions.clone(),
        modality: Modality::Audio,
        input_format: AudioFormat::Pcm16,
        output_format: AudioFormat::Pcm16,
        transcription: None,
        logprobs: false,
        translate_to: Arc::from([]),
        turn_detection: Some(TurnDetection::default()),
        voice: config.defaults.voice.clone(),
        speed: 1.0,
        tools: Arc::from([]),
        tool_choice: ToolChoice::Auto,
        max_output_tokens: None,
        truncation: Truncation::default(),
        echo: EchoSettings::default(),
    }
}
