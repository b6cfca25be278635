//! How much of its window the encoder works on. Pure.
//!
//! Whisper was trained on windows of 30 seconds, and its encoder's work grows with the window. whisper.cpp can work
//! on the first part of it alone (`audio_ctx`), which is several times faster for short utterances. Models that were
//! not trained for that lose words or repeat themselves when the part is small:
//!
//! - whisper.cpp issue 1951: `tiny.en` repeats itself at 500 positions where it does not at 1,500, and 512 works for
//!   one recording and fails for others; a model trained for short windows takes any length with 32 to 64 to spare.
//! - voxtype issue 124 and pull request 130: `large-v3-turbo` repeats phrases at 50 positions a second and 64; the
//!   authors went to 128 to spare and at least 384, and leave it off by default.
//! - transcribe.cpp pull request 149: no loss over 26 recordings at 10 s at least and 2 s to spare (500 and 100).
//!
//! Hence the rule for models that were not trained for it: half of the window at least, which is above all reported
//! failures, 128 positions to spare, and what comes out doubtful is heard again with the whole window.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::model_file::ModelFile;

/// Samples that one position of Whisper's encoder covers: 20 ms.
const SAMPLES_PER_POSITION: usize = 320;
/// The least that a model trained for short windows gets: the shortest that the starter model was trained with.
pub(super) const MIN_POSITIONS: usize = 64;
/// The least that other models get: half of the window.
const SAFE_POSITIONS: usize = 768;
/// What a model trained for short windows gets beyond its audio: what the starter model was trained with.
const TRAINED_MARGIN: usize = 16;
/// What other models get beyond their audio: 2.56 s.
const SAFE_MARGIN: usize = 128;
/// Positions are a multiple of this, so that few graph shapes occur and rows stay aligned.
const STEP: usize = 32;

/// `engines.stt[*].audio_ctx`: how much of its window the encoder works on. Configured as `"auto"`, `"full"` or a
/// number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AudioCtx {
    /// As long as the audio for models with a vocabulary of their own, which are trained for it; half of the window
    /// at least for all others.
    #[default]
    Auto,
    /// The whole window, always.
    Full,
    /// At least so many positions of 20 ms, more for longer audio.
    AtLeast(usize),
}

impl Serialize for AudioCtx {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Full => serializer.serialize_str("full"),
            Self::AtLeast(positions) => serializer.serialize_u64(*positions as u64),
        }
    }
}

impl<'de> Deserialize<'de> for AudioCtx {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = AudioCtx;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "\"auto\", \"full\" or a number of positions from {MIN_POSITIONS} to 1500")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<AudioCtx, E> {
                match text {
                    "auto" => Ok(AudioCtx::Auto),
                    "full" => Ok(AudioCtx::Full),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<AudioCtx, E> {
                let positions = usize::try_from(number).ok();
                let positions = positions.filter(|positions| (MIN_POSITIONS..=1500).contains(positions));
                let wrong = || E::invalid_value(Unexpected::Unsigned(number), &self);
                positions.map(AudioCtx::AtLeast).ok_or_else(wrong)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<AudioCtx, E> {
                let wrong = || E::invalid_value(Unexpected::Signed(number), &self);
                u64::try_from(number).map_err(|_| wrong()).and_then(|number| self.visit_u64(number))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

/// The rule for one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContextRule {
    least: usize,
    margin: usize,
    most: usize,
    hears_again: bool,
}

impl ContextRule {
    /// The rule that `asked` and `margin` make for the model of `file`.
    pub(super) fn new(asked: AudioCtx, margin: Option<usize>, file: &ModelFile) -> Self {
        let most = usize::try_from(file.sizes.audio_ctx).unwrap_or_default();
        let is_trained = !file.has_complete_vocabulary;
        let least = match asked {
            AudioCtx::Full => most,
            AudioCtx::AtLeast(positions) => positions,
            AudioCtx::Auto if is_trained => MIN_POSITIONS,
            AudioCtx::Auto => SAFE_POSITIONS,
        };
        let own = if is_trained { TRAINED_MARGIN } else { SAFE_MARGIN };
        let hears_again = asked == AudioCtx::Auto && !is_trained;
        Self { least: least.min(most), margin: margin.unwrap_or(own), most, hears_again }
    }

    /// Positions for `samples` of audio.
    pub(super) fn positions(&self, samples: usize) -> usize {
        let wanted = samples.div_ceil(SAMPLES_PER_POSITION) + self.margin;
        wanted.next_multiple_of(STEP).max(self.least).min(self.most)
    }

    /// Positions for audio whose transcript with `positions` is doubtful; none where it stands.
    pub(super) fn again(&self, positions: usize) -> Option<usize> {
        (self.hears_again && positions < self.most).then_some(self.most)
    }

    /// Positions of an empty call and of each second of audio, on average over the window.
    pub(super) fn average(&self) -> (usize, f64) {
        let first = self.least.max(self.margin + STEP / 2).min(self.most);
        let seconds = self.most as f64 / 50.0;
        (first, (self.most - first) as f64 / seconds.max(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::model_file::Sizes;
    use super::*;

    fn file(has_complete_vocabulary: bool, audio_ctx: u64) -> ModelFile {
        let sizes = Sizes {
            vocabulary: 51_866,
            audio_ctx,
            width: 1_280,
            audio_heads: 20,
            audio_layers: 32,
            text_ctx: 448,
            text_layers: 4,
            mels: 128,
        };
        ModelFile { has_complete_vocabulary, sizes }
    }

    #[test]
    fn a_model_trained_for_it_gets_what_fits() {
        let rule = ContextRule::new(AudioCtx::Auto, None, &file(false, 768));
        let table =
            [(0, 64), (16_000, 96), (48_000, 192), (30_720, 128), (16_000 * 14, 736), (16_000 * 40, 768)];
        for (samples, expected) in table {
            assert_eq!(rule.positions(samples), expected, "{samples} samples");
            assert_eq!(rule.again(expected), None, "it knows short windows");
        }
    }

    #[test]
    fn other_models_get_half_of_their_window_and_a_second_chance() {
        let rule = ContextRule::new(AudioCtx::Auto, None, &file(true, 1500));
        for (seconds, expected) in [(0, 768), (5, 768), (12, 768), (15, 896), (28, 1500), (40, 1500)] {
            assert_eq!(rule.positions(16_000 * seconds), expected, "{seconds} s");
        }
        assert_eq!((rule.again(768), rule.again(1500)), (Some(1500), None));
    }

    #[test]
    fn what_the_operator_says_stands() {
        let model = file(true, 1500);
        let full = ContextRule::new(AudioCtx::Full, None, &model);
        assert_eq!((full.positions(0), full.again(1500)), (1500, None));
        let own = ContextRule::new(AudioCtx::AtLeast(256), Some(32), &model);
        assert_eq!((own.positions(0), own.positions(160_000), own.again(256)), (256, 544, None));
        let small = ContextRule::new(AudioCtx::AtLeast(1500), None, &file(false, 768));
        assert_eq!(small.positions(0), 768, "no more than there is");
    }

    #[test]
    fn it_is_written_as_people_write_it() {
        #[derive(Debug, Deserialize, PartialEq, Serialize)]
        struct Table {
            audio_ctx: AudioCtx,
        }
        for (text, audio_ctx) in [
            ("audio_ctx = \"auto\"\n", AudioCtx::Auto),
            ("audio_ctx = \"full\"\n", AudioCtx::Full),
            ("audio_ctx = 512\n", AudioCtx::AtLeast(512)),
        ] {
            let table = Table { audio_ctx };
            assert_eq!(toml::from_str::<Table>(text).as_ref(), Ok(&table));
            assert_eq!(toml::to_string(&table).expect("it serializes"), text);
        }
        for wrong in ["\"short\"", "63", "1501", "-1", "0.5"] {
            let error = toml::from_str::<Table>(&format!("audio_ctx = {wrong}")).expect_err(wrong);
            assert!(error.to_string().contains("from 64 to 1500"), "{error}");
        }
    }
}
