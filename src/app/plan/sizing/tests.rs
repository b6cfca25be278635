use super::*;
use proptest::prelude::*;

const GIB: u64 = 1 << 30;

fn engine(pool: Pool, slots: usize, threads: usize, call_ms: f64) -> Engine {
    Engine {
        pool,
        name: pool.as_str().to_owned(),
        key: format!("engines.{}[0]", pool.as_str()),
        slots,
        threads,
        fallback: false,
        memory: Bytes { ram: GIB, vram: 0 },
        memory_source: Source::Declared,
        work: WorkCost { call_cpu_s: call_ms / 1e3, ..WorkCost::default() },
    }
}

/// Four turns a minute, all of it fixed costs: a user takes call / 15 s of cores in each pool.
fn talk() -> Talk {
    Talk { turns_a_minute: 4.0, clauses: 1.0, busy: 0.5, ..Talk::default() }
}

fn machine(cores: f64, ram_gib: u64) -> Machine {
    Machine { cores, memory: Budget { ram_bytes: ram_gib * GIB, vram_bytes: 0 }, max_sessions: 1000 }
}

const OVERHEAD: Overhead =
    Overhead { server: Bytes { ram: GIB, vram: 0 }, session_bytes: GIB / 8, session_cores: 0.0 };

fn engines(slots: usize) -> Vec<Engine> {
    vec![
        engine(Pool::Stt, slots, slots, 150.0),
        engine(Pool::Llm, slots, 1, 300.0),
        engine(Pool::Tts, slots, slots, 15.0),
    ]
}

#[test]
fn each_limit_is_found_where_it_is_the_tightest() {
    // A user takes 0.01, 0.02 and 0.001 cores.
    let table: [(&str, Vec<Engine>, Machine, u64); 5] = [
        ("cores", engines(4), machine(1.0, 64), 16),
        ("llm slots", engines(4), machine(16.0, 64), 25),
        ("stt slots", [engines(1), engines(1)].concat(), Machine { cores: 9.0, ..machine(9.0, 64) }, 50),
        ("ram", engines(4), machine(16.0, 5), 8),
        ("sessions", engines(4), Machine { max_sessions: 3, ..machine(16.0, 64) }, 3),
    ];
    for (what, mut engines, machine, users) in table {
        if what == "stt slots" {
            engines.retain(|engine| engine.pool != Pool::Stt);
            engines.push(engine(Pool::Stt, 1, 1, 150.0));
            engines.extend([engine(Pool::Llm, 1, 1, 300.0), engine(Pool::Llm, 1, 1, 300.0)]);
        }
        let sizing = size(30, talk(), &engines, machine, OVERHEAD);
        assert_eq!((sizing.tightest().what.as_str(), sizing.fits()), (what, users), "{:?}", sizing.limits);
        assert_eq!(sizing.is_enough(), users >= 30);
    }
}

#[test]
fn engines_beyond_the_gpus_memory_hold_nobody() {
    let mut engines = engines(4);
    engines[1].memory.vram = 2 * GIB;
    let small = Machine { memory: Budget { ram_bytes: 64 * GIB, vram_bytes: GIB }, ..machine(16.0, 64) };
    let sizing = size(1, talk(), &engines, small, OVERHEAD);
    assert_eq!((sizing.tightest().what.as_str(), sizing.fits()), ("vram", 0));
    assert!(sizing.tightest().advice.contains("engines.llm[0].slots"), "{}", sizing.tightest().advice);
    let enough = Machine { memory: Budget { vram_bytes: 2 * GIB, ..small.memory }, ..small };
    let sizing = size(1, talk(), &engines, enough, OVERHEAD);
    assert!(sizing.limits.iter().any(|limit| limit.what == "vram" && limit.users.is_none()));
    assert!(sizing.fits() > 0);
}

#[test]
fn engines_of_a_pool_share_its_work_by_what_they_can_do() {
    let engines = [engine(Pool::Stt, 3, 3, 100.0), engine(Pool::Stt, 1, 1, 100.0)];
    let loads = size(30, talk(), &engines, machine(8.0, 64), OVERHEAD).loads;
    assert!((loads[0].cores - 3.0 * loads[1].cores).abs() < 1e-9);
    assert!((loads[0].cores + loads[1].cores - 30.0 * 0.1 / 15.0).abs() < 1e-9);
    assert!((loads[0].lanes_busy - 30.0 * 0.1 / 15.0 / 4.0).abs() < 1e-9);
}

#[test]
fn a_fallback_takes_memory_and_no_work() {
    let mut engines = engines(4);
    let without = size(30, talk(), &engines, machine(8.0, 64), OVERHEAD);
    engines.push(Engine { fallback: true, ..engine(Pool::Llm, 8, 8, 10.0) });
    let with = size(30, talk(), &engines, machine(8.0, 64), OVERHEAD);
    assert_eq!((with.loads[3].cores, with.memory.ram), (0.0, without.memory.ram + GIB));
    assert_eq!((with.cores, with.tightest()), (without.cores, without.tightest()));
}

#[test]
fn work_grows_with_what_is_said() {
    let work = WorkCost { call_cpu_s: 0.01, input_cpu_s: 1e-4, unit_cpu_s: 0.002, source: Source::Measured };
    let user = |pool| Engine { work, ..engine(pool, 1, 1, 0.0) }.user_cores(&Talk::default()) / (12.6 / 60.0);
    for (pool, seconds) in [
        (Pool::Stt, 0.01 + 1.3 * 0.002),
        (Pool::Llm, 0.01 + 850.0 * 1e-4 + 10.0 * 0.002),
        (Pool::Tts, 1.5 * 0.01 + 2.3 * 0.002),
    ] {
        assert!((user(pool) - seconds).abs() < 1e-9, "{pool:?}: {}", user(pool));
    }
}

fn roomy(cores: f64, ram_gib: u64, vram_gib: u64) -> Machine {
    let machine = machine(cores, ram_gib);
    Machine { memory: Budget { vram_bytes: vram_gib * GIB, ..machine.memory }, ..machine }
}

fn any_engine() -> impl Strategy<Value = Engine> {
    (0usize..3, 1usize..32, 1usize..32, 0.0f64..2000.0, 0u64..8).prop_map(
        |(pool, slots, threads, ms, gib)| {
            let memory = Bytes { ram: gib * GIB / 2, vram: gib * GIB / 4 };
            Engine { memory, ..engine(Pool::ALL[pool], slots, threads, ms) }
        },
    )
}

proptest! {
    #[test]
    fn more_of_anything_never_fits_fewer(
        engines in prop::collection::vec(any_engine(), 1..6), cores in 0.1f64..64.0, more in 0.0f64..64.0,
        gib in 0u64..64, more_gib in 0u64..64,
    ) {
        let fits = |machine| size(30, talk(), &engines, machine, OVERHEAD).fits();
        let least = machine(cores, gib);
        prop_assert!(fits(machine(cores + more, gib)) >= fits(least));
        prop_assert!(fits(machine(cores, gib + more_gib)) >= fits(least));
        let memory = Budget { vram_bytes: more_gib * GIB, ..least.memory };
        let with_gpu = fits(Machine { memory, ..least });
        prop_assert!(with_gpu >= fits(least));
    }

    /// The limit that is named is what holds the users back: with it lifted more fit, with any other not.
    #[test]
    fn the_limit_named_is_the_tightest(
        engines in prop::collection::vec(any_engine(), 3..6), cores in 0.1f64..16.0, gib in 0u64..64,
    ) {
        let engines: Vec<Engine> =
            engines.into_iter().enumerate().map(|(at, engine)| Engine { pool: Pool::ALL[at % 3], ..engine }).collect();
        let sizing = size(30, talk(), &engines, roomy(cores, gib, gib), OVERHEAD);
        let fits = sizing.fits();
        prop_assert!(sizing.limits.iter().all(|limit| limit.users.is_none_or(|users| users >= fits)));
        prop_assert_eq!(sizing.limits.len(), 7);
        let others_allow_more = sizing.limits[1].users.is_none_or(|users| users > fits);
        if sizing.tightest().what == "cores" && others_allow_more {
            let lifted = size(30, talk(), &engines, roomy(cores * 4.0 + 1e6, gib, gib), OVERHEAD);
            prop_assert!(lifted.fits() > fits);
        } else if sizing.tightest().what != "cores" {
            let lifted = size(30, talk(), &engines, roomy(cores * 4.0 + 1e6, gib, gib), OVERHEAD);
            prop_assert_eq!(lifted.fits(), fits, "cores did not hold them back");
        }
    }

    /// At the number that fits nothing is busier than it may be.
    #[test]
    fn what_fits_is_within_every_bound(
        engines in prop::collection::vec(any_engine(), 3..6), cores in 0.1f64..64.0,
    ) {
        // At least one of each pool.
        let engines: Vec<Engine> =
            engines.into_iter().enumerate().map(|(at, engine)| Engine { pool: Pool::ALL[at % 3], ..engine }).collect();
        let machine = roomy(cores, 1000, 1000);
        let fits = u32::try_from(size(1, talk(), &engines, machine, OVERHEAD).fits()).unwrap_or(u32::MAX);
        let at = size(fits, talk(), &engines, machine, OVERHEAD);
        prop_assert!(at.cores <= cores * talk().busy * (1.0 + 1e-9));
        prop_assert!(at.loads.iter().all(|load| load.lanes_busy <= talk().busy * (1.0 + 1e-9)));
    }
}
