//! What speech-to-text on threads of this process shares: a call, and how what was heard is put together, guarded and
//! counted. Knows no model.

use tokio::sync::oneshot;

use super::guards::GuardsConfig;
use super::worker::{Worker, raised};
use crate::engine::stt::{Guarded, SttRequest, Transcript};
use crate::engine::{CancelFlag, EngineError};
use crate::telemetry::metrics as names;

/// Where the text goes.
pub(super) type Answer = oneshot::Sender<Result<Transcript, EngineError>>;

/// An utterance and where its text goes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: SttRequest,
    pub(super) cancel: CancelFlag,
    pub(super) answer: Answer,
}

/// What the answer comes on.
pub(super) type Answered = oneshot::Receiver<Result<Transcript, EngineError>>;

impl Job {
    /// A call, and where its answer comes.
    pub(super) fn new(request: SttRequest, cancel: &CancelFlag) -> (Self, Answered) {
        let (answer, answered) = oneshot::channel();
        (Self { request, cancel: cancel.clone(), answer }, answered)
    }

    /// Whether nobody wants the text any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.cancel.is_cancelled() || self.answer.is_closed()
    }
}

/// What comes of a call that was submitted; a raised flag ends the wait at once.
pub(super) async fn outcome(
    engine: &str,
    answered: Answered,
    cancel: &CancelFlag,
) -> Result<Transcript, EngineError> {
    tokio::select! {
        biased;
        answer = answered => answer.unwrap_or_else(|_| Err(Worker::<Job>::dropped(engine))),
        () = raised(cancel) => Err(EngineError::Cancelled),
    }
}

/// Adds what a window held to `whole`. Times of words are of the whole audio by then.
pub(super) fn append(whole: &mut Transcript, heard: Transcript) {
    if !heard.text.is_empty() && !whole.text.is_empty() {
        whole.text.push(' ');
    }
    whole.text.push_str(&heard.text);
    whole.tokens.extend(heard.tokens);
    whole.words.extend(heard.words);
    whole.guarded = whole.guarded.or(heard.guarded);
    whole.no_speech_probability = whole.no_speech_probability.or(heard.no_speech_probability);
}

/// Takes the text back, and says why.
pub(super) fn drop_text(transcript: &mut Transcript, guarded: Guarded) {
    transcript.text.clear();
    transcript.tokens.clear();
    transcript.words.clear();
    transcript.guarded = Some(guarded);
}

/// The last look at a call's text: it is dropped where `audio` holds too little voice for any, and counted.
pub(super) fn finish(engine: &str, transcript: &mut Transcript, guards: &GuardsConfig, audio: &[f32]) {
    if !transcript.text.is_empty() && guards.nothing_said(audio) {
        drop_text(transcript, Guarded::NothingSaid);
    }
    let outcome = match transcript.guarded {
        Some(guarded) => guarded.as_str(),
        None if transcript.text.is_empty() => "empty",
        None => "kept",
    };
    metrics::counter!(names::STT_TRANSCRIPTS_TOTAL, "engine" => engine.to_owned(), "outcome" => outcome)
        .increment(1);
}
