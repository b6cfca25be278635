//! One answer: language model → clauses → speech.
//!
//! Two stages run side by side in one task. The first drains the language model into a queue of clauses, so
//! that its slot is free as soon as the text is whole; the second speaks clause after clause at the pace at
//! which the session takes the audio.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::SpeechPipelineManager;
use super::outbound::{Abandoned, Outbound};
use crate::audio::Resampler;
use crate::engine::EngineError;
use crate::engine::llm::{FinishReason, LlmEvent, LlmRequest, TokenUsage};
use crate::engine::tts::{SpeechChunk, TimedWord, TtsEvent, TtsRequest};
use crate::pool::{CallError, WorkClass};
use crate::session::clause::ClauseChunker;
use crate::session::error::SessionError;
use crate::session::lifecycle::{RequestTracker, Stage};
use crate::telemetry::metrics as names;

/// Events that wait for the session: about 1.5 s of speech in chunks of 100 ms.
pub(super) const REPLY_CAPACITY: usize = 16;
/// Pieces of text that wait to be spoken; a language model ahead by more than this waits.
pub(super) const PIECES_CAPACITY: usize = 64;

/// What to answer, and how.
#[derive(Debug)]
pub struct ReplyRequest {
    /// The conversation.
    pub llm: LlmRequest,
    /// How to speak; `None` for a written answer.
    pub speech: Option<SpeechSettings>,
    /// Whether to speak at once. Else the text is made, and its speech waits for [`Reply::speak`].
    pub speak_ahead: bool,
    /// Follows it; whoever takes the answer says how it ended.
    pub request: RequestTracker,
}

/// How to speak.
#[derive(Clone, Debug)]
pub struct SpeechSettings {
    /// Name of the voice.
    pub voice: String,
    /// Speed, 1 is normal.
    pub speed: f32,
    /// Samples a second of the audio wanted.
    pub sample_rate: u32,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyEvent {
    /// Text of a written answer.
    Text(String),
    /// A clause whose audio follows.
    Clause(String),
    /// Audio at the rate that was asked for.
    Audio(Vec<i16>),
    /// A tool call begins.
    ToolCall {
        /// Its place among the calls.
        index: usize,
        /// Its id.
        call_id: String,
        /// The tool.
        name: String,
    },
    /// Arguments to append to a tool call.
    ToolArguments {
        /// Its place among the calls.
        index: usize,
        /// JSON text.
        delta: String,
    },
    /// The answer is complete.
    Done(ReplyEnd),
    /// The answer broke off.
    Failed(SessionError),
}

/// How an answer ended and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplyEnd {
    /// Why the language model stopped.
    pub finish: FinishReason,
    /// Its tokens.
    pub usage: TokenUsage,
    /// Where the time went.
    pub timings: ReplyTimings,
}

/// Where the time to the first audio went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReplyTimings {
    /// Waiting for a language model.
    pub queue_llm: Option<Duration>,
    /// Its first token, from the call on.
    pub first_token: Option<Duration>,
    /// Its first clause, from the call on.
    pub first_clause: Option<Duration>,
    /// Waiting for a voice, first clause.
    pub queue_tts: Option<Duration>,
    /// The first audio of the first clause, from the call on.
    pub first_audio: Option<Duration>,
}

/// When the words of a clause are heard.
#[derive(Clone, Debug, PartialEq)]
pub struct ClauseWords {
    /// Which clause of the answer, from 0.
    pub clause: usize,
    /// Its words, counted from its first sample.
    pub words: Vec<TimedWord>,
}

/// An answer under way; dropping it stops it.
#[derive(Debug)]
pub struct Reply {
    /// Word times. They have a way of their own, for they must be known before the audio is heard, while
    /// `events` waits for playback.
    pub words: mpsc::Receiver<ClauseWords>,
    /// Its events, the last being `Done` or `Failed`.
    pub events: mpsc::Receiver<ReplyEvent>,
    may_speak: CancellationToken,
    _guard: DropGuard,
}

impl Reply {
    /// The turn is over: what was thought of may be spoken.
    pub fn speak(&self) {
        self.may_speak.cancel();
    }
}

/// What the second stage is given.
enum Piece {
    Clause(String),
    Other(ReplyEvent),
    End(LlmEnd),
}

struct LlmEnd {
    finish: FinishReason,
    usage: TokenUsage,
    timings: ReplyTimings,
}

/// Why a stage stopped before its end.
enum Stop {
    /// The other side has let go: nothing is left to do or to tell.
    Abandoned,
    Failed(SessionError),
}

impl From<Abandoned> for Stop {
    fn from(_: Abandoned) -> Self {
        Self::Abandoned
    }
}

impl From<SessionError> for Stop {
    fn from(error: SessionError) -> Self {
        Self::Failed(error)
    }
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Failed(error.into())
    }
}

pub(super) fn start(pipeline: &SpeechPipelineManager, request: ReplyRequest) -> Reply {
    let (sender, events) = mpsc::channel(REPLY_CAPACITY);
    let (timed, words) = mpsc::channel(PIECES_CAPACITY);
    let (this, stop) = (pipeline.clone(), CancellationToken::new());
    let guard = stop.clone().drop_guard();
    let may_speak = CancellationToken::new();
    if request.speak_ahead {
        may_speak.cancel();
    }
    let speaker = Speaker {
        pipeline: this.clone(),
        words: timed,
        clause: 0,
        timings: ReplyTimings::default(),
        may_speak: may_speak.clone(),
        tracker: request.request.stage(Stage::Tts),
    };
    pipeline.runtime.spawn("reply", async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = run(&this, request, sender, speaker) => {}
        }
    });
    Reply { words, events, may_speak, _guard: guard }
}

async fn run(
    pipeline: &SpeechPipelineManager,
    request: ReplyRequest,
    sender: mpsc::Sender<ReplyEvent>,
    speaker: Speaker,
) {
    let mut out = Outbound::new(sender);
    let (pieces, queue) = mpsc::channel(PIECES_CAPACITY);
    let chunker = request.speech.is_some().then(ClauseChunker::default);
    let think = think(pipeline, (request.llm, request.request.stage(Stage::Llm)), chunker, pieces);
    let speak = speaker.run(request.speech, queue, &mut out);
    // If speaking stops, thinking finds its queue closed; if thinking fails, its error is what matters.
    let (thought, spoken) = futures::join!(think, speak);
    let ((Err(Stop::Failed(error)), _) | (_, Err(Stop::Failed(error)))) = (thought, spoken) else { return };
    // An abandoned reply has nobody to tell.
    if out.send(ReplyEvent::Failed(error)).await.is_err() {
        tracing::debug!("a reply failed after it was abandoned");
    }
}

/// First stage: drains the language model.
async fn think(
    pipeline: &SpeechPipelineManager,
    (request, tracker): (LlmRequest, RequestTracker),
    mut chunker: Option<ClauseChunker>,
    pieces: mpsc::Sender<Piece>,
) -> Result<(), Stop> {
    let urgency = request.urgency.clone();
    let lease = pipeline.lease_request(WorkClass::FirstClause);
    let mut stream = pipeline.pools.llm.generate(lease, request, Box::new(tracker)).await?;
    let called = stream.called;
    let mut timings = ReplyTimings { queue_llm: Some(stream.queued), ..ReplyTimings::default() };
    while let Some(event) = stream.next().await {
        let event = event?;
        mark(&mut timings.first_token, called, "llm_first_token");
        let (ready, end) = digest(event, &mut chunker);
        if !ready.is_empty() {
            mark(&mut timings.first_clause, called, "llm_first_clause");
            urgency.relax();
        }
        for piece in ready {
            pieces.send(piece).await.map_err(|_| Stop::Abandoned)?;
        }
        if let Some((finish, usage)) = end {
            drop(stream); // its slot is given back before the wait for the voice
            let end = Piece::End(LlmEnd { finish, usage, timings });
            return pieces.send(end).await.map_err(|_| Stop::Abandoned);
        }
    }
    let reason = "its answer broke off".to_owned();
    Err(EngineError::Failed { engine: "llm".to_owned(), reason }.into())
}

/// What an event of the language model makes ready to be spoken or sent, and whether it was the last.
fn digest(
    event: LlmEvent,
    chunker: &mut Option<ClauseChunker>,
) -> (Vec<Piece>, Option<(FinishReason, TokenUsage)>) {
    match (event, chunker) {
        (LlmEvent::Text(text), Some(chunker)) => {
            (chunker.push(&text).into_iter().map(Piece::Clause).collect(), None)
        }
        (LlmEvent::Text(text), None) => (vec![Piece::Other(ReplyEvent::Text(text))], None),
        (LlmEvent::ToolCallStart { index, id, name }, chunker) => {
            // What was said before the call is spoken before it.
            let mut ready: Vec<_> = rest(chunker).collect();
            ready.push(Piece::Other(ReplyEvent::ToolCall { index, call_id: id, name }));
            (ready, None)
        }
        (LlmEvent::ToolCallArguments { index, delta }, _) => {
            (vec![Piece::Other(ReplyEvent::ToolArguments { index, delta })], None)
        }
        (LlmEvent::Done { finish, usage }, chunker) => (rest(chunker).collect(), Some((finish, usage))),
    }
}

fn rest(chunker: &mut Option<ClauseChunker>) -> impl Iterator<Item = Piece> {
    chunker.as_mut().and_then(ClauseChunker::finish).map(Piece::Clause).into_iter()
}

/// Second stage: speaks the clauses and passes on the rest, in order.
struct Speaker {
    pipeline: SpeechPipelineManager,
    words: mpsc::Sender<ClauseWords>,
    clause: usize,
    timings: ReplyTimings,
    may_speak: CancellationToken,
    tracker: RequestTracker,
}

impl Speaker {
    async fn run(
        mut self,
        speech: Option<SpeechSettings>,
        mut queue: mpsc::Receiver<Piece>,
        out: &mut Outbound,
    ) -> Result<(), Stop> {
        while let Some(piece) = queue.recv().await {
            match (piece, &speech) {
                (Piece::Clause(text), Some(speech)) => self.clause(speech, text, out).await?,
                (Piece::Clause(text), None) => out.send(ReplyEvent::Text(text)).await?,
                (Piece::Other(event), _) => out.send(event).await?,
                (Piece::End(end), _) => {
                    let ReplyTimings { queue_tts, first_audio, .. } = self.timings;
                    let timings = ReplyTimings { queue_tts, first_audio, ..end.timings };
                    let end = ReplyEnd { finish: end.finish, usage: end.usage, timings };
                    out.send(ReplyEvent::Done(end)).await?;
                }
            }
        }
        Ok(())
    }

    async fn clause(
        &mut self,
        speech: &SpeechSettings,
        text: String,
        out: &mut Outbound,
    ) -> Result<(), Stop> {
        self.may_speak.cancelled().await;
        let class = if self.clause == 0 { WorkClass::FirstClause } else { WorkClass::Continuation };
        let lease = self.pipeline.lease_request(class);
        let request = TtsRequest { text: text.clone(), voice: speech.voice.clone(), speed: speech.speed };
        let tracker = Box::new(self.tracker.clone());
        let mut stream = self.pipeline.pools.tts.synthesize(lease, request, tracker).await?;
        let called = stream.called;
        self.timings.queue_tts.get_or_insert(stream.queued);
        let mut voice = ClauseVoice { resampler: None, sample_rate: speech.sample_rate };
        out.offer(ReplyEvent::Clause(text))?;
        while let Some(event) = stream.next().await {
            match event? {
                TtsEvent::Audio(chunk) => {
                    mark(&mut self.timings.first_audio, called, "tts_first_audio");
                    offer_audio(out, voice.push(&chunk)?)?;
                }
                TtsEvent::Words(words) => {
                    let words = ClauseWords { clause: self.clause, words };
                    self.words.send(words).await.map_err(|_| Stop::Abandoned)?;
                }
            }
        }
        offer_audio(out, voice.finish())?;
        drop(stream); // its slot is given back before the wait for playback
        self.clause += 1;
        out.flush().await?;
        Ok(())
    }
}

fn offer_audio(out: &mut Outbound, samples: Vec<i16>) -> Result<(), Abandoned> {
    if samples.is_empty() { Ok(()) } else { out.offer(ReplyEvent::Audio(samples)) }
}

/// Brings a clause's audio to the rate that the session wants.
struct ClauseVoice {
    resampler: Option<Resampler>,
    sample_rate: u32,
}

impl ClauseVoice {
    fn push(&mut self, chunk: &SpeechChunk) -> Result<Vec<i16>, SessionError> {
        if self.resampler.is_none() {
            self.resampler = Some(Resampler::new(chunk.sample_rate, self.sample_rate)?);
        }
        Ok(self.resampler.as_mut().map(|resampler| resampler.push(&chunk.samples)).unwrap_or_default())
    }

    fn finish(&mut self) -> Vec<i16> {
        self.resampler.take().map(|mut resampler| resampler.flush()).unwrap_or_default()
    }
}

/// Takes the time of a stage, once.
fn mark(slot: &mut Option<Duration>, since: Instant, stage: &'static str) {
    if slot.is_none() {
        let took = since.elapsed();
        *slot = Some(took);
        metrics::histogram!(names::STAGE_SECONDS, "stage" => stage).record(took.as_secs_f64());
    }
}
