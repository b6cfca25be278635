//! Audio and turns: from samples to a committed user item, by voice activity or by the client's `commit`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::updates::threshold;
use super::{Begun, SessionActor};
use crate::engine::stt::Transcript;
use crate::session::completeness::completeness;
use crate::session::conversation::{Content, Item, ItemBody, ItemStatus, Role};
use crate::session::error::SessionError;
use crate::session::event::{SessionEvent, TranscribedAudio, TurnTimings};
use crate::session::expectation;
use crate::session::id::ItemId;
use crate::session::lifecycle::{RequestKind, RequestTracker};
use crate::session::partials::Agreement;
use crate::session::quota::{Charge, RequestPermit};
use crate::session::settings::{ResponseRequest, Transcription};
use crate::session::speech_pipeline::{Job, TimedTranscript, TranscriptEvent, Utterance};
use crate::session::turn::{SAMPLES_PER_MS, Span, TurnAction, TurnKey};
use crate::telemetry::metrics as names;

/// The least audio that a commit takes: OpenAI's limit.
const MIN_COMMIT_MS: u64 = 100;
/// Audio kept before a begin beside the padding: the begin is believed only after some frames.
const ONSET_SLACK_MS: u64 = 100;

/// An attempt at ending the turn under way: its transcript, and the answer made ahead of time. Dropping it stops
/// both.
#[derive(Debug)]
pub(super) struct Attempt {
    key: TurnKey,
    pub(super) work: Transcribing,
    heard: Option<Heard>,
    pub(super) reply: Option<Begun>,
}

/// A transcription under way; dropping it stops it.
#[derive(Debug)]
pub(super) struct Transcribing {
    _job: Job,
    pub(super) request: RequestTracker,
    /// What its audio holds.
    pub(super) bytes: usize,
    /// 16 kHz mono in [-1, 1]; kept until its transcript is in.
    pub(super) audio: Arc<[f32]>,
}

/// What an attempt heard.
#[derive(Debug)]
struct Heard {
    text: String,
    audio: TranscribedAudio,
    timings: TurnTimings,
}

/// A turn that ended before it was transcribed.
#[derive(Debug)]
pub(super) struct CommittedTurn {
    pub(super) item: ItemId,
    /// What was told of it while it was spoken.
    told: Agreement,
    pub(super) work: Transcribing,
    permit: RequestPermit,
    pub(super) respond: bool,
    ended: (Instant, Duration),
}

impl SessionActor {
    /// Transcribes a turn that an earlier connection committed. It is not answered by itself.
    pub(super) fn transcribe_again(&mut self, item: ItemId, audio: Arc<[f32]>) {
        let (key, ended) = (self.turn.manual_turn(), (Instant::now(), Duration::ZERO));
        let permit = self.shares.quota.begin_anyway(Charge::Other);
        let (work, told) = (self.transcribe_audio(key, audio, None), Agreement::default());
        self.committed.insert(key, CommittedTurn { item, told, work, permit, respond: false, ended });
    }

    pub(super) fn append_audio(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        self.components.input.push(bytes)?;
        if self.settings.turn_detection.is_none() {
            self.components.input.skip_frames();
            self.hear_partial();
            return Ok(());
        }
        self.follow_frames();
        Ok(())
    }

    /// Follows what voice activity has looked at.
    pub(super) fn follow_frames(&mut self) {
        while let Some(frame) = self.components.input.next_frame() {
            self.follow_frame(frame);
        }
        self.hear_partial();
        self.forget_silence();
    }

    pub(super) fn clear_audio(&mut self) {
        self.turn.abandon();
        (self.attempt, self.spare) = (None, None);
        self.hearing.finish();
        self.interpreting.end_utterance();
        self.open_item = None;
        self.dismiss_suspicion();
        self.parked = None;
        self.components.input.clear();
        self.outbox.send(SessionEvent::InputCleared);
    }

    pub(super) fn commit_audio(&mut self) -> Result<(), SessionError> {
        let kept = self.components.input.kept();
        let span = Span { from: self.turn.open_turn().unwrap_or(kept.from), to: kept.to };
        let samples = span.to.saturating_sub(span.from);
        if samples < MIN_COMMIT_MS * SAMPLES_PER_MS {
            let buffered_ms = samples as f64 / SAMPLES_PER_MS as f64;
            return Err(SessionError::InputBufferTooSmall { minimum_ms: MIN_COMMIT_MS, buffered_ms });
        }
        self.shares.quota.check(Charge::Other)?; // what is buffered stays
        self.believe_suspicion();
        self.attempt = None;
        let key = self.turn.manual_turn();
        self.end_turn(key, span, false, Duration::ZERO);
        Ok(())
    }

    /// After a change of turn detection: a turn under way goes on under the new rule, or waits for `commit`.
    pub(super) fn follow_turn_detection(&mut self) {
        let detection = self.settings.turn_detection.as_ref();
        self.components.input.set_threshold(threshold(detection));
        if detection.is_none() {
            self.turn.abandon();
            self.dismiss_suspicion();
            (self.attempt, self.parked) = (None, None);
            self.components.input.skip_frames();
        }
    }

    pub(super) fn on_turn_action(&mut self, action: TurnAction) {
        match action {
            TurnAction::Begin { from, .. } => self.begin_turn(from),
            TurnAction::Try { key, span } => self.try_turn(key, span),
            TurnAction::Discard(key) => {
                if let Some(attempt) = self.attempt.take_if(|attempt| attempt.key == key) {
                    self.spare_answer(attempt.heard.map(|heard| heard.text), attempt.reply);
                    metrics::counter!(names::TURNS_TOTAL, "outcome" => "revised").increment(1);
                }
            }
            TurnAction::End { key, span, tried, silence_ms } => {
                self.follow_end(key, span, tried, Duration::from_millis(silence_ms));
            }
        }
    }

    pub(super) fn begin_turn(&mut self, from: u64) {
        self.silent_since = None;
        let item = ItemId::random();
        self.components.callbacks.on_speech_started(&item, from);
        self.open_item = Some(item);
        if self.settings.turn_detection.as_ref().is_some_and(|detection| detection.interrupt_response) {
            self.interrupt();
            for turn in self.committed.values_mut() {
                turn.respond = false; // the person goes on before the answer began
            }
        }
    }

    fn try_turn(&mut self, key: TurnKey, span: Span) {
        self.hearing.give_way(span.to);
        let work = self.transcribe(key, span, true);
        self.attempt = Some(Attempt { key, work, heard: None, reply: None });
    }

    fn transcribe(&self, key: TurnKey, span: Span, may_be_over: bool) -> Transcribing {
        let ending = may_be_over.then(|| self.components.input.utterance(span));
        let audio = self.components.input.utterance_without(span, self.turn.pauses());
        self.transcribe_audio(key, audio, ending)
    }

    /// Transcribes `audio`; judges by the voice in `ending` whether the turn is over.
    fn transcribe_audio(&self, key: TurnKey, audio: Arc<[f32]>, ending: Option<Arc<[f32]>>) -> Transcribing {
        let (language, prompt) = self.expected_speech();
        let request = self.track(RequestKind::Transcription);
        let bytes = size_of_val(&*audio);
        let job = self.components.pipeline.transcribe(Utterance {
            key,
            audio: Arc::clone(&audio),
            language,
            prompt,
            ending,
            request: request.clone(),
        });
        Transcribing { _job: job, request, bytes, audio }
    }

    /// The language and the words that the client expects.
    pub(super) fn expected_speech(&self) -> (Option<String>, Option<String>) {
        let transcription = self.settings.transcription.as_ref();
        let of =
            |field: fn(&Transcription) -> &Option<String>| transcription.and_then(|set| field(set).clone());
        let (asked, words) = (of(|set| &set.prompt), self.config.hearing.context_words);
        (of(|set| &set.language), expectation::prompt(self.conversation.items(), words, asked.as_deref()))
    }

    fn follow_end(&mut self, key: TurnKey, span: Span, tried: bool, silence: Duration) {
        if let Some(item) = &self.open_item {
            self.components.callbacks.on_speech_stopped(item, span.to);
        }
        self.end_turn(key, span, tried, silence);
    }

    /// Makes the turn an item; answers it now if its transcript is there, else when it comes.
    fn end_turn(&mut self, key: TurnKey, span: Span, tried: bool, silence: Duration) {
        let item = self.open_item.take().unwrap_or_else(ItemId::random);
        let told = self.hearing.finish();
        self.interpreting.end_utterance();
        self.spare = None;
        let ended = (Instant::now(), silence);
        let by_voice = self.settings.turn_detection.as_ref();
        let respond = !silence.is_zero() && by_voice.is_some_and(|detection| detection.create_response);
        let attempt = self.attempt.take().filter(|attempt| tried && attempt.key == key);
        // What was said is never refused, or it would be lost; it uses the quota up.
        let permit = self.shares.quota.begin_anyway(Charge::Other);
        let work = match attempt {
            Some(Attempt { heard: Some(heard), reply, .. }) => {
                drop(permit); // it is over
                self.commit_item(&item, Some(&heard.text));
                self.on_heard((&item, &told), &heard, respond.then_some((reply, ended)));
                self.release_audio(span.to);
                return;
            }
            Some(Attempt { work, .. }) => work,
            None => self.transcribe(key, span, false),
        };
        self.commit_item(&item, None);
        self.release_audio(span.to);
        self.committed.insert(key, CommittedTurn { item, told, work, permit, respond, ended });
    }

    pub(super) fn commit_item(&mut self, id: &ItemId, transcript: Option<&str>) {
        metrics::counter!(names::TURNS_TOTAL, "outcome" => "committed").increment(1);
        self.shares.gauge.count_turn();
        let content = vec![Content::InputAudio(transcript.map(str::to_owned))];
        let body = ItemBody::Message { role: Role::User, content };
        let item = Item { id: id.clone(), status: ItemStatus::Completed, body };
        let previous = self.conversation.push_evicting(item.clone());
        let committed = SessionEvent::InputCommitted { previous: previous.clone(), item: id.clone() };
        self.outbox.send(committed);
        self.outbox.send(SessionEvent::ItemAdded { previous: previous.clone(), item: item.clone() });
        self.outbox.send(SessionEvent::ItemDone { previous, item });
    }

    pub(super) fn on_transcript(&mut self, event: TranscriptEvent) {
        let key = event.key;
        if event.is_partial {
            self.on_partial(event);
        } else if self.attempt.as_ref().is_some_and(|attempt| attempt.key == key) {
            self.on_attempt_transcript(event);
        } else if let Some(turn) = self.committed.remove(&key) {
            self.on_committed_transcript(turn, event);
        } else {
            tracing::debug!(session = %self.id, ?key, "dropped a stale transcript");
        }
    }

    fn on_attempt_transcript(&mut self, event: TranscriptEvent) {
        let result = match event.result {
            Ok(result) => result,
            Err(error) => {
                // The turn's end will ask again, and then tell the client if that fails too.
                tracing::warn!(session = %self.id, %error, "a speculative transcript failed");
                self.attempt = None;
                return;
            }
        };
        let heard = heard(&result, event.seconds);
        if !self.hear_suspect(&heard.text) {
            return;
        }
        self.observe(&heard.text);
        let sounds = self.weigh_interruption(&heard.text);
        let sounds = sounds.unwrap_or_else(|| completeness(&heard.text).with_voice(result.is_over));
        let reply = self.spared_answer(&heard.text).or_else(|| self.speculate(&heard.text));
        if let Some(attempt) = &mut self.attempt {
            attempt.heard = Some(heard);
            attempt.reply = reply;
        }
        if let Some(action) = self.turn.on_transcript(event.key, sounds) {
            self.on_turn_action(action);
        }
    }

    /// Begins the answer to a turn that may be over. It waits in its channel until the turn is.
    fn speculate(&self, text: &str) -> Option<Begun> {
        let wanted = self.settings.turn_detection.as_ref().is_some_and(|turns| turns.create_response);
        let free = self.responses.in_conversation().is_none() && self.committed.is_empty();
        let due = wanted && free && self.parked.is_none() && self.features.speculation && !text.is_empty();
        (due && self.shares.quota.allows(Charge::Response)).then(|| self.start_reply_to(text))
    }

    fn on_committed_transcript(&mut self, turn: CommittedTurn, event: TranscriptEvent) {
        let CommittedTurn { item, told, permit, respond, ended, .. } = turn;
        drop(permit); // the answer may take its place
        match event.result {
            Ok(result) => {
                let heard = heard(&result, event.seconds);
                self.conversation.set_transcript(&item, &heard.text);
                let answer = respond.then_some((None, ended));
                self.on_heard((&item, &told), &heard, answer);
            }
            Err(error) => {
                tracing::warn!(session = %self.id, %error, "a turn could not be transcribed");
                self.parked = None; // what was said may have been meant
                self.components.callbacks.on_failed(&item, error.clone());
                if respond {
                    if matches!(error, SessionError::Overloaded(_)) {
                        self.first_audio.record(ended.0.elapsed()); // it would have been later still
                    }
                    self.fail_response(error);
                }
            }
        }
        self.continue_waiting_responses();
    }

    /// A turn's text is known: tells the client, and answers if that is wanted.
    fn on_heard(
        &mut self,
        (item, told): (&ItemId, &Agreement),
        heard: &Heard,
        answer: Option<(Option<Begun>, (Instant, Duration))>,
    ) {
        self.tell_final(item, told.settle(&heard.text), heard.audio.clone());
        self.translate_final(item, &heard.text);
        if self.take_back_interruption(&heard.text, answer.as_ref().map(|(_, ended)| ended.0)) {
            return;
        }
        let Some((reply, ended)) = answer else { return };
        if heard.text.is_empty() {
            metrics::counter!(names::TURNS_TOTAL, "outcome" => "no_speech").increment(1);
            return; // a noise: nothing to answer
        }
        let mut timings = heard.timings;
        timings.endpointing = Some(ended.1.as_secs_f64() * 1_000.0);
        self.respond_to_turn(ResponseRequest::default(), reply, timings, Some(ended));
    }

    fn release_audio(&mut self, to: u64) {
        if self.settings.turn_detection.is_some() {
            self.forget_silence();
        } else {
            self.components.input.discard_before(to);
        }
    }

    /// In silence, keeps only what a begin may still need.
    pub(super) fn forget_silence(&mut self) {
        if self.turn.open_turn().is_none() {
            let keep = self.turn.padding() + ONSET_SLACK_MS * SAMPLES_PER_MS;
            let end = self.components.input.kept().to;
            self.components.input.discard_before(end.saturating_sub(keep));
        }
    }
}

fn heard(result: &TimedTranscript, seconds: f64) -> Heard {
    let timings = TurnTimings {
        queue_stt: Some(result.queued.as_secs_f64() * 1_000.0),
        stt: Some(result.took.as_secs_f64() * 1_000.0),
        ..TurnTimings::default()
    };
    let Transcript { text, language, tokens, .. } = &result.transcript;
    let logprobs = Some(tokens.clone()).filter(|tokens| !tokens.is_empty());
    let audio = TranscribedAudio { seconds, language: language.clone(), logprobs };
    Heard { text: text.trim().to_owned(), audio, timings }
}
