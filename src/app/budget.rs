//! The memory budget of a configuration: asks the catalog what engines cost, the machine what there is, and
//! `pool::memory` for its judgement.

use crate::backend::catalog::{self, CUDA_RAM_BYTES, CUDA_VRAM_BYTES, Ear, EngineSet, GpuView, Priced};
use crate::config::Config;
use crate::engine::EngineCost;
use crate::engine::cost::Source;
use crate::pool::memory::{Available, Budget, Bytes, OverBudget, Row, judge};
use crate::telemetry::machine::{self, Gpus};

/// The server without engines and sessions: code, threads, buffers. Measured at 8 MiB; the rest is for what the
/// allocator keeps.
pub(super) const SERVER_BYTES: u64 = 24 << 20;
/// A talking session: buffers, history, voice activity. The design's bound, 2 MiB.
pub(super) const SESSION_BYTES: u64 = 2 << 20;

/// What this machine has.
pub(super) fn available() -> Available {
    let nvidia = Gpus::find().memory().map(|memory| memory.total_bytes);
    let vram_bytes = nvidia.or_else(catalog::other_gpu_bytes);
    Available { ram_bytes: machine::ram_bytes(), vram_bytes }
}

/// What `config` may take on this machine.
pub(super) fn budget(config: &Config) -> Budget {
    config.memory.budget(available())
}

/// Judges the declared costs, before anything is loaded.
pub fn check_declared(config: &Config) -> Result<(), OverBudget> {
    check_on(config, available(), GpuView::Found)
}

/// The same on a machine that has this.
fn check_on(config: &Config, available: Available, gpus: GpuView) -> Result<(), OverBudget> {
    let priced = catalog::costs_with(&config.engines, gpus);
    let ears = catalog::ears(&config.engines, gpus);
    judge(&rows(config, &priced, &ears), config.memory.budget(available)).map(drop)
}

/// Engines that compute on the CPU though they are to use a GPU, each with why and what to do.
pub fn missing_gpus(config: &Config) -> Vec<String> {
    let ears = catalog::ears_without_gpu(&config.engines);
    let ears = ears.into_iter().map(|(key, why)| format!("{key}.device: it computes on the CPU: {why}"));
    notes_of_gpus(&catalog::costs(&config.engines)).into_iter().chain(ears).collect()
}

pub(super) fn notes_of_gpus(priced: &[Priced]) -> Vec<String> {
    let note = |entry: &Priced| {
        Some(format!("{}.device: it computes on the CPU: {}", entry.key, entry.missing.as_ref()?))
    };
    priced.iter().filter_map(note).collect()
}

/// Judges again, with what loading took in place of what was declared.
pub(super) fn check_loaded(config: &Config, engines: &EngineSet) -> Result<(), OverBudget> {
    let mut priced = catalog::costs(&config.engines);
    apply_measured(&mut priced, engines);
    let available = available();
    let budget = config.memory.budget(available);
    if available.ram_bytes.is_some_and(|bytes| budget.ram_bytes > bytes) {
        let machine_mib = available.ram_bytes.map(|bytes| bytes >> 20);
        tracing::warn!(
            machine_mib,
            "memory.ram_mib is more than this machine has: the budget protects nothing"
        );
    }
    let ears = catalog::ears(&config.engines, GpuView::Found);
    let total = judge(&rows(config, &priced, &ears), budget)?;
    tracing::info!(
        ram_mib = total.ram >> 20,
        ram_budget_mib = budget.ram_bytes >> 20,
        vram_mib = total.vram >> 20,
        vram_budget_mib = budget.vram_bytes >> 20,
        "memory at most: engines as loaded, every slot and session in use"
    );
    Ok(())
}

/// Puts what loading took in place of what was declared.
pub(super) fn apply_measured(priced: &mut [Priced], engines: &EngineSet) {
    let stt = engines.stt.iter().map(|loaded| ("stt", &loaded.name, (loaded.device, loaded.measured)));
    let llm = engines.llm.iter().map(|loaded| ("llm", &loaded.name, (loaded.device, loaded.measured)));
    let tts = engines.tts.iter().map(|loaded| ("tts", &loaded.name, (loaded.device, loaded.measured)));
    let growths: Vec<_> = stt.chain(llm).chain(tts).collect();
    for entry in priced {
        let growth = growths.iter().find(|(pool, name, _)| *pool == entry.pool && **name == entry.name);
        let (Some((_, _, (device, growth))), Ok(cost)) = (growth, &entry.cost) else { continue };
        // What was loaded elsewhere than where it is priced says nothing of it.
        if device.is_none_or(|device| device == entry.device) {
            entry.cost = Ok(cost.with_load(*growth, entry.slots).with_own(&entry.own));
        }
    }
}

/// Everything that takes memory. An engine whose cost cannot be known is left out: loading it fails, and says why.
pub(super) fn rows(config: &Config, priced: &[Priced], ears: &[Ear]) -> Vec<Row> {
    let engines = priced.iter().filter_map(|entry| Some(engine_row(entry, entry.cost.as_ref().ok()?)));
    let all = engines.chain(ears.iter().map(ear_row)).chain(growth(config, priced));
    let own = [sessions_row(config.server.max_sessions), server_row()];
    all.chain(own).chain(cuda_row(priced, ears)).collect()
}

/// What the server's own process takes of RAM and of a GPU before any engine is on it; none where none is. Looking for the
/// GPU takes that already, so that engines in processes of their own make no difference.
pub(super) fn cuda_bytes(priced: &[Priced], ears: &[Ear]) -> Bytes {
    let is_used =
        priced.iter().any(|entry| entry.device.is_gpu()) || ears.iter().any(|ear| ear.device.is_gpu());
    // What the first engine in the server was measured to take holds it.
    let measured =
        |entry: &Priced| entry.cost.as_ref().is_ok_and(|cost| cost.vram.source == Source::Measured);
    let is_counted = priced.iter().any(|entry| entry.device.is_gpu() && !entry.is_apart && measured(entry));
    if is_used && !is_counted {
        Bytes { ram: CUDA_RAM_BYTES, vram: CUDA_VRAM_BYTES }
    } else {
        Bytes::default()
    }
}

fn cuda_row(priced: &[Priced], ears: &[Ear]) -> Option<Row> {
    let fixed = Some(cuda_bytes(priced, ears)).filter(|bytes| bytes.vram > 0)?;
    let (name, source) = ("CUDA itself".to_owned(), Source::Declared.as_str().to_owned());
    Some(Row { name, count: 1, fixed, source, ..Row::default() })
}

/// What hears for all sessions takes memory once, where it computes.
pub(super) fn ear_bytes(ear: &Ear) -> Bytes {
    if ear.device.is_gpu() { Bytes { ram: 0, vram: ear.bytes } } else { Bytes { ram: ear.bytes, vram: 0 } }
}

fn ear_row(ear: &Ear) -> Row {
    let name =
        if ear.device.is_gpu() { format!("{} on {}", ear.name, ear.device) } else { ear.name.to_owned() };
    Row {
        name,
        key: ear.key.to_owned(),
        count: 1,
        fixed: ear_bytes(ear),
        source: Source::Declared.as_str().to_owned(),
        ..Row::default()
    }
}

/// What pools may grow by: copies of their first engine that is no fallback.
pub(super) fn growth(config: &Config, priced: &[Priced]) -> Vec<Row> {
    let most = &config.pools.max_instances;
    let row = |(pool, most): (&'static str, usize)| {
        let working: Vec<&Priced> =
            priced.iter().filter(|entry| entry.pool == pool && !entry.fallback).collect();
        let extra = most.checked_sub(working.len()).filter(|extra| *extra > 0)?;
        let one = engine_row(working.first()?, working.first()?.cost.as_ref().ok()?);
        Some(Row {
            name: format!("{pool}, grown"),
            key: format!("pools.max_instances.{pool}"),
            count: extra,
            base: working.len(),
            fixed: Bytes::default(),
            each: one.total(),
            ..one
        })
    };
    [("stt", most.stt), ("llm", most.llm), ("tts", most.tts)].into_iter().filter_map(row).collect()
}

/// An engine's name, and where it computes if that is not the CPU.
pub(super) fn shown(entry: &Priced) -> String {
    if entry.device.is_gpu() { format!("{} on {}", entry.name, entry.device) } else { entry.name.clone() }
}

fn engine_row(entry: &Priced, cost: &EngineCost) -> Row {
    Row {
        name: format!("{} {}", entry.pool, shown(entry)),
        key: format!("{}.slots", entry.key),
        count: entry.slots,
        fixed: Bytes { ram: cost.ram.instance_bytes, vram: cost.vram.instance_bytes },
        each: Bytes { ram: cost.ram.each_slot_bytes(), vram: cost.vram.each_slot_bytes() },
        source: cost.ram.source.as_str().to_owned(),
        ..Row::default()
    }
}

pub(super) fn sessions_row(sessions: usize) -> Row {
    Row {
        name: "sessions".to_owned(),
        key: "server.max_sessions".to_owned(),
        count: sessions,
        each: Bytes { ram: SESSION_BYTES, vram: 0 },
        source: Source::Declared.as_str().to_owned(),
        ..Row::default()
    }
}

fn server_row() -> Row {
    Row {
        name: "server itself".to_owned(),
        count: 1,
        fixed: Bytes { ram: SERVER_BYTES, vram: 0 },
        source: Source::Declared.as_str().to_owned(),
        ..Row::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FlagValue, Sources};

    fn config(values: &[(&str, &str)]) -> Config {
        let flag = |(key, value): &(&str, &str)| FlagValue {
            flag: "--set".to_owned(),
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        let sources = Sources { flags: values.iter().map(flag).collect(), ..Sources::default() };
        Config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn an_unknown_cost_is_no_refusal_and_a_declared_one_is_counted() {
        let missing = config(&[("engines.stt", "[{kind = \"whisper\", model = \"/nowhere\"}]")]);
        assert!(check_declared(&missing).is_ok());
        let own = "[{kind = \"scripted\", slots = 3, cost = {ram_mib = 10, slot_ram_mib = 50}}]";
        let config = config(&[("engines.tts", own), ("server.max_sessions", "1")]);
        let rows = rows(&config, &catalog::costs(&config.engines), &[]);
        let tts = rows.iter().find(|row| row.name == "tts scripted-tts").expect("its row");
        assert_eq!(tts.total().ram, 160 << 20);
    }

    const TURN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/smart_turn/tests.onnx");
    const SILERO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/silero/tests.onnx");

    /// Voice activity, and ends of turns, by these files on this device.
    fn listening(vad: &str, turn: &str, device: &str) -> Config {
        let vad = format!("{{kind = \"silero\", model = \"{vad}\", device = \"{device}\"}}");
        config(&[("engines.vad", &vad), ("engines.turn.model", turn), ("engines.turn.device", device)])
    }

    #[test]
    fn what_hears_is_counted_where_its_file_is_and_where_it_computes() {
        let length = |model| std::fs::metadata(model).expect("the tests' graph").len();
        let (vad, turn) = (2 * length(SILERO) + (18 << 20), 2 * length(TURN) + (16 << 20));
        let on = |config: &Config, gpus| -> Vec<(String, Bytes)> {
            let rows = rows(config, &[], &catalog::ears(&config.engines, gpus));
            let counted =
                rows.into_iter().filter(|row| row.key.starts_with("engines.") || row.name == "CUDA itself");
            counted.map(|row| (row.name.clone(), row.total())).collect()
        };
        let row = |name: &str, ram, vram| (name.to_owned(), Bytes { ram, vram });
        let on_cpu = [row("voice activity", vad, 0), row("turn detector", turn, 0)];
        assert_eq!(on(&listening(SILERO, TURN, "cpu"), GpuView::Configured), on_cpu);
        let asked = listening(SILERO, TURN, "cuda:1");
        assert_eq!(on(&asked, GpuView::Absent), on_cpu);
        assert_eq!(on(&asked, GpuView::Found), on_cpu, "the library that tests have is the one for the CPU");
        let expected = [
            row("voice activity on cuda:1", 0, vad),
            row("turn detector on cuda:1", 0, turn),
            row("CUDA itself", CUDA_RAM_BYTES, CUDA_VRAM_BYTES),
        ];
        assert_eq!(on(&asked, GpuView::Configured), expected);
        let nowhere = listening("/nowhere/silero.onnx", "/nowhere/turn.onnx", "cuda:1");
        assert_eq!(on(&nowhere, GpuView::Configured), []);
        let earshot = config(&[("engines.turn.model", "/nowhere/turn.onnx")]);
        assert_eq!(on(&earshot, GpuView::Configured), []);
    }

    #[test]
    fn what_hears_is_held_to_the_budget_of_a_gpu() {
        let config = listening(SILERO, TURN, "cuda:0");
        assert!(check_on(&config, machine(Some(1)), GpuView::Configured).is_ok());
        let told = check_on(&config, machine(None), GpuView::Configured).expect_err("there is none");
        let told = told.to_string();
        for part in ["voice activity on cuda:0", "turn detector on cuda:0", "CUDA itself"] {
            assert!(told.contains(part), "{part} is missing in\n{told}");
        }
        assert!(check_on(&config, machine(None), GpuView::Absent).is_ok(), "it hears on the CPU");
    }

    #[test]
    fn what_a_pool_may_grow_to_must_fit() {
        let own = "[{kind = \"scripted\", slots = 2, cost = {ram_mib = 100, slot_ram_mib = 50}}]";
        let values = [("engines.tts", own), ("pools.max_instances.tts", "4"), ("memory.ram_mib", "1200")];
        let config = config(&values);
        let rows = growth(&config, &catalog::costs(&config.engines));
        assert_eq!((rows.len(), rows[0].count, rows[0].total().ram), (1, 3, 600 << 20));
        let told = check_declared(&config).expect_err("more than 1200 MiB").to_string();
        assert!(told.contains("tts, grown"), "{told}");
    }

    /// A machine as NVML and the system would tell of it.
    fn machine(vram_gib: Option<u64>) -> Available {
        Available { ram_bytes: Some(16 << 30), vram_bytes: vram_gib.map(|gib| gib << 30) }
    }

    #[test]
    fn engines_on_a_gpu_are_held_to_its_memory() {
        let own = "cost = {vram_mib = 3000, slot_vram_mib = 500}";
        let llm = format!("[{{kind = \"onnx\", device = \"cuda:0\", slots = 4, {own}}}]");
        let config = config(&[("engines.llm", &llm)]);
        // 3,000 MiB, four slots of 500, and CUDA itself with 512.
        assert!(check_on(&config, machine(Some(8)), GpuView::Configured).is_ok());
        assert!(
            check_on(&config, machine(None), GpuView::Absent).is_ok(),
            "what is said of a GPU is not RAM's"
        );
        let told = check_on(&config, machine(Some(5)), GpuView::Configured).expect_err("5,512 MiB of 5 GiB");
        assert_eq!(told.over().ram, 0);
        let told = told.to_string();
        for part in
            ["llm onnx on cuda:0", "CUDA itself", "VRAM", "engines.llm[0].slots from 4 to", "memory.vram_mib"]
        {
            assert!(told.contains(part), "{part} is missing in\n{told}");
        }
    }

    #[test]
    fn without_the_gpu_its_engines_take_ram() {
        let config = config(&[("engines.llm", "[{kind = \"onnx\", device = \"cuda:0\"}]")]);
        let total = |gpus| {
            let rows = rows(&config, &catalog::costs_with(&config.engines, gpus), &[]);
            rows.iter().map(Row::total).fold((0, 0), |(ram, vram), row| (ram + row.ram, vram + row.vram))
        };
        let (there, absent) = (total(GpuView::Configured), total(GpuView::Absent));
        assert!(there.1 > 512 << 20 && absent.1 == 0, "{there:?} {absent:?}");
        assert!(
            absent.0 > there.0 - CUDA_RAM_BYTES,
            "what the GPU held is the machine's: {there:?} {absent:?}"
        );
        assert!(check_on(&config, machine(None), GpuView::Absent).is_ok(), "and no VRAM is asked for");
        let told = check_on(&config, machine(None), GpuView::Configured).expect_err("there is none");
        assert_eq!(told.over().ram, 0);
        let with_turn = self::config(&[("engines.turn.device", "cuda:0")]);
        assert!(missing_gpus(&with_turn)[0].starts_with("engines.turn.device: it computes on the CPU"));
        let notes = missing_gpus(&config);
        assert!(
            notes.len() == 1 && notes[0].starts_with("engines.llm[0].device: it computes on the CPU"),
            "{notes:?}"
        );
    }

    #[test]
    fn what_loading_took_is_judged_too() {
        let scripted = [
            ("engines.stt", "[{kind = \"scripted\"}]"),
            ("engines.llm", "[{kind = \"scripted\"}]"),
            ("engines.tts", "[{kind = \"scripted\"}]"),
            ("memory.ram_mib", "1000"),
        ];
        let config = config(&scripted);
        let mut engines =
            catalog::load(&config.engines, std::sync::Arc::new(crate::engine::compute::Unlimited))
                .expect("nothing to go wrong");
        assert!(check_declared(&config).is_ok() && check_loaded(&config, &engines).is_ok());
        engines.llm[0].measured.ram_bytes = Some(2000 << 20);
        let told = check_loaded(&config, &engines).expect_err("far over").to_string();
        assert!(told.contains("llm scripted-llm") && told.contains("measured"), "{told}");
    }
}
