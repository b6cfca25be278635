//! What whisper.cpp takes, from a model file's header and size. The shapes are those of whisper.cpp 1.8's
//! `whisper_init_state` and its graphs; the speeds are declared.

use super::WhisperConfig;
use super::context::ContextRule;
use super::model_file::{self, ModelFile, Sizes};
use crate::engine::cost::{Footprint, Source, WorkCost};
use crate::engine::{Device, EngineCost};

/// Bytes of a 16-bit and a 32-bit float.
const F16: u64 = 2;
const F32: u64 = 4;
/// Descriptions of a graph's 4,096 nodes, one block for each of the four graphs of a state.
const GRAPH_META_BYTES: u64 = 4 * 1_830_000;
/// A token's two entries in the vocabulary's maps.
const TOKEN_BYTES: u64 = 260;
/// What a decoder keeps of each token: probability, logit, log probability, and a pair to sort.
const CANDIDATE_BYTES: u64 = 3 * F32 + 16;
/// Caches are padded to so many positions.
const CACHE_STEP: u64 = 256;
/// Tokens that a decoder reads at once where there is no prompt: start, language, task, no timestamps.
const START_TOKENS: u64 = 4;
/// Values of the encoder's width that a position needs between two layers: the wide layer and what goes by it.
const ENCODER_WIDTHS: u64 = 7;
/// Fast speech: tokens a second.
const TOKENS_A_SECOND: f64 = 4.0;
/// Half-precision operations a second of one core: whisper.cpp's matrix products on AVX2 at 2 to 3 GHz.
const CORE_FLOPS: f64 = 20e9;
/// Weights that one core reads from memory a second while it decodes.
const CORE_BYTES_A_SECOND: f64 = 6e9;

impl WhisperConfig {
    /// What one instance costs that computes on `device`; the error says why that cannot be known.
    pub fn cost(&self, device: Device) -> Result<EngineCost, String> {
        let told = |error: String| format!("{}: {error}", self.model.display());
        let file = model_file::check(&self.model).map_err(told)?;
        let bytes = std::fs::metadata(&self.model).map_err(|error| told(error.to_string()))?.len();
        let mut memory = footprint(&file, bytes);
        if self.word_times {
            // Another context with a state for each slot.
            (memory.instance_bytes, memory.slot_bytes) = (2 * memory.instance_bytes, 2 * memory.slot_bytes);
        }
        let cost = EngineCost {
            ram: memory,
            vram: Footprint::default(),
            work: work(&file.sizes, ContextRule::new(self.audio_ctx, self.audio_ctx_margin, &file)),
            threads: self.slots,
        };
        // Weights, states and what calls take are where it computes.
        Ok(if device.is_gpu() { cost.on_gpu(0) } else { cost })
    }
}

fn footprint(file: &ModelFile, file_bytes: u64) -> Footprint {
    let s = &file.sizes;
    let padded = |positions: u64| positions.next_multiple_of(CACHE_STEP);
    let cache = |layers: u64, positions: u64| 2 * F16 * layers * s.width * padded(positions);
    let caches = cache(s.text_layers, s.text_ctx) + cache(s.text_layers, s.audio_ctx) + cache(1, s.audio_ctx);
    Footprint {
        instance_bytes: file_bytes + s.vocabulary * TOKEN_BYTES,
        slot_bytes: caches + GRAPH_META_BYTES + s.vocabulary * CANDIDATE_BYTES,
        call_bytes: call_bytes(file),
        source: Source::Declared,
    }
}

/// Buffers of the longest call: its spectrum, both convolutions, attention over the whole window, and the logits
/// of the tokens that are read at once, which whisper.cpp copies.
fn call_bytes(file: &ModelFile) -> u64 {
    let s = &file.sizes;
    let wide = F32 * s.audio_ctx * s.width;
    let spectrum = F32 * s.mels * 2 * (2 * s.audio_ctx);
    let convolutions = 5 * wide;
    let encoder = F32 * s.audio_ctx * s.audio_ctx * s.audio_heads + ENCODER_WIDTHS * wide;
    let logits = 2 * F32 * s.vocabulary * (START_TOKENS + file.max_prompt() as u64);
    spectrum + convolutions + encoder + wide + logits
}

#[expect(clippy::cast_precision_loss, reason = "sizes of a network, far below 2^52")]
fn work(s: &Sizes, rule: ContextRule) -> WorkCost {
    let width = s.width as f64;
    let encoder_weights = 12.0 * width * width * s.audio_layers as f64;
    let position_s = 2.0 * encoder_weights / CORE_FLOPS;
    let decoder_weights = 16.0 * width * width * s.text_layers as f64 + s.vocabulary as f64 * width;
    let (first, a_second) = rule.average();
    let token_s = F16 as f64 * decoder_weights / CORE_BYTES_A_SECOND;
    WorkCost {
        call_cpu_s: first as f64 * position_s + START_TOKENS as f64 * token_s,
        input_cpu_s: 0.0,
        unit_cpu_s: a_second * position_s + TOKENS_A_SECOND * token_s,
        source: Source::Declared,
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::AudioCtx;
    use super::*;

    fn model(header: [u64; 7]) -> ModelFile {
        let [audio_ctx, width, audio_heads, audio_layers, text_ctx, text_layers, mels] = header;
        let sizes = Sizes {
            vocabulary: 51_864,
            audio_ctx,
            width,
            audio_heads,
            audio_layers,
            text_ctx,
            text_layers,
            mels,
        };
        ModelFile { has_complete_vocabulary: true, sizes }
    }

    /// Against what whisper.cpp 1.8 prints for a state of files of these shapes (those of `base.en` and
    /// `small.en`): caches, then the buffers of convolutions, encoder, cross-attention and decoder, in MB.
    #[test]
    fn a_real_models_state_is_about_what_whisper_cpp_prints() {
        let table = [
            (model([1500, 512, 8, 6, 448, 6, 80]), [28.3, 16.3, 85.9, 4.7, 96.4]),
            (model([1500, 768, 12, 12, 448, 12, 80]), [80.2, 22.4, 128.0, 6.2, 97.3]),
        ];
        for (file, printed) in table {
            let printed: f64 = printed.iter().sum();
            let declared = footprint(&file, 0).each_slot_bytes() as f64 / 1e6;
            assert!((printed * 0.9..printed * 1.25).contains(&declared), "{declared} of {printed}");
        }
    }

    #[test]
    fn a_larger_model_costs_more_of_everything() {
        let (tiny, small) = (model([1500, 384, 6, 4, 448, 4, 80]), model([1500, 768, 12, 12, 448, 12, 80]));
        let (a, b) = (footprint(&tiny, 78_000_000), footprint(&small, 488_000_000));
        assert!(
            a.instance_bytes < b.instance_bytes && a.slot_bytes < b.slot_bytes && a.call_bytes < b.call_bytes
        );
        let works = |file: &ModelFile| work(&file.sizes, ContextRule::new(AudioCtx::Auto, None, file));
        let (a, b) = (works(&tiny), works(&small));
        assert!(a.call_cpu_s < b.call_cpu_s && a.unit_cpu_s < b.unit_cpu_s);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let config = WhisperConfig { model: "/nowhere/model.bin".into(), ..WhisperConfig::default() };
        assert!(config.cost(Device::Cpu).expect_err("it is not there").starts_with("/nowhere/model.bin: "));
    }
}
