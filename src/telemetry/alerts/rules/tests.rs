//! When alerts are raised and when they go.

use super::*;
use crate::telemetry::machine::GpuMemory;

fn value(readings: &[Reading], kind: AlertKind) -> (Option<f64>, bool) {
    let found = readings.iter().find(|reading| reading.kind == kind).expect("each kind is read");
    (found.value, found.holds())
}

#[test]
fn each_rule_has_its_threshold() {
    let at = |change: &dyn Fn(&mut Observation)| {
        let mut observation = Observation::default();
        change(&mut observation);
        observation
    };
    let p95 = |ms| at(&move |it| it.response_p95 = Some(Duration::from_millis(ms)));
    let gpu = |used_bytes| {
        let memory = GpuMemory { total_bytes: 100, used_bytes, own_bytes: None };
        at(&move |it| it.gpus = [(0, memory)].into())
    };
    for (kind, before, now, expected, holds) in [
        (AlertKind::ResponseLatency, at(&|_| {}), at(&|_| {}), None, false),
        (AlertKind::ResponseLatency, at(&|_| {}), p95(999), Some(999.0), false),
        (AlertKind::ResponseLatency, at(&|_| {}), p95(1_000), Some(1_000.0), true),
        (AlertKind::QueueLength, at(&|_| {}), at(&|it| it.queued = 19), Some(19.0), false),
        (AlertKind::QueueLength, at(&|_| {}), at(&|it| it.queued = 20), Some(20.0), true),
        (AlertKind::Refusals, at(&|it| it.refused = 90), at(&|it| it.refused = 99), Some(9.0), false),
        (AlertKind::Refusals, at(&|it| it.refused = 90), at(&|it| it.refused = 100), Some(10.0), true),
        (AlertKind::Memory, at(&|_| {}), at(&|_| {}), None, false),
        (AlertKind::Memory, at(&|_| {}), at(&|it| it.memory = Some((89, 100))), Some(0.89), false),
        (AlertKind::Memory, at(&|_| {}), at(&|it| it.memory = Some((90, 100))), Some(0.9), true),
        (AlertKind::GpuMemory, at(&|_| {}), gpu(94), Some(0.94), false),
        (AlertKind::GpuMemory, at(&|_| {}), gpu(95), Some(0.95), true),
        (AlertKind::UnhealthySessions, at(&|_| {}), at(&|it| it.unhealthy_sessions = 2), Some(2.0), false),
        (AlertKind::UnhealthySessions, at(&|_| {}), at(&|it| it.unhealthy_sessions = 3), Some(3.0), true),
        (AlertKind::Degradation, at(&|_| {}), at(&|it| it.degradation_step = 3), Some(3.0), false),
        (AlertKind::Degradation, at(&|_| {}), at(&|it| it.degradation_step = 4), Some(4.0), true),
    ] {
        let (mut observations, config, start) =
            (Observations::default(), AlertsConfig::default(), Instant::now());
        observations.add(before, &config, start);
        let readings = observations.add(now, &config, start + Duration::from_secs(5));
        assert_eq!(value(&readings, kind), (expected, holds), "{kind:?}");
    }
}

#[test]
fn an_engines_error_rate_is_that_of_the_window() {
    let calls = |succeeded, failed| {
        let engines = vec![EngineCalls { engine: "whisper".into(), succeeded, failed }];
        Observation { engines, ..Observation::default() }
    };
    let config = AlertsConfig::default();
    let (mut observations, start) = (Observations::default(), Instant::now());
    for (at_s, observation, expected, holds) in [
        (0, calls(1_000, 500), None, false), // what was before says nothing
        (1, calls(1_000, 502), None, false), // too few
        (2, calls(1_000, 503), Some(1.0), true),
        (3, calls(1_027, 503), Some(0.1), true),
        (4, calls(1_028, 503), Some(3.0 / 31.0), false),
        (70, calls(1_028, 503), None, false),     // long past
        (71, calls(6, 3), Some(1.0 / 3.0), true), // built anew: it counts from 0
    ] {
        let readings = observations.add(observation, &config, start + Duration::from_secs(at_s));
        assert_eq!(value(&readings, AlertKind::EngineErrors), (expected, holds), "at {at_s} s");
    }
}

#[test]
fn a_pool_is_down_for_as_long_as_it_does_not_serve() {
    let pool = |serves| {
        let pools = vec![PoolHealth { pool: "stt", serves }, PoolHealth { pool: "tts", serves: true }];
        Observation { pools, ..Observation::default() }
    };
    let config = AlertsConfig::default();
    let (mut observations, start) = (Observations::default(), Instant::now());
    for (at_s, serves, expected, holds) in [
        (0, true, 0.0, false),
        (1, false, 0.0, false),
        (5, false, 4.0, false),
        (6, false, 5.0, true),
        (7, true, 0.0, false),
        (8, false, 0.0, false),
    ] {
        let readings = observations.add(pool(serves), &config, start + Duration::from_secs(at_s));
        assert_eq!(value(&readings, AlertKind::PoolDown), (Some(expected), holds), "at {at_s} s");
        let other = readings.iter().rfind(|reading| reading.kind == AlertKind::PoolDown);
        assert_eq!(other.and_then(|reading| reading.value), Some(0.0), "the other pool serves");
    }
}

#[test]
fn each_gpu_has_an_alert_of_its_own_and_one_that_is_not_known_has_none() {
    let memory = |used_bytes| GpuMemory { total_bytes: 10, used_bytes, own_bytes: None };
    let (mut observations, config) = (Observations::default(), AlertsConfig::default());
    let gpus = [(0, memory(10)), (3, memory(1))].into();
    let readings = observations.add(Observation { gpus, ..Observation::default() }, &config, Instant::now());
    let of_gpus = readings.iter().filter(|reading| reading.kind == AlertKind::GpuMemory);
    let told: Vec<_> = of_gpus.map(|reading| (reading.subject.as_deref(), reading.holds())).collect();
    assert_eq!(told, [(Some("cuda:0"), true), (Some("cuda:3"), false)]);
    let readings = observations.add(Observation::default(), &config, Instant::now());
    assert!(readings.iter().all(|reading| reading.kind != AlertKind::GpuMemory));
}

#[test]
fn a_threshold_of_0_is_off_and_what_is_kept_is_bounded() {
    let config = AlertsConfig { queue_length: 0.0, window_s: 600, ..AlertsConfig::default() };
    let (mut observations, start) = (Observations::default(), Instant::now());
    let observation = Observation { queued: 1_000, ..Observation::default() };
    for tick in 0..10_000 {
        let now = start + Duration::from_millis(100 * tick);
        let readings = observations.add(observation.clone(), &config, now);
        assert!(!value(&readings, AlertKind::QueueLength).1);
    }
    assert!(observations.kept.len() <= OBSERVATIONS_CAPACITY, "{}", observations.kept.len());
}
