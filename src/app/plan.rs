//! `antiphon plan`: how many users a configuration holds on a machine, and what limits first.
//!
//! Costs come from the engines' files, or from a few real calls (`measure`); the arithmetic is in [`sizing`],
//! which is pure, the words in [`table`]. Read [`make`] first.

pub mod sizing;
pub mod table;

mod measure;

use serde::Serialize;

use self::sizing::{Engine, Machine, Overhead, Pool, Sizing, Talk, size};
use super::budget;
use crate::backend::catalog::{self, Ear, GpuView, Priced};
use crate::config::Config;
use crate::engine::EngineCost;
use crate::pool::memory::{Available, Budget, Bytes};
use crate::telemetry::machine;

pub use measure::MeasureError;

/// A session's own share of a core: decoding, resampling, voice activity, sockets. The design's bound: 300
/// sessions that stream without end on one core.
const SESSION_CORES: f64 = 1.0 / 300.0;
const GIB: f64 = 1_073_741_824.0;

/// What to plan for. What is not given is this machine's.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Users who talk.
    pub users: u32,
    /// How they talk.
    pub talk: Talk,
    /// Cores.
    pub cores: Option<f64>,
    /// RAM in GiB.
    pub ram_gib: Option<f64>,
    /// Memory of all GPUs in GiB.
    pub vram_gib: Option<f64>,
    /// Whether to load the engines and time them.
    pub measure: bool,
}

/// A plan, and what its reader must know.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The figures.
    pub sizing: Sizing,
    /// What the configuration's preset cannot give in this build, engines whose costs are not known, and the like.
    pub notes: Vec<String>,
}

/// Plans for `config`. With [`Request::measure`] it loads the engines and blocks for seconds.
pub fn make(config: &Config, request: &Request) -> Result<Plan, MeasureError> {
    // Memory of GPUs that is given is another machine's, which has them.
    let gpus = match request.vram_gib {
        None => GpuView::Found,
        Some(gib) if gib > 0.0 => GpuView::Configured,
        Some(_) => GpuView::Absent,
    };
    let mut priced = catalog::costs_with(&config.engines, gpus);
    if request.measure {
        measure::measure(config, &mut priced)?;
    }
    let mut notes = unknown(&priced);
    notes.extend(budget::notes_of_gpus(&priced));
    notes.extend(on_gpus(&priced));
    let (machine, scarce) = machine_of(config, request);
    notes.extend(scarce);
    notes.extend(budget::growth(config, &priced).iter().map(|row| {
        format!(
            "{} lets it grow by {}; that is not planned with, but its memory must fit",
            row.key, row.count
        )
    }));
    let engines: Vec<Engine> = priced.iter().filter_map(engine).collect();
    let overhead = Overhead {
        server: server_bytes(&priced, &catalog::ears(&config.engines, gpus)),
        session_bytes: budget::SESSION_BYTES,
        session_cores: SESSION_CORES,
    };
    Ok(Plan { sizing: size(request.users, request.talk, &engines, machine, overhead), notes })
}

/// The server itself, CUDA's context, and what hears for all sessions.
fn server_bytes(priced: &[Priced], ears: &[Ear]) -> Bytes {
    let cuda = budget::cuda_bytes(priced, ears);
    let server = Bytes { ram: budget::SERVER_BYTES + cuda.ram, vram: cuda.vram };
    ears.iter().map(budget::ear_bytes).fold(server, |sum, ear| Bytes {
        ram: sum.ram.saturating_add(ear.ram),
        vram: sum.vram.saturating_add(ear.vram),
    })
}

fn unknown(priced: &[Priced]) -> Vec<String> {
    let why = |entry: &Priced| {
        let error = entry.cost.as_ref().err()?;
        Some(format!("{}: its costs are not known and not counted: {error}", entry.key))
    };
    priced.iter().filter_map(why).collect()
}

/// What is not known of GPUs.
fn on_gpus(priced: &[Priced]) -> Option<String> {
    let timed = |entry: &&Priced| entry.cost.as_ref().is_ok_and(|cost| cost.work.unit_cpu_s == 0.0);
    let untimed: Vec<&str> =
        priced.iter().filter(|entry| entry.device.is_gpu()).filter(timed).map(|e| e.key.as_str()).collect();
    (!untimed.is_empty()).then(|| {
        format!(
            "{}: what a GPU takes of time is not declared, so lanes say nothing of them; --measure on that machine does",
            untimed.join(", ")
        )
    })
}

fn engine(entry: &Priced) -> Option<Engine> {
    let cost: &EngineCost = entry.cost.as_ref().ok()?;
    let pool = match entry.pool {
        "stt" => Pool::Stt,
        "llm" => Pool::Llm,
        _ => Pool::Tts,
    };
    Some(Engine {
        pool,
        name: budget::shown(entry),
        key: entry.key.clone(),
        slots: entry.slots,
        threads: cost.threads,
        fallback: entry.fallback,
        memory: Bytes { ram: cost.ram.peak_bytes(entry.slots), vram: cost.vram.peak_bytes(entry.slots) },
        memory_source: cost.ram.source,
        work: cost.work,
    })
}

/// What there is, and a note where the configuration's budget is more than that.
fn machine_of(config: &Config, request: &Request) -> (Machine, Option<String>) {
    let here = budget::available();
    let asked = |gib: Option<f64>, here: Option<u64>| gib.map_or(here, |gib| Some(bytes(gib)));
    let there_is = Available {
        ram_bytes: asked(request.ram_gib, here.ram_bytes),
        vram_bytes: asked(request.vram_gib, here.vram_bytes),
    };
    let budget = config.memory.budget(there_is);
    let most = Budget {
        ram_bytes: budget.ram_bytes.min(there_is.ram_bytes.unwrap_or(u64::MAX)),
        vram_bytes: budget.vram_bytes.min(there_is.vram_bytes.unwrap_or(0)),
    };
    let note = (most != budget).then(|| {
        "memory.ram_mib or memory.vram_mib is more than there is; planned with what there is".to_owned()
    });
    #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
    let count = |count: usize| count as f64;
    let cores = request.cores.unwrap_or_else(|| count(machine::cores()));
    // Engines compute on no more cores than there are permits.
    let cores =
        if config.pools.cpu_permits == 0 { cores } else { cores.min(count(config.pools.cpu_permits)) };
    (Machine { cores, memory: most, max_sessions: config.server.max_sessions }, note)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; a size of memory")]
fn bytes(gib: f64) -> u64 {
    (gib * GIB) as u64
}
