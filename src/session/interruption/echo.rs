//! Is what the microphone hears the answer itself? Pure.
//!
//! Clients without echo cancellation send the loudspeaker back. Two guards: the loudness of the input over the last
//! second is compared with that of the audio played (a voice of its own rises and falls in another rhythm), and what
//! was understood is looked for in what was said. The first keeps an echo from interrupting; the second takes back an
//! interruption by one.

use std::collections::VecDeque;

use unicode_segmentation::UnicodeSegmentation;

/// Milliseconds of one value of loudness, of input and of playback.
pub const LEVEL_MS: u64 = 16;
/// Values that are compared: 0.8 s.
const WINDOW: usize = 50;
/// The least of them that say anything: 0.48 s. In fewer, any two voices look alike.
const MIN_WINDOW: usize = 30;
/// How much later than it is sent an echo arrives at most: 0.4 s of network, buffers and air.
const MAX_LAG: usize = 25;
/// Correlation of an echo with what was played. Two voices reach 0.7 by chance.
const ECHO: f32 = 0.85;
/// An answer that sounded for so long without any voice in the input is not heard by the microphone.
pub const QUIET_MS: u64 = 1_000;
/// The part of the words that must stand in the answer where echoes were heard before: they are misheard now and then.
const SAME_WORDS: f64 = 0.7;

/// Elsewhere: so many words, and nearly all of them the same. People take up what they hear ("set a timer for five").
const SURE_WORDS: (usize, f64) = (4, 0.9);

/// What is known of a client's microphone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Microphone {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It does not hear the answers: the client cancels echoes, or the person wears a headset.
    Deaf,
    /// It does.
    HearsAnswers,
}

impl Microphone {
    /// How many frames in a row must be unlike the answer for a sound to be somebody else: one that is known to hear
    /// answers hears them distorted now and then.
    pub fn patience(self) -> u32 {
        if self == Self::HearsAnswers { 8 } else { 1 }
    }
}

/// What a sound in the input is, next to the answer that plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// The answer.
    Echo,
    /// Something else.
    Other,
    /// The answer began too short a while ago to tell.
    TooSoon,
}

/// Loudness of the audio sent, by its place in the message.
#[derive(Clone, Debug, Default)]
pub struct PlayedLevels {
    levels: VecDeque<f32>,
    /// Levels that were let go before the first kept.
    dropped: u64,
    /// Samples of the level under way, and their energy.
    partial: (usize, f64),
}

/// Levels kept: what may be sent ahead, the window and the lag.
const KEPT: usize = 1_000;

impl PlayedLevels {
    /// Takes in audio that is sent, at `rate` samples a second.
    pub fn push(&mut self, samples: &[i16], rate: u32) {
        let length = (u64::from(rate) * LEVEL_MS / 1_000).max(1);
        for sample in samples {
            let (count, energy) = &mut self.partial;
            *count += 1;
            *energy += f64::from(*sample) * f64::from(*sample);
            if *count as u64 == length {
                #[expect(clippy::cast_possible_truncation, reason = "a loudness, not a sum")]
                let level = (*energy / length as f64).sqrt() as f32 / 32_768.0;
                self.partial = (0, 0.0);
                self.levels.push_back(level);
            }
        }
        while self.levels.len() > KEPT {
            self.levels.pop_front();
            self.dropped += 1;
        }
    }

    /// The loudness around `at_ms` of the message; silence where nothing was sent.
    fn at(&self, at_ms: i64) -> f32 {
        let index = at_ms.div_euclid(i64::try_from(LEVEL_MS).unwrap_or(i64::MAX));
        let kept = index - i64::try_from(self.dropped).unwrap_or(i64::MAX);
        usize::try_from(kept).ok().and_then(|at| self.levels.get(at)).copied().unwrap_or_default()
    }
}

/// Compares `heard` (loudness of the latest input, oldest first) with what was played, of which `played_ms` have been
/// played by now.
pub fn compare(heard: &[f32], played: &PlayedLevels, played_ms: u64) -> Likeness {
    // What was heard before the answer began is no part of it.
    let since_begin = usize::try_from(played_ms / LEVEL_MS).unwrap_or(usize::MAX);
    let length = WINDOW.min(since_begin).min(heard.len());
    if length < MIN_WINDOW {
        return Likeness::TooSoon;
    }
    let heard = smooth(&heard[heard.len() - length..]);
    let is_echo = (0..=MAX_LAG).any(|lag| {
        let step = i64::try_from(LEVEL_MS).unwrap_or(i64::MAX);
        let begin = i64::try_from(played_ms).unwrap_or(i64::MAX) - (lag + length) as i64 * step;
        let sounded: Vec<f32> = (0..length).map(|at| played.at(begin + at as i64 * step)).collect();
        correlation(&heard, &smooth(&sounded)) > ECHO
    });
    if is_echo { Likeness::Echo } else { Likeness::Other }
}

/// Evens out what falls between two values: the clocks of both sides are not in step.
fn smooth(levels: &[f32]) -> Vec<f32> {
    let at = |at: usize| levels[at.min(levels.len() - 1)];
    (0..levels.len()).map(|i| (at(i.saturating_sub(1)) + 2.0 * at(i) + at(i + 1)) / 4.0).collect()
}

/// Pearson's, 0 where one of the two does not change.
fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut both, mut only_a, mut only_b) = (0.0_f32, 0.0_f32, 0.0_f32);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        both += x * y;
        only_a += x * x;
        only_b += y * y;
    }
    let scale = (only_a * only_b).sqrt();
    if scale > f32::EPSILON * f32::EPSILON { both / scale } else { 0.0 }
}

/// Whether `understood` is, but for a few words, a piece of `said` (what was played lately). People take up a word of
/// a question ("coffee or tea?" "tea"), so one or two words say something only where echoes were heard before.
pub fn repeats(understood: &str, said: &str, echoes_known: bool) -> bool {
    let words = |text: &str| text.unicode_words().map(str::to_lowercase).collect::<Vec<_>>();
    let (understood, said) = (words(understood), words(said));
    let (least, part) = if echoes_known { (1, SAME_WORDS) } else { SURE_WORDS };
    if understood.len() < least || said.is_empty() {
        return false;
    }
    let same = longest_common(&understood, &said);
    same as f64 >= part * understood.len() as f64
}

/// Length of the longest sequence of words that stands in both, in order; a word of one may be misheard by a letter
/// or two in the other.
fn longest_common(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for word in a {
        let mut diagonal = 0;
        for (at, other) in b.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if alike(word, other) { diagonal + 1 } else { above.max(row[at]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

fn alike(a: &str, b: &str) -> bool {
    a == b || (a.len().min(b.len()) > 2 && strsim::normalized_damerau_levenshtein(a, b) >= 0.7)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something that rises and falls like syllables, another for each seed.
    fn rhythm(seed: u32, count: usize) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).max(1);
        let mut levels = Vec::new();
        while levels.len() < count {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let (length, peak) = (6 + state as usize % 9, 0.05 + (state >> 8 & 0xff) as f32 / 1_000.0);
            levels.extend((0..length).map(|at| peak * (at as f32 / length as f32 * 3.2).sin().max(0.02)));
        }
        levels.truncate(count);
        levels
    }

    fn played(levels: &[f32]) -> PlayedLevels {
        let mut played = PlayedLevels::default();
        for level in levels {
            #[expect(clippy::cast_possible_truncation, reason = "a test tone")]
            played.push(&vec![(level * 32_768.0) as i16; 384], 24_000);
        }
        played
    }

    #[test]
    fn an_echo_follows_what_was_played_and_another_voice_does_not() {
        let answer = rhythm(1, 200);
        let played = played(&answer);
        for lag in [0, 5, 12, 25] {
            for level in [0.5, 0.1, 0.03] {
                let echo: Vec<f32> =
                    answer[..150 - lag].iter().map(|sample| sample * level + 0.0003).collect();
                assert_eq!(
                    compare(&echo, &played, 150 * LEVEL_MS),
                    Likeness::Echo,
                    "lag {lag}, level {level}"
                );
            }
        }
        let voices = |voice: &dyn Fn(u32) -> Vec<f32>| {
            let alike = |seed: &u32| compare(&voice(*seed), &played, 150 * LEVEL_MS) == Likeness::Echo;
            (2..200).filter(alike).count()
        };
        let fooled = voices(&|seed| rhythm(seed, 150));
        assert!(fooled <= 4, "{fooled} of 198 voices taken for an echo");
        let mixed = |seed| -> Vec<f32> {
            let echo = answer[..140].iter().map(|sample| sample * 0.1);
            echo.zip(rhythm(seed, 140)).map(|(echo, voice)| (echo * echo + voice * voice).sqrt()).collect()
        };
        let deaf = voices(&mixed);
        assert!(deaf <= 4, "{deaf} of 198 voices over an echo not heard");
    }

    #[test]
    fn silence_is_no_echo_and_too_little_says_nothing() {
        let (answer, nothing) = (played(&rhythm(1, 100)), PlayedLevels::default());
        assert_eq!(compare(&[0.0; 60], &answer, 1_000), Likeness::Other);
        assert_eq!(compare(&rhythm(1, 60), &nothing, 1_000), Likeness::Other);
        assert_eq!(compare(&rhythm(1, MIN_WINDOW - 1), &answer, 1_000), Likeness::TooSoon);
        assert_eq!(compare(&rhythm(1, 60), &answer, 300), Likeness::TooSoon);
    }

    #[test]
    fn old_levels_are_let_go_and_places_stay_right() {
        let mut played = PlayedLevels::default();
        for second in 0..30 {
            played.push(&vec![if second == 20 { 9_000 } else { 0 }; 24_000], 24_000);
        }
        assert!(played.levels.len() <= KEPT);
        assert!(played.at(20_500) > 0.2 && played.at(19_500) < 0.01 && played.at(21_500) < 0.01);
        assert_eq!((played.at(-5), played.at(1), played.at(99_000)), (0.0, 0.0, 0.0));
    }

    #[test]
    fn text_is_found_in_what_was_said() {
        let said = "Here is a story. Once there was an old man who lived by the sea.";
        for text in ["Here is a story", "old man who lived by the sea", "once there was an gold man"] {
            assert!(repeats(text, said, false), "{text}");
        }
        for text in
            ["", "Stop.", "What is my name?", "Tell me a joke about the sea", "I want to hear another one"]
        {
            assert!(!repeats(text, said, true), "{text}");
        }
        assert!(!repeats("There was an old woman by the sea", said, false));
        assert!(!repeats("The sea.", said, false) && repeats("The sea.", said, true));
        assert!(!repeats("Stop.", "", true));
    }
}
