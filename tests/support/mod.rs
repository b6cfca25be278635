//! A session on scripted engines, driven by commands instead of a socket, under paused time.

use std::sync::Arc;
use std::time::Duration;

use antiphon::audio::{AudioFormat, pcm};
use antiphon::backend::scripted::{ScriptedLlm, ScriptedStt, ScriptedTts, ScriptedVad, ScriptedVadConfig};
use antiphon::engine::llm::{LlmEngine, ToolChoice, Truncation};
use antiphon::engine::stt::SttEngine;
use antiphon::engine::tts::TtsEngine;
use antiphon::engine::vad::VadEngine;
use antiphon::pool::{
    DegradationSignal, Instance, PoolsConfig, ResourcePool, ResourcePoolManager, Scheduler,
};
use antiphon::runtime::Runtime;
use antiphon::session::admission::{AdmissionConfig, AdmissionLimits, Entry};
use antiphon::session::conversation::{Content, Item, ItemBody, ItemStatus, Previous, Role};
use antiphon::session::event::{ResponseEvent, ResponseView};
use antiphon::session::id::ItemId;
use antiphon::session::router::OpenSession;
use antiphon::session::settings::{
    EchoSettings, Modality, Purpose, SessionSettings, Transcription, TurnDetection,
};
use antiphon::session::translation::{Translation, TranslationDesk};
use antiphon::session::{
    Action, AdmissionGate, FeaturesConfig, LiveConfig, LiveSettings, Owner, SessionCommand,
    SessionComponentFactory, SessionConfig, SessionError, SessionEvent, SessionRouter,
};
use tokio::time::timeout;

/// Long enough for whatever is scripted; under paused time it costs nothing.
const DEADLINE: Duration = Duration::from_secs(120);

/// Engines, pools and a router.
pub(crate) struct Stage {
    pub(crate) stt: Arc<ScriptedStt>,
    pub(crate) llm: Arc<ScriptedLlm>,
    pub(crate) tts: Arc<ScriptedTts>,
    pub(crate) runtime: Runtime,
    pub(crate) router: SessionRouter,
    pub(crate) admission: AdmissionGate,
    pub(crate) pools: ResourcePoolManager,
}

impl Stage {
    pub(crate) fn new(stt: ScriptedStt, llm: ScriptedLlm) -> Self {
        Self::with_config(stt, llm, SessionConfig::default())
    }

    pub(crate) fn with_config(stt: ScriptedStt, llm: ScriptedLlm, config: SessionConfig) -> Self {
        Self::build((stt, llm), loudness(), config)
    }

    /// With another voice activity; the other engines echo.
    pub(crate) fn with_vad(vad: Arc<dyn VadEngine>, config: SessionConfig) -> Self {
        Self::build((ScriptedStt::saying(1, "Hello."), ScriptedLlm::echoing()), vad, config)
    }

    fn build((stt, llm): (ScriptedStt, ScriptedLlm), vad: Arc<dyn VadEngine>, config: SessionConfig) -> Self {
        let (stt, llm, tts) = (Arc::new(stt), Arc::new(llm), Arc::new(ScriptedTts::humming(5)));
        let scheduler = Scheduler::new(&pools_config());
        let pools = ResourcePoolManager {
            stt: pool("stt", Arc::clone(&stt) as Arc<dyn SttEngine>, &scheduler),
            llm: pool("llm", Arc::clone(&llm) as Arc<dyn LlmEngine>, &scheduler),
            tts: pool("tts", Arc::clone(&tts) as Arc<dyn TtsEngine>, &scheduler),
            scheduler,
            degradation: DegradationSignal::default(),
        };
        let (runtime, router) = router_with(&pools, vad, config);
        Self { stt, llm, tts, runtime, router, admission: open_gate(), pools }
    }

    pub(crate) fn open(&self) -> Client {
        self.open_with(|_| {})
    }

    pub(crate) fn open_with(&self, change: impl FnOnce(&mut SessionSettings)) -> Client {
        let mut settings = settings();
        change(&mut settings);
        Client::admitted(&self.router, settings, &self.admission)
    }

    /// A session of this API key.
    pub(crate) fn open_as(&self, name: &str) -> Client {
        Client::of(&self.router, &Owner(name.into()), settings(), &self.admission)
    }
}

/// Sessions on these pools.
pub(crate) fn router(pools: &ResourcePoolManager, config: SessionConfig) -> (Runtime, SessionRouter) {
    router_with(pools, loudness(), config)
}

fn loudness() -> Arc<dyn VadEngine> {
    Arc::new(ScriptedVad::new(&ScriptedVadConfig::default()))
}

fn router_with(
    pools: &ResourcePoolManager,
    vad: Arc<dyn VadEngine>,
    config: SessionConfig,
) -> (Runtime, SessionRouter) {
    let runtime = Runtime::new();
    let factory = SessionComponentFactory {
        translations: TranslationDesk::new(pools.clone(), runtime.clone()),
        pools: pools.clone(),
        vad,
        turn: None,
        runtime: runtime.clone(),
        // Scripts count calls, one a turn; tests of partials switch them on.
        live: LiveConfig::new(LiveSettings::new(config, features(false))),
    };
    let router = SessionRouter::new(factory);
    (runtime, router)
}

pub(crate) fn features(partials: bool) -> FeaturesConfig {
    FeaturesConfig { partials, ..FeaturesConfig::default() }
}

/// A gate with room for all that tests open.
pub(crate) fn open_gate() -> AdmissionGate {
    AdmissionGate::new(AdmissionLimits::new(100, &AdmissionConfig::default()))
}

/// Breakers stay closed: what they do is tested with the pools, and here faults come in rows.
fn pools_config() -> PoolsConfig {
    PoolsConfig { breaker_failures: u32::MAX, ..PoolsConfig::default() }
}

fn pool<E: ?Sized>(name: &'static str, engine: Arc<E>, scheduler: &Scheduler) -> ResourcePool<E> {
    ResourcePool::new(name, vec![Instance::new(name, engine, 4)], scheduler, &pools_config())
}

pub(crate) fn settings() -> SessionSettings {
    SessionSettings {
        purpose: Purpose::Conversation,
        model: "test".to_owned(),
        instructions: String::new(),
        modality: Modality::Audio,
        input_format: AudioFormat::Pcm16,
        output_format: AudioFormat::Pcm16,
        transcription: Some(Transcription::default()),
        logprobs: false,
        translate_to: Arc::from([]),
        turn_detection: Some(TurnDetection::default()),
        voice: "alloy".to_owned(),
        speed: 1.0,
        tools: Arc::from([]),
        tool_choice: ToolChoice::Auto,
        max_output_tokens: None,
        truncation: Truncation::default(),
        echo: EchoSettings::default(),
    }
}

/// What a client sees of its session.
pub(crate) struct Client {
    pub(crate) session: OpenSession,
    pub(crate) seen: Vec<SessionEvent>,
}

impl Client {
    pub(crate) fn open(router: &SessionRouter, settings: SessionSettings) -> Self {
        Self::admitted(router, settings, &open_gate())
    }

    fn admitted(router: &SessionRouter, settings: SessionSettings, gate: &AdmissionGate) -> Self {
        Self::of(router, &Owner::anonymous(), settings, gate)
    }

    fn of(router: &SessionRouter, owner: &Owner, settings: SessionSettings, gate: &AdmissionGate) -> Self {
        let Entry::Admitted(permit) = gate.enter() else { panic!("there is room") };
        let session = router.open(owner, settings, permit).expect("it opens");
        Self { session, seen: Vec::new() }
    }

    pub(crate) async fn send(&self, action: Action) {
        let command = SessionCommand { client_event_id: Some("from-test".to_owned()), action };
        self.session.commands.send(command).await.expect("the session runs");
    }

    /// Sends `ms` of a loud tone, or of silence, in chunks of 20 ms at the pace of a microphone.
    pub(crate) async fn sound(&self, loud: bool, ms: usize) {
        for _ in 0..ms / 20 {
            let samples: Vec<i16> = (0..480)
                .map(|at| {
                    if loud && (at / 20) % 2 == 0 {
                        8_000
                    } else if loud {
                        -8_000
                    } else {
                        0
                    }
                })
                .collect();
            self.send(Action::AppendAudio(pcm::to_le_bytes(&samples))).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Says something and falls silent.
    pub(crate) async fn say(&self, ms: usize) {
        self.sound(true, ms).await;
        self.sound(false, 1_400).await;
    }

    pub(crate) async fn write(&self, text: &str) {
        let content = vec![Content::InputText(text.to_owned())];
        let body = ItemBody::Message { role: Role::User, content };
        let item = Item { id: ItemId::random(), status: ItemStatus::Completed, body };
        self.send(Action::CreateItem { previous: Previous::Last, item }).await;
    }

    pub(crate) async fn next(&mut self) -> SessionEvent {
        let event = timeout(DEADLINE, self.session.events.recv()).await;
        let event = event.expect("an event in time").expect("the session runs");
        self.seen.push(event.clone());
        event
    }

    /// Waits for the first event that `found` takes.
    pub(crate) async fn until<T>(&mut self, mut found: impl FnMut(&SessionEvent) -> Option<T>) -> T {
        loop {
            if let Some(result) = found(&self.next().await) {
                return result;
            }
        }
    }

    pub(crate) async fn response_done(&mut self) -> ResponseView {
        self.until(|event| match event {
            SessionEvent::Response(ResponseEvent::Done(view)) => Some((**view).clone()),
            _ => None,
        })
        .await
    }

    /// Names of what was seen, repeats of one kind folded.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.seen.iter().map(name).collect();
        names.dedup();
        names
    }
}

pub(crate) fn respond() -> Action {
    Action::CreateResponse(Box::default())
}

/// The error that a command of [`Client::send`] was answered with.
pub(crate) fn error(event: &SessionEvent) -> Option<SessionError> {
    match event {
        SessionEvent::Error { error, client_event_id } => {
            assert_eq!(client_event_id.as_deref(), Some("from-test"));
            Some(error.clone())
        }
        _ => None,
    }
}

/// The text of a response's message.
pub(crate) fn spoken_text(view: &ResponseView) -> String {
    view.output
        .iter()
        .filter_map(|item| match &item.body {
            ItemBody::Message { content, .. } => Some(content),
            _ => None,
        })
        .flatten()
        .map(|part| match part {
            Content::OutputAudio(text) | Content::OutputText(text) => text.clone(),
            other => panic!("not something a model says: {other:?}"),
        })
        .collect()
}

pub(crate) fn name(event: &SessionEvent) -> &'static str {
    match event {
        SessionEvent::Created(_) => "session.created",
        SessionEvent::Updated(_) => "session.updated",
        SessionEvent::Error { .. } => "error",
        SessionEvent::SpeechStarted { .. } => "speech_started",
        SessionEvent::SpeechStopped { .. } => "speech_stopped",
        SessionEvent::InputCommitted { .. } => "committed",
        SessionEvent::InputCleared => "cleared",
        SessionEvent::IdleTimeout { .. } => "timeout_triggered",
        SessionEvent::ItemAdded { .. } => "item.added",
        SessionEvent::ItemDone { .. } => "item.done",
        SessionEvent::ItemRetrieved(_) => "item.retrieved",
        SessionEvent::ItemTruncated { .. } => "item.truncated",
        SessionEvent::ItemDeleted(_) => "item.deleted",
        SessionEvent::TranscriptionDelta { .. } => "transcription.delta",
        SessionEvent::TranscriptionCompleted { .. } => "transcription.completed",
        SessionEvent::TranscriptionFailed { .. } => "transcription.failed",
        SessionEvent::Translation(notice) => translation_name(&notice.translation),
        SessionEvent::Response(event) => response_name(event),
        SessionEvent::Closing(_) => "closing",
    }
}

fn translation_name(translation: &Translation) -> &'static str {
    match translation {
        Translation::Partial { .. } => "translation.partial",
        Translation::Completed { .. } => "translation.completed",
        Translation::Failed(_) => "translation.failed",
    }
}

fn response_name(event: &ResponseEvent) -> &'static str {
    match event {
        ResponseEvent::Created(_) => "response.created",
        ResponseEvent::ItemAdded(..) => "output_item.added",
        ResponseEvent::PartAdded(..) => "content_part.added",
        ResponseEvent::TextDelta(..) => "text.delta",
        ResponseEvent::TranscriptDelta(..) => "transcript.delta",
        ResponseEvent::AudioDelta(..) => "audio.delta",
        ResponseEvent::TextDone(..) => "text.done",
        ResponseEvent::AudioDone(_) => "audio.done",
        ResponseEvent::TranscriptDone(..) => "transcript.done",
        ResponseEvent::PartDone(..) => "content_part.done",
        ResponseEvent::ArgumentsDelta(..) => "arguments.delta",
        ResponseEvent::ArgumentsDone(..) => "arguments.done",
        ResponseEvent::ItemDone(..) => "output_item.done",
        ResponseEvent::Done(_) => "response.done",
    }
}
