//! Times a few real calls of every engine, so that a plan holds what this machine does and not what was declared.
//!
//! CPU time is taken, of this process and of the children it waited for, and not the clock's: other programs may
//! be busy too. Two calls of different lengths give two equations, and so what a call and what a unit costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;
use thiserror::Error;

use super::super::budget::apply_measured;
use crate::audio::resample::resample;
use crate::backend::LoadError;
use crate::backend::catalog::{self, EngineSet, Priced};
use crate::config::Config;
use crate::engine::Device;
use crate::engine::compute::{Unlimited, Urgency};
use crate::engine::cost::{Source, WorkCost};
use crate::engine::llm::{ChatMessage, ChatRole, LlmEngine, LlmEvent, LlmRequest, ToolChoice, Truncation};
use crate::engine::stt::{STT_SAMPLE_RATE, SttEngine, SttRequest};
use crate::engine::tts::{TtsEngine, TtsEvent, TtsRequest};
use crate::engine::{CancelFlag, EngineError};
use crate::telemetry::machine::cpu_time;

/// Each call is made so often, and the least is taken: what else the process did is no part of the cost.
const TIMES: usize = 5;
/// What is said: a short utterance, and a longer one.
const SHORT: &str = "Good evening.";
const LONG: &str = "My favourite colour is green, and I would like to know what time it is in the morning.";
/// Turns of talk before the question of the long prompt.
const HISTORY: usize = 16;

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum MeasureError {
    /// Engines that do not load.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Load(Vec<LoadError>),
    /// A call that failed.
    #[error("a measured call failed: {0}")]
    Call(#[from] EngineError),
    /// No threads.
    #[error("cannot start threads: {0}")]
    Threads(#[from] std::io::Error),
}

/// Loads the engines of `config` and puts what they take in place of what is declared.
pub(super) fn measure(config: &Config, priced: &mut [Priced]) -> Result<(), MeasureError> {
    // What processes of their own compute shows in their times and not in ours.
    let here = config.engines.clone().in_this_process();
    let engines = catalog::load(&here, Arc::new(Unlimited)).map_err(MeasureError::Load)?;
    apply_measured(priced, &engines);
    let workers = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let devices = devices(&engines);
    for ((entry, work), device) in priced.iter_mut().zip(workers.block_on(works(&engines))?).zip(devices) {
        if let Ok(cost) = &mut entry.cost
            && device.is_none_or(|device| device == entry.device)
        {
            cost.work = work;
            *cost = cost.with_own(&entry.own);
        }
    }
    Ok(())
}

/// Where every engine computes, in the order of the catalog.
fn devices(engines: &EngineSet) -> Vec<Option<Device>> {
    let stt = engines.stt.iter().map(|loaded| loaded.device);
    let llm = engines.llm.iter().map(|loaded| loaded.device);
    stt.chain(llm).chain(engines.tts.iter().map(|loaded| loaded.device)).collect()
}

/// Costs of every engine, in the order of the catalog: speech-to-text, language models, text-to-speech.
async fn works(engines: &EngineSet) -> Result<Vec<WorkCost>, EngineError> {
    let voice = &engines.tts[0].engine;
    let speech = [utterance(voice, SHORT).await?, utterance(voice, LONG).await?];
    let mut works = Vec::new();
    for loaded in &engines.stt {
        works.push(stt(&loaded.engine, &speech).await?);
    }
    for loaded in &engines.llm {
        works.push(llm(&loaded.engine).await?);
    }
    for loaded in &engines.tts {
        works.push(tts(&loaded.engine).await?);
    }
    Ok(works)
}

async fn stt(engine: &Arc<dyn SttEngine>, speech: &[Arc<[f32]>; 2]) -> Result<WorkCost, EngineError> {
    let mut points = Vec::new();
    for audio in speech {
        let request = SttRequest {
            audio: Arc::clone(audio),
            language: Some("en".to_owned()),
            prompt: None,
            word_times: false,
        };
        let cost =
            least(async || engine.transcribe(request.clone(), CancelFlag::new()).await.map(drop)).await?;
        points.push((seconds(audio.len(), STT_SAMPLE_RATE), cost));
    }
    Ok(line(points[0], points[1]))
}

async fn tts(engine: &Arc<dyn TtsEngine>) -> Result<WorkCost, EngineError> {
    let mut points = Vec::new();
    for text in [SHORT, LONG] {
        let cost = least(async || speak(engine, text).await.map(drop)).await?;
        let (samples, rate) = speak(engine, text).await?;
        points.push((seconds(samples.len(), rate), cost));
    }
    Ok(line(points[0], points[1]))
}

/// A long prompt with a short answer and a short prompt with a long one: tokens read and tokens written.
async fn llm(engine: &Arc<dyn LlmEngine>) -> Result<WorkCost, EngineError> {
    let (mut points, asked) = (Vec::new(), AtomicU32::new(0));
    for (history, max_tokens) in [(HISTORY, 1), (0, 48)] {
        // Each question begins otherwise: an engine may keep what it has read.
        let request = || question(asked.fetch_add(1, Ordering::Relaxed), history, max_tokens);
        let cost = least(async || answer(engine, &request()).await.map(drop)).await?;
        let (read, written) = answer(engine, &request()).await?;
        points.push((read, written, cost));
    }
    Ok(plane(points[0], points[1]))
}

/// CPU time of `call`, the least of [`TIMES`] calls after one that warms up.
async fn least(call: impl AsyncFn() -> Result<(), EngineError>) -> Result<f64, EngineError> {
    call().await?;
    let mut least = Duration::MAX;
    for _ in 0..TIMES {
        let before = cpu_time();
        call().await?;
        least = least.min(cpu_time().saturating_sub(before));
    }
    Ok(least.as_secs_f64())
}

async fn speak(engine: &Arc<dyn TtsEngine>, text: &str) -> Result<(Vec<i16>, u32), EngineError> {
    let request = TtsRequest { text: text.to_owned(), voice: "alloy".to_owned(), speed: 1.0 };
    let mut stream = engine.synthesize(request, CancelFlag::new());
    let (mut samples, mut rate) = (Vec::new(), STT_SAMPLE_RATE);
    while let Some(event) = stream.next().await {
        if let TtsEvent::Audio(chunk) = event? {
            samples.extend(chunk.samples);
            rate = chunk.sample_rate;
        }
    }
    Ok((samples, rate))
}

async fn utterance(engine: &Arc<dyn TtsEngine>, text: &str) -> Result<Arc<[f32]>, EngineError> {
    let (samples, rate) = speak(engine, text).await?;
    let samples = resample(&samples, rate, STT_SAMPLE_RATE)
        .map_err(|error| EngineError::Failed { engine: "resampler".to_owned(), reason: error.to_string() })?;
    Ok(samples.iter().map(|sample| f32::from(*sample) / 32_768.0).collect())
}

fn question(number: u32, history: usize, max_tokens: u32) -> LlmRequest {
    let system = format!("{number}: You are a friendly voice assistant.");
    let mut messages = vec![ChatMessage::text(ChatRole::System, system)];
    for _ in 0..history {
        messages.push(ChatMessage::text(ChatRole::User, LONG));
        messages.push(ChatMessage::text(ChatRole::Assistant, "Thank you for telling me that."));
    }
    messages.push(ChatMessage::text(ChatRole::User, "Please tell me a long story."));
    LlmRequest {
        messages: messages.into(),
        tools: Arc::from([]),
        tool_choice: ToolChoice::None,
        max_tokens: Some(max_tokens),
        truncation: Truncation::default(),
        urgency: Urgency::default(),
    }
}

/// Tokens that were read and written.
async fn answer(engine: &Arc<dyn LlmEngine>, request: &LlmRequest) -> Result<(f64, f64), EngineError> {
    let mut stream = engine.generate(request.clone(), CancelFlag::new());
    let mut tokens = (0.0, 0.0);
    while let Some(event) = stream.next().await {
        if let LlmEvent::Done { usage, .. } = event? {
            tokens = (f64::from(usage.input - usage.cached), f64::from(usage.output));
        }
    }
    Ok(tokens)
}

/// The line through two calls of (units, CPU seconds). Noise may turn it upside down; then all is in the units.
fn line((x0, y0): (f64, f64), (x1, y1): (f64, f64)) -> WorkCost {
    let slope = if x1 > x0 { (y1 - y0) / (x1 - x0) } else { 0.0 };
    let (call_cpu_s, unit_cpu_s) = match y0 - slope * x0 {
        call if slope >= 0.0 && call >= 0.0 => (call, slope),
        _ if x1 > 0.0 => (0.0, y1 / x1),
        _ => (y1, 0.0),
    };
    WorkCost { call_cpu_s, input_cpu_s: 0.0, unit_cpu_s, source: Source::Measured }
}

/// The plane through the origin and two calls of (tokens read, tokens written, CPU seconds).
fn plane((r0, w0, y0): (f64, f64, f64), (r1, w1, y1): (f64, f64, f64)) -> WorkCost {
    let scale = r0 * w1 - r1 * w0;
    let (read, written) = if scale.abs() > f64::EPSILON {
        ((y0 * w1 - y1 * w0) / scale, (r0 * y1 - r1 * y0) / scale)
    } else {
        (-1.0, -1.0)
    };
    let (input_cpu_s, unit_cpu_s) =
        if read >= 0.0 && written >= 0.0 { (read, written) } else { (0.0, y1 / w1.max(1.0)) };
    WorkCost { call_cpu_s: 0.0, input_cpu_s, unit_cpu_s, source: Source::Measured }
}

#[expect(clippy::cast_precision_loss, reason = "samples of a few seconds")]
fn seconds(samples: usize, rate: u32) -> f64 {
    samples as f64 / f64::from(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn two_calls_give_what_a_call_and_what_a_unit_costs() {
        for (a, b, call, unit) in [
            ((1.0, 0.03), (4.0, 0.06), 0.02, 0.01),
            ((1.0, 0.06), (4.0, 0.03), 0.0, 0.0075),
            ((1.0, 0.01), (2.0, 0.04), 0.0, 0.02),
            ((0.0, 0.01), (0.0, 0.02), 0.01, 0.0),
        ] {
            let work = line(a, b);
            assert!(near(work.call_cpu_s, call) && near(work.unit_cpu_s, unit), "{a:?} {b:?}: {work:?}");
        }
    }

    #[test]
    fn two_answers_give_what_a_token_costs_read_and_written() {
        let (read, written) = (0.000_1, 0.002);
        let cost = |r: f64, w: f64| (r, w, r * read + w * written);
        let work = plane(cost(400.0, 1.0), cost(20.0, 40.0));
        assert!(near(work.input_cpu_s, read) && near(work.unit_cpu_s, written), "{work:?}");
        let noise = plane((400.0, 1.0, 0.001), (20.0, 40.0, 0.08));
        assert!(noise.input_cpu_s >= 0.0 && near(noise.unit_cpu_s, 0.002), "{noise:?}");
        assert!(plane((0.0, 0.0, 0.0), (0.0, 0.0, 0.5)).unit_cpu_s > 0.0);
    }
}
