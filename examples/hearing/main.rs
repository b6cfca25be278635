//! What speech-to-text by whisper.cpp and Moonshine costs, and what short windows lose.
//!
//! `cargo run --release --example hearing -- costs FILE:POSITIONS:ROUNDS..`: each ggml file hears 5 s of sound in turn
//! through the backend and through bare whisper-rs, called in a loop with the same settings. Files of every shape come
//! from `models/interface/whisper.py`; their weights are random, so they write as many tokens as they may.
//!
//! `cargo run --release --example hearing -- moonshine FOLDER ROUNDS`: Moonshine hears 1, 3 and 10 s through the backend
//! and through its bare graphs, called in a loop. Folders come from `models/interface/moonshine.py`.
//!
//! `cargo run --release --example hearing -- contexts [SENTENCES]`: words that the starter model gets wrong, by how
//! much of its window it works on. espeak-ng speaks sentences of `loadtest/scenario.json`.
#![expect(clippy::print_stdout, reason = "the tables are what it is for")]

mod moonshine;
#[path = "../spoken/mod.rs"]
mod spoken;

use std::path::{Path, PathBuf};
use std::time::Duration;

use antiphon::backend::espeak::{EspeakConfig, EspeakTts};
use antiphon::backend::guards::GuardsConfig;
use antiphon::backend::whisper::{AudioCtx, WhisperConfig, WhisperEngine};
use antiphon::engine::CancelFlag;
use antiphon::engine::stt::{SttEngine, SttRequest};
use antiphon::telemetry::machine;
use anyhow::{Context, Result, bail};
use tokio::time::Instant;
use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState};

use spoken::speak;

/// Sound that is heard, in seconds.
const SECONDS: usize = 5;
/// What the backend lets a model write of it: 16 tokens and 15 a second.
const MAX_TOKENS: i32 = 16 + 15 * 5;
/// Amplitude of the noise: about 10 dB below espeak-ng's speech.
const NOISE: f32 = 0.06;
const VOICES: [&str; 3] = ["en-us", "en-gb", "en-us+m7"];

/// Time and memory of one way to call a model.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    wall: Duration,
    cpu: Duration,
    loaded_mib: f64,
    working_mib: f64,
    calls: u32,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{} cores, load average {}", machine::cores(), load.trim());
    match arguments.split_first() {
        Some((what, files)) if what == "costs" && !files.is_empty() => costs(files).await,
        Some((what, rest)) if what == "contexts" => {
            contexts(rest.first().map_or(Ok(60), |count| count.parse())?).await
        }
        Some((what, [folder, rounds])) if what == "moonshine" => {
            moonshine::costs(Path::new(folder), rounds.parse()?).await
        }
        _ => {
            bail!("say `costs FILE:POSITIONS:ROUNDS..`, `moonshine FOLDER ROUNDS` or `contexts [SENTENCES]`")
        }
    }
}

async fn costs(files: &[String]) -> Result<()> {
    whisper_rs::install_logging_hooks();
    println!("{SECONDS} s of sound, one thread. CPU and wall time of a call; memory after load and at work");
    println!(
        "model positions tokens | backend: CPU s, RTF, wall s, MiB | bare: CPU s, RTF, wall s, MiB | CPU ratio"
    );
    for file in files {
        let mut parts = file.rsplitn(3, ':');
        let rounds: u32 = parts.next().context("rounds")?.parse()?;
        let positions: usize = parts.next().context("positions")?.parse()?;
        let path = PathBuf::from(parts.next().context("a file")?);
        let (bare, bare_text) = bare(&path, positions, rounds)?;
        let (ours, text, tokens) = backend(&path, positions, rounds).await?;
        anyhow::ensure!(text == bare_text, "the texts differ: {text:?} and {bare_text:?}");
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let ratio = ours.cpu_s() / bare.cpu_s();
        let (ours, bare) = (ours.of(SECONDS), bare.of(SECONDS));
        println!("{name} {positions} {tokens} | {ours} | {bare} | {ratio:.3}");
    }
    Ok(())
}

impl Spent {
    fn cpu_s(&self) -> f64 {
        self.cpu.as_secs_f64() / f64::from(self.calls.max(1))
    }

    fn add(&mut self, (wall, cpu): (Instant, Duration)) {
        self.wall += wall.elapsed();
        self.cpu += machine::cpu_time() - cpu;
        self.calls += 1;
    }
}

impl Spent {
    /// For calls with so many seconds of audio.
    fn of(&self, seconds: usize) -> String {
        let wall = self.wall.as_secs_f64() / f64::from(self.calls.max(1));
        let (cpu, real_time) = (self.cpu_s(), self.cpu_s() / seconds as f64);
        let (loaded, working) = (self.loaded_mib, self.working_mib);
        format!("{cpu:.3}, {real_time:.3}, {wall:.3}, {loaded:.0} + {working:.0}")
    }
}

fn resident_mib() -> f64 {
    machine::resident_bytes().unwrap_or_default() as f64 / f64::from(1 << 20)
}

/// A sound that changes.
fn sound(seconds: usize) -> Vec<f32> {
    let tone = |n: usize| (n as f32 * (0.02 + (n / 3_000 % 7) as f32 * 0.03)).sin() * 0.3;
    (0..16_000 * seconds).map(tone).collect()
}

async fn backend(path: &Path, positions: usize, rounds: u32) -> Result<(Spent, String, usize)> {
    let guards =
        GuardsConfig { no_speech_probability: 0.0, repeats: 0, min_voice_ms: 0, ..GuardsConfig::default() };
    let config = WhisperConfig {
        model: path.into(),
        slots: 1,
        audio_ctx: AudioCtx::AtLeast(positions),
        guards,
        ..WhisperConfig::default()
    };
    let before = resident_mib();
    let engine = WhisperEngine::load(&config)?;
    let mut spent = Spent { loaded_mib: resident_mib() - before, ..Spent::default() };
    let mut heard = (String::new(), 0);
    for _ in 0..rounds {
        let request =
            SttRequest { audio: sound(SECONDS).into(), language: None, prompt: None, word_times: false };
        let begin = (Instant::now(), machine::cpu_time());
        let transcript = engine.transcribe(request, CancelFlag::new()).await?;
        spent.add(begin);
        heard = (transcript.text, transcript.tokens.len());
    }
    spent.working_mib = resident_mib() - before - spent.loaded_mib;
    Ok((spent, heard.0, heard.1))
}

fn bare(path: &Path, positions: usize, rounds: u32) -> Result<(Spent, String)> {
    let before = resident_mib();
    let context = WhisperContext::new_with_params(path, WhisperContextParameters::default())?;
    let mut state = context.create_state()?;
    let mut spent = Spent { loaded_mib: resident_mib() - before, ..Spent::default() };
    let mut text = String::new();
    for _ in 0..rounds {
        let begin = (Instant::now(), machine::cpu_time());
        text = bare_call(&mut state, positions)?;
        spent.add(begin);
    }
    spent.working_mib = resident_mib() - before - spent.loaded_mib;
    Ok((spent, text))
}

fn bare_call(state: &mut WhisperState, positions: usize) -> Result<String> {
    let mut params = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
    params.set_n_threads(1);
    params.set_no_timestamps(true);
    params.set_single_segment(true);
    params.set_no_context(true);
    params.set_temperature_inc(0.0);
    params.set_suppress_nst(true);
    params.set_audio_ctx(i32::try_from(positions)?);
    params.set_max_tokens(MAX_TOKENS);
    state.full(params, &sound(SECONDS))?;
    let texts: Vec<String> = state.as_iter().map(|segment| segment.to_string()).collect();
    Ok(texts.concat().trim().to_owned())
}

async fn contexts(sentences: usize) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scenario: serde_json::Value =
        serde_json::from_slice(&std::fs::read(root.join("loadtest/scenario.json"))?)?;
    let tts = EspeakTts::load(&EspeakConfig::default())?;
    let mut spoken = Vec::new();
    for (index, sentence) in said(&scenario, sentences).into_iter().enumerate() {
        let audio = speak(&tts, &sentence, VOICES[index % VOICES.len()], 240).await?;
        spoken.push((sentence, audio));
    }
    let seconds: f64 = spoken.iter().map(|(_, audio)| audio.len() as f64 / 16_000.0).sum();
    println!("{} sentences, {seconds:.0} s, spoken by espeak-ng ({})", spoken.len(), VOICES.join(", "));
    println!("window                     words wrong  with noise  invented  CPU s per second");
    let fitted = |margin| (AudioCtx::AtLeast(64), Some(margin));
    let rules = [
        ("audio alone", fitted(0)),
        ("audio and 16 (auto)", fitted(16)),
        ("audio and 64", fitted(64)),
        ("audio and 128", fitted(128)),
        ("384 at least", (AudioCtx::AtLeast(384), None)),
        ("full, 768", (AudioCtx::Full, None)),
    ];
    for (name, (audio_ctx, audio_ctx_margin)) in rules {
        let model = root.join("models/starter/stt/ggml-starter.bin");
        let config =
            WhisperConfig { model, slots: 1, audio_ctx, audio_ctx_margin, ..WhisperConfig::default() };
        let engine = WhisperEngine::load(&config)?;
        let begin = machine::cpu_time();
        let clean = wrong_words(&engine, &spoken, 0.0).await?;
        let cpu = (machine::cpu_time() - begin).as_secs_f64() / seconds;
        let noisy = wrong_words(&engine, &spoken, NOISE).await?;
        let invented = invented(&engine).await?;
        println!("{name:<26} {clean:>8.1} %  {noisy:>8.1} %  {invented:>8}  {cpu:>16.3}");
    }
    Ok(())
}

/// Words that `engine` gets wrong, in percent of those that were said.
async fn wrong_words(engine: &WhisperEngine, spoken: &[(String, Vec<f32>)], noise: f32) -> Result<f64> {
    let (mut words, mut wrong) = (0, 0);
    for (sentence, audio) in spoken {
        let noisy: Vec<f32> = audio.iter().zip(hiss(noise)).map(|(speech, noise)| speech + noise).collect();
        let heard = hear(engine, noisy).await?;
        let said = normal(sentence);
        (words, wrong) = (words + said.len(), wrong + edits(&said, &normal(&heard)));
    }
    Ok(100.0 * wrong as f64 / words as f64)
}

/// Texts that `engine` writes for 20 stretches of noise, of half a second to ten.
async fn invented(engine: &WhisperEngine) -> Result<usize> {
    let mut count = 0;
    for n in 1..=20_usize {
        let audio = hiss(NOISE).skip(n * 977).take(8_000 * n).collect();
        count += usize::from(!hear(engine, audio).await?.is_empty());
    }
    Ok(count)
}

async fn hear_tokens(engine: &dyn SttEngine, audio: Vec<f32>) -> Result<usize> {
    let request = SttRequest { audio: audio.into(), language: None, prompt: None, word_times: false };
    Ok(engine.transcribe(request, CancelFlag::new()).await?.tokens.len())
}

async fn hear(engine: &WhisperEngine, audio: Vec<f32>) -> Result<String> {
    let request = SttRequest { audio: audio.into(), language: None, prompt: None, word_times: false };
    Ok(engine.transcribe(request, CancelFlag::new()).await?.text)
}

/// White noise of this loudness, the same at every call.
fn hiss(loudness: f32) -> impl Iterator<Item = f32> {
    let mut state = 0x9E37_79B9_u32;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state as f32 / u32::MAX as f32 * 2.0 - 1.0) * loudness
    })
}

/// Statements and questions of the scenario, with their values, spread over its facts.
fn said(scenario: &serde_json::Value, count: usize) -> Vec<String> {
    let list = |fact: &serde_json::Value, key: &str| -> Vec<String> {
        let texts = fact[key].as_array().into_iter().flatten();
        texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let facts = scenario["facts"].as_array().cloned().unwrap_or_default();
    let mut said = Vec::new();
    for round in 0.. {
        for fact in &facts {
            let (statements, questions, values) =
                (list(fact, "statements"), list(fact, "questions"), list(fact, "values"));
            if statements.is_empty() || questions.is_empty() || values.is_empty() {
                continue;
            }
            let value = &values[round * 7 % values.len()];
            said.push(statements[round % statements.len()].replace("{value}", value));
            said.push(questions[round % questions.len()].clone());
        }
        if said.len() >= count || facts.is_empty() {
            break;
        }
    }
    said.truncate(count);
    said
}

fn normal(text: &str) -> Vec<String> {
    let clean = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    text.split_whitespace().map(clean).filter(|word| !word.is_empty()).collect()
}

/// Words to insert, delete or replace.
fn edits(said: &[String], heard: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (i, word) in said.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in heard.iter().enumerate() {
            let here = (diagonal + usize::from(word != other)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], here);
        }
    }
    row[heard.len()]
}
