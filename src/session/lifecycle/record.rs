//! What one request went through: a pure state machine. Times are given, as time since the server's start.
//!
//! A request runs in stages (speech-to-text, language model, voice), several of them at once in a spoken answer.
//! Each stage queues, is given a slot, calls and lets go, perhaps again and again: once for each clause. Phases
//! are written down for the first round of a stage, sums for all, so that a record stays small.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// An answer.
    Response,
    /// The transcript of an utterance.
    Transcription,
    /// Speech of a text, without a session.
    Speech,
    /// The translation of an utterance into one language.
    Translation,
    /// A chat completion, without a session.
    Completion,
}

impl RequestKind {
    /// Value of the label `kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Transcription => "transcription",
            Self::Speech => "speech",
            Self::Translation => "translation",
            Self::Completion => "completion",
        }
    }
}

/// Which engines work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Speech to text.
    Stt,
    /// Language model.
    Llm,
    /// Text to speech.
    Tts,
}

impl Stage {
    /// All stages.
    pub const ALL: [Self; 3] = [Self::Stt, Self::Llm, Self::Tts];

    /// The pool's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stt => "stt",
            Self::Llm => "llm",
            Self::Tts => "tts",
        }
    }

    /// Name of its wait in metrics.
    pub fn queue_name(self) -> &'static str {
        match self {
            Self::Stt => "queue_stt",
            Self::Llm => "queue_llm",
            Self::Tts => "queue_tts",
        }
    }
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Phase {
    /// It was asked for.
    Received,
    /// It waits for a slot.
    Queued,
    /// It waits no more.
    Dequeued,
    /// It has a slot.
    SessionAllocated,
    /// The engine works.
    ProviderCallStart,
    /// The engine is done.
    ProviderCallEnd,
    /// The slot is given back.
    SessionReleased,
    /// All went well.
    Completed,
    /// Something took too long.
    Timeout,
    /// Something failed.
    Error,
    /// It was given up.
    Cancelled,
}

impl Phase {
    /// Whether nothing follows.
    pub fn is_last(self) -> bool {
        matches!(self, Self::Completed | Self::Timeout | Self::Error | Self::Cancelled)
    }
}

/// What happens in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It asks for a slot.
    Queued,
    /// It has one.
    Dequeued,
    /// The engine is called.
    CallStarted,
    /// The engine is done, or failed.
    CallEnded,
    /// The slot is given back.
    Released,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All went well.
    Completed,
    /// Something took too long.
    Timeout {
        /// What, for programs.
        code: &'static str,
    },
    /// Something failed.
    Error {
        /// What, for programs.
        code: &'static str,
    },
    /// It was given up: by the client, an interruption, or because the person went on.
    Cancelled,
}

impl Outcome {
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Completed => Phase::Completed,
            Self::Timeout { .. } => Phase::Timeout,
            Self::Error { .. } => Phase::Error,
            Self::Cancelled => Phase::Cancelled,
        }
    }

    pub(super) fn code(&self) -> Option<&'static str> {
        match self {
            Self::Timeout { code } | Self::Error { code } => Some(code),
            Self::Completed | Self::Cancelled => None,
        }
    }
}

/// A step that cannot follow on what was.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{stage:?}: {step:?} cannot follow on {state:?}")]
pub struct Impossible {
    stage: Stage,
    step: Step,
    state: StageState,
}

/// Where a stage is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum StageState {
    #[default]
    Idle,
    Queued,
    Allocated,
    Calling,
    Called,
    Released,
    /// The request is over.
    Over,
}

/// A phase and when it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) phase: Phase,
    pub(super) stage: Option<Stage>,
    pub(super) at: Duration,
}

/// What one stage took.
#[derive(Clone, Debug, Default)]
pub(super) struct StageUse {
    state: StageState,
    since: Duration,
    rounds: u32,
    pub(super) calls: u32,
    pub(super) queued: Duration,
    pub(super) worked: Duration,
    pub(super) engine: Option<Arc<str>>,
}

/// The way of one request.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) marks: Vec<Mark>,
    stages: [StageUse; 3],
}

impl Progress {
    /// A request that was received.
    pub(super) fn received(at: Duration) -> Self {
        let received = Mark { phase: Phase::Received, stage: None, at };
        Self { marks: vec![received], stages: Default::default() }
    }

    /// Takes a step; gives what was waited ([`Step::Dequeued`]) or worked ([`Step::CallEnded`]) in it.
    pub(super) fn step(&mut self, stage: Stage, step: Step, at: Duration) -> Result<Duration, Impossible> {
        use StageState::{Allocated, Called, Calling, Idle, Queued, Released};
        let entry = &mut self.stages[stage as usize];
        let at = at.max(entry.since).max(self.marks[0].at);
        let next = match (entry.state, step) {
            (Idle | Released, Step::Queued) => Queued,
            (Queued, Step::Dequeued) => Allocated,
            (Allocated | Called, Step::CallStarted) => Calling,
            (Calling, Step::CallEnded) => Called,
            (Allocated | Called, Step::Released) => Released,
            (state, step) => return Err(Impossible { stage, step, state }),
        };
        let took = entry.advance(next, at);
        let phases: &[Phase] = match step {
            Step::Queued => &[Phase::Queued],
            Step::Dequeued => &[Phase::Dequeued, Phase::SessionAllocated],
            Step::CallStarted => &[Phase::ProviderCallStart],
            Step::CallEnded => &[Phase::ProviderCallEnd],
            Step::Released => &[Phase::SessionReleased],
        };
        if entry.rounds == 1 && entry.calls <= 1 {
            self.marks.extend(phases.iter().map(|&phase| Mark { phase, stage: Some(stage), at }));
        }
        Ok(took)
    }

    /// Ends the request and whatever of it is under way; `false` if it had ended before.
    pub(super) fn finish(&mut self, outcome: &Outcome, at: Duration) -> bool {
        if self.phase().is_last() {
            return false;
        }
        for stage in Stage::ALL {
            if self.stages[stage as usize].state == StageState::Calling {
                // It was possible: the stage calls.
                let ended = self.step(stage, Step::CallEnded, at);
                debug_assert!(ended.is_ok(), "{ended:?}");
            }
            let holds =
                matches!(self.stages[stage as usize].state, StageState::Allocated | StageState::Called);
            if holds {
                let released = self.step(stage, Step::Released, at);
                debug_assert!(released.is_ok(), "{released:?}");
            }
            let entry = &mut self.stages[stage as usize];
            let _waited = entry.advance(StageState::Over, at);
        }
        // Of later rounds there are no marks.
        let steps = self.stages.iter().map(|entry| entry.since);
        let at = self.marks.iter().map(|mark| mark.at).chain(steps).fold(at, Duration::max);
        self.marks.push(Mark { phase: outcome.phase(), stage: None, at });
        true
    }

    /// The latest phase.
    pub(super) fn phase(&self) -> Phase {
        self.marks.last().map_or(Phase::Received, |mark| mark.phase)
    }

    /// From the first to the latest phase, or to `now` while it runs.
    pub(super) fn duration(&self, now: Duration) -> Duration {
        let end = self.marks.last().filter(|mark| mark.phase.is_last()).map_or(now, |mark| mark.at);
        end.saturating_sub(self.marks[0].at)
    }

    /// Waits and engine work of all stages.
    pub(super) fn worked(&self) -> Duration {
        self.stages.iter().map(|entry| entry.queued + entry.worked).sum()
    }

    /// The stages that took place.
    pub(super) fn stages(&self) -> impl Iterator<Item = (Stage, &StageUse)> {
        Stage::ALL.into_iter().zip(&self.stages).filter(|(_, entry)| entry.rounds > 0)
    }

    /// Stages that wait for a slot.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Stage> {
        self.stages().filter(|(_, entry)| entry.state == StageState::Queued).map(|(stage, _)| stage)
    }

    /// Engine time of calls that are under way.
    pub(super) fn under_way(&self, now: Duration) -> Duration {
        let calling = self.stages().filter(|(_, entry)| entry.state == StageState::Calling);
        calling.map(|(_, entry)| now.saturating_sub(entry.since)).sum()
    }

    /// Says which engine instance serves a stage.
    pub(super) fn set_engine(&mut self, stage: Stage, engine: &str) {
        self.stages[stage as usize].engine = Some(engine.into());
    }

    /// The engine to name for a failure: that of the stage that works, else of the last one that did.
    pub(super) fn engine(&self) -> Option<Arc<str>> {
        let works = |entry: &StageUse| matches!(entry.state, StageState::Queued | StageState::Calling);
        let working = self.stages().find(|(_, entry)| works(entry)).or_else(|| self.stages().last());
        working.map(|(stage, entry)| entry.engine.clone().unwrap_or_else(|| stage.as_str().into()))
    }
}

impl StageUse {
    fn advance(&mut self, next: StageState, at: Duration) -> Duration {
        let took = at.saturating_sub(self.since);
        match self.state {
            StageState::Queued => self.queued += took,
            StageState::Calling => self.worked += took,
            _ => {}
        }
        self.rounds += u32::from(next == StageState::Queued);
        self.calls += u32::from(next == StageState::Calling);
        (self.state, self.since) = (next, self.since.max(at));
        took
    }
}

#[cfg(test)]
mod tests;
