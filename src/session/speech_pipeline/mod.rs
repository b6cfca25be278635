//! `SpeechPipelineManager`: runs the engines for one session: speech to text, then language model → clauses →
//! speech, each on a slot leased for that call alone.
//!
//! It knows nothing of turns or history: it is given audio or messages and a key, and answers with events that
//! carry the key, or on a channel that belongs to one reply. Dropping a [`Job`] or a [`Reply`] stops the work
//! behind it. Read [`SpeechPipelineManager::transcribe`] and [`SpeechPipelineManager::reply`], then `reply`.

mod engine_time;
mod outbound;
mod reply;

pub use reply::{ClauseWords, Reply, ReplyEnd, ReplyEvent, ReplyRequest, ReplyTimings, SpeechSettings};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::error::SessionError;
use super::health::SessionGauge;
use super::lifecycle::{Outcome, RequestTracker};
use super::turn::TurnKey;
use crate::engine::CancelFlag;
use crate::engine::stt::{STT_SAMPLE_RATE, SttRequest, Transcript};
use crate::engine::turn::TurnDetector;
use crate::pool::{Degradation, HolderId, LeaseRequest, ResourcePoolManager, Served, WorkClass};
use crate::runtime::Runtime;
use crate::telemetry::metrics as names;
pub(super) use engine_time::EngineTime;

/// Transcripts that wait for the session's task: one for each attempt that can be under way, and a partial.
pub const TRANSCRIPTS_CAPACITY: usize = 16;

/// How long the verdict on a turn's end is waited for; a silence that ends one takes about as long.
const JUDGING: Duration = Duration::from_millis(400);

/// The engines as one session uses them.
#[derive(Clone, Debug)]
pub struct SpeechPipelineManager {
    pools: ResourcePoolManager,
    runtime: Runtime,
    holder: HolderId,
    transcripts: mpsc::Sender<TranscriptEvent>,
    turn: Option<Arc<dyn TurnDetector>>,
}

/// The outcome of one transcription.
#[derive(Debug)]
pub struct TranscriptEvent {
    /// The attempt that it belongs to, or the partial that it is.
    pub key: TurnKey,
    /// Whether the person still spoke; then the key is one of [`Partials`](super::partials::Partials).
    pub is_partial: bool,
    /// Length of the audio in seconds.
    pub seconds: f64,
    /// The text, or why there is none.
    pub result: Result<TimedTranscript, SessionError>,
}

/// A transcript and what it took.
#[derive(Debug)]
pub struct TimedTranscript {
    /// What was said.
    pub transcript: Transcript,
    /// Waiting for a slot.
    pub queued: Duration,
    /// The engine's work.
    pub took: Duration,
    /// Probability that the turn is over, by the voice; `None` where nobody judged it.
    pub is_over: Option<f32>,
}

/// Work under way; dropping it stops the work.
#[derive(Debug)]
#[must_use = "dropping the job stops it"]
pub struct Job {
    _guard: DropGuard,
}

/// An utterance to transcribe.
#[derive(Debug)]
pub struct Utterance {
    /// The attempt that it belongs to.
    pub key: TurnKey,
    /// 16 kHz mono in [-1, 1].
    pub audio: Arc<[f32]>,
    /// ISO 639-1 code, if the client said.
    pub language: Option<String>,
    /// Words likely to be said.
    pub prompt: Option<String>,
    /// The audio with its pauses, where the turn may be over and it is to be judged whether it is.
    pub ending: Option<Arc<[f32]>>,
    /// Follows it.
    pub request: RequestTracker,
}

/// An utterance to transcribe while it is being spoken.
#[derive(Debug)]
pub struct PartialUtterance {
    /// Names it.
    pub key: TurnKey,
    /// 16 kHz mono in [-1, 1].
    pub audio: Arc<[f32]>,
    /// ISO 639-1 code, if the client said.
    pub language: Option<String>,
    /// Words likely to be said.
    pub prompt: Option<String>,
    /// Where the engine's time is booked. A partial is no request of its own: it has no record.
    pub gauge: Arc<SessionGauge>,
}

impl SpeechPipelineManager {
    /// The pipeline of one session, and where its transcripts arrive.
    pub fn new(
        pools: ResourcePoolManager,
        runtime: Runtime,
        holder: HolderId,
    ) -> (Self, mpsc::Receiver<TranscriptEvent>) {
        let (transcripts, receiver) = mpsc::channel(TRANSCRIPTS_CAPACITY);
        (Self { pools, runtime, holder, transcripts, turn: None }, receiver)
    }

    /// The same, with a judge of whether turns are over.
    #[must_use]
    pub fn judging_turns_by(self, turn: Option<Arc<dyn TurnDetector>>) -> Self {
        Self { turn, ..self }
    }

    /// Transcribes an utterance; the outcome arrives as a [`TranscriptEvent`] with its key.
    pub fn transcribe(&self, utterance: Utterance) -> Job {
        let (this, stop) = (self.clone(), CancellationToken::new());
        let guard = stop.clone().drop_guard();
        self.runtime.spawn("transcribe", async move {
            let (key, request) = (utterance.key, utterance.request.clone());
            let seconds = utterance.audio.len() as f64 / f64::from(STT_SAMPLE_RATE);
            let work = async {
                let result = this.run_transcribe(utterance).await;
                request.finish(&Outcome::of_result(&result));
                this.transcripts.send(TranscriptEvent { key, is_partial: false, seconds, result }).await
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                // The receiver is gone only when the session is.
                _sent = work => {}
            }
        });
        Job { _guard: guard }
    }

    /// Transcribes an utterance that is still being spoken; the outcome arrives as a [`TranscriptEvent`]. It gives
    /// way to all that people wait for.
    pub fn transcribe_partial(&self, partial: PartialUtterance) -> Job {
        let (this, stop) = (self.clone(), CancellationToken::new());
        let guard = stop.clone().drop_guard();
        drop(self.runtime.spawn("partial transcript", async move {
            let (key, observer) = (partial.key, EngineTime::new(partial.gauge));
            let seconds = partial.audio.len() as f64 / f64::from(STT_SAMPLE_RATE);
            let request = SttRequest {
                audio: partial.audio,
                language: partial.language,
                prompt: partial.prompt,
                word_times: false,
            };
            let work = async {
                let lease = this.lease_request(WorkClass::PartialTranscript);
                let result = this.pools.stt.transcribe(lease, request, &observer).await;
                let result =
                    result.map_err(SessionError::from).map(|served| timed(served, names::stage::PARTIAL));
                this.transcripts.send(TranscriptEvent { key, is_partial: true, seconds, result }).await
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                // The receiver is gone only when the session is.
                _sent = work => {}
            }
        }));
        Job { _guard: guard }
    }

    /// Starts an answer. Its events wait in the [`Reply`] until they are taken.
    pub fn reply(&self, request: ReplyRequest) -> Reply {
        reply::start(self, request)
    }

    /// What the server does without at the moment.
    pub fn degradation(&self) -> Degradation {
        self.pools.degradation.get()
    }

    async fn run_transcribe(&self, utterance: Utterance) -> Result<TimedTranscript, SessionError> {
        let request = SttRequest {
            audio: utterance.audio,
            language: utterance.language,
            prompt: utterance.prompt,
            word_times: false,
        };
        let lease = self.lease_request(WorkClass::FinalTranscript);
        let transcript = self.pools.stt.transcribe(lease, request, &utterance.request);
        let (served, is_over) = futures::join!(transcript, self.judge_ending(utterance.ending));
        Ok(TimedTranscript { is_over, ..timed(served?, names::stage::STT) })
    }

    /// Probability that the turn is over. It is an opinion among others: a failure costs nothing but that.
    async fn judge_ending(&self, audio: Option<Arc<[f32]>>) -> Option<f32> {
        let (detector, cancel) = (self.turn.as_ref()?, CancelFlag::new());
        let verdict = timeout(JUDGING, detector.judge(audio?, cancel.clone())).await;
        cancel.cancel();
        let told = verdict.map_err(|_| "it took too long".to_owned());
        told.and_then(|verdict| verdict.map_err(|error| error.to_string()))
            .inspect_err(|error| tracing::warn!(error, "a turn was not judged by the voice"))
            .ok()
    }

    pub(super) fn lease_request(&self, class: WorkClass) -> LeaseRequest {
        LeaseRequest { holder: self.holder, class, deadline: Instant::now() + self.pools.max_wait() }
    }
}

fn timed(served: Served<Transcript>, stage: &'static str) -> TimedTranscript {
    let Served { value, queued, took } = served;
    metrics::histogram!(names::STAGE_SECONDS, "stage" => stage).record(took.as_secs_f64());
    TimedTranscript { transcript: value, queued, took, is_over: None }
}
