//! When turns end: silence, completeness, limits.

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

/// Feeds `ms` of voice or silence; gives what was done, and after how many milliseconds of it. As voice activity does
/// it, the onset is dated back, and stays where it is while the voice goes on.
fn feed(machine: &mut TurnMachine, voice: bool, ms: u64) -> Vec<(u64, TurnAction)> {
    let onset = (machine.now + FRAME_MS * SAMPLES_PER_MS).saturating_sub(48 * SAMPLES_PER_MS);
    feed_since(machine, voice, ms, onset)
}

/// The same in a voice that began at this sample.
fn feed_since(machine: &mut TurnMachine, voice: bool, ms: u64, onset: u64) -> Vec<(u64, TurnAction)> {
    let mut done = Vec::new();
    for frame in 1..=ms / FRAME_MS {
        let end = machine.now + FRAME_MS * SAMPLES_PER_MS;
        let frame_in = VoiceFrame { end, voice, onset };
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
    let actions = feed(&mut machine, true, 100_000);
    let begins = actions.iter().filter(|(_, action)| matches!(action, TurnAction::Begin { .. })).count();
    let spans = actions.iter().filter_map(|(_, action)| match action {
        TurnAction::End { span, tried: false, .. } => Some(*span),
        _ => None,
    });
    let spans: Vec<Span> = spans.collect();
    assert_eq!((begins, spans.len()), (4, 3), "one every 30 s: {actions:?}");
    assert!(spans.iter().all(|span| (30_000..30_016).contains(&((span.to - span.from) / SAMPLES_PER_MS))));
    assert!(
        spans.windows(2).all(|pair| pair[0].to == pair[1].from),
        "nothing is lost or said twice: {spans:?}"
    );
}

#[test]
fn what_the_client_committed_in_mid_speech_is_of_no_later_turn() {
    let mut machine = machine();
    feed(&mut machine, true, 800);
    machine.manual_turn();
    let committed = machine.now;
    let actions = feed_since(&mut machine, true, 320, 0);
    assert!(matches!(actions[..], [(_, TurnAction::Begin { from, .. })] if from == committed), "{actions:?}");
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
