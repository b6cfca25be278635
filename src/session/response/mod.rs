//! A response from its creation to its end: turns the pieces of a reply into the protocol's chain of events, in
//! order, and writes the history.
//!
//! Every response that is created is also done, once; every item that is added is done. It knows no engine and
//! no clock: `now` is given.

mod progress;
mod resume;
mod settings;

pub(super) use progress::AnswerProgress;
pub(super) use settings::ResponseSettings;

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::callbacks::Outbox;
use super::conversation::{Content, Conversation, Item, ItemBody, ItemStatus, Role, Timeline};
use super::error::SessionError;
use super::event::{
    OutputPlace, ResponseEvent, ResponseStatus, ResponseUsage, ResponseView, SessionEvent, ToolCallRef,
    TurnTimings,
};
use super::id::{ConversationId, ItemId, ResponseId};
use super::interruption::parked::Sent;
use super::playback::Playback;
use super::settings::Modality;
use super::speech_pipeline::{ClauseWords, ReplyEnd, ReplyEvent};
use crate::audio::Encoder;
use crate::engine::llm::FinishReason;
use crate::telemetry::clock::whole_ms;

/// What a response writes to.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) outbox: &'a Outbox,
    pub(super) conversation: &'a mut Conversation,
    pub(super) now: Instant,
}

/// A spoken message whose audio may still be playing.
#[derive(Clone, Debug)]
pub(super) struct Spoken {
    pub(super) item: ItemId,
    pub(super) playback: Playback,
    pub(super) sent: Sent,
    pub(super) timeline: Timeline,
    pub(super) settings: ResponseSettings,
    /// Whether it was speech and nothing else, so that it can go on after an interruption.
    pub(super) resumable: bool,
}

/// A response that runs.
#[derive(Debug)]
pub(super) struct ActiveResponse {
    pub(super) id: ResponseId,
    pub(super) settings: ResponseSettings,
    pub(super) timings: TurnTimings,
    conversation_id: Option<ConversationId>,
    output: Vec<Item>,
    message: Option<OpenMessage>,
    call: Option<OpenCall>,
    playback: Playback,
    /// Each response is a stream of its own: two may run at once, and an interrupted one ends anywhere.
    encoder: Encoder,
    sent: Sent,
    usage: ResponseUsage,
}

#[derive(Debug)]
struct OpenMessage {
    place: OutputPlace,
    text: String,
    timeline: Timeline,
}

#[derive(Debug)]
struct OpenCall {
    /// Its place among the calls of the answer.
    index: usize,
    place: OutputPlace,
    call: ToolCallRef,
    arguments: String,
}

impl ActiveResponse {
    /// Creates a response and says so.
    pub(super) fn create(
        id: ResponseId,
        settings: ResponseSettings,
        conversation: &ConversationId,
        timings: TurnTimings,
        outbox: &Outbox,
    ) -> Self {
        let this = Self {
            id,
            encoder: Encoder::new(settings.format),
            conversation_id: settings.in_history.then(|| conversation.clone()),
            settings,
            timings,
            output: Vec::new(),
            message: None,
            call: None,
            playback: Playback::default(),
            sent: Sent::default(),
            usage: ResponseUsage::default(),
        };
        outbox.send(SessionEvent::Response(ResponseEvent::Created(Box::new(
            this.view(ResponseStatus::InProgress),
        ))));
        this
    }

    /// The message that is being made.
    pub(super) fn open_item(&self) -> Option<&ItemId> {
        self.message.as_ref().map(|message| &message.place.item)
    }

    /// How much audio was sent of the message that is being made, if it is this one and spoken.
    pub(super) fn spoken_ms(&self, item: &ItemId) -> Option<u64> {
        let message = self.message.as_ref().filter(|message| message.place.item == *item)?;
        (self.settings.modality == Modality::Audio).then(|| message.timeline.audio_ms())
    }

    /// How far playback is, for pacing.
    pub(super) fn playback(&self) -> &Playback {
        &self.playback
    }

    /// Takes in word times. They may come before their clause, for they do not wait for playback.
    pub(super) fn on_words(&mut self, timed: ClauseWords) {
        if let Some((words, start)) = self.sent.on_words(timed.clause, timed.words)
            && let Some(message) = &mut self.message
        {
            message.timeline.push_clause(words, start);
        }
    }

    /// Takes in a piece of the reply; gives the status if it was the last.
    pub(super) fn on_reply(&mut self, event: ReplyEvent, scene: &mut Scene<'_>) -> Option<ResponseStatus> {
        if !matches!(event, ReplyEvent::ToolArguments { .. } | ReplyEvent::Failed(_))
            && let Err(error) = self.check_call(scene)
        {
            return Some(ResponseStatus::Failed(error));
        }
        match event {
            ReplyEvent::Text(delta) => self.on_text(delta, scene),
            ReplyEvent::Clause(text) => self.on_clause(&text, scene),
            ReplyEvent::Audio(samples) => self.on_audio(&samples, scene),
            ReplyEvent::ToolCall { index, call_id, name } => {
                if !self.settings.tools.iter().any(|tool| tool.name == name) {
                    return Some(ResponseStatus::Failed(SessionError::UnknownTool { name }));
                }
                self.open_call((index, ToolCallRef { call_id, name }), scene);
            }
            ReplyEvent::ToolArguments { index, delta } => {
                if let Err(error) = self.on_arguments(index, delta, scene) {
                    return Some(ResponseStatus::Failed(error));
                }
            }
            ReplyEvent::Done(end) => return Some(self.on_end(&end)),
            ReplyEvent::Failed(error) => return Some(ResponseStatus::Failed(error)),
        }
        None
    }

    /// Ends the response: closes what is open, cuts an interrupted message to what was heard, says that it is
    /// done. Gives the message whose audio may still be playing.
    pub(super) fn finish(mut self, status: ResponseStatus, scene: &mut Scene<'_>) -> Option<Spoken> {
        let whole = matches!(status, ResponseStatus::Completed | ResponseStatus::OutOfTokens);
        let (spoken, resumable) = (self.spoken_item(), self.is_resumable());
        let timeline = self.message.as_ref().map(|message| message.timeline.clone()).unwrap_or_default();
        self.close_message(whole, scene);
        self.close_call(whole, scene);
        let view = self.view(status);
        self.emit(scene, ResponseEvent::Done(Box::new(view)));
        let Self { playback, sent, settings, .. } = self;
        spoken.map(|item| Spoken { item, playback, sent, timeline, settings, resumable })
    }

    fn spoken_item(&self) -> Option<ItemId> {
        if !self.playback.has_started() || !self.settings.in_history {
            return None;
        }
        let closed = || self.output.iter().find(|item| matches!(item.body, ItemBody::Message { .. }));
        match &self.message {
            Some(message) => Some(message.place.item.clone()),
            None => closed().map(|item| item.id.clone()),
        }
    }

    fn on_text(&mut self, delta: String, scene: &mut Scene<'_>) {
        let message = self.open_message(scene);
        message.text.push_str(&delta);
        let event = ResponseEvent::TextDelta(message.place.clone(), delta);
        self.emit(scene, event);
    }

    fn on_clause(&mut self, text: &str, scene: &mut Scene<'_>) {
        let start = whole_ms(self.playback.sent());
        let words = self.sent.begin_clause(text, start);
        let message = self.open_message(scene);
        message.timeline.push_clause(words, start.try_into().unwrap_or(i64::MAX));
        let delta = if message.text.is_empty() { text.to_owned() } else { format!(" {text}") };
        message.text.push_str(&delta);
        let event = ResponseEvent::TranscriptDelta(message.place.clone(), delta);
        self.emit(scene, event);
    }

    fn on_audio(&mut self, samples: &[i16], scene: &mut Scene<'_>) {
        let format = self.settings.format;
        let duration =
            Duration::from_secs(1) * u32::try_from(samples.len()).unwrap_or(u32::MAX) / format.sample_rate();
        self.playback.push(duration, scene.now);
        // Rounded up: a client that truncates at the end of what it received may round either way.
        let sent = whole_ms(self.playback.sent() + Duration::from_nanos(999_999));
        self.sent.push_audio(samples, format.sample_rate(), whole_ms(self.playback.heard(scene.now)));
        let Some(message) = &mut self.message else { return };
        message.timeline.set_audio_ms(sent);
        for piece in self.encoder.encode(samples) {
            let event = ResponseEvent::AudioDelta(message.place.clone(), piece);
            scene.outbox.send(SessionEvent::Response(event));
        }
    }

    fn on_end(&mut self, end: &ReplyEnd) -> ResponseStatus {
        self.usage.tokens = end.usage;
        let took = end.timings;
        let ms = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64() * 1_000.0);
        self.timings.queue_llm = ms(took.queue_llm);
        self.timings.llm_first_token = ms(took.first_token);
        self.timings.llm_first_clause = ms(took.first_clause);
        self.timings.queue_tts = ms(took.queue_tts);
        self.timings.tts_first_audio = ms(took.first_audio);
        match end.finish {
            FinishReason::Length => ResponseStatus::OutOfTokens,
            FinishReason::Stop | FinishReason::ToolCalls => ResponseStatus::Completed,
        }
    }

    fn open_message(&mut self, scene: &mut Scene<'_>) -> &mut OpenMessage {
        if self.message.is_none() {
            self.close_call(true, scene);
            let place = self.place(ItemId::random());
            let body = ItemBody::Message { role: Role::Assistant, content: Vec::new() };
            self.add_item(&place, body, scene);
            self.emit(scene, ResponseEvent::PartAdded(place.clone(), self.settings.modality));
            self.message = Some(OpenMessage { place, text: String::new(), timeline: Timeline::default() });
        }
        self.message.as_mut().expect("it was opened above")
    }

    fn close_message(&mut self, whole: bool, scene: &mut Scene<'_>) {
        let Some(OpenMessage { place, mut text, timeline, .. }) = self.message.take() else { return };
        let modality = self.settings.modality;
        let content = match modality {
            Modality::Text => {
                self.emit(scene, ResponseEvent::TextDone(place.clone(), text.clone()));
                Content::OutputText(text.clone())
            }
            Modality::Audio => {
                if let Some(rest) = self.encoder.finish().filter(|_| whole) {
                    self.emit(scene, ResponseEvent::AudioDelta(place.clone(), rest));
                }
                if !whole {
                    text = timeline.heard(whole_ms(self.playback.heard(scene.now)));
                }
                self.emit(scene, ResponseEvent::AudioDone(place.clone()));
                self.emit(scene, ResponseEvent::TranscriptDone(place.clone(), text.clone()));
                Content::OutputAudio(text.clone())
            }
        };
        self.emit(scene, ResponseEvent::PartDone(place.clone(), modality, text));
        let body = ItemBody::Message { role: Role::Assistant, content: vec![content] };
        let timeline = (modality == Modality::Audio).then_some(timeline);
        self.close_item(place, body, (whole, timeline), scene);
    }

    fn open_call(&mut self, (index, call): (usize, ToolCallRef), scene: &mut Scene<'_>) {
        self.close_message(true, scene);
        self.close_call(true, scene);
        let place = self.place(ItemId::random());
        let body = ItemBody::FunctionCall {
            call_id: call.call_id.clone(),
            name: call.name.clone(),
            arguments: String::new(),
        };
        self.add_item(&place, body, scene);
        self.call = Some(OpenCall { index, place, call, arguments: String::new() });
    }

    fn on_arguments(
        &mut self,
        index: usize,
        delta: String,
        scene: &mut Scene<'_>,
    ) -> Result<(), SessionError> {
        let Some(open) = self.call.as_mut().filter(|open| open.index == index) else {
            return Err(SessionError::BrokenCall { reason: format!("call {index} goes on after its end") });
        };
        open.arguments.push_str(&delta);
        let event = ResponseEvent::ArgumentsDelta(open.place.clone(), open.call.clone(), delta);
        self.emit(scene, event);
        Ok(())
    }

    /// What comes next ends the call that is open: its arguments must be whole. None at all are an empty object.
    fn check_call(&mut self, scene: &mut Scene<'_>) -> Result<(), SessionError> {
        let Some(open) = &self.call else { return Ok(()) };
        if open.arguments.trim().is_empty() {
            return self.on_arguments(open.index, "{}".to_owned(), scene);
        }
        let whole = serde_json::from_str::<serde_json::Map<String, Value>>(&open.arguments);
        whole.map(drop).map_err(|error| {
            let reason = format!("the arguments of '{}' are not a JSON object: {error}", open.call.name);
            SessionError::BrokenCall { reason }
        })
    }

    fn close_call(&mut self, whole: bool, scene: &mut Scene<'_>) {
        let Some(OpenCall { place, call, arguments, .. }) = self.call.take() else { return };
        self.emit(scene, ResponseEvent::ArgumentsDone(place.clone(), call.clone(), arguments.clone()));
        let body = ItemBody::FunctionCall { call_id: call.call_id, name: call.name, arguments };
        self.close_item(place, body, (whole, None), scene);
    }

    fn add_item(&self, place: &OutputPlace, body: ItemBody, scene: &mut Scene<'_>) {
        let item = Item { id: place.item.clone(), status: ItemStatus::InProgress, body };
        self.emit(scene, ResponseEvent::ItemAdded(place.clone(), item.clone()));
        if self.settings.in_history {
            // A history at its limit loses its oldest item rather than an answer.
            let previous = scene.conversation.push_evicting(item.clone());
            scene.outbox.send(SessionEvent::ItemAdded { previous, item });
        }
    }

    fn close_item(
        &mut self,
        place: OutputPlace,
        body: ItemBody,
        (whole, timeline): (bool, Option<Timeline>),
        scene: &mut Scene<'_>,
    ) {
        let status = if whole { ItemStatus::Completed } else { ItemStatus::Incomplete };
        let item = Item { id: place.item.clone(), status, body };
        if self.settings.in_history {
            scene.conversation.replace(item.clone(), timeline);
            let previous = scene.conversation.previous_of(&item.id);
            scene.outbox.send(SessionEvent::ItemDone { previous, item: item.clone() });
        }
        self.output.push(item.clone());
        self.emit(scene, ResponseEvent::ItemDone(place, item));
    }

    fn place(&self, item: ItemId) -> OutputPlace {
        OutputPlace { response: self.id.clone(), item, index: self.output.len() }
    }

    fn emit(&self, scene: &Scene<'_>, event: ResponseEvent) {
        scene.outbox.send(SessionEvent::Response(event));
    }

    fn view(&self, status: ResponseStatus) -> ResponseView {
        let over = status != ResponseStatus::InProgress;
        ResponseView {
            id: self.id.clone(),
            conversation: self.conversation_id.clone(),
            status,
            output: self.output.clone(),
            modality: self.settings.modality,
            format: self.settings.format,
            voice: self.settings.voice.clone(),
            max_output_tokens: self.settings.max_output_tokens,
            usage: over.then_some(self.usage),
            metadata: self.settings.metadata.clone(),
            timings: over.then_some(self.timings),
        }
    }
}
