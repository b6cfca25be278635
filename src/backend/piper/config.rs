//! What can be set of a Piper voice, and what it costs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::backend::Placement;
use crate::backend::onnx::Room;
use crate::backend::onnx_voice::files::{beside, footprint, on_gpu};
use crate::engine::cost::{Footprint, OwnCost, Source, WorkCost};
use crate::engine::{Device, EngineCost};

/// What a slot takes while it speaks 180 characters (about 9 s): the activations of the last layers. 174 MiB by
/// `examples/voices.rs` with random weights of the quality "medium".
const CALL_BYTES: u64 = 200 << 20;
/// CPU time of a second of speech for each byte of the weights: 63 MB take 0.063 s there, on a core at 2 to 3 GHz.
const SECOND_S_A_BYTE: f64 = 1e-9;

/// Configuration of [`PiperTts`](super::PiperTts).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PiperConfig {
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
    /// The graph, `en_US-lessac-medium.onnx`.
    pub model: PathBuf,
    /// Its settings; by default the graph's path with `.json` behind it, as voices are published.
    pub settings: Option<PathBuf>,
    /// espeak-ng, which lists the phonemes; looked up in `PATH`.
    pub program: PathBuf,
    /// The speaker that OpenAI's first voice names; by default the settings'.
    pub voice: Option<String>,
    /// How much the sound varies; by default the settings', else Piper's 0.667.
    pub noise_scale: Option<f32>,
    /// How slow it speaks; by default the settings', else 1.
    pub length_scale: Option<f32>,
    /// How much the phonemes' lengths vary; by default the settings', else Piper's 0.8.
    pub noise_w: Option<f32>,
    /// What the operator knows of its cost; the rest is worked out from the voice's files.
    pub cost: OwnCost,
}

impl Default for PiperConfig {
    /// One slot: a voice speaks faster than it is listened to, and another slot is another copy of it in memory.
    fn default() -> Self {
        Self {
            name: "piper".into(),
            slots: 1,
            fallback: false,
            placement: Placement::default(),
            device: Device::default(),
            model: "models/piper/voice.onnx".into(),
            settings: None,
            program: "espeak-ng".into(),
            voice: None,
            noise_scale: None,
            length_scale: None,
            noise_w: None,
            cost: OwnCost::default(),
        }
    }
}

impl PiperConfig {
    pub(super) fn settings_path(&self) -> PathBuf {
        self.settings.clone().unwrap_or_else(|| beside(&self.model, ".json"))
    }

    /// What one instance costs that computes on `device`; the error says why that cannot be known.
    pub fn cost(&self, device: Device) -> Result<EngineCost, String> {
        let ram = footprint(&self.model, CALL_BYTES)?;
        #[expect(clippy::cast_precision_loss, reason = "bytes of a file, far below 2^52")]
        let unit_cpu_s = ram.slot_bytes as f64 * SECOND_S_A_BYTE;
        let work = WorkCost { call_cpu_s: 0.012, input_cpu_s: 0.0, unit_cpu_s, source: Source::Declared };
        let cost = EngineCost { ram, vram: Footprint::default(), work, threads: self.slots };
        Ok(if device.is_gpu() { on_gpu(cost) } else { cost })
    }

    /// What one of its graphs may take of a GPU: what the budget counts for a slot.
    pub(super) fn room(&self, device: Device) -> Room {
        let cost = self.cost(device).map(|cost| cost.with_own(&self.cost));
        cost.map_or(Room::on(device), |cost| Room::on(device).of(cost.vram.peak_bytes(1)))
    }
}
