//! The calls that an engine's process runs.
//!
//! A call's [`CancelFlag`] holds the promise to tell the server when the engine has let go of it: with the last
//! clone of the flag goes [`LetGo`], as in the server the slot goes with it.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::voice::Voice;
use crate::backend::process::AnyEngine;
use crate::backend::process::wire::{CallId, FromEngine, Output, Request, WINDOW};
use crate::engine::compute::Urgency;
use crate::engine::llm::LlmRequest;
use crate::engine::{CancelFlag, EngineError, EngineStream};

/// The calls that run. Clones share them.
#[derive(Clone)]
pub(super) struct Running {
    /// The engine's name, for errors that the engine cannot tell.
    name: Arc<str>,
    calls: Arc<Mutex<HashMap<CallId, Call>>>,
}

struct Call {
    cancel: CancelFlag,
    urgency: Urgency,
    /// Raised with the flag; wakes the task at once.
    stop: CancellationToken,
    /// A permit for each output that may be sent.
    window: Arc<Semaphore>,
}

/// Tells the server that the engine has let go of a call.
struct LetGo {
    id: CallId,
    voice: Voice,
}

impl Drop for LetGo {
    fn drop(&mut self) {
        self.voice.say(&FromEngine::LetGo(self.id));
    }
}

/// The place of a call among those that run; it leaves when this is dropped.
pub(super) struct Place {
    id: CallId,
    running: Running,
    voice: Voice,
    stop: CancellationToken,
    window: Arc<Semaphore>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let call = self.running.lock().remove(&self.id);
        drop(call);
    }
}

impl Running {
    /// No calls of the engine of this name.
    pub(super) fn new(name: Arc<str>) -> Self {
        Self { name, calls: Arc::default() }
    }

    /// Begins a call.
    pub(super) fn begin(
        &self,
        (id, request): (CallId, Request),
        engine: &AnyEngine,
        voice: &Voice,
    ) -> (Place, EngineStream<Output>) {
        let cancel = CancelFlag::holding(LetGo { id, voice: voice.clone() });
        let (stop, window) = (CancellationToken::new(), Arc::new(Semaphore::new(WINDOW)));
        let urgency = Urgency::default();
        let call = Call {
            cancel: cancel.clone(),
            urgency: urgency.clone(),
            stop: stop.clone(),
            window: Arc::clone(&window),
        };
        self.lock().insert(id, call);
        let place = Place { id, running: self.clone(), voice: voice.clone(), stop, window };
        let stream = start(engine, request, cancel, urgency);
        (place, stream.unwrap_or_else(|| self.misunderstood()))
    }

    /// Nobody wants the call's outputs any more.
    pub(super) fn cancel(&self, id: CallId) {
        if let Some(call) = self.lock().get(&id) {
            call.cancel.cancel();
            call.stop.cancel();
        }
    }

    /// The same, of all calls.
    pub(super) fn cancel_all(&self) {
        for call in self.lock().values() {
            call.cancel.cancel();
            call.stop.cancel();
        }
    }

    /// Nobody waits in silence any more.
    pub(super) fn relax(&self, id: CallId) {
        if let Some(call) = self.lock().get(&id) {
            call.urgency.relax();
        }
    }

    /// So many more outputs may come.
    pub(super) fn taken(&self, id: CallId, count: u32) {
        if let Some(call) = self.lock().get(&id) {
            call.window.add_permits((count as usize).min(WINDOW));
        }
    }

    fn misunderstood(&self) -> EngineStream<Output> {
        let (engine, reason) = (self.name.to_string(), "it is of another kind".to_owned());
        Box::pin(futures::stream::iter([Err(EngineError::BadRequest { engine, reason })]))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallId, Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what the engine says, as far as the window allows, until it ends or nobody wants it.
pub(super) async fn run(place: Place, stream: EngineStream<Output>) {
    let (id, voice, stop) = (place.id, place.voice.clone(), place.stop.clone());
    let error = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        error = tell(&place, stream) => error,
    };
    voice.say(&error.map_or(FromEngine::Over(id), |error| FromEngine::Failed(id, error)));
}

/// Its outputs to the last; the error, where it ends in one.
async fn tell(place: &Place, mut stream: EngineStream<Output>) -> Option<EngineError> {
    loop {
        place.window.acquire().await.ok()?.forget();
        let panicked = |_panic| {
            let reason = "it panicked; the log says where".to_owned();
            Some(Err(EngineError::Failed { engine: place.running.name.to_string(), reason }))
        };
        let next = AssertUnwindSafe(stream.next()).catch_unwind().await.unwrap_or_else(panicked);
        match next? {
            Ok(output) => place.voice.say(&FromEngine::Output(place.id, output)),
            Err(error) => return Some(error),
        }
    }
}

/// The call; `None` where the engine is of another kind.
fn start(
    engine: &AnyEngine,
    request: Request,
    cancel: CancelFlag,
    urgency: Urgency,
) -> Option<EngineStream<Output>> {
    Some(match (engine, request) {
        (AnyEngine::Stt(engine), Request::Transcribe(utterance)) => {
            let answer = engine.transcribe(utterance.into(), cancel);
            Box::pin(answer.map(|answer| answer.map(Output::Transcript)).into_stream())
        }
        (AnyEngine::Llm(engine), Request::Generate(talk)) => {
            let request = LlmRequest::from(*talk);
            if !request.urgency.is_urgent() {
                urgency.relax();
            }
            Box::pin(engine.generate(LlmRequest { urgency, ..request }, cancel).map_ok(Output::Answer))
        }
        (AnyEngine::Tts(engine), Request::Synthesize(request)) => {
            Box::pin(engine.synthesize(request, cancel).map_ok(Output::from))
        }
        (_, _) => return None,
    })
}
