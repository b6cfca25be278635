//! What voices cost at their real sizes, through the server's engines and through ONNX Runtime alone, in turns in one
//! run: `cargo run --release --example voices DIR piper|kokoro [ROUNDS]`, where `models/interface/make.py full DIR` has put graphs
//! of the sizes of a Piper voice of quality "medium" and of Kokoro-82M, with random weights.
//!
//! The engine is given sentences, ONNX Runtime the ids that `piper-tts` and `misaki` make of them (the engines' tests
//! prove that theirs are the same). One thread each.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use antiphon::backend::kokoro::{KokoroConfig, KokoroTts};
use antiphon::backend::onnx_environment;
use antiphon::backend::piper::{PiperConfig, PiperTts};
use antiphon::engine::CancelFlag;
use antiphon::engine::compute::Unlimited;
use antiphon::engine::tts::{TtsEngine, TtsEvent, TtsRequest};
use anyhow::{Context, Error, Result};
use futures::StreamExt;
use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;
use serde_json::Value;
use tokio::time::Instant;

const LIBRARY: &str = ".cache/onnxruntime/libonnxruntime.so";
/// As long as the longest clause that the server speaks at once.
const LONGEST: &str = "one of these days I am going to organize a really long sentence that does not stop for \
                       breath and keeps on going until it has about one hundred and eighty characters in it";

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().context("the folder that make.py full wrote to")?);
    let name = arguments.next().context("piper or kokoro")?;
    let rounds: usize = arguments.next().map_or(Ok(5), |text| text.parse())?;
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    if name == "piper" {
        let config = PiperConfig { model: folder.join("piper-medium.onnx"), ..PiperConfig::default() };
        let model = config.model.clone();
        measure(
            &name,
            || Ok(PiperTts::load(&config, Path::new(LIBRARY), Arc::new(Unlimited))?),
            (&model, piper_inputs),
            rounds,
        )
        .await
    } else {
        let config = KokoroConfig { model: folder.join("kokoro/model.onnx"), ..KokoroConfig::default() };
        let model = config.model.clone();
        measure(
            &name,
            || Ok(KokoroTts::load(&config, Path::new(LIBRARY), Arc::new(Unlimited))?),
            (&model, kokoro_inputs),
            rounds,
        )
        .await
    }
}

/// One sentence: its text, and its ids for each call of the graph.
struct Sentence {
    text: String,
    ids: Vec<Vec<i64>>,
}

fn sentences(engine: &str) -> Result<Vec<Sentence>> {
    let path = format!("src/backend/{engine}/testdata/reference.json");
    let reference: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let english =
        reference["said"].as_array().context("sentences")?.iter().filter(|said| said["voice"] == "en-us");
    let ids = |said: &Value| {
        let nested: Result<Vec<Vec<i64>>, _> = serde_json::from_value(said["ids"].clone());
        nested.or_else(|_| serde_json::from_value(said["ids"].clone()).map(|one| vec![one]))
    };
    english
        .map(|said| {
            Ok(Sentence { text: said["text"].as_str().unwrap_or_default().to_owned(), ids: ids(said)? })
        })
        .collect()
}

/// What a call took, and the audio that it gave.
#[derive(Clone, Copy, Default)]
struct Took {
    first: Duration,
    whole: Duration,
    audio_s: f64,
    /// CPU time of the process.
    cpu_s: f64,
}

async fn measure<E: TtsEngine>(
    name: &str,
    load: impl FnOnce() -> Result<E>,
    (model, inputs): (&Path, Inputs),
    rounds: usize,
) -> Result<()> {
    let before = resident_mib();
    let engine = load()?;
    let loaded = resident_mib();
    println!(
        "{name}: text                                 first audio ms   whole ms  audio s    RTF   CPU | bare RTF, CPU"
    );
    tell(LONGEST, speak(&engine, LONGEST).await?, None);
    let grown = resident_mib() - loaded;
    println!("{name}: {} MiB more after load, and {grown} after this", loaded - before);
    let mut bare = Bare::open(model, inputs)?;
    let (mut all, mut all_bare) = (Vec::new(), Vec::new());
    for sentence in sentences(name)? {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(speak(&engine, &sentence.text).await?);
            theirs.push(bare.speak(&sentence.ids)?);
        }
        let (ours, theirs) = (middle(&mut ours), middle(&mut theirs));
        tell(&sentence.text, ours, Some(theirs));
        all.push(ours);
        all_bare.push(theirs);
    }
    let mean =
        |all: &[Took], of: fn(Took) -> f64| all.iter().map(|took| of(*took)).sum::<f64>() / all.len() as f64;
    let (ours, theirs) = (mean(&all, rtf), mean(&all_bare, rtf));
    let (cpu, bare_cpu) = (mean(&all, cpu), mean(&all_bare, cpu));
    println!("{name}: mean RTF {ours:.3}, bare {theirs:.3}; CPU {cpu:.3}, bare {bare_cpu:.3}");
    cancel(name, &engine).await
}

/// How long a call that was dropped keeps its thread: how much later a short one is done that comes behind it.
async fn cancel(name: &str, engine: &dyn TtsEngine) -> Result<()> {
    let (mut alone, mut behind) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        alone.push(speak(engine, "Yes.").await?.whole);
        let request = TtsRequest { text: LONGEST.to_owned(), voice: "alloy".to_owned(), speed: 1.0 };
        let mut long = engine.synthesize(request, CancelFlag::new());
        tokio::time::timeout(Duration::from_millis(120), long.next()).await.ok();
        drop(long);
        behind.push(speak(engine, "Yes.").await?.whole);
    }
    let spare = |behind: &[Duration]| {
        behind.iter().zip(&alone).map(|(b, a)| ms(b.saturating_sub(*a))).fold(0.0, f64::max)
    };
    println!("{name}: a dropped call keeps its thread for {:.0} ms at most of 5", spare(&behind));
    Ok(())
}

async fn speak(engine: &dyn TtsEngine, text: &str) -> Result<Took> {
    let cpu = cpu_s();
    let begin = Instant::now();
    let request = TtsRequest { text: text.to_owned(), voice: "alloy".to_owned(), speed: 1.0 };
    let mut stream = engine.synthesize(request, CancelFlag::new());
    let mut took = Took::default();
    while let Some(event) = stream.next().await {
        if let TtsEvent::Audio(chunk) = event? {
            if took.audio_s == 0.0 {
                took.first = begin.elapsed();
            }
            took.audio_s += chunk.samples.len() as f64 / f64::from(chunk.sample_rate);
        }
    }
    took.whole = begin.elapsed();
    took.cpu_s = cpu_s() - cpu;
    Ok(took)
}

/// The graph without anything around it.
struct Bare {
    session: Session,
    inputs: Inputs,
    rate: f64,
}

type Inputs = fn(&[i64]) -> ort::Result<Vec<(&'static str, SessionInputValue<'static>)>>;

impl Bare {
    fn open(model: &Path, inputs: Inputs) -> Result<Self> {
        let environment = onnx_environment(Path::new(LIBRARY)).map_err(Error::msg)?;
        let session = build(&environment, model).map_err(Error::msg)?;
        let rate = if model.ends_with("kokoro/model.onnx") { 24_000.0 } else { 22_050.0 };
        Ok(Self { session, inputs, rate })
    }

    fn speak(&mut self, parts: &[Vec<i64>]) -> Result<Took> {
        let cpu = cpu_s();
        let begin = Instant::now();
        let mut samples = 0;
        for ids in parts {
            let outputs = self.session.run((self.inputs)(ids)?)?;
            samples += outputs[0].try_extract_tensor::<f32>()?.1.len();
        }
        let whole = begin.elapsed();
        Ok(Took { first: whole, whole, audio_s: samples as f64 / self.rate, cpu_s: cpu_s() - cpu })
    }
}

fn build(environment: &Environment, model: &Path) -> Result<Session, String> {
    let builder = Session::builder(environment).map_err(|error| error.to_string())?;
    let builder = builder.with_intra_threads(1).map_err(|error| error.to_string())?;
    let mut builder = builder.with_memory_pattern(false).map_err(|error| error.to_string())?;
    builder.commit_from_file(model).map_err(|error| error.to_string())
}

fn piper_inputs(ids: &[i64]) -> ort::Result<Vec<(&'static str, SessionInputValue<'static>)>> {
    Ok(vec![
        ("input", Tensor::from_array(([1, ids.len()], ids.to_vec()))?.into()),
        ("input_lengths", Tensor::from_array(([1], vec![ids.len() as i64]))?.into()),
        ("scales", Tensor::from_array(([3], vec![0.667_f32, 1.0, 0.8]))?.into()),
    ])
}

fn kokoro_inputs(ids: &[i64]) -> ort::Result<Vec<(&'static str, SessionInputValue<'static>)>> {
    let style: Vec<f32> = (0..256).map(|at| (at as f32).sin() * 0.1).collect();
    Ok(vec![
        ("input_ids", Tensor::from_array(([1, ids.len()], ids.to_vec()))?.into()),
        ("style", Tensor::from_array(([1, 256], style))?.into()),
        ("speed", Tensor::from_array(([1], vec![1.0_f32]))?.into()),
    ])
}

fn tell(text: &str, ours: Took, theirs: Option<Took>) {
    let text: String = text.chars().take(40).collect();
    let (first, whole) = (ms(ours.first), ms(ours.whole));
    print!(
        "  {text:<42} {first:>10.0} {whole:>10.0} {:>8.2} {:>6.3} {:>5.2}",
        ours.audio_s,
        rtf(ours),
        cpu(ours)
    );
    match theirs {
        Some(theirs) => println!(" | {:>6.3} {:>5.2}", rtf(theirs), cpu(theirs)),
        None => println!(),
    }
}

/// The one of middling real-time factor.
fn middle(all: &mut [Took]) -> Took {
    all.sort_by(|one, other| rtf(*one).total_cmp(&rtf(*other)));
    all[all.len() / 2]
}

fn rtf(took: Took) -> f64 {
    took.whole.as_secs_f64() / took.audio_s.max(1e-9)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// CPU seconds for each second of audio.
fn cpu(took: Took) -> f64 {
    took.cpu_s / took.audio_s.max(1e-9)
}

/// CPU time of the process, in steps of 10 ms.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}
