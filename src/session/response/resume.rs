//! A response that begins with what an interrupted one left unsaid, and what it takes to let one go on.

use tokio::time::Instant;

use super::{ActiveResponse, Scene};
use crate::session::event::ResponseEvent;
use crate::session::interruption::parked::{Rest, Sent};
use crate::session::playback::Playback;
use crate::session::settings::Modality;

impl ActiveResponse {
    /// What was sent so far.
    pub(in crate::session) fn sent(&self) -> &Sent {
        &self.sent
    }

    /// Bytes of audio that was sent and is kept, and of the codec's state.
    pub(in crate::session) fn audio_bytes(&self) -> usize {
        self.sent.bytes() + self.encoder.bytes()
    }

    /// Whether it is speech and nothing else so far, so that it can go on after an interruption.
    pub(in crate::session) fn is_resumable(&self) -> bool {
        let speaks = self.settings.in_history && self.settings.modality == Modality::Audio;
        speaks && self.call.is_none() && self.output.is_empty()
    }

    /// Its audio is heard behind what plays until then.
    pub(in crate::session) fn play_behind(&mut self, end: Instant) {
        self.playback = Playback::behind(end);
    }

    /// Begins with what an interrupted answer left unsaid.
    pub(in crate::session) fn resume(&mut self, rest: Rest, scene: &mut Scene<'_>) {
        let Rest { text, words, audio, sent } = rest;
        self.sent = sent;
        if text.is_empty() && audio.is_empty() {
            return;
        }
        let message = self.open_message(scene);
        message.timeline.push_clause(words, 0);
        message.text.clone_from(&text);
        let event = ResponseEvent::TranscriptDelta(message.place.clone(), text);
        self.emit(scene, event);
        for chunk in audio.chunks((self.settings.format.sample_rate() / 10) as usize) {
            self.on_audio(chunk, scene);
        }
    }
}
