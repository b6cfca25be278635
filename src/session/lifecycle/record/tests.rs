//! Records of requests: their stages, in any order that can come.

use proptest::prelude::*;

use super::*;

const STEPS: [Step; 5] = [Step::Queued, Step::Dequeued, Step::CallStarted, Step::CallEnded, Step::Released];

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_spoken_answer_has_its_stages_side_by_side() {
    let mut progress = Progress::received(ms(100));
    let way = [
        (Stage::Llm, Step::Queued, 101),
        (Stage::Llm, Step::Dequeued, 111),
        (Stage::Llm, Step::CallStarted, 111),
        (Stage::Tts, Step::Queued, 150),
        (Stage::Tts, Step::Dequeued, 150),
        (Stage::Tts, Step::CallStarted, 150),
        (Stage::Llm, Step::CallEnded, 161),
        (Stage::Llm, Step::Released, 161),
        (Stage::Tts, Step::CallEnded, 180),
        (Stage::Tts, Step::Released, 180),
        (Stage::Tts, Step::Queued, 200),
        (Stage::Tts, Step::Dequeued, 205),
        (Stage::Tts, Step::CallStarted, 205),
        (Stage::Tts, Step::CallEnded, 225),
        (Stage::Tts, Step::Released, 225),
    ];
    for (stage, step, at) in way {
        progress.step(stage, step, ms(at)).expect("it can follow");
    }
    assert!(progress.finish(&Outcome::Completed, ms(300)));
    assert!(!progress.finish(&Outcome::Cancelled, ms(301)), "the first outcome stands");
    assert!(progress.step(Stage::Stt, Step::Queued, ms(302)).is_err(), "nothing follows the end");
    let stages: Vec<_> =
        progress.stages().map(|(stage, entry)| (stage, entry.calls, entry.queued, entry.worked)).collect();
    assert_eq!(stages, [(Stage::Llm, 1, ms(10), ms(50)), (Stage::Tts, 2, ms(5), ms(50))]);
    assert_eq!((progress.phase(), progress.duration(ms(999))), (Phase::Completed, ms(200)));
    assert_eq!(progress.marks.len(), 14, "later clauses add sums, no phases: {:?}", progress.marks);
}

#[test]
fn an_end_in_the_middle_closes_what_is_open() {
    let mut progress = Progress::received(ms(0));
    for (step, at) in [(Step::Queued, 1), (Step::Dequeued, 3), (Step::CallStarted, 4)] {
        progress.step(Stage::Stt, step, ms(at)).expect("it can follow");
    }
    progress.set_engine(Stage::Stt, "whisper-2");
    assert_eq!((progress.under_way(ms(10)), progress.engine().as_deref()), (ms(6), Some("whisper-2")));
    assert!(progress.finish(&Outcome::Timeout { code: "engine_timeout" }, ms(14)));
    let phases: Vec<_> = progress.marks.iter().map(|mark| mark.phase).collect();
    let expected = [
        Phase::Received,
        Phase::Queued,
        Phase::Dequeued,
        Phase::SessionAllocated,
        Phase::ProviderCallStart,
        Phase::ProviderCallEnd,
        Phase::SessionReleased,
        Phase::Timeout,
    ];
    assert_eq!(phases, expected);
    assert_eq!(progress.stages().next().map(|(_, entry)| entry.worked), Some(ms(10)));
}

proptest! {
    /// Whatever steps are tried, at whatever times: what is accepted is a possible way.
    #[test]
    fn only_possible_ways_are_written_down(
        steps in prop::collection::vec((0usize..3, 0usize..6, 0u64..50), 0..60),
    ) {
        let mut progress = Progress::received(ms(10));
        for (stage, step, at) in steps {
            let stage = Stage::ALL[stage];
            match STEPS.get(step) {
                Some(step) => drop(progress.step(stage, *step, ms(at))),
                None if at == 7 => drop(progress.finish(&Outcome::Cancelled, ms(at))),
                None => {}
            }
        }
        progress.finish(&Outcome::Completed, ms(60));
        prop_assert!(progress.marks.len() <= 2 + 3 * 6);
        let last = progress.marks.iter().filter(|mark| mark.phase.is_last()).count();
        prop_assert!(last == 1 && progress.phase().is_last());
        for stage in Stage::ALL {
            let marks: Vec<_> = progress.marks.iter().filter(|mark| mark.stage == Some(stage)).collect();
            let whole = [
                Phase::Queued, Phase::Dequeued, Phase::SessionAllocated, Phase::ProviderCallStart,
                Phase::ProviderCallEnd, Phase::SessionReleased,
            ];
            let called = marks.iter().any(|mark| mark.phase == Phase::ProviderCallStart);
            let expected = whole.iter().filter(|phase| {
                called || !matches!(phase, Phase::ProviderCallStart | Phase::ProviderCallEnd)
            });
            let same = marks.iter().map(|mark| mark.phase).zip(expected).all(|(found, due)| found == *due);
            prop_assert!(same, "{marks:?}");
            prop_assert!(marks.windows(2).all(|pair| pair[0].at <= pair[1].at));
        }
        let total = progress.duration(ms(0));
        for (_, entry) in progress.stages() {
            prop_assert!(entry.queued + entry.worked <= total);
        }
    }
}
