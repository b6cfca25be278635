//! What one user hears: the server's events put together into transcripts and answers, and everything in them
//! that cannot be right. Pure: events and their time of arrival come in, nothing goes out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use antiphon::audio::AudioFormat;
use tokio::time::Instant;

use crate::wire::{Response, ServerEvent, decoded};

/// One answer of the server, as far as it came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) id: String,
    /// The conversation item that holds it.
    pub(crate) item: Option<String>,
    /// When its first audio came (its first text, where answers are read).
    pub(crate) first_at: Option<Instant>,
    /// When the latest came.
    pub(crate) last_at: Option<Instant>,
    pub(crate) audio: Duration,
    pub(crate) text: String,
    /// `completed`, `cancelled`, `failed`, `incomplete`; `None` while it runs.
    pub(crate) status: Option<String>,
    pub(crate) details: String,
    /// The server's own timings of the turn, if it tells them.
    pub(crate) server_ms: BTreeMap<String, f64>,
}

impl Answer {
    fn new(id: String) -> Self {
        Self {
            id,
            item: None,
            first_at: None,
            last_at: None,
            audio: Duration::ZERO,
            text: String::new(),
            status: None,
            details: String::new(),
            server_ms: BTreeMap::new(),
        }
    }

    fn arrived(&mut self, now: Instant) {
        self.first_at.get_or_insert(now);
        self.last_at = Some(now);
    }

    fn finish(&mut self, response: Response) {
        self.details = response.status_details.map(|details| details.to_string()).unwrap_or_default();
        self.status = Some(response.status);
        let timings = response.antiphon.unwrap_or_default().timings_ms;
        self.server_ms = timings.into_iter().filter_map(|(name, ms)| Some((name, ms?))).collect();
    }
}

/// Everything one session heard.
#[derive(Debug)]
pub(crate) struct Ear {
    format: AudioFormat,
    /// Whether answers are read: then text counts as their arrival.
    text: bool,
    pub(crate) session: Option<String>,
    pub(crate) configured: bool,
    /// Ids of items and responses that this session was told of.
    pub(crate) ids: HashSet<String>,
    /// User items of this turn, in order.
    user_items: Vec<String>,
    transcripts: HashMap<String, String>,
    /// Answers of this turn, in order.
    pub(crate) answers: Vec<Answer>,
    /// The last answer of the turn before, which may still be arriving after an interruption.
    pub(crate) before: Option<Answer>,
    /// Whether the loudspeaker plays no more of it.
    muted: bool,
    /// Which response the numbers of binary audio stand for.
    streams: HashMap<u32, String>,
    /// Whether the server hears the user speak.
    pub(crate) speech_open: bool,
    /// When the loudspeaker falls silent.
    pub(crate) playing_until: Option<Instant>,
    /// When the latest event came.
    pub(crate) last_event: Option<Instant>,
    /// Errors that the server reported; the caller takes them.
    pub(crate) errors: Vec<String>,
    /// What cannot be right: events about things that the session never had; the caller takes them.
    pub(crate) faults: Vec<String>,
}

impl Ear {
    /// An ear for a new session.
    pub(crate) fn new(format: AudioFormat, text: bool) -> Self {
        Self {
            format,
            text,
            session: None,
            configured: false,
            ids: HashSet::new(),
            user_items: Vec::new(),
            transcripts: HashMap::new(),
            answers: Vec::new(),
            before: None,
            muted: false,
            streams: HashMap::new(),
            speech_open: false,
            playing_until: None,
            last_event: None,
            errors: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// A new turn begins: what comes from now on belongs to it.
    pub(crate) fn begin_turn(&mut self) {
        self.before = self.answers.pop();
        self.muted = false;
        self.answers.clear();
        for item in std::mem::take(&mut self.user_items) {
            self.transcripts.remove(&item);
        }
    }

    /// The words that the server understood in this turn; `None` until every committed item has its transcript.
    pub(crate) fn transcript(&self) -> Option<String> {
        let texts: Option<Vec<_>> = self.user_items.iter().map(|item| self.transcripts.get(item)).collect();
        let texts = texts.filter(|texts| !texts.is_empty())?;
        Some(texts.iter().map(|text| text.trim()).collect::<Vec<_>>().join(" "))
    }

    /// What came of the transcript, complete or not.
    pub(crate) fn heard_so_far(&self) -> String {
        let texts = self.user_items.iter().filter_map(|item| self.transcripts.get(item));
        texts.map(|text| text.trim()).collect::<Vec<_>>().join(" ")
    }

    /// The answer of this turn: the last that has sound, else the last.
    pub(crate) fn answer(&self) -> Option<&Answer> {
        self.answers.iter().rfind(|answer| answer.first_at.is_some()).or(self.answers.last())
    }

    /// Whether an answer is being made or played.
    pub(crate) fn is_busy(&self, now: Instant) -> bool {
        self.answers.iter().any(|answer| answer.status.is_none()) || self.is_playing(now)
    }

    /// Whether the loudspeaker sounds.
    pub(crate) fn is_playing(&self, now: Instant) -> bool {
        self.playing_until.is_some_and(|end| end > now)
    }

    /// How much of `answer` was played by `now`, if it is the last that was queued.
    pub(crate) fn played(&self, answer: &Answer, now: Instant) -> Duration {
        let left = self.playing_until.map_or(Duration::ZERO, |end| end.saturating_duration_since(now));
        answer.audio.saturating_sub(left)
    }

    /// Drops what was not played yet, and what is still to come of the answer before.
    pub(crate) fn stop_playing(&mut self) {
        self.muted = true;
        self.playing_until = None;
    }

    /// Takes one event.
    pub(crate) fn hear(&mut self, event: ServerEvent, now: Instant) {
        self.last_event = Some(now);
        match event {
            ServerEvent::SessionCreated { session } => self.session_is(session.id),
            ServerEvent::SessionUpdated { session } => {
                self.configured = true;
                self.session_is(session.id);
            }
            ServerEvent::Error { error } => self.errors.push(error.to_string()),
            ServerEvent::SpeechStarted { item_id } => {
                self.speech_open = true;
                self.add_user_item(item_id);
            }
            ServerEvent::SpeechStopped { item_id } => {
                self.speech_open = false;
                self.expect_id("speech_stopped", &item_id);
            }
            ServerEvent::Committed { item_id } => {
                self.speech_open = false;
                self.add_user_item(item_id);
            }
            ServerEvent::ItemAdded { item } => drop(self.ids.insert(item.id)),
            ServerEvent::ItemDone { item } => self.expect_id("conversation.item.done", &item.id),
            ServerEvent::ItemTruncated { item_id } => self.expect_id("conversation.item.truncated", &item_id),
            // With turns that the client ends itself, words come before the commit that names their item.
            ServerEvent::TranscriptDelta { item_id } => drop(self.ids.insert(item_id)),
            ServerEvent::Transcript { item_id, transcript } => {
                self.expect_id("transcription.completed", &item_id);
                self.transcripts.insert(item_id, transcript);
            }
            ServerEvent::TranscriptFailed { item_id, error } => {
                self.expect_id("transcription.failed", &item_id);
                self.errors.push(format!("transcription failed: {error}"));
            }
            other => self.hear_answer(other, now),
        }
    }

    fn hear_answer(&mut self, event: ServerEvent, now: Instant) {
        match event {
            ServerEvent::ResponseCreated { response } => {
                if !self.ids.insert(response.id.clone()) {
                    self.faults.push(format!("response {} was created twice", response.id));
                }
                self.answers.push(Answer::new(response.id));
            }
            ServerEvent::ResponseDone { response } => {
                let id = response.id.clone();
                if let Some(answer) = self.running("response.done", &id) {
                    answer.finish(response);
                }
            }
            ServerEvent::OutputItemAdded { response_id, item } => {
                self.ids.insert(item.id.clone());
                if let Some(answer) = self.running("response.output_item.added", &response_id) {
                    answer.item.get_or_insert(item.id);
                }
            }
            ServerEvent::AudioDelta { response_id, item_id, delta } => {
                self.expect_id("response.output_audio.delta", &item_id);
                self.hear_audio(&response_id, &decoded(&delta), now);
            }
            ServerEvent::PartAdded { response_id, item_id, antiphon: Some(part) } => {
                self.expect_id("response.content_part.added", &item_id);
                if self.streams.insert(part.audio_stream, response_id).is_some() {
                    self.faults.push(format!("audio stream {} began twice", part.audio_stream));
                }
            }
            ServerEvent::BinaryAudio { stream, audio } => match self.streams.get(&stream).cloned() {
                Some(response_id) => self.hear_audio(&response_id, &audio, now),
                None => self.faults.push(format!("audio of stream {stream}, which was never announced")),
            },
            ServerEvent::TextDelta { response_id, item_id, delta } => {
                self.expect_id("response text delta", &item_id);
                let read = self.text;
                if let Some(answer) = self.running("response text delta", &response_id) {
                    answer.text.push_str(&delta);
                    if read {
                        answer.arrived(now);
                    }
                }
            }
            _ => {}
        }
    }

    fn hear_audio(&mut self, response_id: &str, audio: &[u8], now: Instant) {
        let length = self.format.duration(audio);
        let played = !self.muted || self.answers.iter().any(|answer| answer.id == response_id);
        let Some(answer) = self.running("response.output_audio.delta", response_id) else { return };
        answer.arrived(now);
        answer.audio += length;
        // What still comes of an answer that was stopped is measured, but not played.
        if played {
            let begins = self.playing_until.map_or(now, |end| end.max(now));
            self.playing_until = Some(begins + length);
        }
    }

    fn session_is(&mut self, id: String) {
        match &self.session {
            Some(known) if *known != id => {
                self.faults.push(format!("the session was {known} and is now {id}"))
            }
            Some(_) => {}
            None => self.session = Some(id),
        }
    }

    fn add_user_item(&mut self, id: String) {
        self.ids.insert(id.clone());
        if !self.user_items.contains(&id) {
            self.user_items.push(id);
        }
    }

    fn expect_id(&mut self, event: &str, id: &str) {
        if !self.ids.contains(id) {
            self.faults.push(format!("{event} about {id}, which this session never had"));
        }
    }

    /// The answer with this id, if it runs; anything else is a fault.
    fn running(&mut self, event: &str, id: &str) -> Option<&mut Answer> {
        let fault = if !self.ids.contains(id) {
            format!("{event} of {id}, which this session never had")
        } else if self.find(id).is_some_and(|answer| answer.status.is_some()) {
            format!("{event} of {id} after its response.done")
        } else {
            return self.find(id);
        };
        self.faults.push(fault);
        None
    }

    fn find(&mut self, id: &str) -> Option<&mut Answer> {
        self.answers.iter_mut().chain(&mut self.before).find(|answer| answer.id == id)
    }
}

#[cfg(test)]
mod tests;
