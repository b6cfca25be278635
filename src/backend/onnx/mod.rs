//! ONNX Runtime as all backends use it: its library, once a process, and sessions with one set of options, on the CPU
//! or a GPU; what runs read and write, so that it stays where it lies; caches of decoders.
//!
//! Knows no model: what a graph takes and gives is its backend's.

mod binding;
mod cache;
mod cuda;
mod environment;
mod gather;
mod logits;

use std::path::Path;

use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{ArenaExtendStrategy, CUDA, ExecutionProviderDispatch};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

pub(super) use self::binding::Binding;
pub(super) use self::cache::{CacheSlot, PAST};
pub(super) use self::cuda::{settle, settle_for};
pub use self::environment::environment;
pub(super) use self::gather::{Gather, Piece};
pub(super) use self::logits::{last_row, last_rows};
use super::LoadError;
use crate::engine::Device;

/// Where a graph computes, and what it may take there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    device: Device,
    /// A GPU's memory, in bytes; `None` for all there is.
    bytes: Option<u64>,
    /// What it remembers grows with every run.
    grows: bool,
}

impl Room {
    /// Room on a device that [`settle`] found.
    pub(super) fn on(device: Device) -> Self {
        Self { device, bytes: None, grows: false }
    }

    /// At most so many bytes of a GPU's memory, and a quarter more: what is given back is not always of use again.
    pub(super) fn of(self, bytes: u64) -> Self {
        Self { bytes: Some(bytes.saturating_add(bytes / 4)), ..self }
    }

    /// For a graph whose state grows with every run.
    pub(super) fn growing(self) -> Self {
        Self { grows: true, ..self }
    }
}

/// Opens a graph for an engine with threads of its own: on the CPU, it computes on the thread that runs it. `library` is
/// ONNX Runtime's; `invalid` says what to do about a file that is no graph.
pub(super) fn open(
    room: Room,
    engine: &str,
    graph: &Path,
    library: &Path,
    invalid: impl FnOnce(String) -> LoadError,
) -> Result<Session, LoadError> {
    let environment = environment(library).map_err(|reason| LoadError::Dependency {
        engine: engine.to_owned(),
        what: format!("ONNX Runtime's library {}", library.display()),
        reason,
        next_step: "Run `scripts/setup` to install it (`scripts/setup --cuda` for GPUs), or set `engines.onnxruntime`".into(),
    })?;
    builder(&environment, room).and_then(|mut builder| builder.commit_from_file(graph)).map_err(|error| {
        let reason = error.to_string();
        // The file is as good as it was: it is the GPU that cannot take it.
        if room.device.is_gpu() && is_of_gpu(&reason) {
            start(engine, room, &reason)
        } else {
            invalid(reason)
        }
    })
}

/// The names of its inputs, for checks and errors.
pub(super) fn inputs(session: &Session) -> Vec<&str> {
    session.inputs().iter().map(ort::value::Outlet::name).collect()
}

fn builder(environment: &ort::environment::Environment, room: Room) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        // Patterns are remembered for each shape, and nearly every run has another.
        .with_memory_pattern(false)?
        .with_execution_providers(provider(room).as_slice())?;
    Ok(builder)
}

/// The provider of a GPU; none for the CPU, which is always there.
fn provider(room: Room) -> Option<ExecutionProviderDispatch> {
    let Device::Cuda(number) = room.device else { return None };
    // Where every allocation is as large as asked for, a cache that grows by a token a step finds none that was given
    // back large enough, and takes new memory at every step.
    let strategy =
        if room.grows { ArenaExtendStrategy::NextPowerOfTwo } else { ArenaExtendStrategy::SameAsRequested };
    let provider = CUDA::default()
        .with_device_id(i32::try_from(number).unwrap_or_default())
        .with_arena_extend_strategy(strategy)
        // Trying all algorithms takes seconds for each shape, and every text has another.
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic);
    let limit = room.bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let provider = match limit {
        Some(bytes) => provider.with_memory_limit(bytes),
        None => provider,
    };
    Some(provider.build().error_on_failure())
}

fn is_of_gpu(reason: &str) -> bool {
    ["CUDA", "cuda", "BFCArena", "allocate memory"].iter().any(|word| reason.contains(word))
}

fn start(engine: &str, room: Room, reason: &str) -> LoadError {
    let device = room.device;
    let limit =
        room.bytes.map_or_else(String::new, |bytes| format!(", where it may take {} MiB", bytes >> 20));
    LoadError::Start {
        engine: engine.to_owned(),
        reason: format!(
            "it cannot be loaded on {device}{limit}: {reason}. `nvidia-smi` shows what the GPU has left; take fewer \
             slots or a smaller model, raise the engine's `cost.vram_mib`, or set its `device` to \"cpu\""
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_is_full_is_not_the_files_fault() {
        let room = Room::on(Device::Cuda(1)).of(100 << 20);
        let told = start("llm", room, "BFCArena: Failed to allocate memory").to_string();
        for part in ["llm did not start", "cuda:1", "125 MiB", "BFCArena", "cost.vram_mib"] {
            assert!(told.contains(part), "{part} is missing in: {told}");
        }
        assert!(is_of_gpu("CUDA failure 2: out of memory") && !is_of_gpu("Protobuf parsing failed."));
    }

    #[test]
    fn the_cpu_needs_no_provider() {
        assert!(provider(Room::on(Device::Cpu).of(1).growing()).is_none());
        assert!(provider(Room::on(Device::Cuda(0))).is_some());
    }
}
