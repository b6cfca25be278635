//! When does the person's turn begin, pause and end? A pure state machine over voice activity and transcripts.
//!
//! Time is the audio received, in samples at 16 kHz; there is no clock. A turn is tried for an ending at each
//! soft pause: that is a revision, transcribed and answered ahead of time. If the person goes on, the revision
//! is discarded; whatever still arrives for it is dropped by its [`TurnKey`].

use super::completeness::Completeness;
use super::config::{EndpointingConfig, LimitsConfig};
use super::settings::{Eagerness, TurnDetection, TurnMode};

/// Samples in a millisecond.
pub const SAMPLES_PER_MS: u64 = 16;

/// Names one attempt at one turn.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TurnKey {
    /// Counts the turns of a session.
    pub turn: u64,
    /// Counts the attempts at this turn.
    pub revision: u32,
}

/// Audio from one sample position to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First sample.
    pub from: u64,
    /// The one behind the last.
    pub to: u64,
}

/// One frame of audio as voice activity saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoiceFrame {
    /// Position behind the frame's last sample.
    pub end: u64,
    /// Whether somebody speaks.
    pub voice: bool,
    /// While somebody speaks: where this began.
    pub onset: u64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnAction {
    /// A turn began at this sample.
    Begin {
        /// Its number.
        turn: u64,
        /// Its first sample.
        from: u64,
    },
    /// A soft pause: transcribe this, and answer it behind a gate.
    Try {
        /// The attempt.
        key: TurnKey,
        /// The audio.
        span: Span,
    },
    /// The person goes on: the attempt is void.
    Discard(TurnKey),
    /// The turn is over. If an attempt was made, its result stands.
    End {
        /// The attempt that stands; one that was never tried if the turn was cut at its limit.
        key: TurnKey,
        /// All audio of the turn.
        span: Span,
        /// Whether [`TurnAction::Try`] was given for `key`.
        tried: bool,
        /// Silence at the end, in milliseconds.
        silence_ms: u64,
    },
}

/// How long to wait, in samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnPolicy {
    soft_pause: u64,
    complete: u64,
    unsure: u64,
    incomplete: u64,
    padding: u64,
    max_utterance: u64,
}

impl TurnPolicy {
    /// The waiting times for a client's turn detection.
    pub fn new(detection: &TurnDetection, endpointing: &EndpointingConfig, limits: &LimitsConfig) -> Self {
        let (padding_ms, [complete, unsure, incomplete]) = match detection.mode {
            TurnMode::Server { prefix_padding_ms, silence_duration_ms: Some(ms), .. } => {
                (u64::from(prefix_padding_ms), [u64::from(ms); 3])
            }
            TurnMode::Server { prefix_padding_ms, silence_duration_ms: None, .. } => (
                u64::from(prefix_padding_ms),
                [endpointing.complete_ms, endpointing.unsure_ms, endpointing.incomplete_ms],
            ),
            TurnMode::Semantic { eagerness } => (300, semantic_waits(eagerness, endpointing)),
        };
        Self {
            // A client that asks for less silence than a soft pause gets its turn ended at that.
            soft_pause: endpointing.soft_pause_ms.min(complete) * SAMPLES_PER_MS,
            complete: complete * SAMPLES_PER_MS,
            unsure: unsure * SAMPLES_PER_MS,
            incomplete: incomplete * SAMPLES_PER_MS,
            padding: padding_ms * SAMPLES_PER_MS,
            max_utterance: limits.max_utterance_ms * SAMPLES_PER_MS,
        }
    }

    fn delay(&self, heard: Option<Completeness>) -> u64 {
        match heard {
            Some(Completeness::Complete) => self.complete,
            Some(Completeness::Unsure) | None => self.unsure,
            Some(Completeness::Incomplete) => self.incomplete,
        }
    }
}

/// The longest waits are those that OpenAI states for `semantic_vad`: 8, 4 and 2 s.
fn semantic_waits(eagerness: Eagerness, endpointing: &EndpointingConfig) -> [u64; 3] {
    match eagerness {
        Eagerness::Low => [endpointing.complete_ms * 2, 2_000, 8_000],
        Eagerness::Auto | Eagerness::Medium => [endpointing.complete_ms, 1_000, 4_000],
        Eagerness::High => [endpointing.complete_ms, endpointing.unsure_ms, 2_000],
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Silent,
    Speaking,
    Pausing { heard: Option<Completeness> },
}

/// Follows the turns of one session.
#[derive(Debug)]
pub struct TurnMachine {
    policy: TurnPolicy,
    state: State,
    key: TurnKey,
    from: u64,
    voice_end: u64,
    now: u64,
    /// Audio before this is of turns that were cut, or that the client ended: a voice that goes on begins another here.
    taken: u64,
    /// Pauses of the turn under way that were attempts at its end.
    pauses: Vec<Span>,
}

impl TurnMachine {
    /// A machine in silence.
    pub fn new(policy: TurnPolicy) -> Self {
        let (key, pauses) = (TurnKey::default(), Vec::new());
        Self { policy, state: State::Silent, key, from: 0, voice_end: 0, now: 0, taken: 0, pauses }
    }

    /// Takes over new waiting times, from the next frame on.
    pub fn set_policy(&mut self, policy: TurnPolicy) {
        self.policy = policy;
    }

    /// A number for a turn that the client ends itself.
    pub fn manual_turn(&mut self) -> TurnKey {
        self.key = TurnKey { turn: self.key.turn + 1, revision: 1 };
        if self.state == State::Silent {
            self.pauses.clear();
        }
        self.state = State::Silent;
        self.taken = self.now;
        self.key
    }

    /// Whether a turn is going on, and from which sample.
    pub fn open_turn(&self) -> Option<u64> {
        (self.state != State::Silent).then_some(self.from)
    }

    /// Whether somebody speaks at the moment, and the turn's first sample.
    pub fn speaking_since(&self) -> Option<u64> {
        (self.state == State::Speaking).then_some(self.from)
    }

    /// The pauses of the latest turn after which the person went on.
    pub fn pauses(&self) -> &[Span] {
        &self.pauses
    }

    /// How much audio before a begin must be kept.
    pub fn padding(&self) -> u64 {
        self.policy.padding
    }

    /// Forgets a turn that is going on; gives the attempt that is void with it.
    pub fn abandon(&mut self) -> Option<TurnKey> {
        let void = matches!(self.state, State::Pausing { .. }).then_some(self.key);
        self.state = State::Silent;
        void
    }

    /// Takes in a frame.
    pub fn on_frame(&mut self, frame: VoiceFrame) -> Option<TurnAction> {
        self.now = frame.end;
        let silent_since = self.voice_end;
        if frame.voice {
            self.voice_end = frame.end;
        }
        match self.state {
            State::Silent if frame.voice => Some(self.begin(frame.onset)),
            State::Silent => None,
            _ if frame.end.saturating_sub(self.from) >= self.policy.max_utterance => {
                self.taken = self.now;
                Some(self.end())
            }
            State::Speaking => (frame.end - self.voice_end >= self.policy.soft_pause).then(|| self.pause()),
            State::Pausing { .. } if frame.voice => {
                self.state = State::Speaking;
                self.pauses.push(Span { from: silent_since, to: frame.onset.max(silent_since) });
                Some(TurnAction::Discard(self.key))
            }
            State::Pausing { .. } => self.end_if_due(),
        }
    }

    /// Takes in how finished the text of an attempt sounds. Stale attempts have no effect.
    pub fn on_transcript(&mut self, key: TurnKey, completeness: Completeness) -> Option<TurnAction> {
        match &mut self.state {
            State::Pausing { heard } if key == self.key => *heard = Some(completeness),
            _ => return None,
        }
        self.end_if_due()
    }

    fn begin(&mut self, onset: u64) -> TurnAction {
        self.key = TurnKey { turn: self.key.turn + 1, revision: 0 };
        self.from = onset.saturating_sub(self.policy.padding).max(self.taken);
        self.pauses.clear();
        self.state = State::Speaking;
        TurnAction::Begin { turn: self.key.turn, from: self.from }
    }

    fn pause(&mut self) -> TurnAction {
        self.key.revision += 1;
        self.state = State::Pausing { heard: None };
        TurnAction::Try { key: self.key, span: Span { from: self.from, to: self.now } }
    }

    fn end_if_due(&mut self) -> Option<TurnAction> {
        let State::Pausing { heard } = self.state else { return None };
        (self.now - self.voice_end >= self.policy.delay(heard)).then(|| self.end())
    }

    fn end(&mut self) -> TurnAction {
        let tried = matches!(self.state, State::Pausing { .. });
        if !tried {
            self.key.revision += 1;
        }
        self.state = State::Silent;
        TurnAction::End {
            key: self.key,
            span: Span { from: self.from, to: self.now },
            tried,
            silence_ms: (self.now - self.voice_end) / SAMPLES_PER_MS,
        }
    }
}

#[cfg(test)]
mod tests;
