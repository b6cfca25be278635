//! What to say when a file of a voice is missing or wrong, and what the files weigh.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::backend::LoadError;
use crate::engine::EngineCost;
use crate::engine::cost::{Footprint, Source};

/// ONNX Runtime itself; see the language model's cost.
const RUNTIME_BYTES: u64 = 32 << 20;

pub(in crate::backend) fn missing(engine: &str, path: &Path, error: &std::io::Error) -> LoadError {
    LoadError::FileMissing {
        engine: engine.to_owned(),
        path: path.to_owned(),
        reason: error.to_string(),
        next_step:
            "Set the path in the engine's table under `engines.tts`; docs/operations.md, Voices, says which \
                    files belong together"
                .into(),
    }
}

pub(in crate::backend) fn invalid(engine: &str, path: &Path, reason: String) -> LoadError {
    LoadError::FileInvalid {
        engine: engine.to_owned(),
        path: path.to_owned(),
        reason,
        next_step: "Download the voice again; docs/operations.md, Voices, says which exports are taken"
            .into(),
    }
}

/// A JSON file.
pub(in crate::backend) fn json(engine: &str, path: &Path) -> Result<Value, LoadError> {
    let text = std::fs::read_to_string(path).map_err(|error| missing(engine, path, &error))?;
    serde_json::from_str(&text).map_err(|error| invalid(engine, path, error.to_string()))
}

/// `path` with `end` behind its name: `voice.onnx` and `.json`.
pub(in crate::backend) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Memory of a voice whose graph is `graph`: its weights once a slot, and `call_bytes` while a slot speaks.
pub(in crate::backend) fn footprint(graph: &Path, call_bytes: u64) -> Result<Footprint, String> {
    let bytes = |path: &Path| std::fs::metadata(path).map(|file| file.len());
    let weights = bytes(graph).map_err(|error| format!("{}: {error}", graph.display()))?;
    let apart: u64 = ["_data", ".data"].iter().filter_map(|end| bytes(&beside(graph, end)).ok()).sum();
    Ok(Footprint {
        instance_bytes: RUNTIME_BYTES,
        slot_bytes: weights + apart,
        call_bytes,
        source: Source::Declared,
    })
}

/// The same voice on a GPU: the runtime stays in RAM, and what its voices' styles take with it.
pub(in crate::backend) fn on_gpu(cost: EngineCost) -> EngineCost {
    let host_bytes = cost.ram.instance_bytes;
    let mut cost = cost.on_gpu(host_bytes);
    cost.vram.instance_bytes = 0;
    cost
}
