//! Engines on a GPU beside the same engines on the CPU, in one run: `cargo run --release --example devices -- LIBRARY
//! cuda:0 llm:DIR piper:FILE kokoro:FILE whisper:FILE moonshine:DIR ..`, with ONNX Runtime's library for the GPU. Speed, memory of the
//! GPU, and whether both say the same. `scripts/gpu-check` makes the models and runs it.
//!
//! Wall time: on a machine that does nothing else. A language model writes its likeliest tokens; voices draw noise, so of
//! their sound length and loudness are compared.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use antiphon::backend::kokoro::{KokoroConfig, KokoroTts};
use antiphon::backend::moonshine::{MoonshineConfig, MoonshineEngine};
use antiphon::backend::onnx_llm::{OnnxLlm, OnnxLlmConfig, SamplingConfig};
use antiphon::backend::piper::{PiperConfig, PiperTts};
use antiphon::backend::whisper::{AudioCtx, WhisperConfig, WhisperEngine};
use antiphon::engine::compute::{Unlimited, Urgency};
use antiphon::engine::llm::{ChatMessage, ChatRole, LlmEngine, LlmEvent, LlmRequest, ToolChoice, Truncation};
use antiphon::engine::stt::{STT_SAMPLE_RATE, SttEngine, SttRequest};
use antiphon::engine::tts::{TtsEngine, TtsEvent, TtsRequest};
use antiphon::engine::{CancelFlag, Device};
use antiphon::telemetry::machine::Gpus;
use anyhow::{Context, Error, Result, bail};
use futures::StreamExt;
use tokio::time::Instant;

/// Tokens that are written.
const TOKENS: u32 = 128;
/// Fewer tokens say nothing of speed: the model ended its answer.
const FEW: f64 = 16.0;
/// Letters of a prompt; of a tiny tokenizer, each is a token.
const PROMPT: usize = 600;
const SENTENCE: &str =
    "One of these days I am going to organize a really long sentence that does not stop for breath.";
/// Seconds of sound that are heard.
const HEARD_S: usize = 5;

/// What one engine did.
struct Outcome {
    /// Where it did it.
    device: Device,
    /// In words: its speed.
    speed: String,
    /// What is compared.
    said: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let library = PathBuf::from(arguments.next().context("which library of ONNX Runtime?")?);
    let gpu: Device = arguments.next().context("which device?")?.parse()?;
    println!("{:<40} {:<8} {:<44} {:>9} {:>9}", "model", "device", "speed", "load s", "VRAM MiB");
    let (mut differ, mut elsewhere) = (0, 0);
    for argument in arguments {
        let (kind, path) = argument.split_once(':').context("kind:path")?;
        let mut said = Vec::new();
        for device in [Device::Cpu, gpu] {
            let outcome = row(kind, Path::new(path), (&library, device)).await?;
            if outcome.device != device {
                elsewhere += 1;
            }
            said.push(outcome.said);
        }
        let alike = said[0].chars().zip(said[1].chars()).take_while(|(a, b)| a == b).count();
        let is_same = said[0] == said[1];
        differ += usize::from(!is_same);
        let verdict = if is_same { "the same".to_owned() } else { format!("alike for {alike} characters") };
        println!("{:<40} {verdict}: {}", "", said[1].chars().take(60).collect::<String>());
    }
    anyhow::ensure!(elsewhere == 0, "{elsewhere} were not on {gpu}: the warnings say why");
    println!("{differ} differ; int4 and random weights have near ties, models in 32 bits should not");
    Ok(())
}

/// Runs one engine and prints its row.
async fn row(kind: &str, path: &Path, at: (&Path, Device)) -> Result<Outcome> {
    let gpus = Gpus::find();
    let used = || gpus.memory().map_or(0, |memory| memory.own_bytes.unwrap_or(memory.used_bytes) >> 20);
    let (before, begin) = (used(), Instant::now());
    let (outcome, loaded_s) = match kind {
        "llm" => llm(path, at, begin).await?,
        "piper" => {
            let config = PiperConfig { model: path.to_owned(), device: at.1, ..PiperConfig::default() };
            let engine = PiperTts::load(&config, at.0, Arc::new(Unlimited))?;
            voice(&engine, begin).await?
        }
        "kokoro" => {
            let config = KokoroConfig { model: path.to_owned(), device: at.1, ..KokoroConfig::default() };
            let engine = KokoroTts::load(&config, at.0, Arc::new(Unlimited))?;
            voice(&engine, begin).await?
        }
        "whisper" => {
            let (model, audio_ctx) = (path.to_owned(), AudioCtx::Full);
            let config =
                WhisperConfig { model, device: at.1, slots: 1, audio_ctx, ..WhisperConfig::default() };
            ears(&WhisperEngine::load(&config)?, begin).await?
        }
        "moonshine" => {
            let (model, device) = (path.to_owned(), at.1);
            let config = MoonshineConfig { model, device, slots: 1, ..MoonshineConfig::default() };
            ears(&MoonshineEngine::load(&config, at.0)?, begin).await?
        }
        _ => bail!("{kind} is none of llm, piper, kokoro, whisper, moonshine"),
    };
    let name: String = path.display().to_string().chars().rev().take(40).collect();
    let name: String = name.chars().rev().collect();
    let (device, vram) = (outcome.device.to_string(), used().saturating_sub(before));
    println!("{name:<40} {device:<8} {:<44} {loaded_s:>9.1} {vram:>9}", outcome.speed);
    Ok(outcome)
}

async fn llm(path: &Path, (library, device): (&Path, Device), begin: Instant) -> Result<(Outcome, f64)> {
    let sampling = SamplingConfig { temperature: Some(0.0), ..SamplingConfig::default() };
    let config =
        OnnxLlmConfig { model: path.to_owned(), device, sampling, prefix_cache_mib: 0, ..Default::default() };
    let engine = OnnxLlm::load(&config, library, Arc::new(Unlimited))?;
    let loaded_s = begin.elapsed().as_secs_f64();
    write(&engine, 1).await?; // memory is touched, kernels are chosen
    let (first_s, ..) = write(&engine, 1).await?;
    let (whole_s, read, written, said) = write(&engine, TOKENS).await?;
    let rate = if written < FEW {
        "too few".to_owned()
    } else {
        format!("{:.1}", (written - 1.0) / (whole_s - first_s))
    };
    let speed = format!("first token {first_s:.3} s of {read}; {rate} tokens/s");
    Ok((Outcome { device: engine.device(), speed, said }, loaded_s))
}

/// Seconds, tokens read, tokens written, text.
async fn write(engine: &OnnxLlm, tokens: u32) -> Result<(f64, f64, f64, String)> {
    let request = LlmRequest {
        messages: [ChatMessage::text(ChatRole::User, "a b ".repeat(PROMPT / 4))].into(),
        tools: [].into(),
        tool_choice: ToolChoice::Auto,
        max_tokens: Some(tokens),
        truncation: Truncation::default(),
        urgency: Urgency::default(),
    };
    let (begin, mut text) = (Instant::now(), String::new());
    let mut events = engine.generate(request, CancelFlag::new());
    while let Some(event) = events.next().await {
        match event.map_err(Error::msg)? {
            LlmEvent::Text(piece) => text.push_str(&piece),
            LlmEvent::Done { usage, .. } => {
                let (read, written) = (f64::from(usage.input), f64::from(usage.output));
                return Ok((begin.elapsed().as_secs_f64(), read, written, text));
            }
            _ => {}
        }
    }
    bail!("the answer has no end")
}

async fn voice(engine: &dyn TtsEngine, begin: Instant) -> Result<(Outcome, f64)> {
    let loaded_s = begin.elapsed().as_secs_f64();
    speak(engine).await?;
    let (took_s, first_s, sound_s, loudness) = speak(engine).await?;
    let speed = format!("first audio {first_s:.3} s; real-time factor {:.3}", took_s / sound_s.max(1e-9));
    let said = format!("{sound_s:.1} s, loudness {loudness:.1}");
    Ok((Outcome { device: engine.device(), speed, said }, loaded_s))
}

/// Seconds of work, to the first audio, and of sound; its loudness.
async fn speak(engine: &dyn TtsEngine) -> Result<(f64, f64, f64, f64)> {
    let request = TtsRequest { text: SENTENCE.to_owned(), voice: "alloy".to_owned(), speed: 1.0 };
    let (begin, mut first_s) = (Instant::now(), None);
    let (mut samples, mut sound_s, mut energy) = (0.0_f64, 0.0, 0.0);
    let mut events = engine.synthesize(request, CancelFlag::new());
    while let Some(event) = events.next().await {
        if let TtsEvent::Audio(chunk) = event.map_err(Error::msg)? {
            first_s.get_or_insert_with(|| begin.elapsed().as_secs_f64());
            samples += chunk.samples.len() as f64;
            sound_s += chunk.samples.len() as f64 / f64::from(chunk.sample_rate);
            energy += chunk.samples.iter().map(|sample| (f64::from(*sample) / 32_768.0).powi(2)).sum::<f64>();
        }
    }
    Ok((
        begin.elapsed().as_secs_f64(),
        first_s.unwrap_or_default(),
        sound_s,
        (energy / samples.max(1.0)).sqrt(),
    ))
}

async fn ears(engine: &dyn SttEngine, begin: Instant) -> Result<(Outcome, f64)> {
    let loaded_s = begin.elapsed().as_secs_f64();
    let count = HEARD_S * STT_SAMPLE_RATE as usize;
    let audio: Arc<[f32]> = (0..count).map(|at| (at as f32 * 0.05).sin() * 0.3).collect();
    let request = SttRequest { audio, language: Some("en".to_owned()), prompt: None, word_times: false };
    engine.transcribe(request.clone(), CancelFlag::new()).await.map_err(Error::msg)?;
    let begin = Instant::now();
    let said = engine.transcribe(request, CancelFlag::new()).await.map_err(Error::msg)?.text;
    let factor = begin.elapsed().as_secs_f64() / HEARD_S as f64;
    let speed = format!("real-time factor {factor:.3}");
    Ok((Outcome { device: engine.device(), speed, said }, loaded_s))
}
