//! When a turn is over: one utterance and the wait for its answer. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::ear::Ear;

/// How long a transcript, or a better answer, may lag behind the end of the spoken answer.
const GRACE: Duration = Duration::from_secs(1);
/// An interruption needs this much of the answer ahead to interrupt anything.
const LEFT_TO_INTERRUPT: Duration = Duration::from_millis(300);

/// How a turn ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// Answered, and the answer was heard to its end.
    Answered,
    /// Answered, and now the user speaks into it.
    Interrupted,
    /// Not answered.
    Failed(String),
}

/// One running turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    /// When the last of the utterance was sent; `None` while the user speaks.
    pub(crate) said_at: Option<Instant>,
    /// How far into the answer the user interrupts it.
    pub(crate) interrupt_after: Option<Duration>,
    pub(crate) timeout: Duration,
    /// Whether a transcript of what was said is to come.
    pub(crate) transcribed: bool,
}

impl Exchange {
    /// Whether the turn is over at `now`.
    pub(crate) fn ending(&self, ear: &Ear, now: Instant) -> Option<Ending> {
        if let Some(error) = ear.errors.first() {
            return Some(Ending::Failed(format!("error event: {error}")));
        }
        let broken = |status: &str| matches!(status, "failed" | "incomplete");
        if let Some(answer) = ear.answers.iter().find(|a| a.status.as_deref().is_some_and(broken)) {
            let status = answer.status.as_deref().unwrap_or_default();
            return Some(Ending::Failed(format!("response {status}: {}", answer.details)));
        }
        let said_at = self.said_at?;
        if self.interrupts(ear, now) {
            return Some(Ending::Interrupted);
        }
        let waited_since = ear.last_event.max(Some(said_at)).max(ear.playing_until).unwrap_or(said_at);
        let completed = ear.answers.iter().rfind(|a| a.status.as_deref() == Some("completed"));
        match completed {
            Some(answer) if !ear.is_busy(now) && !ear.speech_open => {
                let heard = !self.transcribed || ear.transcript().is_some();
                let patient = now > waited_since + GRACE;
                match answer.first_at {
                    None => Some(Ending::Failed("the answer is empty".into())),
                    // Begun while the user still spoke: the answer to the whole may be on its way.
                    Some(first) if first < said_at && !patient => None,
                    Some(_) => (heard || patient).then_some(Ending::Answered),
                }
            }
            _ => self.timed_out(ear, now, said_at, waited_since),
        }
    }

    fn interrupts(&self, ear: &Ear, now: Instant) -> bool {
        let (Some(after), Some(answer)) = (self.interrupt_after, ear.answer()) else { return false };
        let reached = answer.first_at.is_some_and(|first| now >= first + after);
        let live = answer.status.as_deref().is_none_or(|status| status == "completed");
        reached && live && ear.is_playing(now + LEFT_TO_INTERRUPT)
    }

    fn timed_out(&self, ear: &Ear, now: Instant, said_at: Instant, waited_since: Instant) -> Option<Ending> {
        let started = ear.answer().is_some_and(|answer| answer.first_at.is_some());
        let seconds = self.timeout.as_secs_f64();
        if !started && now > said_at + self.timeout {
            let what = if ear.speech_open {
                "the server still hears speech"
            } else if !ear.answers.is_empty() {
                "a response was created"
            } else if ear.heard_so_far().is_empty() {
                "no transcript either"
            } else {
                "it was transcribed"
            };
            return Some(Ending::Failed(format!("no answer within {seconds} s ({what})")));
        }
        let stalled = now > waited_since + self.timeout;
        stalled.then(|| Ending::Failed(format!("the answer stopped midway for {seconds} s")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ear::Answer;
    use antiphon::audio::AudioFormat;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    struct Case {
        ear: Ear,
        exchange: Exchange,
        start: Instant,
    }

    impl Case {
        /// The utterance ended at 0.
        fn new() -> Self {
            let start = Instant::now();
            let exchange = Exchange {
                said_at: Some(start),
                interrupt_after: None,
                timeout: MS(5_000),
                transcribed: false,
            };
            Self { ear: Ear::new(AudioFormat::Pcm16, false), exchange, start }
        }

        fn hear(mut self, at: u64, event: &str) -> Self {
            self.ear.hear(serde_json::from_str(event).unwrap(), self.start + MS(at));
            self
        }

        /// An answer whose sound begins at 300 and lasts until 2300.
        fn answered(self, status: Option<&str>) -> Self {
            let mut case =
                self.hear(200, r#"{"type":"response.created","response":{"id":"r","status":"in_progress"}}"#);
            let answer: &mut Answer = &mut case.ear.answers[0];
            answer.first_at = Some(case.start + MS(300));
            answer.status = status.map(str::to_owned);
            case.ear.playing_until = Some(case.start + MS(2_300));
            case
        }

        fn at(&self, at: u64) -> Option<Ending> {
            self.exchange.ending(&self.ear, self.start + MS(at))
        }
    }

    fn is_failure(ending: Option<Ending>, words: &str) -> bool {
        matches!(ending, Some(Ending::Failed(reason)) if reason.contains(words))
    }

    #[test]
    fn the_turn_ends_when_the_answer_was_heard() {
        let case = Case::new().answered(Some("completed"));
        assert_eq!(case.at(2_299), None);
        assert_eq!(case.at(2_300), Some(Ending::Answered));
        let mut running = Case::new().answered(None);
        assert_eq!(running.at(2_400), None);
        running.ear.speech_open = true;
        running.ear.answers[0].status = Some("completed".into());
        assert_eq!(running.at(2_400), None, "the server hears the user");
    }

    #[test]
    fn a_late_transcript_is_waited_for_a_little() {
        let mut case = Case::new().answered(Some("completed"));
        case.exchange.transcribed = true;
        assert_eq!(case.at(3_300), None);
        assert_eq!(case.at(3_301), Some(Ending::Answered));
    }

    #[test]
    fn silence_and_stalls_fail() {
        let case = Case::new();
        assert_eq!(case.at(5_000), None);
        assert!(is_failure(case.at(5_001), "no transcript either"));
        let stalled = Case::new().answered(None);
        assert_eq!(stalled.at(7_300), None);
        assert!(is_failure(stalled.at(7_301), "stopped midway"));
        let cancelled = Case::new().answered(Some("cancelled"));
        assert!(is_failure(cancelled.at(7_301), "stopped midway"), "nobody interrupted");
    }

    #[test]
    fn errors_fail_at_once() {
        let case =
            Case::new().hear(10, r#"{"type":"error","error":{"code":"overloaded","message":"later"}}"#);
        assert!(is_failure(case.at(11), "overloaded: later"));
        assert!(is_failure(Case::new().answered(Some("failed")).at(400), "response failed"));
        assert!(is_failure(
            Case::new()
                .hear(1, r#"{"type":"response.created","response":{"id":"r","status":"in_progress"}}"#)
                .hear(2, r#"{"type":"response.done","response":{"id":"r","status":"completed"}}"#)
                .at(3),
            "empty"
        ));
    }

    #[test]
    fn an_interruption_needs_something_to_interrupt() {
        let mut case = Case::new().answered(None);
        case.exchange.interrupt_after = Some(MS(500));
        assert_eq!(case.at(799), None);
        assert_eq!(case.at(800), Some(Ending::Interrupted));
        case.ear.playing_until = Some(case.start + MS(900));
        assert_eq!(case.at(800), None, "the answer is all but over");
    }
}
