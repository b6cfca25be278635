//! How a scene went, from what happened in it and when. Pure.

use std::collections::HashSet;
use std::fmt::{Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use crate::conversation::case::{Case, DEAF, Expect, LATE};
use crate::words::{holds, normalise};

/// Something that happened, at a time since the scene's begin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mark {
    pub(crate) at: Duration,
    pub(crate) what: What,
}

/// What happened. Answers are counted from 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// The first and the last sample of a cue were sent.
    CueBegan(usize),
    CueEnded(usize),
    SpeechStarted,
    Transcript(String),
    Created(usize),
    Audio(usize),
    /// The words of an answer that were heard, as the server has them.
    Said(usize, String),
    Done(usize, String),
    /// The loudspeaker began to sound, or fell silent.
    Sounding(bool),
    Error(String),
}

/// How well the server did.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Right,
    TooEarly,
    TooLate,
    /// Neither: the wrong answer, or none where there should be one.
    Wrong,
}

/// How a scene went.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) group: &'static str,
    pub(crate) case: &'static str,
    pub(crate) voice: usize,
    pub(crate) verdict: Verdict,
    /// See [`Case::hard`].
    pub(crate) hard: bool,
    /// Why it is not right.
    pub(crate) why: String,
    /// From the last sample of what is to be answered to the first audio.
    pub(crate) latency_ms: Option<f64>,
    /// From the first sample of an interruption to the last audio of the answer.
    pub(crate) stop_ms: Option<f64>,
    /// From the same to the moment when clients stop their loudspeaker.
    pub(crate) believed_ms: Option<f64>,
    /// How long an answer that went on was silent.
    pub(crate) gap_ms: Option<f64>,
    pub(crate) heard: Vec<String>,
    pub(crate) answers: Vec<String>,
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { group, case, voice, verdict, why, heard, answers, .. } = self;
        write!(f, "{group}: {case} (voice {voice}): {verdict:?} {why} heard {heard:?} said {answers:?}")
    }
}

/// Judges a scene.
pub(crate) fn judge(case: &Case, voice: usize, marks: &[Mark]) -> Outcome {
    let scene = Scene { marks };
    let last = case.cues.len() - 1;
    let (verdict, why) = match case.expect {
        Expect::Answer { words } => scene.answered(last, words),
        Expect::Silence => scene.silent(),
        Expect::Continue { tail } => scene.continued(tail),
        Expect::Interrupt { words } => scene.interrupted(words),
    };
    let (verdict, why) = match scene.error() {
        Some(error) => (Verdict::Wrong, format!("error event: {error}")),
        None => (verdict, why),
    };
    let interrupts = matches!(case.expect, Expect::Interrupt { .. });
    Outcome {
        group: case.group,
        case: case.name,
        voice,
        verdict,
        hard: case.hard,
        why,
        latency_ms: if case.echo { None } else { scene.latency(last).map(ms).filter(|_| has_answer(case)) },
        stop_ms: scene.stop().map(ms).filter(|_| interrupts),
        believed_ms: scene.believed().map(ms).filter(|_| interrupts),
        gap_ms: matches!(case.expect, Expect::Continue { .. }).then(|| ms(scene.gap())),
        heard: scene.transcripts(),
        answers: scene.said(),
    }
}

fn has_answer(case: &Case) -> bool {
    matches!(case.expect, Expect::Answer { .. } | Expect::Interrupt { .. })
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

struct Scene<'a> {
    marks: &'a [Mark],
}

type Judgement = (Verdict, String);

fn right() -> Judgement {
    (Verdict::Right, String::new())
}

impl Scene<'_> {
    fn find(&self, from: Duration, wanted: impl Fn(&What) -> bool) -> Option<Duration> {
        self.marks.iter().find(|mark| mark.at >= from && wanted(&mark.what)).map(|mark| mark.at)
    }

    fn ended(&self, cue: usize) -> Option<Duration> {
        self.find(Duration::ZERO, |what| *what == What::CueEnded(cue))
    }

    fn began(&self, cue: usize) -> Option<Duration> {
        self.find(Duration::ZERO, |what| *what == What::CueBegan(cue))
    }

    fn error(&self) -> Option<&str> {
        self.marks.iter().find_map(|mark| match &mark.what {
            What::Error(error) => Some(error.as_str()),
            _ => None,
        })
    }

    fn transcripts(&self) -> Vec<String> {
        let texts = self.marks.iter().filter_map(|mark| match &mark.what {
            What::Transcript(text) => Some(text.trim().to_owned()),
            _ => None,
        });
        texts.collect()
    }

    fn said(&self) -> Vec<String> {
        let texts = self.marks.iter().filter_map(|mark| match &mark.what {
            What::Said(_, text) => Some(text.clone()),
            _ => None,
        });
        texts.collect()
    }

    /// The first audio behind the end of this cue.
    fn latency(&self, cue: usize) -> Option<Duration> {
        let ended = self.ended(cue)?;
        Some(self.find(ended, |what| matches!(what, What::Audio(_)))? - ended)
    }

    fn answered(&self, cue: usize, words: &str) -> Judgement {
        let (Some(began), Some(ended)) = (self.began(cue), self.ended(cue)) else {
            return (Verdict::Wrong, "nothing was said".into());
        };
        if self.find(began, |what| matches!(what, What::Created(_))).is_some_and(|at| at < ended) {
            return (Verdict::TooEarly, "answered before the end".into());
        }
        match self.latency(cue) {
            None => (Verdict::TooLate, "never answered".into()),
            Some(latency) if latency > LATE => (Verdict::TooLate, format!("after {:.0} ms", ms(latency))),
            Some(_) if !self.last_answer_holds(words) => (Verdict::Wrong, format!("no {words:?} in it")),
            Some(_) => right(),
        }
    }

    fn last_answer_holds(&self, words: &str) -> bool {
        let wanted = normalise(words);
        wanted.is_empty() || self.said().last().is_some_and(|said| holds(&normalise(said), &wanted))
    }

    fn silent(&self) -> Judgement {
        match self.find(Duration::ZERO, |what| matches!(what, What::Audio(_))) {
            Some(_) => (Verdict::Wrong, "answered a noise".into()),
            None => right(),
        }
    }

    /// All of one answer was heard, in order, nothing twice.
    fn continued(&self, tail: &str) -> Judgement {
        let words = normalise(&self.said().join(" "));
        if !holds(&words, &normalise(tail)) {
            return (Verdict::Wrong, "the answer was not heard to its end".into());
        }
        if let Some(twice) = repeated(&words) {
            return (Verdict::Wrong, format!("heard twice: {twice:?}"));
        }
        right()
    }

    fn interrupted(&self, words: &str) -> Judgement {
        match self.believed() {
            None => (Verdict::TooLate, "the interruption was not heard".into()),
            Some(believed) if believed > DEAF => {
                (Verdict::TooLate, format!("stopped after {:.0} ms", ms(believed)))
            }
            Some(_) => self.answered(1, words),
        }
    }

    fn believed(&self) -> Option<Duration> {
        let began = self.began(1)?;
        Some(self.find(began, |what| *what == What::SpeechStarted)? - began)
    }

    /// The last audio of the first answer, if it is of the time after the interruption began.
    fn stop(&self) -> Option<Duration> {
        let began = self.began(1)?;
        let last = self.marks.iter().rfind(|mark| mark.what == What::Audio(0))?.at;
        Some(last.saturating_sub(began))
    }

    /// Silence of the loudspeaker between its first and its last sound, all together.
    fn gap(&self) -> Duration {
        let (mut silent_since, mut gap) = (None, Duration::ZERO);
        for mark in self.marks {
            match mark.what {
                What::Sounding(false) => silent_since = Some(mark.at),
                What::Sounding(true) => {
                    gap += silent_since.take().map_or(Duration::ZERO, |since| mark.at - since)
                }
                _ => {}
            }
        }
        gap
    }
}

/// Five words in a row that stand in `words` twice.
fn repeated(words: &[String]) -> Option<String> {
    let mut seen = HashSet::new();
    words.windows(5).find(|window| !seen.insert(*window)).map(|window| window.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::case::CASES;

    fn case(group: &str) -> &'static Case {
        CASES.iter().find(|case| case.group == group).unwrap()
    }

    fn judged(group: &str, marks: &[(u64, What)]) -> Outcome {
        let marks: Vec<_> = marks
            .iter()
            .map(|(at, what)| Mark { at: Duration::from_millis(*at), what: what.clone() })
            .collect();
        judge(case(group), 0, &marks)
    }

    fn said(answer: usize, text: &str) -> What {
        What::Said(answer, text.into())
    }

    #[test]
    fn an_answer_is_early_late_or_right() {
        use What::{Audio, Created, CueBegan, CueEnded};
        for (created, audio, verdict) in [
            (1_300, 1_350, Verdict::Right),
            (900, 1_350, Verdict::TooEarly),
            (2_600, 2_700, Verdict::TooLate),
        ] {
            let mut marks =
                vec![(500, CueBegan(0)), (1_000, CueEnded(0)), (created, Created(0)), (audio, Audio(0))];
            marks.sort_by_key(|(at, _)| *at);
            marks.push((5_000, said(0, "Why did the clock go to school?")));
            let outcome = judged("question", &marks);
            assert_eq!(outcome.verdict, verdict, "{outcome}");
            assert_eq!(outcome.latency_ms, Some(f64::from(audio as u32) - 1_000.0));
        }
        let silent = judged("question", &[(500, CueBegan(0)), (1_000, CueEnded(0))]);
        assert_eq!((silent.verdict, silent.latency_ms), (Verdict::TooLate, None));
    }

    #[test]
    fn an_answer_that_goes_on_is_heard_whole_and_once() {
        let whole = ["Once there was a man", "who was never lonely again."];
        let marks = |texts: [&str; 2]| {
            let [first, second] = texts.map(str::to_owned);
            [
                (0, What::Sounding(true)),
                (1_000, What::Sounding(false)),
                (1_000, said(0, &first)),
                (1_800, What::Sounding(true)),
                (4_000, said(1, &second)),
            ]
        };
        let outcome = judged("backchannel", &marks(whole));
        assert_eq!((outcome.verdict, outcome.gap_ms), (Verdict::Right, Some(800.0)), "{outcome}");
        let lost = judged("backchannel", &marks(["Once there was a man", "What can I do for you?"]));
        assert!(lost.verdict == Verdict::Wrong && lost.why.contains("its end"), "{lost}");
        let twice =
            judged("backchannel", &marks([whole[0], "Once there was a man who was never lonely again."]));
        assert!(twice.verdict == Verdict::Wrong && twice.why.contains("twice"), "{twice}");
    }

    #[test]
    fn an_interruption_is_timed() {
        let marks = [
            (1_000, What::CueBegan(0)),
            (2_000, What::CueEnded(0)),
            (2_400, What::Audio(0)),
            (3_000, What::CueBegan(1)),
            (3_090, What::Audio(0)),
            (3_200, What::SpeechStarted),
            (3_900, What::CueEnded(1)),
            (4_300, What::Created(1)),
            (4_350, What::Audio(1)),
            (4_400, said(1, "Okay, I will be quiet.")),
        ];
        let outcome = judged("barge-in", &marks);
        assert_eq!(outcome.verdict, Verdict::Right, "{outcome}");
        assert_eq!((outcome.stop_ms, outcome.believed_ms), (Some(90.0), Some(200.0)));
        assert_eq!(outcome.latency_ms, Some(450.0));
        let deaf = judged("barge-in", &marks[..5]);
        assert_eq!(deaf.verdict, Verdict::TooLate, "{deaf}");
    }

    #[test]
    fn a_noise_is_not_answered_and_an_error_is_never_right() {
        assert_eq!(judged("noise in silence", &[(3, What::SpeechStarted)]).verdict, Verdict::Right);
        assert_eq!(judged("noise in silence", &[(9, What::Audio(0))]).verdict, Verdict::Wrong);
        let outcome = judged("noise in silence", &[(9, What::Error("overloaded".into()))]);
        assert!(outcome.verdict == Verdict::Wrong && outcome.why.contains("overloaded"), "{outcome}");
    }
}
