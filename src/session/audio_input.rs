//! `AudioInputProcessor`: the audio a client sends, from bytes to voice frames.
//!
//! Decodes, resamples to 16 kHz, keeps what may still be needed, and has voice activity look at it: on the session's
//! task where a frame takes microseconds, else elsewhere, together with the frames of other sessions. It knows nothing
//! of turns; [`super::turn`] does.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::error::SessionError;
use super::interruption::echo::LEVEL_MS;
use super::turn::{SAMPLES_PER_MS, Span, VoiceFrame};
use crate::audio::{AudioError, AudioFormat, Decoder, Resampler, SampleRing};
use crate::engine::EngineFuture;
use crate::engine::stt::STT_SAMPLE_RATE;
use crate::engine::vad::VadDetector;

/// How long voice activity that is judged elsewhere is waited for. 2 s: far more than a busy machine takes, and the
/// person has given up by then.
const JUDGING: Duration = Duration::from_secs(2);
/// The same while it does not answer.
const RETRYING: Duration = Duration::from_millis(100);
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
    /// Frames that are judged elsewhere.
    looking: Option<Looking>,
    /// What was said of frames that have not been asked for yet, each with its end.
    judged: VecDeque<(f32, u64)>,
    /// What was said of the last frame.
    last: f32,
    /// Whether the last frames that were judged elsewhere were.
    follows: bool,
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
            looking: None,
            judged: VecDeque::new(),
            last: 0.0,
            follows: true,
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

    /// The next frame that voice activity has looked at, if there is one. Frames that are judged elsewhere are there
    /// when [`judged`](Self::judged) is done.
    pub fn next_frame(&mut self) -> Option<VoiceFrame> {
        let length = self.detector.frame_len();
        if let Some((probability, end)) = self.judged.pop_front() {
            return Some(self.voice.update(probability, self.threshold, end, length as u64));
        }
        let whole = usize::try_from(self.ring.end().saturating_sub(self.looked)).unwrap_or(0) / length;
        if whole == 0 || self.looking.is_some() {
            return None;
        }
        let (batch, from) = (self.detector.batch(), self.looked);
        let frames = whole.min(batch.max(1));
        self.looked += (frames * length) as u64;
        let samples = self.ring.slice(from..self.looked);
        self.note_levels(&samples);
        if batch > 0 {
            let (probabilities, answer_by) = (
                self.detector.submit(&samples),
                Instant::now() + if self.follows { JUDGING } else { RETRYING },
            );
            self.looking = Some(Looking { probabilities, from, frames, answer_by });
            return None;
        }
        self.last = self.detector.predict(&samples);
        Some(self.voice.update(self.last, self.threshold, self.looked, length as u64))
    }

    /// Whether frames are judged elsewhere.
    pub fn is_looking(&self) -> bool {
        self.looking.is_some()
    }

    /// Waits for the frames that are judged elsewhere, but not for long: what is not told in time is as the last
    /// frame was, once, and then silence. Dropping this forgets nothing.
    pub async fn judged(&mut self) {
        let Some(looking) = &mut self.looking else { return };
        let told = timeout_at(looking.answer_by, &mut looking.probabilities).await;
        let Some(Looking { from, frames, .. }) = self.looking.take() else { return };
        let told = told.map_err(|_| "it did not answer in time".to_owned());
        let told = told.and_then(|told| told.map_err(|error| error.to_string()));
        let followed = std::mem::replace(&mut self.follows, told.is_ok());
        let probabilities = told.unwrap_or_else(|error| {
            if followed {
                tracing::warn!(error, "voice activity does not follow; its last judgement stands for now");
            } else {
                self.last = 0.0; // a turn must end
            }
            Vec::new()
        });
        let length = self.detector.frame_len() as u64;
        for (frame, at) in (0..frames).zip(1_u64..) {
            self.last = probabilities.get(frame).copied().unwrap_or(self.last);
            self.judged.push_back((self.last, from + at * length));
        }
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
        self.looking = None;
        self.judged.clear();
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
        let unjudged = self.looking.as_ref().map_or(self.looked, |looking| looking.from);
        self.ring.discard_before(position.min(unjudged));
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

/// Frames that are judged elsewhere.
struct Looking {
    probabilities: EngineFuture<Vec<f32>>,
    /// Position of the first.
    from: u64,
    frames: usize,
    answer_by: Instant,
}

impl fmt::Debug for Looking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looking")
            .field("from", &self.from)
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
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

    /// Judges elsewhere: frame by frame what it is told to, or never.
    #[derive(Debug)]
    struct Elsewhere(std::sync::Mutex<VecDeque<Option<Vec<f32>>>>);

    impl VadDetector for Elsewhere {
        fn frame_len(&self) -> usize {
            256
        }

        fn predict(&mut self, _frame: &[f32]) -> f32 {
            unreachable!("frames are submitted")
        }

        fn batch(&self) -> usize {
            4
        }

        fn submit(&mut self, _frames: &[f32]) -> EngineFuture<Vec<f32>> {
            let told = self.0.lock().expect("sound").pop_front().expect("no more frames than the test has");
            Box::pin(async move {
                match told {
                    Some(told) => Ok(told),
                    None => std::future::pending().await,
                }
            })
        }

        fn reset(&mut self) {}
    }

    fn processor(told: Vec<Option<Vec<f32>>>) -> AudioInputProcessor {
        let detector = Box::new(Elsewhere(std::sync::Mutex::new(told.into())));
        AudioInputProcessor::new(AudioFormat::Pcm16, detector, 60_000).expect("a known format")
    }

    /// Puts in audio for so many whole frames, and one sample short of one more.
    fn push(input: &mut AudioInputProcessor, frames: u64) {
        let wanted = input.looked + frames * 256;
        while input.ring.end() < wanted {
            input.push(&[0; 48]).expect("room");
        }
    }

    fn voices(input: &mut AudioInputProcessor) -> Vec<bool> {
        std::iter::from_fn(|| input.next_frame()).map(|frame| frame.voice).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn frames_judged_elsewhere_come_in_order_and_in_batches() {
        let mut input = processor(vec![Some(vec![0.9; 4]), Some(vec![0.9, 0.1])]);
        push(&mut input, 6);
        assert!(voices(&mut input).is_empty());
        assert!(input.is_looking());
        input.judged().await;
        assert_eq!(voices(&mut input), [false, false, true, true], "and the rest is under way");
        assert!(input.is_looking());
        input.judged().await;
        assert_eq!(voices(&mut input), [true, false]);
        assert!(!input.is_looking());
    }

    #[tokio::test(start_paused = true)]
    async fn a_judge_that_does_not_answer_is_taken_at_its_last_word_and_then_for_silence() {
        let mut input = processor(vec![Some(vec![0.9; 4]), None, None, Some(vec![0.9; 4])]);
        for expected in [[false, false, true, true], [true; 4], [false; 4], [false, false, true, true]] {
            push(&mut input, 4);
            assert!(voices(&mut input).is_empty());
            input.judged().await;
            assert_eq!(voices(&mut input), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_are_skipped_are_not_waited_for() {
        let mut input = processor(vec![None, Some(vec![0.9; 4])]);
        push(&mut input, 4);
        assert!(voices(&mut input).is_empty());
        input.clear();
        assert!(!input.is_looking());
        push(&mut input, 4);
        assert!(voices(&mut input).is_empty());
        input.judged().await;
        assert_eq!(voices(&mut input), [false, false, true, true]);
    }
}
