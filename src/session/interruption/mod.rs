//! Is this sound an interruption? Pure: frames and texts come in, a judgement goes out.
//!
//! While an answer runs or plays, a voice is at first only suspected: nothing is told to the client, and sending is
//! held. It is believed when it lasted long enough and is not the answer itself, coming back through the person's
//! microphone ([`echo`]). An interruption that turns out to be nothing, or an "mm-hm" ([`backchannel`]), is taken
//! back: what was to be said goes on (`parked`). Read [`Suspicion`] first.

pub mod backchannel;
pub mod echo;
pub(super) mod parked;

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use super::turn::SAMPLES_PER_MS;

/// When a sound counts as an interruption, and what happens if it was none.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct InterruptionConfig {
    /// Voice that a sound must hold to interrupt an answer, in milliseconds; 0 believes every begin. 150: a syllable.
    /// Longer than clicks and the cut-off edges of noise, shorter than "no".
    pub min_speech_ms: u64,
    /// Words that must have been understood as well; 0 does not wait for any. 0: words are known some 200 ms after
    /// they were said, and a person who interrupts waits for silence.
    pub min_words: usize,
    /// Whether an answer that was interrupted by nothing goes on.
    pub resume: bool,
    /// How long after the end of a sound its transcript may come for the answer still to go on, in milliseconds.
    /// 2,000: LiveKit's false-interruption timeout. Later, going on would surprise.
    pub resume_timeout_ms: u64,
    /// What a listener says without wanting the floor; `default` stands for a list of some sixty words in a dozen
    /// languages, an empty list for none. An interruption that consists of these alone is none.
    pub backchannels: Vec<String>,
    /// Whether the answer itself, heard through the person's microphone, is told from the person.
    pub echo_guard: bool,
}

impl Default for InterruptionConfig {
    fn default() -> Self {
        Self {
            min_speech_ms: 150,
            min_words: 0,
            resume: true,
            resume_timeout_ms: 2_000,
            backchannels: vec![backchannel::DEFAULT.to_owned()],
            echo_guard: true,
        }
    }
}

/// What is known of a voice that may interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// Where its turn begins.
    pub from: u64,
    voiced: u64,
    last: u64,
    words: usize,
    /// Frames in a row that were not the answer's echo.
    pub unlike: u32,
    /// Whether it is rather an echo, as far as that can be told.
    pub is_echo: bool,
}

impl Suspicion {
    /// A voice that began at `onset` and was noticed at `now`; its turn begins at `from`, the padding included.
    pub fn new(from: u64, onset: u64, now: u64) -> Self {
        Self { from, voiced: now.saturating_sub(onset), last: now, words: 0, unlike: 0, is_echo: false }
    }

    /// Takes in a frame that ends at `end`.
    pub fn on_frame(&mut self, end: u64, voice: bool) {
        if voice {
            self.voiced += end.saturating_sub(self.last);
        }
        self.last = end;
    }

    /// Takes in what was understood so far.
    pub fn on_text(&mut self, text: &str) {
        self.words = self.words.max(text.unicode_words().count());
    }

    /// Whether it is to be believed, if it is no echo.
    pub fn is_believed(&self, config: &InterruptionConfig) -> bool {
        self.voiced >= config.min_speech_ms * SAMPLES_PER_MS && self.words >= config.min_words
    }

    /// Whether words alone are missing.
    pub fn waits_for_words(&self, config: &InterruptionConfig) -> bool {
        self.voiced >= config.min_speech_ms * SAMPLES_PER_MS && self.words < config.min_words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u64 = 16 * SAMPLES_PER_MS;

    fn after(frames: &[bool], words: &str) -> Suspicion {
        let mut suspicion = Suspicion::new(0, 0, 3 * FRAME);
        for (at, voice) in frames.iter().enumerate() {
            suspicion.on_frame((4 + at as u64) * FRAME, *voice);
        }
        suspicion.on_text(words);
        suspicion
    }

    #[test]
    fn a_voice_is_believed_when_it_lasts() {
        let config = InterruptionConfig::default();
        assert!(!after(&[true; 6], "").is_believed(&config), "144 ms");
        assert!(after(&[true; 7], "").is_believed(&config), "160 ms");
        let gaps = [true, false, true, false, true, true, true];
        assert!(!after(&gaps, "").is_believed(&config), "silence does not count");
        let hasty = InterruptionConfig { min_speech_ms: 0, ..config };
        assert!(after(&[], "").is_believed(&hasty));
    }

    #[test]
    fn words_are_waited_for_where_they_are_wanted() {
        let config = InterruptionConfig { min_words: 2, ..InterruptionConfig::default() };
        for (text, believed) in [("", false), ("Okay.", false), ("Wait please", true), ("等一下", true)] {
            let suspicion = after(&[true; 20], text);
            assert_eq!(suspicion.is_believed(&config), believed, "{text}");
            assert_eq!(suspicion.waits_for_words(&config), !believed, "{text}");
        }
        assert!(!after(&[], "Wait please").waits_for_words(&config), "too short in any case");
    }
}
