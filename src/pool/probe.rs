//! Whether an engine works: a real inference, as small as it gets. An endpoint that nobody used for a while is only
//! asked whether it is there: it may charge for inferences, and this keeps its connection warm.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::time::timeout;

use crate::engine::compute::Urgency;
use crate::engine::llm::{ChatMessage, ChatRole, LlmEngine, LlmRequest, ToolChoice, Truncation};
use crate::engine::stt::{STT_SAMPLE_RATE, SttEngine, SttRequest};
use crate::engine::tts::{TtsEngine, TtsEvent, TtsRequest};
use crate::engine::{CancelFlag, EngineError};

/// An engine that can be tried.
pub trait Probed: Send + Sync + 'static {
    /// Makes the smallest real call and reads its whole answer.
    fn probe(self: Arc<Self>, cancel: CancelFlag) -> BoxFuture<'static, Result<(), EngineError>>;

    /// Asks an endpoint whether it is there; the smallest real call where there is no endpoint.
    fn look(self: Arc<Self>, cancel: CancelFlag) -> BoxFuture<'static, Result<(), EngineError>>;
}

/// How closely an engine is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Depth {
    /// It has not failed.
    Look,
    /// It has failed, and is to serve again.
    Call,
}

/// Half a second of silence: what the engine hears in it does not matter.
const SILENCE: usize = STT_SAMPLE_RATE as usize / 2;

impl Probed for dyn SttEngine {
    fn probe(self: Arc<Self>, cancel: CancelFlag) -> BoxFuture<'static, Result<(), EngineError>> {
        let request = SttRequest {
            audio: Arc::from(vec![0.0; SILENCE]),
            language: None,
            prompt: None,
            word_times: false,
        };
        let call = self.transcribe(request, cancel);
        Box::pin(async move { call.await.map(|_transcript| ()) })
    }

    fn look(self: Arc<Self>, cancel: CancelFlag) -> BoxFuture<'static, Result<(), EngineError>> {
        self.reach(cancel.clone()).unwrap_or_else(|| self.probe(cancel))
    }
}

impl Probed for dyn LlmEngine {
    fn probe(self: Arc<Self>, cancel: CancelFlag) -> BoxFuture<'static, Result<(), EngineError>> {
        let request = LlmRequest {
            messages: Arc::from([ChatMessage::text(ChatRole::User, "Hello.")]),
            tools: Arc::from([]),
            tool_choice: ToolChoice::None,
            max_tokens: Some(1),
            truncation: Truncation::default(),
            urgency: Urgency::default(),
        };
        let mut answer = self.generate(request, cancel);
        Box::pin(async move {
            while let Some(event) = answer.next().await {
                event?;
            }
            Ok(())
        })
    }

    fn look(self: Arc<Self>, cancel: CancelFlag) -> BoxFuture<'static, Result<(), EngineError>> {
        self.reach(cancel.clone()).unwrap_or_else(|| self.probe(cancel))
    }
}

impl Probed for dyn TtsEngine {
    fn probe(self: Arc<Self>, cancel: CancelFlag) -> BoxFuture<'static, Result<(), EngineError>> {
        let voice = self.voices().into_iter().next().unwrap_or_default();
        let mut speech = self.synthesize(TtsRequest { text: "Yes.".to_owned(), voice, speed: 1.0 }, cancel);
        Box::pin(async move {
            let mut has_audio = false;
            while let Some(event) = speech.next().await {
                has_audio |= matches!(event?, TtsEvent::Audio(_));
            }
            let reason = "it spoke without a sound".to_owned();
            has_audio.then_some(()).ok_or(EngineError::Failed { engine: "tts".to_owned(), reason })
        })
    }

    fn look(self: Arc<Self>, cancel: CancelFlag) -> BoxFuture<'static, Result<(), EngineError>> {
        self.reach(cancel.clone()).unwrap_or_else(|| self.probe(cancel))
    }
}

/// Runs a probe to its end, at most for so long.
pub(super) async fn run<E: Probed + ?Sized>(
    engine: Arc<E>,
    depth: Depth,
    (instance, limit): (&str, Duration),
) -> Result<(), EngineError> {
    let cancel = CancelFlag::new();
    let _stop = cancel.guard();
    let waited_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let probe = std::panic::AssertUnwindSafe(match depth {
        Depth::Look => engine.look(cancel),
        Depth::Call => engine.probe(cancel),
    });
    let late = |_| Err(EngineError::TimedOut { engine: instance.to_owned(), phase: "a probe", waited_ms });
    let panicked = || EngineError::Failed { engine: instance.to_owned(), reason: "it panicked".to_owned() };
    let probe = futures::FutureExt::catch_unwind(probe);
    let flat = async { probe.await.unwrap_or_else(|_panic| Err(panicked())) };
    timeout(limit, flat).await.unwrap_or_else(late)
}
