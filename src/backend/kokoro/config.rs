//! What can be set of Kokoro, and what it costs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::styles::style_bytes;
use crate::backend::Placement;
use crate::backend::onnx::Room;
use crate::backend::onnx_voice::files::{footprint, on_gpu};
use crate::engine::cost::{Footprint, OwnCost, Source, WorkCost};
use crate::engine::{Device, EngineCost};

/// What a slot takes while it speaks 200 characters (about 10 s): 218 MiB by `examples/memory.rs` with random weights.
const CALL_BYTES: u64 = 220 << 20;
/// The part of the weights that are packed anew for the CPU's kernels, by the same.
const PACKED_PART: u64 = 8;
/// CPU time of a second of speech there, Kokoro-82M in 32 bits, on a core at 2 to 3 GHz.
const SECOND_S: f64 = 0.5;

/// Configuration of [`KokoroTts`](super::KokoroTts).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct KokoroConfig {
    /// Name in logs, metrics and errors.
    pub name: String,
    /// Clauses spoken at once: a thread and a copy of the graph each.
    pub slots: usize,
    /// It serves only where no other engine of its list is healthy.
    pub fallback: bool,
    /// Where it runs.
    pub placement: Placement,
    /// Where its graph computes; espeak-ng is on the CPU always.
    pub device: Device,
    /// The graph.
    pub model: PathBuf,
    /// The voices: a folder of `NAME.bin`, `NAME.npy` or `NAME.pt`, or kokoro-onnx's one file (`voices-v1.0.bin`). By
    /// default `voices` beside the graph or in the folder above.
    pub voices: Option<PathBuf>,
    /// espeak-ng, which lists the phonemes; looked up in `PATH`.
    pub program: PathBuf,
    /// The voice of names that are none of its voices'; by default `af_heart`, else the first.
    pub voice: Option<String>,
    /// What the operator knows of its cost; the rest is worked out from its files.
    pub cost: OwnCost,
}

impl Default for KokoroConfig {
    /// One slot: each is a copy of 310 MiB.
    fn default() -> Self {
        Self {
            name: "kokoro".into(),
            slots: 1,
            fallback: false,
            placement: Placement::default(),
            device: Device::default(),
            model: "models/kokoro/onnx/model.onnx".into(),
            voices: None,
            program: "espeak-ng".into(),
            voice: None,
            cost: OwnCost::default(),
        }
    }
}

impl KokoroConfig {
    /// Where the voices are.
    pub(super) fn voices_path(&self) -> PathBuf {
        let folder = self.model.parent().unwrap_or_else(|| "".as_ref());
        let above = folder.parent().unwrap_or(folder);
        let candidates = [folder.join("voices"), above.join("voices"), folder.join("voices-v1.0.bin")];
        let [first, ..] = &candidates;
        let found = candidates.iter().find(|path| path.exists()).unwrap_or(first);
        self.voices.clone().unwrap_or_else(|| found.clone())
    }

    /// What one instance costs that computes on `device`; the error says why that cannot be known.
    pub fn cost(&self, device: Device) -> Result<EngineCost, String> {
        let mut ram = footprint(&self.model, CALL_BYTES)?;
        ram.instance_bytes += style_bytes(&self.voices_path());
        ram.slot_bytes += if device.is_gpu() { 0 } else { ram.slot_bytes / PACKED_PART };
        let work =
            WorkCost { call_cpu_s: 0.012, input_cpu_s: 0.0, unit_cpu_s: SECOND_S, source: Source::Declared };
        let cost = EngineCost { ram, vram: Footprint::default(), work, threads: self.slots };
        Ok(if device.is_gpu() { on_gpu(cost) } else { cost })
    }

    /// What one of its graphs may take of a GPU: what the budget counts for a slot.
    pub(super) fn room(&self, device: Device) -> Room {
        let cost = self.cost(device).map(|cost| cost.with_own(&self.cost));
        cost.map_or(Room::on(device), |cost| Room::on(device).of(cost.vram.peak_bytes(1)))
    }
}
