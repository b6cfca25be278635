//! Transcripts while the person still speaks: asked for now and then, and told as far as they will stand.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::SessionActor;
use crate::session::event::TranscribedAudio;
use crate::session::id::ItemId;
use crate::session::partials::{Agreement, Partials, Settled, Wish};
use crate::session::speech_pipeline::{Job, PartialUtterance, TranscriptEvent};
use crate::session::turn::Span;
use crate::telemetry::metrics as names;

/// The partial transcripts of a session, and the one that is under way.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    pub(super) partials: Partials,
    under_way: Option<UnderWay>,
}

/// A partial transcription; dropping it stops it.
#[derive(Debug)]
struct UnderWay {
    _job: Job,
    began: Instant,
    /// What its audio holds.
    bytes: usize,
}

impl Hearing {
    /// Bytes of audio that are being transcribed.
    pub(super) fn bytes(&self) -> usize {
        self.under_way.as_ref().map_or(0, |partial| partial.bytes)
    }

    /// A transcript up to sample `to` is asked for: stops the partial that is under way.
    pub(super) fn give_way(&mut self, to: u64) {
        self.partials.give_way(to);
        if self.under_way.take().is_some() {
            count("superseded");
        }
    }

    /// The utterance is over; gives what was told of it.
    pub(super) fn finish(&mut self) -> Agreement {
        if self.under_way.take().is_some() {
            count("superseded");
        }
        self.partials.finish()
    }
}

impl SessionActor {
    /// More audio came: asks for a partial transcript if one is due.
    pub(super) fn hear_partial(&mut self) {
        if !self.wants_partials() || self.is_suspect_without_words() {
            return;
        }
        self.translate_partials();
        let Some(span) = self.open_speech() else { return };
        let wish =
            Wish { every: self.partial_interval(), degradation: self.components.pipeline.degradation() };
        let now = Instant::now();
        let Some(key) = self.hearing.partials.begin((span.from, span.to), wish, now) else { return };
        let audio = self.components.input.utterance_without(span, self.turn.pauses());
        let bytes = size_of_val(&*audio);
        let (language, prompt) = self.expected_speech();
        let utterance =
            PartialUtterance { key, audio, language, prompt, gauge: Arc::clone(&self.shares.gauge) };
        let job = self.components.pipeline.transcribe_partial(utterance);
        self.hearing.under_way = Some(UnderWay { _job: job, began: now, bytes });
    }

    /// A partial transcript came, or failed: then the next one may do better, and the client need not know.
    pub(super) fn on_partial(&mut self, event: TranscriptEvent) {
        let Some(partial) = self.hearing.under_way.take() else { return count("stale") };
        if !self.hearing.partials.end(event.key, partial.began.elapsed(), Instant::now()) {
            self.hearing.under_way = Some(partial);
            return count("stale");
        }
        match event.result {
            Ok(result) => {
                count("heard");
                self.observe(&result.transcript.text);
            }
            Err(error) => {
                count("failed");
                tracing::debug!(session = %self.id, %error, "a partial transcript failed");
            }
        }
    }

    /// Takes in what was heard of the utterance under way, and tells what of it will stand.
    pub(super) fn observe(&mut self, hypothesis: &str) {
        if !self.wants_partials() || self.note_suspect_words(hypothesis) {
            return;
        }
        let Some(delta) = self.hearing.partials.observe(hypothesis) else { return };
        let item = self.open_item.get_or_insert_with(ItemId::random).clone();
        self.components.callbacks.on_partial(&item, delta);
        let sure = self.hearing.partials.agreement().sent();
        self.interpreting.grow(sure);
        self.translate_partials();
    }

    /// The final transcript of an item is known: tells what of it was not told yet, and that it is whole.
    pub(super) fn tell_final(&self, item: &ItemId, settled: Settled, mut audio: TranscribedAudio) {
        let words = metrics::counter!(names::PARTIAL_WORDS_TOTAL, "outcome" => "contradicted");
        words.increment(settled.contradicted as u64);
        let kept = settled.told_early.saturating_sub(settled.contradicted) as u64;
        metrics::counter!(names::PARTIAL_WORDS_TOTAL, "outcome" => "kept").increment(kept);
        audio.logprobs.take_if(|_| !self.settings.logprobs);
        self.components.callbacks.on_final(item, settled, audio);
    }

    fn wants_partials(&self) -> bool {
        self.features.partials && self.settings.transcription.is_some()
    }

    /// The audio of the utterance under way: while voice activity hears somebody speak, or since the client's last
    /// commit. In a pause there is none: a transcript of all so far is asked for then.
    fn open_speech(&self) -> Option<Span> {
        let kept = self.components.input.kept();
        let from = match self.settings.turn_detection {
            Some(_) => self.turn.speaking_since()?,
            None => kept.from,
        };
        Some(Span { from, to: kept.to })
    }

    fn partial_interval(&self) -> Duration {
        let delay = self.settings.transcription.as_ref().map(|wanted| wanted.delay).unwrap_or_default();
        delay.interval(Duration::from_millis(self.config.partials.interval_ms))
    }
}

fn count(outcome: &'static str) {
    metrics::counter!(names::PARTIALS_TOTAL, "outcome" => outcome).increment(1);
}
