//! Local engines in child processes of the same program: what crashes in native code takes its process along and
//! not the server.
//!
//! [`ProcessEngine`] is an engine like any other to its pool. Behind it, `host` starts the process and serves it
//! over its standard input and output (`frames`, `wire`); in the process, [`serve`] loads the engine and calls it
//! (`guest`). A process that ends is not started again here: its calls fail as `Unavailable`, and the pool builds
//! the engine anew, as it does for any engine that is gone.
//!
//! Nothing of a configuration and no words of a user stand on the process's command line.

mod calls;
mod frames;
mod guest;
mod host;
mod link;
mod placed;
mod relay;
mod wire;

use std::sync::Arc;

use futures::{StreamExt, stream};
use tokio::sync::mpsc;

use self::calls::Outcome;
use self::host::{Host, Plan};
use self::link::{Link, Outgoing};
use self::wire::{CallId, Description, Load, Output, Request, ToEngine, WINDOW};
use super::LoadError;
use super::catalog::Resources;
use super::worker::raised;
use crate::engine::compute::Urgency;
use crate::engine::llm::{LlmEngine, LlmEvent, LlmRequest};
use crate::engine::stt::{SttEngine, SttRequest, Transcript};
use crate::engine::tts::{TtsEngine, TtsEvent, TtsRequest};
use crate::engine::{CancelFlag, Device, EngineError, EngineFuture, EngineProcess, EngineStream};

pub use guest::serve;
pub(super) use placed::Placeable;
pub use placed::{AnyEngine, PlacedConfig};

/// RAM that a process takes before its engine is loaded: the program itself, its threads, what it has read of
/// libraries. Measured at 21 MiB.
pub(super) const PROCESS_BYTES: u64 = 24 << 20;

/// An engine in a process of its own.
#[derive(Debug)]
pub struct ProcessEngine {
    host: Host,
    description: Description,
}

impl ProcessEngine {
    /// Starts the process and blocks until its engine is loaded. Errors are those of the engine itself.
    pub(super) fn load(config: &PlacedConfig, resources: &Resources) -> Result<Self, LoadError> {
        let name = config.name();
        let engine = serde_json::to_string(config).map_err(|error| LoadError::Start {
            engine: name.to_owned(),
            reason: format!("its configuration cannot be written down: {error}"),
        })?;
        let (host, description) = Host::start(Plan {
            name: name.to_owned(),
            program: host::program(&resources.program),
            secrets: resources.secrets.clone(),
            load: Load { version: version(), engine, onnxruntime: resources.onnxruntime.clone() },
            gate: Arc::clone(&resources.gate),
        })?;
        let pid = host.link.pid();
        tracing::info!(engine = name, pid, "an engine runs in a process of its own");
        Ok(Self { host, description })
    }

    fn begin(
        &self,
        request: Request,
        cancel: CancelFlag,
        urgency: Option<Urgency>,
    ) -> Result<Reading, EngineError> {
        let link = Arc::clone(&self.host.link);
        let (id, outcomes) = link.calls.open(cancel.clone(), urgency)?;
        let sent = link.send(Outgoing::Message(ToEngine::Call(id, request)));
        sent.inspect_err(|_| link.calls.let_go(id))?;
        Ok(Reading { link, id, outcomes, cancel, taken: 0, is_over: false })
    }

    /// The call's outputs, each as `wanted` takes it.
    fn stream<T: Send + 'static>(
        begun: Result<Reading, EngineError>,
        wanted: fn(Output) -> Option<T>,
    ) -> EngineStream<T> {
        match begun {
            Err(error) => Box::pin(stream::iter([Err(error)])),
            Ok(reading) => Box::pin(stream::unfold(reading, move |mut reading| async move {
                let outcome = reading.next().await?;
                let off_topic = || host::off_topic(&reading.link.engine);
                let outcome = outcome.and_then(|output| wanted(output).ok_or_else(off_topic));
                Some((outcome, reading))
            })),
        }
    }

    fn process(&self) -> Option<EngineProcess> {
        let link = &self.host.link;
        Some(EngineProcess { pid: link.pid(), is_running: link.is_running() })
    }
}

impl SttEngine for ProcessEngine {
    fn transcribe(&self, request: SttRequest, cancel: CancelFlag) -> EngineFuture<Transcript> {
        let begun = self.begin(Request::Transcribe(request.into()), cancel, None);
        let mut outcome = Self::stream(begun, Output::transcript);
        let engine = self.host.link.engine.clone();
        Box::pin(async move {
            let reason = "its process ended the call without an answer".to_owned();
            outcome.next().await.unwrap_or(Err(EngineError::Failed { engine, reason }))
        })
    }

    fn languages(&self) -> Vec<String> {
        self.description.languages.clone()
    }

    fn tells_word_times(&self) -> bool {
        self.description.word_times
    }

    fn process(&self) -> Option<EngineProcess> {
        self.process()
    }

    fn device(&self) -> Device {
        self.description.device
    }
}

impl LlmEngine for ProcessEngine {
    fn generate(&self, request: LlmRequest, cancel: CancelFlag) -> EngineStream<LlmEvent> {
        let urgency = request.urgency.clone();
        let request = Request::Generate(Box::new(request.into()));
        Self::stream(self.begin(request, cancel, Some(urgency)), Output::answer)
    }

    fn process(&self) -> Option<EngineProcess> {
        self.process()
    }

    fn device(&self) -> Device {
        self.description.device
    }
}

impl TtsEngine for ProcessEngine {
    fn synthesize(&self, request: TtsRequest, cancel: CancelFlag) -> EngineStream<TtsEvent> {
        Self::stream(self.begin(Request::Synthesize(request), cancel, None), Output::speech)
    }

    fn voices(&self) -> Vec<String> {
        self.description.voices.clone()
    }

    fn languages(&self) -> Vec<String> {
        self.description.languages.clone()
    }

    fn process(&self) -> Option<EngineProcess> {
        self.process()
    }

    fn device(&self) -> Device {
        self.description.device
    }
}

/// The reader's end of a call. Dropping it ends the call.
struct Reading {
    link: Arc<Link>,
    id: CallId,
    outcomes: mpsc::Receiver<Outcome>,
    cancel: CancelFlag,
    /// Outputs that the process has not been told of.
    taken: usize,
    is_over: bool,
}

impl Reading {
    async fn next(&mut self) -> Option<Outcome> {
        if self.is_over {
            return None;
        }
        let outcome = tokio::select! {
            biased;
            outcome = self.outcomes.recv() => outcome,
            () = raised(&self.cancel) => Some(Err(EngineError::Cancelled)),
        };
        self.is_over = !matches!(outcome, Some(Ok(_)));
        self.count();
        outcome
    }

    /// Lets more outputs come. Where the way is full, the next one that is taken says it too.
    fn count(&mut self) {
        self.taken += 1;
        let taken = u32::try_from(self.taken).unwrap_or(u32::MAX);
        if !self.is_over
            && self.taken >= WINDOW / 2
            && self.link.send(Outgoing::Message(ToEngine::Taken(self.id, taken))).is_ok()
        {
            self.taken = 0;
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.link.calls.abandon(self.id);
        // Where the way is full, whoever writes looks by itself soon.
        self.link.send(Outgoing::Look).ok();
    }
}

/// Server and process must be of one build; their version is what can be told of that.
fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
