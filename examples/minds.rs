//! What a language model costs beside bare ONNX Runtime: `cargo run --release --example minds -- MODEL_DIR [PROMPT
//! [TOKENS]]`. Both use the same graph on one thread, one after the other in the same run (the bare
//! loop in a process of its own): the CPU time to the first
//! token of a prompt of PROMPT tokens or so, tokens a second read and written, and memory. The bare loop feeds the
//! prompt in the same pieces as the engine does, picks the likeliest token and does nothing else.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use antiphon::backend::onnx_llm::{OnnxLlm, OnnxLlmConfig};
use antiphon::engine::CancelFlag;
use antiphon::engine::compute::{Unlimited, Urgency};
use antiphon::engine::llm::{ChatMessage, ChatRole, LlmEngine, LlmEvent, LlmRequest, ToolChoice, Truncation};
use anyhow::{Context, Error, Result};
use futures::StreamExt;
use nix::sys::resource::{UsageWho, getrusage};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynTensor, DynValue, Tensor};

const LIBRARY: &str = ".cache/onnxruntime/libonnxruntime.so";
/// As the engine reads a prompt.
const PIECE: usize = 64;

/// Seconds of one core to the first token, and from there to the last; tokens read and written.
#[derive(Clone, Copy, Debug)]
struct Run {
    first_s: f64,
    rest_s: f64,
    read: f64,
    written: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    // ONNX Runtime allows one environment a process, and memory is told apart: the bare loop is a process of its own.
    let is_bare = arguments.first().is_some_and(|first| first == "bare");
    if is_bare {
        arguments.remove(0);
    }
    let model: PathBuf = arguments.first().context("which model's directory?")?.into();
    let prompt: usize = arguments.get(1).map_or(Ok(256), |text| text.parse())?;
    let tokens: u32 = arguments.get(2).map_or(Ok(64), |text| text.parse())?;
    let config = OnnxLlmConfig { model: model.clone(), prefix_cache_mib: 0, ..OnnxLlmConfig::default() };
    let before = resident_mib()?;
    if is_bare {
        let (run, resident) = by_hand(&config, prompt, tokens)?;
        return tell("bare ort", run, resident - before);
    }
    let cost = config.cost(antiphon::engine::Device::Cpu).map_err(Error::msg)?;
    let engine = OnnxLlm::load(&config, Path::new(LIBRARY), Arc::new(Unlimited))?;
    let loaded = resident_mib()? - before;
    let run = by_engine(&engine, prompt, tokens).await?;
    let worked = resident_mib()? - before;
    drop(engine);
    println!("{}: prompt of {} tokens, {} written, one thread", model.display(), run.read, run.written);
    println!("           first token s   read/s   written/s   resident MiB");
    tell("antiphon", run, worked)?;
    let numbers = [run.read.to_string(), run.written.to_string()];
    let bare = std::process::Command::new(std::env::current_exe()?)
        .arg("bare")
        .arg(&model)
        .args(numbers)
        .status()?;
    anyhow::ensure!(bare.success(), "the bare loop failed");
    println!("antiphon after load {loaded:.0} MiB; declared {} MiB", cost.ram.loaded_bytes(1) >> 20);
    Ok(())
}

fn tell(name: &str, run: Run, mib: f64) -> Result<()> {
    let (read, written) = (run.read / run.first_s, (run.written - 1.0) / run.rest_s);
    println!("{name:<10} {:>13.2} {read:>8.1} {written:>11.1} {mib:>14.0}", run.first_s);
    Ok(())
}

async fn by_engine(engine: &OnnxLlm, prompt: usize, tokens: u32) -> Result<Run> {
    let request = |text: String| LlmRequest {
        messages: [ChatMessage::text(ChatRole::User, text)].into(),
        tools: [].into(),
        tool_choice: ToolChoice::Auto,
        max_tokens: Some(tokens),
        truncation: Truncation::default(),
        urgency: Urgency::default(),
    };
    let begin = cpu_s()?;
    // The first token may be no text yet, so that it is timed by an answer of one token.
    drain(engine, LlmRequest { max_tokens: Some(1), ..request("a".repeat(prompt)) }).await?;
    let first_s = cpu_s()? - begin;
    let begin = cpu_s()?;
    let (read, written) = drain(engine, request("a".repeat(prompt))).await?;
    Ok(Run { first_s, rest_s: cpu_s()? - begin - first_s, read, written })
}

async fn drain(engine: &OnnxLlm, request: LlmRequest) -> Result<(f64, f64)> {
    let mut events = engine.generate(request, CancelFlag::new());
    while let Some(event) = events.next().await {
        if let LlmEvent::Done { usage, .. } = event.map_err(Error::msg)? {
            return Ok((f64::from(usage.input), f64::from(usage.output)));
        }
    }
    anyhow::bail!("the answer has no end")
}

fn by_hand(config: &OnnxLlmConfig, prompt: usize, tokens: u32) -> Result<(Run, f64)> {
    let graphs = ["model_q4.onnx", "model_quantized.onnx", "model.onnx"]
        .map(|name| config.model.join("onnx").join(name));
    let graph = match &config.file {
        Some(file) => config.model.join(file),
        None => graphs.into_iter().find(|path| path.is_file()).context("no graph")?,
    };
    let mut session = open(&graph).map_err(Error::msg)?;
    let mut cache: Vec<DynValue> = Vec::new();
    let names: Vec<String> = session.inputs().iter().map(|input| input.name().to_owned()).collect();
    let pasts: Vec<String> = names.iter().filter(|name| name.starts_with("past")).cloned().collect();
    for input in session.inputs().iter().filter(|input| input.name().starts_with("past")) {
        let shape = input.dtype().tensor_shape().context("no shape")?;
        let size = if shape[3] > 0 { shape[3] } else { head_size(config)? };
        let kind = input.dtype().tensor_type().context("no tensor")?;
        cache.push(DynTensor::new(session.allocator(), kind, vec![1, shape[1], 0, size])?.into_dyn());
    }
    let mut seen = 0;
    let begin = cpu_s()?;
    let mut next = 0;
    for piece in vec![7_i64; prompt].chunks(PIECE) {
        next = step(&mut session, (&names, &pasts), &mut cache, piece, &mut seen)?;
    }
    let first_s = cpu_s()? - begin;
    for _ in 1..tokens {
        next = step(&mut session, (&names, &pasts), &mut cache, &[next], &mut seen)?;
    }
    let rest_s = cpu_s()? - begin - first_s;
    let run = Run { first_s, rest_s, read: prompt as f64, written: f64::from(tokens) };
    Ok((run, resident_mib()?))
}

fn open(graph: &Path) -> Result<Session, String> {
    let environment = ort::init_from(LIBRARY).map_err(|error| error.to_string())?;
    let environment = environment.build().map_err(|error| error.to_string())?;
    let builder = Session::builder(&environment).map_err(|error| error.to_string())?;
    let builder = builder.with_intra_threads(1).map_err(|error| error.to_string())?;
    let mut builder = builder.with_memory_pattern(false).map_err(|error| error.to_string())?;
    builder.commit_from_file(graph).map_err(|error| error.to_string())
}

/// One step; the likeliest token after it.
fn step(
    session: &mut Session,
    (names, pasts): (&[String], &[String]),
    cache: &mut Vec<DynValue>,
    tokens: &[i64],
    seen: &mut usize,
) -> Result<i64> {
    let total = *seen + tokens.len();
    let mut inputs: Vec<(&str, SessionInputValue<'_>)> =
        vec![("input_ids", Tensor::from_array(([1, tokens.len()], tokens.to_vec()))?.into())];
    if names.iter().any(|name| name == "attention_mask") {
        inputs.push(("attention_mask", Tensor::from_array(([1, total], vec![1_i64; total]))?.into()));
    }
    if names.iter().any(|name| name == "position_ids") {
        let places: Vec<i64> = (*seen as i64..total as i64).collect();
        inputs.push(("position_ids", Tensor::from_array(([1, tokens.len()], places))?.into()));
    }
    inputs.extend(pasts.iter().zip(&*cache).map(|(name, value)| (name.as_str(), value.into())));
    let mut outputs = session.run(inputs)?;
    let (shape, logits) = outputs["logits"].try_extract_tensor::<f32>()?;
    let width = usize::try_from(*shape.last().context("no logits")?)?;
    let last = &logits[logits.len() - width..];
    let best = (0..).zip(last).max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(token, _)| token);
    *cache = pasts
        .iter()
        .map(|past| outputs.remove(past.replace("past_key_values", "present")).context("no cache"))
        .collect::<Result<_>>()?;
    *seen = total;
    Ok(best)
}

fn head_size(config: &OnnxLlmConfig) -> Result<i64> {
    let settings: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(config.model.join("config.json"))?)?;
    let number = |key: &str| settings[key].as_i64();
    let by_heads = || Some(number("hidden_size")? / number("num_attention_heads")?);
    number("head_dim").or_else(by_heads).context("config.json has no head size")
}

/// CPU time of this process so far: on a machine that has other work, the wall clock tells of that.
fn cpu_s() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

fn resident_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse::<f64>()? / 1024.0)
}
