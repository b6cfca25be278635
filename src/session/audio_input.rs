//! `AudioInputProcessor`: the audio a client sends, from bytes to voice frames.
//!
//! Decodes, resamples to 16 kHz, keeps what may still be needed, and runs voice activity on it. It runs on the
//! session's task: a frame of 16 ms takes microseconds. It knows nothing of turns; [`super::turn`] does.

use std::collections::VecDeque;
use std::sync::Arc;

use super::error::SessionError;
use super::interruption::echo::LEVEL_MS;
use super::turn::{SAMPLES_PER_MS, Span, VoiceFrame};
use crate::audio::{AudioError, AudioFormat, Decoder, Resampler, SampleRing};
use crate::engine::stt::STT_SAMPLE_RATE;
use crate::engine::vad::VadDetector;

/// Frames in a row that must hold speech before a begin is believed: 48 ms, so that clicks are not.
const ONSET_FRAMES: u32 = 3;
/// What is left of a pause within an utterance that is transcribed.
const KEPT_PAUSE_MS: u64 = 300;
/// Values of loudness that are kept: 1 s.
const KEPT_LEVELS: usize = 64;
/// How much likelier than the threshold speech must be to begin than to go on (hysteresis).
const ONSET_MARGIN: f32 = 0.2;

/// The input side of one session.
#[derive(Debug)]
pub struct AudioInputProcessor {
    decoder: Decoder,
    resampler: Resampler,
    ring: SampleRing,
    detector: Box<dyn VadDetector>,
    threshold: f32,
    voice: VoiceGate,
    /// Position up to which voice activity has looked.
    looked: u64,
    /// Loudness (RMS) of the latest audio, one value for each [`LEVEL_MS`].
    levels: VecDeque<f32>,
    max_input_ms: u64,
}

impl AudioInputProcessor {
    /// A processor at the begin of a session. It keeps at most `max_input_ms` of audio.
    pub fn new(
        format: AudioFormat,
        detector: Box<dyn VadDetector>,
        max_input_ms: u64,
    ) -> Result<Self, AudioError> {
        Ok(Self {
            decoder: Decoder::new(format),
            resampler: Resampler::new(format.sample_rate(), STT_SAMPLE_RATE)?,
            ring: SampleRing::new(samples(max_input_ms)),
            detector,
            threshold: 0.5,
            voice: VoiceGate::default(),
            looked: 0,
            levels: VecDeque::new(),
            max_input_ms,
        })
    }

    /// Counts positions on from here: audio of earlier connections of the session. For an empty processor.
    pub fn start_at(&mut self, position: u64) {
        self.ring.start_at(position);
        self.looked = position;
    }

    /// Takes audio in another format from now on.
    pub fn set_format(&mut self, format: AudioFormat) -> Result<(), AudioError> {
        if format != self.decoder.format() {
            self.resampler = Resampler::new(format.sample_rate(), STT_SAMPLE_RATE)?;
            self.decoder = Decoder::new(format);
        }
        Ok(())
    }

    /// Keeps at most this much audio from now on; what is there stays.
    pub fn set_limit(&mut self, max_input_ms: u64) {
        self.ring.set_limit(samples(max_input_ms));
        self.max_input_ms = max_input_ms;
    }

    /// Sets the probability above which a frame counts as speech.
    pub fn set_threshold(&mut self, threshold: f32) {
        self.threshold = threshold;
    }

    /// Takes in audio: all of it or, on an error, none.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let samples = self.decoder.decode(bytes)?;
        let resampled = self.resampler.push(&samples);
        self.ring.push(&resampled).map_err(|_| SessionError::InputBufferFull { limit_ms: self.max_input_ms })
    }

    /// The next frame that voice activity has not looked at, if it is there whole.
    pub fn next_frame(&mut self) -> Option<VoiceFrame> {
        let length = self.detector.frame_len();
        let end = self.looked + length as u64;
        if end > self.ring.end() {
            return None;
        }
        let frame = self.ring.slice(self.looked..end);
        self.looked = end;
        self.note_levels(&frame);
        let probability = self.detector.predict(&frame);
        Some(self.voice.update(probability, self.threshold, end, length as u64))
    }

    /// Loudness of the latest audio, oldest first.
    pub fn levels(&self) -> Vec<f32> {
        self.levels.iter().copied().collect()
    }

    fn note_levels(&mut self, frame: &[f32]) {
        for piece in frame.chunks(samples(LEVEL_MS)) {
            let energy = piece.iter().map(|sample| sample * sample).sum::<f32>();
            self.levels.push_back((energy / piece.len() as f32).sqrt());
        }
        let surplus = self.levels.len().saturating_sub(KEPT_LEVELS);
        self.levels.drain(..surplus);
    }

    /// Moves voice activity to the end of what is there, without looking (the client ends turns itself).
    pub fn skip_frames(&mut self) {
        self.looked = self.ring.end();
    }

    /// The samples of `span` that are still kept, as speech-to-text takes them.
    pub fn utterance(&self, span: Span) -> Arc<[f32]> {
        self.ring.slice(span.from.max(self.ring.start())..span.to.min(self.ring.end())).into()
    }

    /// The same, with each of `pauses` shortened to what people make between words: recognisers trained on short
    /// utterances stop at a long one.
    pub fn utterance_without(&self, span: Span, pauses: &[Span]) -> Arc<[f32]> {
        let keep = KEPT_PAUSE_MS * SAMPLES_PER_MS / 2;
        let mut audio = Vec::new();
        let mut from = span.from;
        for pause in pauses.iter().filter(|pause| pause.to.saturating_sub(pause.from) > 2 * keep) {
            audio.extend_from_slice(&self.utterance(Span { from, to: (pause.from + keep).max(from) }));
            from = (pause.to - keep).max(from);
        }
        audio.extend_from_slice(&self.utterance(Span { from, to: span.to.max(from) }));
        audio.into()
    }

    /// All that is kept.
    pub fn kept(&self) -> Span {
        Span { from: self.ring.start(), to: self.ring.end() }
    }

    /// Lets go of what lies before `position`.
    pub fn discard_before(&mut self, position: u64) {
        self.ring.discard_before(position.min(self.looked));
    }

    /// Lets go of everything, and of what voice activity knew. The decoder stays: the client's stream goes on.
    pub fn clear(&mut self) {
        self.ring.discard_before(self.ring.end());
        self.skip_frames();
        self.detector.reset();
        self.voice = VoiceGate::default();
    }

    /// Bytes of audio kept, and of the codec's state; the allocation is at most twice the audio.
    pub fn bytes(&self) -> usize {
        self.ring.len() * size_of::<i16>() + self.decoder.bytes()
    }
}

fn samples(ms: u64) -> usize {
    usize::try_from(ms * SAMPLES_PER_MS).unwrap_or(usize::MAX)
}

/// Makes a steady yes or no of probabilities: a few sure frames to begin, one unsure one to go on.
#[derive(Debug, Default)]
struct VoiceGate {
    open: bool,
    sure_frames: u32,
    onset: u64,
}

impl VoiceGate {
    fn update(&mut self, probability: f32, threshold: f32, end: u64, length: u64) -> VoiceFrame {
        let sure = probability >= (threshold + ONSET_MARGIN).min(0.95);
        self.sure_frames = if sure { self.sure_frames + 1 } else { 0 };
        if self.open {
            self.open = probability >= threshold;
        } else if self.sure_frames >= ONSET_FRAMES {
            self.open = true;
            self.onset = end.saturating_sub(u64::from(ONSET_FRAMES) * length);
        }
        VoiceFrame { end, voice: self.open, onset: self.onset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clicks_do_not_open_the_gate_and_weak_frames_do_not_close_it() {
        let mut gate = VoiceGate::default();
        let probabilities = [0.9, 0.9, 0.1, 0.9, 0.8, 0.75, 0.55, 0.5, 0.4, 0.6, 0.9];
        let voice: Vec<_> = probabilities
            .iter()
            .zip(1..)
            .map(|(&probability, frame)| gate.update(probability, 0.5, frame * 256, 256).voice)
            .collect();
        let expected = [false, false, false, false, false, true, true, true, false, false, false].to_vec();
        assert_eq!(voice, expected);
        assert_eq!(gate.onset, 3 * 256, "the begin is dated back to the first sure frame");
    }
}
