//! `TranslationDesk`: where all sessions have texts translated. What several ask for at once is translated once,
//! and what was translated lately is remembered.
//!
//! It is the one thing that sessions share beside the engines. Nothing of one session can be read through it: an
//! answer is had only by who holds the whole text already. It is never used for conversations. A translation goes
//! on while anybody waits for it: the first one who asked may leave.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::cache::TextCache;
use crate::engine::EngineError;
use crate::engine::compute::Urgency;
use crate::engine::llm::{ChatMessage, ChatRole, FinishReason, LlmEvent, LlmRequest, ToolChoice, Truncation};
use crate::pool::{CallObserver, HolderId, LeaseRequest, ResourcePoolManager, WorkClass};
use crate::runtime::Runtime;
use crate::session::error::SessionError;
use crate::telemetry::metrics as names;

/// Tokens that a translation may have beside one for each byte of its text; what needs more has gone astray.
const SPARE_TOKENS: u32 = 64;

/// All that a translation depends on: what the model is told to do, language included, and with which text. The
/// models themselves stay the same while the server runs; what a fallback made is not remembered.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Source {
    /// The system message.
    pub instructions: Arc<str>,
    /// What is to be translated.
    pub text: Arc<str>,
}

/// Who asks, and how soon it is needed. Where one is translated already, that one's terms stand.
pub struct Terms {
    /// The session.
    pub holder: HolderId,
    /// Its place in line.
    pub class: WorkClass,
    /// Follows the call.
    pub observer: Box<dyn CallObserver>,
    /// `session.translation.cache_bytes`.
    pub cache_bytes: usize,
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms")
            .field("holder", &self.holder)
            .field("class", &self.class)
            .finish_non_exhaustive()
    }
}

type Outcome = Result<Arc<str>, SessionError>;

/// Translates for all sessions. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct TranslationDesk {
    pools: ResourcePoolManager,
    runtime: Runtime,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    cache: TextCache,
    flights: HashMap<Source, Flight>,
    count: u64,
}

/// A translation under way.
#[derive(Debug)]
struct Flight {
    number: u64,
    outcome: watch::Receiver<Option<Outcome>>,
    /// Held by those who wait; the last one who goes stops it.
    waiting: Weak<DropGuard>,
}

/// Where the outcome of a flight is told.
struct Landing {
    source: Source,
    number: u64,
    outcome: watch::Sender<Option<Outcome>>,
    cache_bytes: usize,
}

/// A translation, and whether it is what the same text would be translated to again.
struct Made {
    text: Arc<str>,
    is_lasting: bool,
}

enum Answer {
    Known(Arc<str>),
    Flying(watch::Receiver<Option<Outcome>>, Arc<DropGuard>),
}

impl TranslationDesk {
    /// A desk that remembers nothing yet.
    pub fn new(pools: ResourcePoolManager, runtime: Runtime) -> Self {
        Self { pools, runtime, state: Arc::default() }
    }

    /// Translates a text. Dropping this gives the wish up.
    pub async fn translate(&self, source: Source, terms: Terms) -> Outcome {
        let (mut outcome, _waiting) = match self.ask(source, terms) {
            Answer::Known(text) => return Ok(text),
            Answer::Flying(outcome, waiting) => (outcome, waiting),
        };
        let told = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        told.unwrap_or_else(|| Err(failed("the task that made it ended")))
    }

    /// Bytes that are remembered, about.
    pub fn cached_bytes(&self) -> usize {
        self.lock().cache.bytes()
    }

    fn ask(&self, source: Source, terms: Terms) -> Answer {
        let mut state = self.lock();
        if let Some(text) = state.cache.get(&source) {
            count("cached");
            return Answer::Known(text);
        }
        if let Some(flight) = state.flights.get(&source)
            && let Some(waiting) = flight.waiting.upgrade()
        {
            count("merged");
            return Answer::Flying(flight.outcome.clone(), waiting);
        }
        count("made");
        state.count += 1;
        let number = state.count;
        let stop = CancellationToken::new();
        let waiting = Arc::new(stop.clone().drop_guard());
        let (sender, outcome) = watch::channel(None);
        let flight = Flight { number, outcome: outcome.clone(), waiting: Arc::downgrade(&waiting) };
        state.flights.insert(source.clone(), flight);
        drop(state);
        let landing = Landing { source, number, outcome: sender, cache_bytes: terms.cache_bytes };
        self.fly(landing, terms, stop);
        Answer::Flying(outcome, waiting)
    }

    fn fly(&self, landing: Landing, terms: Terms, stop: CancellationToken) {
        let this = self.clone();
        drop(self.runtime.spawn("translation", async move {
            let outcome = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                outcome = this.call(&landing.source, terms) => Some(outcome),
            };
            this.land(landing, outcome);
        }));
    }

    /// A flight is over; `None`: nobody waits for it any more.
    fn land(&self, landing: Landing, outcome: Option<Result<Made, SessionError>>) {
        let Landing { source, number, outcome: told, cache_bytes } = landing;
        {
            let mut state = self.lock();
            if state.flights.get(&source).is_some_and(|flight| flight.number == number) {
                state.flights.remove(&source);
            }
            // What a fallback made is for those who wait; the engine that is configured would make another.
            if let Some(Ok(Made { text, is_lasting: true })) = &outcome {
                state.cache.insert(source, Arc::clone(text), cache_bytes);
                #[expect(clippy::cast_precision_loss, reason = "far fewer bytes than 2^52")]
                metrics::gauge!(names::TRANSLATION_CACHE_BYTES).set(state.cache.bytes() as f64);
            }
        }
        told.send_replace(outcome.map(|outcome| outcome.map(|made| made.text)));
    }

    async fn call(&self, source: &Source, terms: Terms) -> Result<Made, SessionError> {
        let lease = LeaseRequest {
            holder: terms.holder,
            class: terms.class,
            deadline: Instant::now() + self.pools.max_wait(),
        };
        let mut stream = self.pools.llm.generate(lease, request(source), terms.observer).await?;
        let mut text = String::new();
        while let Some(event) = stream.next().await {
            match event? {
                LlmEvent::Text(more) => text.push_str(&more),
                LlmEvent::Done { finish: FinishReason::Length, usage } => {
                    return Err(failed(&format!(
                        "its translation did not end within {} tokens",
                        usage.output
                    )));
                }
                LlmEvent::Done { .. } => break,
                LlmEvent::ToolCallStart { .. } | LlmEvent::ToolCallArguments { .. } => {}
            }
        }
        let (text, is_lasting) = (text.trim(), !stream.is_by_fallback());
        if text.is_empty() {
            Err(failed("it gave no translation"))
        } else {
            Ok(Made { text: text.into(), is_lasting })
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn request(source: &Source) -> LlmRequest {
    let messages = [(ChatRole::System, &source.instructions), (ChatRole::User, &source.text)];
    let urgency = Urgency::default();
    urgency.relax(); // a conversation's first clause goes first
    LlmRequest {
        messages: messages.map(|(role, text)| ChatMessage::text(role, text.to_string())).into(),
        tools: Arc::from([]),
        tool_choice: ToolChoice::None,
        max_tokens: u32::try_from(source.text.len()).ok().map(|bytes| bytes.saturating_add(SPARE_TOKENS)),
        urgency,
        truncation: Truncation::Disabled, // half a text is no translation
    }
}

fn failed(reason: &str) -> SessionError {
    EngineError::Failed { engine: "llm".to_owned(), reason: reason.to_owned() }.into()
}

fn count(how: &'static str) {
    metrics::counter!(names::TRANSLATION_REQUESTS_TOTAL, "how" => how).increment(1);
}
