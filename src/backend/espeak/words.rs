//! When each word is heard. espeak-ng's command line tells no times, but it tells phonemes: each word's nominal
//! length is the sum of its phonemes' usual lengths, and the nominal lengths are stretched to the audio's.
//! Pure but for the memory of lengths.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::text::{Ending, speakable};
use crate::engine::tts::TimedWord;

/// How many words' lengths are remembered; about 64 KiB. All are forgotten when it is full.
const REMEMBERED_WORDS: usize = 4096;

/// Nominal length of a letter where the phonemes are not known: 175 words a minute of 5 letters and a gap.
const LETTER_MS: u32 = 65;

/// Nominal lengths of words, so that a word needs to be sounded out only once. Words are kept as keyed hashes:
/// nobody's words can be read from it.
#[derive(Debug, Default)]
pub(super) struct WordLengths {
    hasher: RandomState,
    lengths: Mutex<HashMap<u64, u32>>,
}

impl WordLengths {
    pub(super) fn get(&self, language: &str, word: &str) -> Option<u32> {
        self.lock().get(&self.key(language, word)).copied()
    }

    pub(super) fn insert(&self, language: &str, word: &str, nominal_ms: u32) {
        let key = self.key(language, word);
        let mut lengths = self.lock();
        if lengths.len() >= REMEMBERED_WORDS {
            lengths.clear();
        }
        lengths.insert(key, nominal_ms);
    }

    fn key(&self, language: &str, word: &str) -> u64 {
        self.hasher.hash_one((language, word))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, u32>> {
        self.lengths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nominal length of a word from what `espeak-ng -q --ipa --sep=_` prints for it.
pub(in crate::backend) fn nominal_ms(ipa: &str) -> u32 {
    ipa.split(['_', ' ', '\n']).map(phoneme_ms).sum()
}

/// Nominal length of a word whose phonemes are not known.
pub(in crate::backend) fn nominal_ms_by_letters(word: &str) -> u32 {
    let letters = speakable(word).chars().filter(|c| c.is_alphanumeric()).count();
    u32::try_from(letters).unwrap_or(u32::MAX).saturating_mul(LETTER_MS)
}

/// Usual length of one IPA phoneme in English, with its stress mark. Classes and values after the inherent
/// durations of D. Klatt, "Synthesis by rule of segmental durations in English sentences" (1979), rounded to
/// 10 ms; an unstressed vowel lasts about 0.6 of a stressed one there. Only the ratios matter here.
fn phoneme_ms(phoneme: &str) -> u32 {
    let bare = phoneme.trim_start_matches(['ˈ', 'ˌ']);
    let Some(first) = bare.chars().next() else { return 0 };
    let is_long = bare.contains('ː') || bare.chars().filter(|c| is_vowel(*c)).count() > 1;
    match first {
        'ə' | 'ɐ' | 'ᵻ' => 80,
        c if is_vowel(c) => {
            let stressed = if is_long { 200 } else { 140 };
            if phoneme.len() > bare.len() { stressed } else { stressed * 3 / 5 }
        }
        't' | 'd' if bare.chars().count() > 1 => 120,
        'p' | 'b' | 't' | 'd' | 'k' | 'ɡ' | 'g' | 'c' | 'ɟ' | 'q' | 'ʔ' => 80,
        'ɾ' => 30,
        's' | 'ʃ' | 'f' | 'θ' | 'x' | 'ç' | 'ɕ' | 'ʂ' => 100,
        'z' | 'ʒ' | 'v' | 'ð' | 'h' | 'ɣ' | 'ʁ' | 'ʝ' => 70,
        'm' | 'n' | 'ŋ' | 'ɲ' | 'ɳ' => 70,
        'l' | 'ɹ' | 'r' | 'w' | 'j' | 'ʎ' | 'ɭ' | 'ɫ' => 80,
        _ => 70,
    }
}

fn is_vowel(c: char) -> bool {
    "aeiouyæɑɒɔəɐɛɜɚɝɪʊʌøœɨʉɯɤʏɵɶᵻ".contains(c)
}

/// Spreads `words` over `audio_ms`: each gets its share by nominal length, with a pause after punctuation, the
/// last one's left out. Begins and ends are monotonic and lie within the audio.
pub(super) fn spread(words: &[String], nominal: &[u32], audio_ms: u32) -> Vec<TimedWord> {
    let pause = |word: &str| u64::from(Ending::of(word).pause_ms());
    let pauses = words.iter().rev().skip(1).map(|word| pause(word)).sum::<u64>();
    let total = (nominal.iter().map(|ms| u64::from(*ms)).sum::<u64>() + pauses).max(1);
    let place = |at: u64| u32::try_from(at * u64::from(audio_ms) / total).unwrap_or(audio_ms).min(audio_ms);
    let mut at = 0;
    let mut timed = Vec::with_capacity(words.len());
    for (word, nominal) in words.iter().zip(nominal) {
        let start_ms = place(at);
        at += u64::from(*nominal);
        timed.push(TimedWord { text: word.clone(), start_ms, end_ms: place(at) });
        at += pause(word);
    }
    timed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn phonemes_have_usual_lengths() {
        assert_eq!(nominal_ms("h_ə_l_ˈoʊ"), 70 + 80 + 80 + 200);
        assert_eq!(nominal_ms("tʃ_iː"), 120 + 120);
        assert_eq!(nominal_ms("f_ˈaɪ_v θ_ˈɜː_ɾ_i"), 100 + 200 + 70 + 100 + 200 + 30 + 84);
        assert_eq!(nominal_ms("\n"), 0);
        assert_eq!(nominal_ms_by_letters("don't,"), 4 * LETTER_MS);
    }

    #[test]
    fn words_share_the_audio_with_pauses_between_clauses() {
        let timed = spread(&words("one, two —"), &[300, 580, 0], 1000);
        let times: Vec<_> =
            timed.iter().map(|word| (word.text.as_str(), word.start_ms, word.end_ms)).collect();
        assert_eq!(times, [("one,", 0, 300), ("two", 420, 1000), ("—", 1000, 1000)]);
        assert!(spread(&[], &[], 500).is_empty());
        assert_eq!(spread(&words("—"), &[0], 0)[0].end_ms, 0);
    }

    #[test]
    fn the_memory_is_bounded() {
        let lengths = WordLengths::default();
        for n in 0..REMEMBERED_WORDS as u32 + 1 {
            lengths.insert("en", &n.to_string(), n);
        }
        assert_eq!(lengths.get("en", "5"), None);
        assert_eq!(lengths.get("en", "4096"), Some(4096));
        assert_eq!(lengths.get("de", "4096"), None);
        assert!(lengths.lock().len() <= REMEMBERED_WORDS);
    }

    proptest! {
        #[test]
        fn times_are_monotonic_and_within_the_audio(
            nominal in prop::collection::vec(0u32..5000, 0..60),
            marks in prop::collection::vec("[a-z]{0,3}[,.!—]?", 60),
            audio_ms in 0u32..600_000,
        ) {
            let words: Vec<String> = marks.into_iter().take(nominal.len()).collect();
            let timed = spread(&words, &nominal, audio_ms);
            prop_assert_eq!(timed.len(), words.len());
            let mut at = 0;
            for (timed, word) in timed.iter().zip(&words) {
                prop_assert_eq!(&timed.text, word);
                prop_assert!(at <= timed.start_ms && timed.start_ms <= timed.end_ms);
                at = timed.end_ms;
            }
            prop_assert!(at <= audio_ms);
        }
    }
}
