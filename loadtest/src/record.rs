//! What is kept of a turn and of a user. Pure.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::exchange::Ending;
use crate::plan::{Turn, TurnKind};
use crate::score::{Foreign, Owners, WordErrors, is_plausible, is_right, word_errors};
use crate::words::{holds, normalise};

/// A transcript that errs in more words than this share did not mishear one word, it is another text.
const MISHEARD_RATE: f64 = 0.5;

/// One turn of one user.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TurnRecord {
    pub(crate) user: usize,
    pub(crate) kind: TurnKind,
    /// When the user began to speak, in seconds since the run began.
    pub(crate) began_s: f64,
    pub(crate) ended_s: f64,
    pub(crate) said: String,
    pub(crate) heard: String,
    pub(crate) answer: String,
    pub(crate) outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    /// Last speech sent to first audio received.
    pub(crate) latency_ms: Option<f64>,
    /// First speech of the interruption sent to last audio of the answer received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) barge_in_ms: Option<f64>,
    /// Whether the answer began before the user had finished.
    pub(crate) talked_over: bool,
    pub(crate) answer_audio_s: f64,
    /// Whether that much audio can hold that text.
    pub(crate) plausible: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) word_errors: Option<WordErrors>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) right: Option<bool>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) server_ms: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) suspects: Vec<Suspect>,
    /// Events that cannot be right.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) faults: Vec<String>,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Answered,
    Interrupted,
    Failed,
}

/// A word that may have come out of another session.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Suspect {
    #[serde(flatten)]
    pub(crate) foreign: Foreign,
    pub(crate) place: Place,
    /// Whether the transcript otherwise fits what was said.
    pub(crate) misheard: bool,
}

/// Where a word stood.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    Transcript,
    Answer,
}

/// What came of a turn, before it is scored.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) began_s: f64,
    pub(crate) ended_s: f64,
    pub(crate) ending: Ending,
    /// `None` where nothing is transcribed.
    pub(crate) heard: Option<String>,
    pub(crate) answer: String,
    pub(crate) answer_audio: Option<Duration>,
    /// Milliseconds from the end of the utterance to the answer; negative if the answer came first.
    pub(crate) latency_ms: Option<f64>,
    pub(crate) server_ms: BTreeMap<String, f64>,
    pub(crate) faults: Vec<String>,
}

/// Scores the turns of one user and remembers what its session misheard.
#[derive(Debug)]
pub(crate) struct Scorer {
    user: usize,
    owners: Arc<Owners>,
    /// Foreign values that this session's own transcripts held: its answers may repeat them.
    misheard: HashSet<String>,
}

impl Scorer {
    /// A scorer for one user.
    pub(crate) fn new(user: usize, owners: Arc<Owners>) -> Self {
        Self { user, owners, misheard: HashSet::new() }
    }

    /// Scores one turn.
    pub(crate) fn record(&mut self, turn: &Turn, observed: Observed) -> TurnRecord {
        let outcome = match observed.ending {
            Ending::Answered => Outcome::Answered,
            Ending::Interrupted => Outcome::Interrupted,
            Ending::Failed(_) => Outcome::Failed,
        };
        let answered = outcome == Outcome::Answered;
        let right = if answered { is_right(&turn.expect, &observed.answer) } else { None };
        let seconds = observed.answer_audio.map_or(0.0, |audio| audio.as_secs_f64());
        let audible = answered && observed.answer_audio.is_some();
        let latency = observed.latency_ms;
        let errors = observed.heard.as_ref().map(|heard| word_errors(&turn.text, heard));
        let suspects = self.suspects(turn, &observed, errors, right);
        TurnRecord {
            user: self.user,
            kind: turn.kind,
            began_s: observed.began_s,
            ended_s: observed.ended_s,
            said: turn.text.clone(),
            heard: observed.heard.unwrap_or_default(),
            outcome,
            failure: if let Ending::Failed(reason) = observed.ending { Some(reason) } else { None },
            latency_ms: latency.filter(|ms| *ms >= 0.0),
            barge_in_ms: None,
            talked_over: latency.is_some_and(|ms| ms < 0.0),
            answer_audio_s: seconds,
            plausible: !audible || observed.answer.is_empty() || is_plausible(&observed.answer, seconds),
            word_errors: errors,
            right,
            answer: observed.answer,
            server_ms: observed.server_ms,
            suspects,
            faults: observed.faults,
        }
    }

    fn suspects(
        &mut self,
        turn: &Turn,
        observed: &Observed,
        errors: Option<WordErrors>,
        right: Option<bool>,
    ) -> Vec<Suspect> {
        let said = normalise(&turn.text);
        let new = |foreign: &Foreign| !holds(&said, &normalise(&foreign.value));
        let misheard = errors.is_some_and(|errors| errors.rate() <= MISHEARD_RATE);
        let heard = observed.heard.as_deref().unwrap_or_default();
        let mut suspects = Vec::new();
        for foreign in self.owners.foreign(heard, self.user).into_iter().filter(new) {
            self.misheard.insert(foreign.value.clone());
            suspects.push(Suspect { foreign, place: Place::Transcript, misheard });
        }
        // The right answer to small talk is the same for all and may hold anybody's word by chance.
        let common = matches!(turn.kind, TurnKind::Greeting | TurnKind::Neutral);
        if !(common && right != Some(false)) {
            for foreign in self.owners.foreign(&observed.answer, self.user).into_iter().filter(new) {
                let misheard = self.misheard.contains(&foreign.value);
                suspects.push(Suspect { foreign, place: Place::Answer, misheard });
            }
        }
        suspects
    }
}

/// What is kept of a user besides its turns.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct UserRecord {
    pub(crate) user: usize,
    pub(crate) session: Option<String>,
    /// Why the connection ended, if it did not end as planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<String>,
    /// Every id that the server told this user.
    #[serde(skip)]
    pub(crate) ids: HashSet<String>,
    pub(crate) clock: Lateness,
}

/// How late this program's own clock was: if it is, latencies are not the server's alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Lateness {
    pub(crate) frames: u64,
    pub(crate) over_5_ms: u64,
    pub(crate) over_20_ms: u64,
    pub(crate) max_ms: f64,
}

impl Lateness {
    /// Notes one tick of the clock.
    pub(crate) fn note(&mut self, late: Duration) {
        let ms = late.as_secs_f64() * 1e3;
        self.frames += 1;
        self.over_5_ms += u64::from(ms > 5.0);
        self.over_20_ms += u64::from(ms > 20.0);
        self.max_ms = self.max_ms.max(ms);
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            frames: self.frames + other.frames,
            over_5_ms: self.over_5_ms + other.over_5_ms,
            over_20_ms: self.over_20_ms + other.over_20_ms,
            max_ms: self.max_ms.max(other.max_ms),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A scored question of user 0; "oslo" is its own, "rome" is user 1's.
    pub(crate) fn scored(kind: TurnKind, said: &str, heard: &str, answer: &str) -> TurnRecord {
        scorer().record(&turn(kind, said), observed(heard, answer))
    }

    fn scorer() -> Scorer {
        let mut owners = Owners::default();
        owners.insert(vec!["oslo".into()], 0);
        owners.insert(vec!["rome".into()], 1);
        Scorer::new(0, Arc::new(owners))
    }

    fn turn(kind: TurnKind, said: &str) -> Turn {
        Turn { kind, text: said.into(), expect: vec!["oslo".into()], barge_in: false }
    }

    fn observed(heard: &str, answer: &str) -> Observed {
        Observed {
            began_s: 10.0,
            ended_s: 14.0,
            ending: Ending::Answered,
            heard: Some(heard.into()),
            answer: answer.into(),
            answer_audio: Some(Duration::from_secs(1)),
            latency_ms: Some(300.0),
            server_ms: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    #[test]
    fn a_good_turn() {
        let record = scored(TurnKind::Question, "Where do I live?", "where do i live", "You live in Oslo.");
        assert_eq!((record.right, record.outcome, record.plausible), (Some(true), Outcome::Answered, true));
        assert_eq!(record.word_errors, Some(WordErrors { edits: 0, words: 4 }));
        assert!(record.suspects.is_empty() && !record.talked_over);
    }

    #[test]
    fn words_of_others_are_suspect() {
        let record = scored(TurnKind::Question, "Where do I live?", "where do i live", "You live in Rome.");
        assert_eq!((record.right, record.suspects.len()), (Some(false), 1));
        assert_eq!((record.suspects[0].place, record.suspects[0].misheard), (Place::Answer, false));
        let small_talk = scored(TurnKind::Neutral, "Hi.", "hi", "Rome was not built in a day, said Oslo.");
        assert!(small_talk.suspects.is_empty());
    }

    #[test]
    fn what_was_misheard_may_be_repeated() {
        let mut scorer = scorer();
        let told = turn(TurnKind::Statement, "I live in Oslo.");
        let record = scorer.record(&told, observed("i live in rome", "Rome is nice."));
        let places: Vec<_> = record.suspects.iter().map(|s| (s.place, s.misheard)).collect();
        assert_eq!(places, [(Place::Transcript, true), (Place::Answer, true)]);
        let foreign_text = scorer.record(&told, observed("my city is rome now", ""));
        assert!(!foreign_text.suspects[0].misheard, "that is another sentence");
    }

    #[test]
    fn the_clock_is_watched() {
        let mut late = Lateness::default();
        for ms in [0, 6, 30] {
            late.note(Duration::from_millis(ms));
        }
        assert_eq!(late, Lateness { frames: 3, over_5_ms: 2, over_20_ms: 1, max_ms: 30.0 });
        assert_eq!(late.and(late).frames, 6);
    }
}
