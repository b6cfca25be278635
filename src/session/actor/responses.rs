//! Responses: start, wait for what they need, interrupt, cancel, end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::running::{Piece, Running};
use super::{Begun, SessionActor};
use crate::engine::compute::Urgency;
use crate::engine::llm::{ChatMessage, ChatRole, LlmRequest};
use crate::pool::Degradation;
use crate::session::conversation::{Item, messages_of};
use crate::session::error::{ItemEvent, SessionError};
use crate::session::event::{ResponseStatus, SessionEvent, TurnTimings};
use crate::session::id::ResponseId;
use crate::session::lifecycle::{Outcome, RequestKind, RequestTracker};
use crate::session::quota::{Charge, RequestPermit};
use crate::session::response::{ActiveResponse, ResponseSettings};
use crate::session::settings::{Modality, ResponseInput, ResponseRequest};
use crate::session::speech_pipeline::{Reply, ReplyEvent, ReplyRequest, SpeechSettings};
use crate::telemetry::metrics as names;

/// Tokens of an answer while the server is pressed: about half a minute of speech.
const SHORT_REPLY_TOKENS: u32 = 96;

impl SessionActor {
    /// The client asks for a response.
    pub(super) fn create_response(&mut self, request: ResponseRequest) -> Result<(), SessionError> {
        if let Some(running) = self.responses.in_conversation().filter(|_| !request.out_of_band) {
            return Err(SessionError::ResponseActive { response: running.response.id.clone() });
        }
        self.check_input(&request)?;
        if !request.out_of_band {
            self.parked = None; // the client goes on by itself
        }
        let permit = self.shares.quota.begin(Charge::Response)?;
        self.open_response(request, None, TurnTimings::default(), Some(permit));
        self.continue_waiting_responses();
        Ok(())
    }

    /// A turn ended and is to be answered, perhaps with a reply that was begun ahead of time.
    pub(super) fn respond_to_turn(
        &mut self,
        request: ResponseRequest,
        reply: Option<Begun>,
        timings: TurnTimings,
        ended: Option<(Instant, Duration)>,
    ) {
        self.silent_since = None;
        if self.responses.in_conversation().is_some() {
            // `interrupt_response: false`: the answer that runs goes on, and this turn is answered after it.
            self.unanswered = Some(timings);
            return;
        }
        let permit = match self.shares.quota.begin(Charge::Response) {
            Ok(permit) => permit,
            Err(error) => {
                // The turn and its transcript stay in the conversation; the answer alone is refused.
                self.outbox.send(SessionEvent::Error { error: error.into(), client_event_id: None });
                return;
            }
        };
        let id = self.open_response(request, reply, timings, Some(permit));
        if let Some(running) = self.responses.get_mut(&id) {
            running.turn_ended = ended;
        }
        self.continue_waiting_responses();
    }

    /// An answer is over: answers the turns that ended while it ran, all with one.
    pub(super) fn answer_what_waited(&mut self) {
        if self.responses.in_conversation().is_none()
            && let Some(timings) = self.unanswered.take()
        {
            self.respond_to_turn(ResponseRequest::default(), None, timings, None);
        }
    }

    /// Tells the client that a turn will not be answered.
    pub(super) fn fail_response(&mut self, error: SessionError) {
        if self.responses.in_conversation().is_none() {
            let id = self.open_response(ResponseRequest::default(), None, TurnTimings::default(), None);
            self.end_response(&id, ResponseStatus::Failed(error));
        }
    }

    fn open_response(
        &mut self,
        wanted: ResponseRequest,
        begun: Option<Begun>,
        timings: TurnTimings,
        permit: Option<RequestPermit>,
    ) -> ResponseId {
        let settings = ResponseSettings::new(&self.settings, wanted.clone());
        let (reply, request) = match begun {
            Some(Begun { reply, request }) => (Some(reply), request),
            None => (None, self.track(RequestKind::Response)),
        };
        let id = ResponseId::from(request.id().as_str());
        let mut response =
            ActiveResponse::create(id.clone(), settings, &self.conversation_id, timings, &self.outbox);
        if let Some(end) = self.last_spoken.as_ref().and_then(|spoken| spoken.playback.ends_at()) {
            response.play_behind(end);
        }
        if let Some(reply) = &reply {
            reply.speak();
        }
        let running = Running { response, reply, wanted, request, permit, turn_ended: None, held: false };
        self.responses.add(running);
        id
    }

    /// Starts the replies of responses that waited, once every turn before them is transcribed; at once those
    /// that bring all of their input.
    pub(super) fn continue_waiting_responses(&mut self) {
        let transcribed = self.committed.is_empty();
        for id in self.responses.ids() {
            let Some(running) = self.responses.get_mut(&id) else { continue };
            if running.reply.is_some() || (running.needs_history() && !transcribed) {
                continue;
            }
            let (settings, request) = (running.response.settings.clone(), running.request.clone());
            let wanted = running.wanted.clone();
            let reply = self.start_reply(&settings, self.messages_for(&wanted, &settings), &request, true);
            if let Some(running) = self.responses.get_mut(&id) {
                running.reply = Some(reply);
            }
        }
    }

    /// Begins the answer to words that are not in the history yet.
    pub(super) fn start_reply_to(&self, text: &str) -> Begun {
        let settings = ResponseSettings::new(&self.settings, ResponseRequest::default());
        let mut messages = self.conversation.messages(&settings.instructions);
        messages.push(ChatMessage::text(ChatRole::User, text));
        let speak_ahead = self.components.pipeline.degradation() < Degradation::NoSpeechAhead;
        let request = self.track(RequestKind::Response);
        let reply = self.start_reply(&settings, messages, &request, speak_ahead);
        Begun { reply, request }
    }

    fn start_reply(
        &self,
        settings: &ResponseSettings,
        messages: Vec<ChatMessage>,
        request: &RequestTracker,
        speak_ahead: bool,
    ) -> Reply {
        let keep_short = self.components.pipeline.degradation() >= Degradation::ShorterReplies;
        let most = keep_short.then_some(SHORT_REPLY_TOKENS);
        let speech = (settings.modality == Modality::Audio).then(|| SpeechSettings {
            voice: settings.voice.clone(),
            speed: settings.speed,
            sample_rate: settings.format.sample_rate(),
        });
        self.components.pipeline.reply(ReplyRequest {
            llm: LlmRequest {
                messages: messages.into(),
                tools: Arc::clone(&settings.tools),
                tool_choice: settings.tool_choice.clone(),
                max_tokens: settings.max_output_tokens.into_iter().chain(most).min(),
                truncation: settings.truncation,
                urgency: Urgency::default(),
            },
            speech,
            speak_ahead,
            request: request.clone(),
        })
    }

    fn check_input(&self, request: &ResponseRequest) -> Result<(), SessionError> {
        for input in request.input.iter().flatten() {
            if let ResponseInput::Reference(id) = input {
                self.conversation.get(id, ItemEvent::Respond)?;
            }
        }
        Ok(())
    }

    fn messages_for(&self, request: &ResponseRequest, settings: &ResponseSettings) -> Vec<ChatMessage> {
        let Some(input) = &request.input else {
            return self.conversation.messages(&settings.instructions);
        };
        let items: Vec<&Item> = input
            .iter()
            .filter_map(|input| match input {
                ResponseInput::Item(item) => Some(item),
                // Checked when the response was created; deleted since, it is left out.
                ResponseInput::Reference(id) => self.conversation.get(id, ItemEvent::Respond).ok(),
            })
            .collect();
        messages_of(&settings.instructions, items.into_iter())
    }

    pub(super) fn on_piece(&mut self, id: &ResponseId, piece: Piece) {
        match piece {
            Piece::Words(words) => {
                if let Some(running) = self.responses.get_mut(id) {
                    running.response.on_words(words);
                }
            }
            Piece::Event(event) => self.on_reply(id, event),
        }
    }

    fn on_reply(&mut self, id: &ResponseId, event: ReplyEvent) {
        let audio = matches!(event, ReplyEvent::Audio(_));
        let Some(running) = self.responses.get_mut(id) else { return };
        let mut scene = Self::scene(&self.outbox, &mut self.conversation);
        let status = running.response.on_reply(event, &mut scene);
        if audio {
            self.voice_locked = true;
            if let Some((ended, silence)) = running.turn_ended.take() {
                let (waited, latency) = (ended.elapsed(), silence + ended.elapsed());
                metrics::histogram!(names::RESPONSE_LATENCY_SECONDS).record(latency.as_secs_f64());
                self.shares.gauge.add_latency(latency);
                self.first_audio.record(waited); // without the silence: that is a setting, no load
            }
        }
        if let Some(status) = status {
            self.end_response(id, status);
            self.answer_what_waited();
        }
    }

    /// Cancels the response of this id or, without one, that of the conversation.
    pub(super) fn cancel_response(&mut self, id: Option<ResponseId>) -> Result<(), SessionError> {
        let of_conversation = || Some(self.responses.in_conversation()?.response.id.clone());
        let id = id.or_else(of_conversation).filter(|id| self.responses.contains(id));
        let id = id.ok_or(SessionError::NoActiveResponse)?;
        self.end_response(&id, ResponseStatus::Cancelled);
        self.answer_what_waited();
        Ok(())
    }

    /// Ends a response that runs, and stops what works for it.
    pub(super) fn end_response(&mut self, id: &ResponseId, status: ResponseStatus) {
        let Some(running) = self.responses.take(id) else { return };
        drop(running.reply);
        running.request.finish(&outcome(&status));
        if let ResponseStatus::Failed(error) = &status {
            tracing::warn!(session = %self.id, %error, "a response failed");
            if let (SessionError::Overloaded(_), Some((ended, _))) = (error, running.turn_ended) {
                self.first_audio.record(ended.elapsed()); // it would have been later still
            }
        }
        metrics::counter!(names::RESPONSES_TOTAL, "status" => label(&status)).increment(1);
        let mut scene = Self::scene(&self.outbox, &mut self.conversation);
        let in_conversation = running.response.settings.in_history;
        if let Some(spoken) = running.response.finish(status, &mut scene) {
            self.last_spoken = Some(spoken);
        }
        if in_conversation {
            self.begin_silence();
        }
    }
}

fn outcome(status: &ResponseStatus) -> Outcome {
    match status {
        ResponseStatus::Completed | ResponseStatus::OutOfTokens => Outcome::Completed,
        ResponseStatus::Interrupted | ResponseStatus::Cancelled | ResponseStatus::InProgress => {
            Outcome::Cancelled
        }
        ResponseStatus::Failed(error) => Outcome::of_error(error),
    }
}

fn label(status: &ResponseStatus) -> &'static str {
    match status {
        ResponseStatus::InProgress => "in_progress",
        ResponseStatus::Completed => "completed",
        ResponseStatus::Interrupted | ResponseStatus::Cancelled => "cancelled",
        ResponseStatus::OutOfTokens => "incomplete",
        ResponseStatus::Failed(_) => "failed",
    }
}
