//! What listening costs a session: voice activity by `earshot`, the default, beside Silero VAD, and turns judged by
//! Smart Turn: `.cache/starter-venv/bin/python models/interface/listeners.py DIR && cargo run --release --example listeners DIR`. DIR holds
//! silero.onnx and smart-turn.onnx, by that script (random weights, real sizes) or the official files. All in one run:
//! CPU time of the whole process for a second of each session's audio, and energy where the machine tells it.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use antiphon::backend::earshot::EarshotVad;
use antiphon::backend::silero::{SileroConfig, SileroVad};
use antiphon::backend::smart_turn::{SmartTurn, SmartTurnConfig};
use antiphon::engine::CancelFlag;
use antiphon::engine::compute::Unlimited;
use antiphon::engine::turn::TurnDetector;
use antiphon::engine::vad::{VadDetector, VadEngine};
use antiphon::telemetry::machine::cpu_time;
use anyhow::{Context, Result};
use futures::future::join_all;
use tokio::time::Instant;

/// Seconds of audio that each session hears.
const HEARD_S: usize = 30;
const SAMPLES: usize = HEARD_S * 16_000;
const SESSIONS: [usize; 3] = [1, 8, 30];
const JUDGEMENTS: u32 = 20;

/// CPU time, time by the clock, and joules, until now.
struct Meter(Duration, Instant, Option<f64>);

impl Meter {
    fn start() -> Self {
        Self(cpu_time(), Instant::now(), joules())
    }

    fn read(&self) -> (Duration, Duration, Option<f64>) {
        let energy = joules().zip(self.2).map(|(now, then)| now - then);
        (cpu_time().saturating_sub(self.0), self.1.elapsed(), energy)
    }
}

/// What the processor has taken so far, by Intel's or AMD's own counter; most virtual machines do not tell.
fn joules() -> Option<f64> {
    let text = std::fs::read_to_string("/sys/class/powercap/intel-rapl:0/energy_uj").ok()?;
    Some(text.trim().parse::<f64>().ok()? / 1e6)
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).context("use: listeners DIR; see its first lines")?);
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/onnxruntime/libonnxruntime.so");
    let audio = audio();
    println!("voice activity, {HEARD_S} s of audio a session");
    println!("engine       sessions  CPU ms / s of audio  slowest round ms  J / s of audio");
    let silero = SileroConfig { model: folder.join("silero.onnx"), ..SileroConfig::default() };
    let silero = SileroVad::load(&silero, &library, Arc::new(Unlimited))?;
    for sessions in SESSIONS {
        hear("earshot", &EarshotVad, &audio, sessions).await?;
        hear("silero", &silero, &audio, sessions).await?;
    }
    let turn = SmartTurnConfig { model: folder.join("smart-turn.onnx"), ..SmartTurnConfig::default() };
    let turn = SmartTurn::load(&turn, &library, Arc::new(Unlimited))?.context("no smart-turn.onnx")?;
    let (meter, heard) = (Meter::start(), Arc::<[f32]>::from(&audio[..8 * 16_000]));
    for _ in 0..JUDGEMENTS {
        turn.judge(Arc::clone(&heard), CancelFlag::default()).await?;
    }
    let (cpu, wall, energy) = meter.read();
    let energy = energy.map_or("-".to_owned(), |joules| format!("{:.3}", joules / f64::from(JUDGEMENTS)));
    println!("turn ends by voice: smart-turn, each judgement of 8 s");
    println!("CPU ms {:.1}, ms {:.1}, J {energy}", ms(cpu / JUDGEMENTS), ms(wall / JUDGEMENTS));
    Ok(())
}

/// Tones with pauses: what is heard changes nothing of the cost.
fn audio() -> Vec<f32> {
    let sample = |at: usize| if at % 24_000 < 16_000 { 0.2 * (at as f32 * 0.05).sin() } else { 0.0 };
    (0..SAMPLES).map(sample).collect()
}

/// As in the server: every session has its next frames at the same time.
async fn hear(name: &str, engine: &dyn VadEngine, audio: &[f32], sessions: usize) -> Result<()> {
    let mut detectors: Vec<Box<dyn VadDetector>> = (0..sessions).map(|_| engine.detector()).collect();
    let frame = detectors[0].frame_len();
    let (meter, mut slowest) = (Meter::start(), Duration::ZERO);
    for samples in audio.chunks_exact(frame) {
        let begun = Instant::now();
        for judged in join_all(detectors.iter_mut().map(|detector| detector.submit(samples))).await {
            judged?;
        }
        slowest = slowest.max(begun.elapsed());
    }
    let (cpu, _, energy) = meter.read();
    let seconds = (sessions * HEARD_S) as f64;
    let energy = energy.map_or("-".to_owned(), |joules| format!("{:.4}", joules / seconds));
    println!("{name:<12} {sessions:>8}  {:>19.3}  {:>16.2}  {energy:>14}", ms(cpu) / seconds, ms(slowest));
    Ok(())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
