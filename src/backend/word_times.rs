//! Times of words from times of tokens. Pure; knows no model.

use std::ops::Range;

use crate::engine::stt::{HeardWord, STT_SAMPLE_RATE, TokenLogprob};

/// Loudness is compared in frames of 20 ms.
const FRAME: usize = STT_SAMPLE_RATE as usize / 50;
const FRAME_MS: u32 = 20;
/// A frame is quiet below this part of the loudest frame of its word, by energy: 20 dB.
const QUIET: f32 = 0.01;

/// The words of a text that was heard in `audio`, 16 kHz, whose tokens end at `ends_ms`. A word is what stands between
/// two spaces. It begins where the one before it ends, less the silence there: punctuation has no sound, and the time
/// that a model gives it belongs to what follows. None where the tokens have no times.
pub(super) fn words(tokens: &[TokenLogprob], ends_ms: &[u32], audio: &[f32]) -> Vec<HeardWord> {
    let loudness: Vec<f32> = audio.chunks(FRAME).map(|frame| frame.iter().map(|s| s * s).sum()).collect();
    let whole_ms = u32::try_from(audio.len() * 1_000 / STT_SAMPLE_RATE as usize).unwrap_or(u32::MAX);
    if ends_ms.is_empty() {
        return Vec::new();
    }
    let mut before_ms = 0;
    let mut timed = |word: Span| {
        let end_ms = ends_ms.get(word.last).copied().unwrap_or(before_ms);
        let end_ms = end_ms.max(before_ms).min(whole_ms.max(before_ms));
        let (start_ms, heard_ms) =
            without_silence(std::mem::replace(&mut before_ms, end_ms)..end_ms, &loudness);
        HeardWord { text: word.text, start_ms, end_ms: heard_ms }
    };
    spans(tokens).into_iter().map(&mut timed).collect()
}

/// A word, and the last of its tokens that has a letter or a number, or where none has, the last.
struct Span {
    text: String,
    last: usize,
}

fn spans(tokens: &[TokenLogprob]) -> Vec<Span> {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect();
    let owner: Vec<usize> = tokens
        .iter()
        .enumerate()
        .flat_map(|(at, token)| std::iter::repeat_n(at, token.bytes.len()))
        .collect();
    let mut spans: Vec<Span> = Vec::new();
    let mut word: Option<Range<usize>> = None;
    let end = |word: Range<usize>| -> Span {
        let text = String::from_utf8_lossy(&bytes[word.clone()]).into_owned();
        let is_spoken = |at: &usize| bytes[*at].is_ascii_alphanumeric() || !bytes[*at].is_ascii();
        let last = word.clone().rev().find(is_spoken).unwrap_or(word.end - 1);
        Span { text, last: owner[last] }
    };
    for (at, byte) in bytes.iter().enumerate() {
        match (byte.is_ascii_whitespace(), &mut word) {
            (true, _) => spans.extend(word.take().map(&end)),
            (false, Some(word)) => word.end = at + 1,
            (false, None) => word = Some(at..at + 1),
        }
    }
    spans.extend(word.map(end));
    spans
}

/// The span without the quiet frames at both of its ends.
fn without_silence(span: Range<u32>, loudness: &[f32]) -> (u32, u32) {
    let frames = (span.start / FRAME_MS) as usize..(span.end.div_ceil(FRAME_MS) as usize).min(loudness.len());
    let Some(frames) = loudness.get(frames.clone()).filter(|frames| !frames.is_empty()) else {
        return (span.start, span.end);
    };
    let loudest = frames.iter().copied().fold(0.0, f32::max);
    let is_loud = |energy: &f32| *energy > loudest * QUIET;
    let (Some(first), Some(last)) = (frames.iter().position(is_loud), frames.iter().rposition(is_loud))
    else {
        return (span.start, span.end);
    };
    let at = |frame: usize| (span.start / FRAME_MS + u32::try_from(frame).unwrap_or(0)) * FRAME_MS;
    let start = at(first).clamp(span.start, span.end);
    (start, at(last + 1).clamp(start, span.end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(text: &str) -> TokenLogprob {
        TokenLogprob { bytes: text.as_bytes().to_vec(), logprob: 0.0 }
    }

    fn told(words: &[HeardWord]) -> Vec<(&str, u32, u32)> {
        words.iter().map(|word| (word.text.as_str(), word.start_ms, word.end_ms)).collect()
    }

    #[test]
    fn words_are_put_together_of_tokens_and_lose_the_silence_around_them() {
        let tokens = [" Hel", "lo", ",", " how", " are", "?"].map(token);
        let mut audio = vec![0.5; 16_000 * 2];
        audio[..4_800].fill(0.0); // before the first word
        audio[11_200..16_000].fill(0.001); // between 0.7 s and 1 s
        let words = words(&tokens, &[400, 700, 1_300, 1_300, 1_600, 1_990], &audio);
        assert_eq!(told(&words), [("Hello,", 300, 700), ("how", 1_000, 1_300), ("are?", 1_300, 1_600)]);
    }

    #[test]
    fn signs_of_several_tokens_and_marks_that_stand_alone_are_words_too() {
        let tokens = [&b" caf\xc3"[..], &b"\xa9"[..], &b" -"[..], &b" x y"[..]];
        let tokens = tokens.map(|bytes| TokenLogprob { bytes: bytes.to_vec(), logprob: 0.0 });
        let words = words(&tokens, &[100, 200, 300, 400], &[0.1; 8_000]);
        assert_eq!(told(&words), [("café", 0, 200), ("-", 200, 300), ("x", 300, 400), ("y", 400, 400)]);
    }

    proptest! {
        #[test]
        fn words_joined_are_the_text_and_their_times_go_up(
            texts in prop::collection::vec("[ a,é-]{0,4}", 0..20),
            ends in prop::collection::vec(0u32..5_000, 20),
            samples in 0usize..60_000,
        ) {
            let tokens: Vec<TokenLogprob> = texts.iter().map(|text| token(text)).collect();
            let audio: Vec<f32> = (0..samples).map(|n| ((n * 31) % 97) as f32 / 97.0).collect();
            let words = words(&tokens, &ends[..tokens.len()], &audio);
            let joined: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
            let text = texts.concat();
            prop_assert_eq!(joined, text.split_ascii_whitespace().collect::<Vec<_>>());
            let mut before = 0;
            for word in &words {
                prop_assert!(before <= word.start_ms && word.start_ms <= word.end_ms);
                prop_assert!(word.end_ms as usize <= samples / 16);
                before = word.end_ms;
            }
        }
    }
}
