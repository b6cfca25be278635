//! Guards against text that a recogniser invented. Pure but for the voice detector, which has no state beyond a call.
//!
//! Recognisers of Whisper's kind write sentences into silence and repeat themselves. No list of such sentences is
//! kept: each language has its own, and people say them too. What counts is whether the audio holds voice, what the
//! model itself says, and how the text is built. Read [`GuardsConfig`] first.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

use super::earshot::EarshotVad;
use crate::engine::stt::{Guarded, STT_SAMPLE_RATE, TokenLogprob};
use crate::engine::vad::VadEngine;

/// A frame counts as voice from this probability on; lower than where a turn begins, because a guard that drops what
/// was said is worse than none.
const VOICE: f32 = 0.3;
/// Tokens that must be repeats before a text counts as a loop by that alone: people say "no, no, no", and rarely a
/// sentence of six tokens three times.
const MIN_REPEATED: usize = 12;

/// When a text counts as invented. The defaults are those of OpenAI's own decoder (`whisper/transcribe.py`:
/// `no_speech_threshold` 0.6, `logprob_threshold` -1.0, `compression_ratio_threshold` 2.4) where it has one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardsConfig {
    /// Probability of "no speech" above which a text is dropped that the model is unsure of; 0 never drops.
    pub no_speech_probability: f64,
    /// Mean logarithm of its tokens' probabilities below which the model is unsure of a text.
    pub mean_logprob: f64,
    /// Copies of the same words in a row from which they may be a loop, of which one copy is left; 0 leaves them.
    pub repeats: usize,
    /// Bytes of a text by those it compresses to, above which copies are a loop however short; 0 does not ask.
    pub compression_ratio: f64,
    /// Voice that audio must hold for any text, in milliseconds; 0 does not look. 64 ms is a third of a short "yes".
    pub min_voice_ms: u64,
}

impl Default for GuardsConfig {
    fn default() -> Self {
        Self {
            no_speech_probability: 0.6,
            mean_logprob: -1.0,
            repeats: 3,
            compression_ratio: 2.4,
            min_voice_ms: 64,
        }
    }
}

/// What a model wrote for one window of audio.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Draft {
    /// The tokens of the text.
    pub(super) tokens: Vec<TokenLogprob>,
    /// When each of them ends, in milliseconds; empty where that was not asked for.
    pub(super) ends_ms: Vec<u32>,
    /// Mean logarithm of the probabilities of all that it wrote, its end included.
    pub(super) mean_logprob: f32,
    /// It ended the text itself; else it was stopped at a limit.
    pub(super) has_ended: bool,
}

impl Draft {
    /// The text, trimmed.
    pub(super) fn text(&self) -> String {
        let bytes: Vec<u8> = self.tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

impl GuardsConfig {
    /// Whether the model is so unsure of a text that its probability of "no speech" matters.
    pub(super) fn is_unsure(&self, draft: &Draft) -> bool {
        self.no_speech_probability > 0.0
            && !draft.tokens.is_empty()
            && f64::from(draft.mean_logprob) < self.mean_logprob
    }

    /// Whether a text should be heard again where that may help: it was stopped, runs in circles, or is unsure.
    pub(super) fn is_doubtful(&self, draft: &Draft) -> bool {
        !draft.has_ended || self.is_unsure(draft) || self.surplus(draft).is_some()
    }

    /// Whether a text is dropped at this probability of "no speech", given that the model is unsure of it.
    pub(super) fn is_no_speech(&self, probability: f32) -> bool {
        self.no_speech_probability > 0.0 && f64::from(probability) > self.no_speech_probability
    }

    /// Whether the text runs in circles; if so, one copy of what repeats is left of it.
    pub(super) fn shorten(&self, draft: &mut Draft) -> Option<Guarded> {
        let mut guarded = None;
        while let Some((from, to)) = self.surplus(draft) {
            draft.tokens.drain(from..to);
            if !draft.ends_ms.is_empty() {
                draft.ends_ms.drain(from..to);
            }
            guarded = Some(Guarded::Repetition);
        }
        guarded
    }

    /// Whether `audio`, 16 kHz, holds too little voice for any word.
    pub(super) fn nothing_said(&self, audio: &[f32]) -> bool {
        self.min_voice_ms > 0 && !has_voice(audio, self.min_voice_ms)
    }

    /// The tokens that are copies of those before them.
    fn surplus(&self, draft: &Draft) -> Option<(usize, usize)> {
        if self.repeats < 2 {
            return None;
        }
        let is_dense = self.compression_ratio > 0.0 && compression(&draft.text()) > self.compression_ratio;
        let len = draft.tokens.len();
        let runs = (0..len).flat_map(|from| (1..=(len - from) / self.repeats).map(move |unit| (from, unit)));
        runs.filter_map(|(from, unit)| {
            let same = run(&draft.tokens, from, unit);
            let reaches_end = from + same == len;
            let runs_on = reaches_end && !draft.has_ended;
            let is_loop = is_dense || runs_on || same - unit >= MIN_REPEATED;
            // What is cut off in the middle of a copy is a part of the loop; what was ended is not.
            let to = if runs_on { len } else { from + same - same % unit };
            (same / unit >= self.repeats && is_loop).then_some((from + unit, to))
        })
        .next()
    }
}

/// How many tokens from `from` on repeat the first `unit` of them, those included.
fn run(tokens: &[TokenLogprob], from: usize, unit: usize) -> usize {
    let same = (from + unit..tokens.len()).take_while(|&at| tokens[at].bytes == tokens[at - unit].bytes);
    unit + same.count()
}

/// Bytes of a text by those that zlib makes of it, as OpenAI's decoder counts.
fn compression(text: &str) -> f64 {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    let packed = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).unwrap_or_default();
    text.len() as f64 / packed.len().max(1) as f64
}

fn has_voice(audio: &[f32], min_ms: u64) -> bool {
    let mut detector = EarshotVad.detector();
    let len = detector.frame_len();
    let wanted = (min_ms * u64::from(STT_SAMPLE_RATE) / 1_000).div_ceil(len as u64);
    let mut voiced = 0;
    audio.chunks_exact(len).any(|frame| {
        voiced += u64::from(detector.predict(frame) >= VOICE);
        voiced >= wanted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn draft(text: &str, has_ended: bool) -> Draft {
        let token = |word: &str| TokenLogprob { bytes: format!(" {word}").into_bytes(), logprob: -0.1 };
        Draft {
            tokens: text.split(' ').map(token).collect(),
            mean_logprob: -0.1,
            has_ended,
            ..Draft::default()
        }
    }

    fn shortened(text: &str, has_ended: bool) -> (String, Option<Guarded>) {
        let mut draft = draft(text, has_ended);
        let guarded = GuardsConfig::default().shorten(&mut draft);
        (draft.text(), guarded)
    }

    #[test]
    fn loops_are_shortened_and_what_people_say_is_not() {
        let said = [
            "no no no",
            "five five five one two three",
            "very very very good",
            "testing one two testing one two testing",
            "please increase that limit five times",
        ];
        for text in said {
            assert_eq!(shortened(text, true), (text.to_owned(), None));
        }
        let sentence = "please increase that limit five times.";
        let thrice = [sentence; 3].join(" ");
        assert_eq!(shortened(&thrice, true), (sentence.to_owned(), Some(Guarded::Repetition)));
        // Stopped at the limit, in the middle of a copy.
        let table = [
            ("thank you thank you thank you thank", "thank you"),
            ("so then the the the the the", "so then the"),
        ];
        for (text, left) in table {
            assert_eq!(shortened(text, false), (left.to_owned(), Some(Guarded::Repetition)), "{text}");
            assert_eq!(shortened(text, true).1, None, "{text}: it is short and ended by itself");
        }
        // In the middle, and dense.
        let middle = format!("first {} last", ["go"; 40].join(" "));
        assert_eq!(shortened(&middle, true).0, "first go last");
    }

    #[test]
    fn each_part_can_be_turned_off() {
        let off = GuardsConfig { repeats: 0, ..GuardsConfig::default() };
        let mut looped = draft(&["go"; 40].join(" "), false);
        assert_eq!(off.shorten(&mut looped), None);
        assert_eq!(looped.tokens.len(), 40);
        let unsure = Draft { mean_logprob: -1.5, ..draft("hm", true) };
        let on = GuardsConfig::default();
        assert!(on.is_unsure(&unsure) && on.is_no_speech(0.7) && !on.is_no_speech(0.5));
        assert!(!on.is_unsure(&draft("hm", true)) && !on.is_unsure(&Draft::default()));
        let off = GuardsConfig { no_speech_probability: 0.0, min_voice_ms: 0, ..on.clone() };
        assert!(!off.is_unsure(&unsure) && !off.is_no_speech(1.0));
        assert!(on.nothing_said(&[0.0; 16_000]) && !off.nothing_said(&[0.0; 16_000]));
        assert!(on.nothing_said(&[]) && on.nothing_said(&[f32::NAN; 4_000]));
    }

    #[test]
    fn compression_is_as_python_s() {
        // len(t) / len(zlib.compress(t)) of CPython 3.11: 0.818 and 16.667; other encoders differ by a few bytes.
        let plain = compression("Hello, how are you today, my friend?");
        assert!((plain - 36.0 / 44.0).abs() < 0.1, "{plain}");
        assert!(compression(&"go on ".repeat(50)) > 10.0);
    }

    proptest! {
        #[test]
        fn shortening_ends_and_never_adds(words in prop::collection::vec("[a-c]", 0..60), has_ended: bool) {
            let mut shortened = draft(&words.join(" "), has_ended);
            let before = shortened.tokens.len();
            let guarded = GuardsConfig::default().shorten(&mut shortened);
            prop_assert_eq!(guarded.is_some(), shortened.tokens.len() < before);
            prop_assert_eq!(GuardsConfig::default().shorten(&mut shortened.clone()), None);
        }
    }
}
