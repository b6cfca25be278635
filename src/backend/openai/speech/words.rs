//! When each word is heard, by estimate: servers send audio alone. Each word gets of the audio's real length what its
//! letters are of the text, with the gap behind it. Good to a few hundred milliseconds in a clause. Pure.

use crate::engine::tts::TimedWord;

/// The words of `text`, spread over the audio.
pub(super) fn words(text: &str, audio_ms: u32) -> Vec<TimedWord> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let length = |word: &str| word.chars().count() as u64;
    // A gap counts like a letter; behind the last word there is none.
    let total = (words.iter().map(|word| length(word) + 1).sum::<u64>()).saturating_sub(1).max(1);
    let place = |at: u64| u32::try_from(at * u64::from(audio_ms) / total).unwrap_or(audio_ms).min(audio_ms);
    let mut at = 0;
    let mut timed = Vec::with_capacity(words.len());
    for word in words {
        let end = at + length(word);
        timed.push(TimedWord { text: word.to_owned(), start_ms: place(at), end_ms: place(end) });
        at = end + 1;
    }
    timed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_share_the_audio_by_their_letters() {
        let timed = words("Hello,  you there.", 1_700);
        let times: Vec<_> =
            timed.iter().map(|word| (word.text.as_str(), word.start_ms, word.end_ms)).collect();
        assert_eq!(times, [("Hello,", 0, 600), ("you", 700, 1_000), ("there.", 1_100, 1_700)]);
        assert!(words(" ", 100).is_empty());
    }

    proptest! {
        #[test]
        fn times_are_monotonic_and_within_the_audio(text in "[a-zä ,.]{0,80}", audio_ms in 0u32..600_000) {
            let mut at = 0;
            let timed = words(&text, audio_ms);
            prop_assert_eq!(timed.len(), text.split_whitespace().count());
            for word in &timed {
                prop_assert!(at <= word.start_ms && word.start_ms <= word.end_ms);
                at = word.end_ms;
            }
            prop_assert!(timed.is_empty() || at == audio_ms);
        }
    }
}
