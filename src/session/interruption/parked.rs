//! What is left of an interrupted answer, so that it can go on: audio that was sent and not heard, words of it, and
//! the reply that was not taken yet. Pure but for the reply's channels, which just wait.

use std::collections::{BTreeMap, VecDeque};

use super::echo::PlayedLevels;
use crate::engine::tts::TimedWord;
use crate::session::conversation::Timeline;
use crate::session::id::ItemId;
use crate::session::quota::RequestPermit;
use crate::session::response::ResponseSettings;
use crate::session::speech_pipeline::Reply;

/// Audio kept behind what was heard, in milliseconds: a word that was cut is said again from its begin.
const KEPT_BEHIND_MS: u64 = 1_000;

/// What was sent of a spoken message.
#[derive(Clone, Debug, Default)]
pub(in crate::session) struct Sent {
    /// The clauses begun: where each begins in the message's audio, in milliseconds (before 0 for those of an answer
    /// that goes on), and its text.
    clauses: Vec<(i64, String)>,
    /// Word times of clauses that were not reached yet.
    early_words: BTreeMap<usize, Vec<TimedWord>>,
    /// Clauses whose words are in the timeline.
    timed: Vec<bool>,
    audio: VecDeque<i16>,
    /// Samples before the first kept.
    dropped: u64,
    rate: u32,
    levels: PlayedLevels,
}

impl Sent {
    /// Begins a clause at `start_ms`; gives its words, if they are known.
    pub(in crate::session) fn begin_clause(&mut self, text: &str, start_ms: u64) -> Vec<TimedWord> {
        let words = self.early_words.remove(&self.clauses.len());
        self.clauses.push((start_ms.try_into().unwrap_or(i64::MAX), text.to_owned()));
        self.timed.push(words.is_some());
        words.unwrap_or_default()
    }

    /// Takes in words of a clause; gives them back with its begin if it is reached.
    pub(in crate::session) fn on_words(
        &mut self,
        clause: usize,
        words: Vec<TimedWord>,
    ) -> Option<(Vec<TimedWord>, i64)> {
        let Some((start, _)) = self.clauses.get(clause) else {
            self.early_words.insert(clause, words);
            return None;
        };
        self.timed[clause] = true;
        Some((words, *start))
    }

    /// Keeps audio that is sent, and lets go of what was heard long since.
    pub(in crate::session) fn push_audio(&mut self, samples: &[i16], rate: u32, heard_ms: u64) {
        self.rate = rate;
        self.levels.push(samples, rate);
        self.audio.extend(samples);
        let keep_from = self.samples(heard_ms.saturating_sub(KEPT_BEHIND_MS));
        let surplus = keep_from.saturating_sub(self.dropped).min(self.audio.len() as u64);
        self.audio.drain(..usize::try_from(surplus).unwrap_or_default());
        self.dropped += surplus;
    }

    /// Loudness of what was sent.
    pub(in crate::session) fn levels(&self) -> &PlayedLevels {
        &self.levels
    }

    /// Texts of the clauses begun.
    pub(in crate::session) fn text(&self) -> String {
        self.clauses.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Bytes of audio kept.
    pub(in crate::session) fn bytes(&self) -> usize {
        self.audio.len() * size_of::<i16>()
    }

    fn samples(&self, ms: u64) -> u64 {
        ms * u64::from(self.rate) / 1_000
    }

    /// What follows the words that were heard by `heard_ms`.
    fn rest(mut self, timeline: &Timeline, heard_ms: u64) -> Rest {
        let unheard: Vec<TimedWord> = timeline.unheard(heard_ms).cloned().collect();
        let untimed =
            || self.clauses.iter().zip(&self.timed).filter(|(_, timed)| !**timed).map(|(clause, _)| clause);
        let first_word = unheard.first().map(|word| i64::from(word.start_ms));
        let first_untimed = untimed().next().map(|(start, _)| *start);
        let all_heard = timeline.audio_ms().max(heard_ms);
        let from = first_word.or(first_untimed).unwrap_or_else(|| all_heard.try_into().unwrap_or(i64::MAX));
        let kept_from = self.dropped * 1_000 / u64::from(self.rate.max(1));
        let from = from.max(kept_from.try_into().unwrap_or(i64::MAX));
        let texts =
            unheard.iter().map(|word| word.text.as_str()).chain(untimed().map(|(_, text)| text.as_str()));
        let text = texts.collect::<Vec<_>>().join(" ");
        let skip = self.samples(from.unsigned_abs()).saturating_sub(self.dropped);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(self.audio.len());
        let audio: Vec<i16> = self.audio.drain(..).skip(skip).collect();
        for (start, _) in &mut self.clauses {
            *start -= from;
        }
        let clauses = std::mem::take(&mut self.clauses);
        let sent = Self {
            clauses,
            timed: std::mem::take(&mut self.timed),
            early_words: std::mem::take(&mut self.early_words),
            ..Self::default()
        };
        Rest { text, words: moved(unheard, from), audio, sent }
    }
}

fn moved(words: Vec<TimedWord>, from: i64) -> Vec<TimedWord> {
    let earlier = |ms: u32| u32::try_from((i64::from(ms) - from).max(0)).unwrap_or(u32::MAX);
    let moved = words.into_iter().map(|word| TimedWord {
        text: word.text,
        start_ms: earlier(word.start_ms),
        end_ms: earlier(word.end_ms),
    });
    moved.collect()
}

/// What a new response begins with when an answer goes on.
#[derive(Debug, Default)]
pub(in crate::session) struct Rest {
    /// Words that were sent and not heard.
    pub(in crate::session) text: String,
    /// The same with their times, counted from the first sample of `audio`.
    pub(in crate::session) words: Vec<TimedWord>,
    /// Their audio.
    pub(in crate::session) audio: Vec<i16>,
    /// The book of what is sent, as the new response goes on with it.
    pub(in crate::session) sent: Sent,
}

/// An interrupted answer that may go on. Dropping it stops what works for it.
#[derive(Debug)]
pub(in crate::session) struct Parked {
    pub(in crate::session) settings: ResponseSettings,
    /// The message that was cut, if it had begun to sound.
    pub(in crate::session) item: Option<ItemId>,
    pub(in crate::session) heard_ms: u64,
    pub(in crate::session) sent: Sent,
    pub(in crate::session) timeline: Timeline,
    /// What was not taken yet; `None` if all was sent.
    pub(in crate::session) reply: Option<Reply>,
    pub(in crate::session) permit: Option<RequestPermit>,
}

impl Parked {
    /// How much of what was sent is not heard, in milliseconds.
    pub(in crate::session) fn left_ms(&self) -> u64 {
        self.timeline.audio_ms().saturating_sub(self.heard_ms)
    }

    /// What is still to be said, and by what settings.
    pub(in crate::session) fn into_rest(
        self,
    ) -> (Rest, ResponseSettings, Option<Reply>, Option<RequestPermit>) {
        let rest = self.sent.rest(&self.timeline, self.heard_ms);
        (rest, self.settings, self.reply, self.permit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str, start_ms: u32, end_ms: u32) -> TimedWord {
        TimedWord { text: text.into(), start_ms, end_ms }
    }

    /// Two clauses of 1 s each, two words each, 1 kHz; samples count milliseconds.
    fn sent(timed: bool, heard_ms: u64) -> (Sent, Timeline) {
        let (mut sent, mut timeline) = (Sent::default(), Timeline::default());
        for (clause, words) in [["one", "two"], ["three", "four"]].iter().enumerate() {
            let start = clause as u64 * 1_000;
            let words: Vec<_> =
                words.iter().zip([0, 500]).map(|(text, at)| word(text, at, at + 500)).collect();
            let text = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
            if timed {
                assert_eq!(sent.on_words(clause, words), None);
            }
            let offset = i64::try_from(start).expect("small");
            timeline.push_clause(sent.begin_clause(&text, start), offset);
            let samples: Vec<i16> = (0..1_000).map(|at| (start + at) as i16).collect();
            sent.push_audio(&samples, 1_000, heard_ms.min(start));
        }
        timeline.set_audio_ms(2_000);
        (sent, timeline)
    }

    #[test]
    fn the_rest_begins_with_the_first_word_that_was_not_heard() {
        // A word in its second half counts as heard, as in the history.
        for (heard, text, first) in [
            (0, "one two three four", 0),
            (260, "two three four", 500),
            (740, "two three four", 500),
            (1_100, "three four", 1_000),
        ] {
            let (sent, timeline) = sent(true, heard);
            let rest = sent.rest(&timeline, heard);
            assert_eq!(rest.text, text, "{heard}");
            assert_eq!((rest.audio[0], rest.audio.len()), (first, 2_000 - first as usize), "{heard}");
            assert_eq!(rest.words[0].start_ms, 0, "{heard}");
            assert_eq!(rest.words.last().map(|word| word.end_ms), Some(2_000 - first as u32));
            let whole = format!("{} {}", timeline.heard(heard), rest.text);
            assert_eq!(whole.trim(), "one two three four", "each word once");
        }
    }

    #[test]
    fn words_that_come_late_find_their_clause() {
        let (untimed, timeline) = sent(false, 0);
        let mut rest = untimed.rest(&timeline, 300);
        assert_eq!((rest.text.as_str(), rest.audio.len()), ("one two three four", 2_000));
        assert_eq!(
            rest.sent.on_words(1, vec![word("three", 0, 500)]),
            Some((vec![word("three", 0, 500)], 1_000))
        );
        assert_eq!(rest.sent.on_words(2, vec![word("five", 0, 9)]), None);
        assert_eq!(rest.sent.begin_clause("five", 2_000), [word("five", 0, 9)]);
        let (sent, timeline) = sent(true, 1_100);
        let rest = sent.rest(&timeline, 1_100);
        assert_eq!(rest.sent.clauses[0].0, -1_000, "clauses keep their numbers");
    }

    #[test]
    fn nothing_sent_leaves_nothing_to_say_again() {
        let rest = Sent::default().rest(&Timeline::default(), 0);
        assert!(rest.text.is_empty() && rest.audio.is_empty() && rest.words.is_empty());
        let (sent, timeline) = sent(true, 2_000);
        assert!(sent.bytes() <= 2_000 * 2);
        let rest = sent.rest(&timeline, 2_000);
        assert!(rest.text.is_empty() && rest.audio.is_empty(), "all was heard");
    }

    #[test]
    fn heard_audio_is_let_go() {
        let mut sent = Sent::default();
        for chunk in 0..100_u64 {
            sent.push_audio(&[0; 2_400], 24_000, (chunk * 100).saturating_sub(1_500));
        }
        assert!(sent.bytes() < 2_800 * 48, "{} bytes", sent.bytes());
    }
}
