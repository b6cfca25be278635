//! What answers that are written at once cost, in turn and together: `cargo run --release --example decode_batching
//! [MODEL_DIR] [CONTEXT] [DEVICE LIBRARY]`. Through the engine, with all that batching costs: caches are put together
//! whenever an answer begins, and taken apart when it ends. Both ways take turns in one run, on one thread each. On the
//! CPU it is CPU time that is compared, so that a busy machine slows neither; on a GPU (`cuda:0`, with the ONNX Runtime
//! for it) it is the clock.
//!
//! Once with talks of the same length, which is batching's best case; once with lengths from a quarter to seven quarters
//! of CONTEXT, as talks of different age have them. What each talk begins with was read before, so that nearly all steps
//! write; answers are of different length, and each that ends is followed by another of its talk.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use antiphon::backend::onnx_llm::{OnnxLlm, OnnxLlmConfig};
use antiphon::engine::compute::{Unlimited, Urgency};
use antiphon::engine::llm::{
    ChatMessage, ChatRole, LlmEngine, LlmEvent, LlmRequest, TokenUsage, ToolChoice, Truncation,
};
use antiphon::engine::{CancelFlag, Device};
use anyhow::{Error, Result};
use futures::StreamExt;
use futures::future::try_join_all;
use nix::sys::resource::{UsageWho, getrusage};
use tokio::time::Instant;

const LIBRARY: &str = ".cache/onnxruntime/libonnxruntime.so";
const ROUNDS: usize = 2;
/// Tokens of a talk's answers, one after the other; each talk begins at another of them.
const ANSWERS: [u32; 4] = [12, 20, 8, 16];

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model: PathBuf = arguments.next().map_or_else(|| "models/starter/llm".into(), PathBuf::from);
    let context: usize = arguments.next().map_or(Ok(300), |text| text.parse())?;
    let device: Device = arguments.next().map_or(Ok(Device::Cpu), |text| text.parse())?;
    let library = arguments.next().unwrap_or_else(|| LIBRARY.to_owned());
    let engine = |batching| {
        let (model, batching) = (model.clone(), Some(batching));
        let config =
            OnnxLlmConfig { model, device, prefix_cache_mib: 1024, batching, ..OnnxLlmConfig::default() };
        OnnxLlm::load(&config, Path::new(&library), Arc::new(Unlimited))
    };
    let (in_turn, together) = (engine(false)?, engine(true)?);
    let clock = if device.is_gpu() { "ms" } else { "CPU ms" };
    println!("{}, talks of {context} letters, on {}, one thread", model.display(), together.device());
    println!("{clock} for a token of each answer, the least of {ROUNDS} rounds");
    println!("lengths  answers   talks' tokens     in turn    together   together / in turn   same text");
    for (kind, is_mixed) in [("equal", false), ("mixed", true)] {
        for answers in [2, 4, 8] {
            let length =
                |at| if is_mixed { context / 4 + context * 3 / 2 * at / (answers - 1) } else { context };
            let talks: Vec<String> = (0..answers).map(|at| talk(at, length(at))).collect();
            let (shortest, longest) =
                (read(&in_turn, &talks[0]).await?, read(&in_turn, &talks[answers - 1]).await?);
            let (mut least, mut least_together, mut same) = (f64::MAX, f64::MAX, 0);
            for _ in 0..ROUNDS {
                let (ms, texts) = measure(&in_turn, &talks).await?;
                let (ms_together, texts_together) = measure(&together, &talks).await?;
                (least, least_together) = (least.min(ms), least_together.min(ms_together));
                same = texts.iter().zip(&texts_together).filter(|(one, other)| one == other).count();
            }
            let (ratio, tokens) = (least_together / least, format!("{shortest} to {longest}"));
            println!(
                "{kind:<7} {answers:>8} {tokens:>15} {least:>11.2} {least_together:>11.2} {ratio:>20.2} {same:>8}/{answers}"
            );
        }
    }
    Ok(())
}

/// Letters that no other talk begins with.
fn talk(at: usize, length: usize) -> String {
    ('a'..='z').cycle().nth(at).map(String::from).unwrap_or_default().repeat(length)
}

/// Milliseconds for one token of each answer, and what each talk was answered.
async fn measure(engine: &OnnxLlm, talks: &[String]) -> Result<(f64, Vec<String>)> {
    for talk in talks {
        read(engine, talk).await?;
    }
    let begin = (cpu_ms()?, Instant::now());
    let writing = talks.iter().enumerate().map(|(at, talk)| async move {
        let (mut tokens, mut all) = (0, String::new());
        for turn in 0..ANSWERS.len() {
            let (text, usage) = write(engine, talk, ANSWERS[(at + turn) % ANSWERS.len()]).await?;
            tokens += usage.output;
            all += &text;
        }
        Ok::<_, Error>((tokens, all))
    });
    let (tokens, texts): (Vec<u32>, Vec<String>) = try_join_all(writing).await?.into_iter().unzip();
    let ms =
        if engine.device().is_gpu() { begin.1.elapsed().as_secs_f64() * 1e3 } else { cpu_ms()? - begin.0 };
    Ok((ms * talks.len() as f64 / f64::from(tokens.iter().sum::<u32>()), texts))
}

/// Reads what a talk begins with; its tokens.
async fn read(engine: &OnnxLlm, talk: &str) -> Result<u32> {
    Ok(write(engine, talk, 1).await?.1.input)
}

/// Writes one answer.
async fn write(engine: &OnnxLlm, talk: &str, tokens: u32) -> Result<(String, TokenUsage)> {
    let request = LlmRequest {
        messages: [ChatMessage::text(ChatRole::User, talk)].into(),
        tools: [].into(),
        tool_choice: ToolChoice::Auto,
        max_tokens: Some(tokens),
        truncation: Truncation::default(),
        urgency: Urgency::default(),
    };
    let mut events = engine.generate(request, CancelFlag::new());
    let mut text = String::new();
    while let Some(event) = events.next().await {
        match event.map_err(Error::msg)? {
            LlmEvent::Text(piece) => text += &piece,
            LlmEvent::Done { usage, .. } => return Ok((text, usage)),
            _ => {}
        }
    }
    anyhow::bail!("the answer has no end")
}

fn cpu_ms() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let ms = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
    Ok(ms(usage.user_time()) + ms(usage.system_time()))
}
