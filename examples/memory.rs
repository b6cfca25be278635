//! What engines take of memory when all their slots work on the longest requests at once, beside what `antiphon plan`
//! declares for them: `cargo run --release --example memory -- CONFIG.toml [PRESET]`. Each engine of the configuration
//! runs alone in a process of its own; on the CPU its resident memory counts, on a GPU what NVML tells.
//!
//! A language model reads `max_context` tokens in every slot, twice, so that talks are kept from the first time:
//! minutes on a CPU. Speech-to-text hears 30 s of sound; a voice says a long sentence.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use antiphon::backend::catalog::{
    self, EnginesConfig, GpuView, LlmConfig, Priced, SttConfig, TtsConfig, VadConfig,
};
use antiphon::config::{Config, FlagValue, Sources};
use antiphon::engine::compute::{Unlimited, Urgency};
use antiphon::engine::cost::Footprint;
use antiphon::engine::llm::{ChatMessage, ChatRole, LlmEngine, LlmEvent, LlmRequest, ToolChoice, Truncation};
use antiphon::engine::stt::{STT_SAMPLE_RATE, SttEngine, SttRequest};
use antiphon::engine::tts::{TtsEngine, TtsRequest};
use antiphon::engine::{CancelFlag, Device};
use antiphon::telemetry::machine::{Gpus, resident_bytes};
use anyhow::{Context, Error, Result, bail, ensure};
use futures::StreamExt;
use futures::future::try_join_all;

/// Seconds of sound that every slot hears: as much as one run of Whisper takes.
const HEARD_S: usize = 30;
const SENTENCE: &str = "One of these days I am going to organize a really long sentence that does not stop for breath, and then \
     everybody who has ever waited for the end of one will know at last what it is that they were waiting for.";
/// Tokens left free of a context: the template's own and the answer.
const SPARE: usize = 64;
/// How often memory is looked at.
const PERIOD: Duration = Duration::from_millis(20);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [file] => table(file, None),
        [file, preset] => table(file, Some(preset)),
        [file, preset, pool, index] => row(&load(file, Some(preset))?.engines, pool, index.parse()?),
        _ => bail!("which configuration? CONFIG.toml [PRESET]"),
    }
}

fn load(file: &str, preset: Option<&str>) -> Result<Config> {
    let preset = preset.filter(|preset| !preset.is_empty()).map(|value| FlagValue {
        flag: "PRESET".into(),
        key: "preset".into(),
        value: value.into(),
    });
    let text = std::fs::read_to_string(file).context(file.to_owned())?;
    let sources = Sources {
        file: Some((PathBuf::from(file), text)),
        env: std::env::vars().collect(),
        flags: preset.into_iter().collect(),
    };
    Config::load(&sources).map_err(Error::msg)
}

/// A process for each engine; they print the rows.
fn table(file: &str, preset: Option<&str>) -> Result<()> {
    let config = load(file, preset)?.engines;
    println!("MiB                                          declared                 measured");
    println!(
        "{:<28} {:>5} {:>12} {:>9} {:>12} {:>9}",
        "engine", "slots", "after load", "at most", "after load", "at most"
    );
    for (pool, count) in [("stt", config.stt.len()), ("llm", config.llm.len()), ("tts", config.tts.len())] {
        for index in 0..count {
            let arguments = [file, preset.unwrap_or(""), pool, &index.to_string()];
            let status = Command::new(std::env::current_exe()?).args(arguments).status()?;
            ensure!(status.success(), "{pool} {index}: {status}");
        }
    }
    Ok(())
}

/// Measures one engine and prints what it takes.
#[tokio::main]
async fn row(config: &EnginesConfig, pool: &str, index: usize) -> Result<()> {
    let alone = alone(config, pool, index);
    let declared = |gpus| {
        catalog::costs_with(&alone, gpus).into_iter().find(|entry| entry.pool == pool).context("an engine")
    };
    let (here, planned) = (declared(GpuView::Found)?, declared(GpuView::Configured)?);
    let memory = Watched::begin(here.device);
    let engines = catalog::load(&alone, Arc::new(Unlimited)).map_err(|errors| {
        Error::msg(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    let loaded = memory.grown();
    match (pool, &alone.llm[0]) {
        ("stt", _) => hear(&engines.stt[0].engine, here.slots).await?,
        ("tts", _) => drop(try_join_all((0..here.slots).map(|_| speak(&engines.tts[0].engine))).await?),
        (_, LlmConfig::Onnx(config)) => {
            let context = config.max_context.min(longest(&config.model)?);
            for round in 0..2 {
                read(&engines.llm[0].engine, here.slots, (context, round)).await?;
            }
        }
        _ => {}
    }
    let name = format!("{pool} {} on {}", here.name, here.device);
    let shown = |entry: &Priced| -> Result<String> {
        let cost = entry.cost.clone().map_err(Error::msg)?;
        let sum = |of: &dyn Fn(&Footprint) -> u64| (of(&cost.ram) + of(&cost.vram)) >> 20;
        let (loaded, most) =
            (sum(&|part| part.loaded_bytes(entry.slots)), sum(&|part| part.peak_bytes(entry.slots)));
        Ok(format!("{loaded:>12} {most:>9}"))
    };
    println!(
        "{name:<28} {:>5} {} {:>12} {:>9}",
        here.slots,
        shown(&here)?,
        loaded >> 20,
        memory.most() >> 20
    );
    if planned.device != here.device {
        println!("{:<28} {:>5} {}", format!("  planned on {}", planned.device), "", shown(&planned)?);
    }
    Ok(())
}

/// The configuration with that engine alone in its list, here; the other lists are scripted, which takes nothing.
fn alone(config: &EnginesConfig, pool: &str, index: usize) -> EnginesConfig {
    let mut alone = config.clone().in_this_process();
    alone.stt = vec![if pool == "stt" {
        alone.stt.swap_remove(index)
    } else {
        SttConfig::Scripted(Default::default())
    }];
    alone.llm = vec![if pool == "llm" {
        alone.llm.swap_remove(index)
    } else {
        LlmConfig::Scripted(Default::default())
    }];
    alone.tts = vec![if pool == "tts" {
        alone.tts.swap_remove(index)
    } else {
        TtsConfig::Scripted(Default::default())
    }];
    EnginesConfig { vad: VadConfig::default(), turn: Default::default(), ..alone }
}

/// Memory of this process, or of a GPU, seen from a thread that looks all the time.
struct Watched {
    device: Device,
    before: u64,
    most: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Watched {
    fn begin(device: Device) -> Self {
        let (most, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let watched = Self { device, before: taken(device, &Gpus::find()), most, is_over };
        let (most, is_over) = (Arc::clone(&watched.most), Arc::clone(&watched.is_over));
        std::thread::spawn(move || {
            let gpus = Gpus::find();
            while !is_over.load(Ordering::Relaxed) {
                most.fetch_max(taken(device, &gpus), Ordering::Relaxed);
                crossbeam_channel::never::<()>().recv_timeout(PERIOD).ok();
            }
        });
        watched
    }

    fn grown(&self) -> u64 {
        taken(self.device, &Gpus::find()).saturating_sub(self.before)
    }

    fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed).saturating_sub(self.before)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn taken(device: Device, gpus: &Gpus) -> u64 {
    match device {
        Device::Cpu => resident_bytes().unwrap_or(0),
        Device::Cuda(number) => {
            gpus.memory_of(number).map_or(0, |memory| memory.own_bytes.unwrap_or(memory.used_bytes))
        }
    }
}

async fn hear(engine: &Arc<dyn SttEngine>, slots: usize) -> Result<()> {
    let count = HEARD_S * STT_SAMPLE_RATE as usize;
    let audio: Arc<[f32]> = (0..count).map(|at| (at as f32 * 0.05).sin() * 0.3).collect();
    let request = SttRequest { audio, language: Some("en".to_owned()), prompt: None, word_times: false };
    let calls = (0..slots).map(|_| engine.transcribe(request.clone(), CancelFlag::new()));
    try_join_all(calls).await.map(drop).map_err(Error::msg)
}

/// Tokens that a language model can hold.
fn longest(model: &Path) -> Result<usize> {
    let file = model.join("config.json");
    let settings: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let tokens = settings["max_position_embeddings"].as_u64().unwrap_or(u64::MAX);
    usize::try_from(tokens).context("a number of tokens")
}

/// Every slot reads a prompt as long as the context; each begins otherwise, so that none is kept for another.
async fn read(engine: &Arc<dyn LlmEngine>, slots: usize, (context, round): (usize, usize)) -> Result<()> {
    // What the template adds, and how many letters are a token.
    let [short, long] = [answer(engine, prompt(0, 200)).await?, answer(engine, prompt(0, 400)).await?];
    let each = (long - short).max(1) as usize;
    let around = (short as usize).saturating_sub(each);
    let letters = 200 * (context - SPARE - around) / each;
    let prompts = (0..slots).map(|slot| prompt(1 + round * slots + slot, letters));
    let read = try_join_all(prompts.map(|text| answer(engine, text))).await?;
    let least = read.iter().min().copied().unwrap_or(0) as usize;
    ensure!(least * 10 > context * 9, "prompts of {least} tokens do not fill a context of {context}");
    Ok(())
}

fn prompt(number: usize, letters: usize) -> String {
    let first = char::from(b'a' + u8::try_from(number % 26).unwrap_or(0));
    let text = format!("{first}{first}{first} ");
    text.chars().chain("a b c d ".chars().cycle()).take(letters).collect()
}

/// Tokens that were read.
async fn answer(engine: &Arc<dyn LlmEngine>, text: String) -> Result<u32> {
    let request = LlmRequest {
        messages: [ChatMessage::text(ChatRole::User, text)].into(),
        tools: [].into(),
        tool_choice: ToolChoice::Auto,
        max_tokens: Some(4),
        truncation: Truncation::default(),
        urgency: Urgency::default(),
    };
    let mut events = engine.generate(request, CancelFlag::new());
    while let Some(event) = events.next().await {
        if let LlmEvent::Done { usage, .. } = event.map_err(Error::msg)? {
            return Ok(usage.input);
        }
    }
    bail!("the answer has no end")
}

async fn speak(engine: &Arc<dyn TtsEngine>) -> Result<()> {
    let request = TtsRequest { text: SENTENCE.to_owned(), voice: "alloy".to_owned(), speed: 1.0 };
    let mut events = engine.synthesize(request, CancelFlag::new());
    while let Some(event) = events.next().await {
        event.map_err(Error::msg)?;
    }
    Ok(())
}
