//! When each word of an answer is heard, so that its text can be cut to what was. Knows no clock.

use serde::{Deserialize, Serialize};

use crate::engine::tts::TimedWord;

/// When each word of a spoken message is heard, counted from its first sample.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Timeline {
    words: Vec<TimedWord>,
    audio_ms: u64,
}

impl Timeline {
    /// Appends a clause: its words, counted from the clause's first sample. A clause that began before the message
    /// did leaves out the words of that time.
    pub fn push_clause(&mut self, words: Vec<TimedWord>, clause_start_ms: i64) {
        let moved = |ms: u32| u32::try_from(i64::from(ms) + clause_start_ms).ok();
        self.words.extend(words.into_iter().filter_map(|word| {
            Some(TimedWord { start_ms: moved(word.start_ms)?, end_ms: moved(word.end_ms)?, text: word.text })
        }));
    }

    /// Says how much audio there is so far.
    pub fn set_audio_ms(&mut self, audio_ms: u64) {
        self.audio_ms = audio_ms;
    }

    /// The words, in order.
    pub fn words(&self) -> impl Iterator<Item = &TimedWord> {
        self.words.iter()
    }

    /// Length of the audio in milliseconds.
    pub fn audio_ms(&self) -> u64 {
        self.audio_ms
    }

    /// The words heard by `heard_ms`: those that had ended, and the one that was in its second half.
    pub fn heard(&self, heard_ms: u64) -> String {
        let heard = self.words.iter().take_while(|word| was_heard(word, heard_ms));
        heard.map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The others.
    pub fn unheard(&self, heard_ms: u64) -> impl Iterator<Item = &TimedWord> {
        self.words.iter().skip_while(move |word| was_heard(word, heard_ms))
    }
}

fn was_heard(word: &TimedWord, heard_ms: u64) -> bool {
    u64::from(word.start_ms) + u64::from(word.end_ms.saturating_sub(word.start_ms)) / 2 < heard_ms
}
