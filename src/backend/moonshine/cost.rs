//! What a Moonshine model takes, from `config.json` and the sizes of its files. Shapes are those of its network; speeds
//! are declared.

use serde_json::Value;

use super::MoonshineConfig;
use super::files::{Files, len, weight_bytes};
use super::model::window_len;
use crate::backend::onnx_voice::files::on_gpu;
use crate::engine::cost::{Footprint, Source, WorkCost};
use crate::engine::stt::STT_SAMPLE_RATE;
use crate::engine::{Device, EngineCost};

/// ONNX Runtime itself and what opening two graphs leaves: measured with the shape of tiny (`examples/hearing`).
const RUNTIME_BYTES: u64 = 64 << 20;
/// The part of the weights that are packed anew for the CPU's kernels: measured with 32 bits in the shape of base
/// (`examples/memory`).
const PACKED_PART: u64 = 4;
/// A tokenizer's tables in memory, for each byte of its file.
const TOKENIZER_FACTOR: u64 = 12;
/// Samples that a position of the encoder covers: strides of 64, 3 and 2.
const SAMPLES_A_POSITION: u64 = 64 * 3 * 2;
/// Samples that a position behind the first convolution covers.
const FIRST_STRIDE: u64 = 64;
const F32: u64 = 4;
/// Copies of the first convolution's output, the largest of a run, that are held at once.
const CONVOLUTION_COPIES: u64 = 3;
/// Copies of what every position of the encoder attends to.
const ATTENTION_COPIES: u64 = 3;
/// Values of the encoder's width that a position needs within a layer.
const POSITION_WIDTHS: u64 = 8;
/// Fast speech: tokens a second.
const TOKENS_A_SECOND: f64 = 4.0;
/// Operations a second of one core in ONNX Runtime's kernels on AVX2, at 2 to 3 GHz; with AVX-512 it was half as many more.
const CORE_FLOPS: f64 = 60e9;
/// Weights that one core reads from memory a second while it writes tokens.
const CORE_BYTES_A_SECOND: f64 = 10e9;
/// A step costs this whatever the model: inputs, outputs, kernels called.
const STEP_S: f64 = 0.5e-3;

impl MoonshineConfig {
    /// What one instance costs that computes on `device`; the error says why that cannot be known.
    pub fn cost(&self, device: Device) -> Result<EngineCost, String> {
        let files = Files { config: self };
        let (encoder, decoder) = files.graphs(device).map_err(|error| error.to_string())?;
        let shape = Shape::of(&files.json("config.json").map_err(|error| error.to_string())?)?;
        let decoder_bytes = weight_bytes(&decoder);
        let weights = weight_bytes(&encoder) + decoder_bytes;
        let packed = if device.is_gpu() { 0 } else { weights / PACKED_PART };
        let seconds =
            window_len(shape.positions, self.max_tokens_per_second) as u64 / u64::from(STT_SAMPLE_RATE);
        let cost = EngineCost {
            ram: Footprint {
                instance_bytes: RUNTIME_BYTES + TOKENIZER_FACTOR * len(&files.path("tokenizer.json")),
                slot_bytes: weights + packed,
                call_bytes: shape.call_bytes(seconds),
                source: Source::Declared,
            },
            vram: Footprint::default(),
            work: shape.work(decoder_bytes),
            threads: self.slots,
        };
        Ok(if device.is_gpu() { on_gpu(cost) } else { cost })
    }
}

/// The sizes that a call's memory and time depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    width: u64,
    heads: u64,
    encoder_layers: u64,
    decoder_layers: u64,
    vocabulary: u64,
    /// Tokens of a text.
    positions: usize,
}

impl Shape {
    fn of(config: &Value) -> Result<Self, String> {
        let number = |key: &str| {
            config[key].as_u64().filter(|n| *n > 0).ok_or_else(|| format!("config.json has no `{key}`"))
        };
        Ok(Self {
            width: number("hidden_size")?,
            heads: number("encoder_num_attention_heads")?,
            encoder_layers: number("encoder_num_hidden_layers")?,
            decoder_layers: number("decoder_num_hidden_layers")?,
            vocabulary: number("vocab_size")?,
            positions: usize::try_from(number("max_position_embeddings")?).unwrap_or(usize::MAX),
        })
    }

    /// Buffers of a call with so many seconds of audio: convolutions, attention of every position to every other, the
    /// decoder's keys and values of them.
    fn call_bytes(&self, seconds: u64) -> u64 {
        let samples = seconds * u64::from(STT_SAMPLE_RATE);
        let positions = samples / SAMPLES_A_POSITION;
        let convolution = CONVOLUTION_COPIES * samples / FIRST_STRIDE * self.width;
        let attention = ATTENTION_COPIES * self.heads * positions * positions;
        let layer = POSITION_WIDTHS * positions * self.width;
        let cache = 2 * self.decoder_layers * self.width * (positions + 2 * self.positions as u64);
        F32 * (samples + convolution.max(attention + layer) + cache + 2 * self.vocabulary)
    }

    #[expect(clippy::cast_precision_loss, reason = "sizes of a network, far below 2^52")]
    fn work(&self, decoder_bytes: u64) -> WorkCost {
        let width = self.width as f64;
        let positions_a_second = STT_SAMPLE_RATE as f64 / SAMPLES_A_POSITION as f64;
        let layers = 12.0 * width * width * self.encoder_layers as f64;
        // The second and third convolution: 7 of one width to two of it at twice the positions, and 3 back.
        let convolutions = (2.0 * 7.0 * 2.0 + 3.0 * 2.0) * width * width;
        let first = 127.0 * width * STT_SAMPLE_RATE as f64 / FIRST_STRIDE as f64;
        let encoder_s = 2.0 * (positions_a_second * (layers + convolutions) + first) / CORE_FLOPS;
        let token_s = decoder_bytes as f64 / CORE_BYTES_A_SECOND + STEP_S;
        WorkCost {
            call_cpu_s: 2.0 * token_s,
            input_cpu_s: 0.0,
            unit_cpu_s: encoder_s + TOKENS_A_SECOND * token_s,
            source: Source::Declared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shape(width: u64, layers: u64) -> Shape {
        let config = json!({"hidden_size": width, "encoder_num_attention_heads": 8,
            "encoder_num_hidden_layers": layers, "decoder_num_hidden_layers": layers, "vocab_size": 32_768,
            "max_position_embeddings": 194});
        Shape::of(&config).expect("all there")
    }

    #[test]
    fn a_larger_model_and_longer_audio_cost_more() {
        let (tiny, base) = (shape(288, 6), shape(416, 8));
        assert!(tiny.call_bytes(29) < base.call_bytes(29) && tiny.call_bytes(10) < tiny.call_bytes(29));
        let (a, b) = (tiny.work(20 << 20), base.work(42 << 20));
        assert!(a.call_cpu_s < b.call_cpu_s && a.unit_cpu_s < b.unit_cpu_s);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(Shape::of(&json!({})), Err("config.json has no `hidden_size`".to_owned()));
        let config = MoonshineConfig { model: "/nowhere/moonshine".into(), ..MoonshineConfig::default() };
        assert!(config.cost(Device::Cpu).expect_err("not there").contains("/nowhere/moonshine"));
    }
}
