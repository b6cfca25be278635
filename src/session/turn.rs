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
    /// Pauses of the turn under way that were attempts at its end.
    pauses: Vec<Span>,
}

impl TurnMachine {
    /// A machine in silence.
    pub fn new(policy: TurnPolicy) -> Self {
        let (key, pauses) = (TurnKey::default(), Vec::new());
        Self { policy, state: State::Silent, key, from: 0, voice_end: 0, now: 0, pauses }
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
            _ if frame.end.saturating_sub(self.from) >= self.policy.max_utterance => Some(self.end()),
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
        self.from = onset.saturating_sub(self.policy.padding);
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME_MS: u64 = 16;

    fn machine() -> TurnMachine {
        TurnMachine::new(TurnPolicy::new(
            &TurnDetection::default(),
            &EndpointingConfig::default(),
            &LimitsConfig::default(),
        ))
    }

    /// Feeds `ms` of voice or silence; gives what was done, and after how many milliseconds of it.
    fn feed(machine: &mut TurnMachine, voice: bool, ms: u64) -> Vec<(u64, TurnAction)> {
        let mut done = Vec::new();
        for frame in 1..=ms / FRAME_MS {
            let end = machine.now + FRAME_MS * SAMPLES_PER_MS;
            let frame_in = VoiceFrame { end, voice, onset: end.saturating_sub(48 * SAMPLES_PER_MS) };
            done.extend(machine.on_frame(frame_in).map(|action| (frame * FRAME_MS, action)));
        }
        done
    }

    fn tried(actions: &[(u64, TurnAction)]) -> TurnKey {
        match actions {
            [(_, TurnAction::Try { key, .. })] => *key,
            other => panic!("expected one attempt, got {other:?}"),
        }
    }

    #[test]
    fn a_whole_sentence_is_answered_soon_and_an_unfinished_one_late() {
        for (completeness, ends_at) in
            [(Completeness::Complete, 240), (Completeness::Unsure, 512), (Completeness::Incomplete, 1_200)]
        {
            let mut machine = machine();
            feed(&mut machine, false, 800);
            let begun = feed(&mut machine, true, 992);
            assert!(matches!(begun[..], [(16, TurnAction::Begin { turn: 1, .. })]));
            let key = tried(&feed(&mut machine, false, 128));
            assert_eq!(key, TurnKey { turn: 1, revision: 1 });
            assert_eq!(machine.on_transcript(key, completeness), None);
            let ended = feed(&mut machine, false, 2_000);
            let [(after, TurnAction::End { key: ended_key, tried: true, silence_ms, .. })] = ended[..] else {
                panic!("{completeness:?}: {ended:?}");
            };
            assert_eq!((ended_key, after + 128, silence_ms), (key, ends_at, ends_at), "{completeness:?}");
        }
    }

    #[test]
    fn going_on_voids_the_attempt_and_late_results_have_no_effect() {
        let mut machine = machine();
        feed(&mut machine, true, 480);
        let first = tried(&feed(&mut machine, false, 128));
        assert_eq!(feed(&mut machine, true, 160), [(16, TurnAction::Discard(first))]);
        assert_eq!(machine.pauses().len(), 1);
        assert!(machine.pauses()[0].from == 480 * SAMPLES_PER_MS && machine.pauses()[0].to < machine.now);
        assert_eq!(machine.on_transcript(first, Completeness::Complete), None);
        let second = tried(&feed(&mut machine, false, 128));
        assert_eq!(second, TurnKey { turn: 1, revision: 2 });
        assert_eq!(machine.on_transcript(first, Completeness::Complete), None);
        assert!(feed(&mut machine, false, 320).is_empty(), "nothing is known of the second attempt yet");
    }

    #[test]
    fn a_transcript_that_comes_late_ends_the_turn_at_once() {
        let mut machine = machine();
        feed(&mut machine, true, 480);
        let key = tried(&feed(&mut machine, false, 320));
        let end = machine.on_transcript(key, Completeness::Complete);
        assert!(matches!(end, Some(TurnAction::End { silence_ms: 320, .. })), "{end:?}");
    }

    #[test]
    fn a_fixed_silence_is_kept_to_whatever_the_text() {
        let mode = TurnMode::Server {
            threshold: 0.5,
            prefix_padding_ms: 300,
            silence_duration_ms: Some(400),
            idle_timeout_ms: None,
        };
        let detection = TurnDetection { mode, ..TurnDetection::default() };
        let policy = TurnPolicy::new(&detection, &EndpointingConfig::default(), &LimitsConfig::default());
        let mut machine = TurnMachine::new(policy);
        feed(&mut machine, true, 480);
        let key = tried(&feed(&mut machine, false, 128));
        assert_eq!(machine.on_transcript(key, Completeness::Complete), None);
        assert!(matches!(feed(&mut machine, false, 272)[..], [(272, TurnAction::End { .. })]));
    }

    #[test]
    fn an_endless_utterance_is_cut_at_its_limit() {
        let mut machine = machine();
        let actions = feed(&mut machine, true, 31_000);
        let ends = actions.iter().filter(|(_, action)| matches!(action, TurnAction::End { .. })).count();
        assert_eq!(ends, 1);
        let spans = actions.iter().filter_map(|(_, action)| match action {
            TurnAction::End { span, tried: false, .. } => Some((span.to - span.from) / SAMPLES_PER_MS),
            _ => None,
        });
        assert!(spans.into_iter().all(|ms| (30_000..30_016).contains(&ms)));
    }

    proptest! {
        /// Whatever is heard: turns begin and end in alternation, and each attempt is voided or stands, once.
        #[test]
        fn turns_are_well_formed(steps in proptest::collection::vec((any::<bool>(), 1u64..60, 0u8..4), 1..60)) {
            let mut machine = machine();
            let (mut open, mut pending, mut last) = (false, None, TurnKey::default());
            for (voice, frames, text) in steps {
                let mut actions: Vec<_> = feed(&mut machine, voice, frames * FRAME_MS)
                    .into_iter().map(|(_, action)| action).collect();
                let completeness = [Completeness::Complete, Completeness::Unsure, Completeness::Incomplete];
                if let (Some(key), Some(&heard)) = (pending, completeness.get(usize::from(text))) {
                    actions.extend(machine.on_transcript(key, heard));
                }
                for action in actions {
                    match action {
                        TurnAction::Begin { turn, .. } => {
                            prop_assert!(!open && turn > last.turn);
                            open = true;
                        }
                        TurnAction::Try { key, span } => {
                            prop_assert!(open && pending.is_none() && key > last && span.from < span.to);
                            (pending, last) = (Some(key), key);
                        }
                        TurnAction::Discard(key) => prop_assert_eq!(pending.take(), Some(key)),
                        TurnAction::End { key, tried, .. } => {
                            prop_assert!(open && tried == pending.take().is_some() && key >= last);
                            (open, last) = (false, key);
                        }
                    }
                }
            }
        }
    }
}
