//! What it costs to run an engine in a process of its own: the same calls of the starter engines at home and in a
//! process, in turns, in one run. `cargo run --release --example placement [CALLS]`, 60 by default.
//!
//! The scripted engine answers at once, so that its rows are the way there and back alone.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use antiphon::audio::resample::resample;
use antiphon::backend::Placement;
use antiphon::backend::catalog::{EngineSet, EnginesConfig, LlmConfig, SttConfig, TtsConfig, load};
use antiphon::backend::espeak::EspeakConfig;
use antiphon::backend::onnx_llm::OnnxLlmConfig;
use antiphon::backend::scripted::{ScriptedLlmConfig, Step};
use antiphon::backend::whisper::WhisperConfig;
use antiphon::engine::compute::Urgency;
use antiphon::engine::llm::{ChatMessage, ChatRole, LlmEngine, LlmRequest, ToolChoice, Truncation};
use antiphon::engine::stt::{STT_SAMPLE_RATE, SttRequest};
use antiphon::engine::tts::{TtsEngine, TtsEvent, TtsRequest};
use antiphon::engine::{CancelFlag, EngineError};
use antiphon::pool::{PoolsConfig, Scheduler};
use futures::{Stream, StreamExt};
use tokio::time::Instant;

const SENTENCE: &str =
    "My favourite colour is green, and I would like to know what time it is in the morning.";
const QUESTION: &str = "Tell me a story.";

/// Time to the first output, and to the last.
type Taken = (Duration, Duration);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let calls: usize = std::env::args().nth(1).map_or(Ok(60), |text| text.parse())?;
    let home = engines(Placement::Server)?;
    let away = engines(Placement::Process)?;
    let audio = spoken(&home).await?;
    println!("{calls} calls each, in turns; milliseconds, median and 95th percentile");
    println!("{:<28} {:>15} {:>15} {:>10}", "", "in the server", "in a process", "more");
    let hear = async |set: &EngineSet| hear(set, &audio).await;
    report("speech-to-text, 5 s", compare(calls, &home, &away, hear).await?);
    report("language model", compare(calls, &home, &away, async |set| think(set, 0, QUESTION).await).await?);
    report("text-to-speech, 5 s", compare(calls, &home, &away, async |set| speak(set).await).await?);
    report("nothing (scripted)", compare(calls, &home, &away, async |set| think(set, 1, "hi").await).await?);
    memory("whisper", home.stt[0].measured.ram_bytes, away.stt[0].measured.ram_bytes);
    memory("onnx", home.llm[0].measured.ram_bytes, away.llm[0].measured.ram_bytes);
    memory("espeak", home.tts[0].measured.ram_bytes, away.tts[0].measured.ram_bytes);
    memory("scripted", home.llm[1].measured.ram_bytes, away.llm[1].measured.ram_bytes);
    let begun = Instant::now();
    drop(away);
    println!("four processes ended in {:.0} ms, one after the other", ms(begun.elapsed()));
    Ok(())
}

fn engines(placement: Placement) -> Result<EngineSet, Box<dyn Error>> {
    let none = ScriptedLlmConfig {
        placement,
        calls: vec![vec![Step::text(0, "Yes.")]],
        word_ms: 0,
        ..ScriptedLlmConfig::default()
    };
    // Examples lie beside the program: target/release/examples.
    let program = std::env::current_exe()?.parent().and_then(|dir| Some(dir.parent()?.join("antiphon")));
    let config = EnginesConfig {
        program: program.unwrap_or_else(|| PathBuf::from("target/release/antiphon")),
        stt: vec![SttConfig::Whisper(WhisperConfig { placement, ..WhisperConfig::default() })],
        llm: vec![
            // Nothing of an answer is kept: each call reads its prompt.
            LlmConfig::Onnx(OnnxLlmConfig { placement, prefix_cache_mib: 0, ..OnnxLlmConfig::default() }),
            LlmConfig::Scripted(none),
        ],
        tts: vec![TtsConfig::Espeak(EspeakConfig { placement, ..EspeakConfig::default() })],
        ..EnginesConfig::default()
    };
    let gate = Scheduler::new(&PoolsConfig::default()).gate();
    load(&config, gate).map_err(|errors| format!("{errors:?}; run `cargo build --release` first").into())
}

/// Calls both in turns, each first as often; the first of each is not counted.
async fn compare(
    calls: usize,
    home: &EngineSet,
    away: &EngineSet,
    call: impl AsyncFn(&EngineSet) -> Result<Taken, EngineError>,
) -> Result<[Vec<Taken>; 2], EngineError> {
    let mut taken = [Vec::new(), Vec::new()];
    for round in 0..=calls {
        let both = [(0, home), (1, away)];
        for at in [round % 2, (round + 1) % 2] {
            let (whose, set) = both[at];
            let one = call(set).await?;
            if round > 0 {
                taken[whose].push(one);
            }
        }
    }
    Ok(taken)
}

async fn hear(set: &EngineSet, audio: &Arc<[f32]>) -> Result<Taken, EngineError> {
    let request =
        SttRequest { audio: Arc::clone(audio), language: Some("en".into()), prompt: None, word_times: false };
    let begun = Instant::now();
    set.stt[0].engine.transcribe(request, CancelFlag::new()).await?;
    Ok((begun.elapsed(), begun.elapsed()))
}

async fn think(set: &EngineSet, which: usize, text: &str) -> Result<Taken, EngineError> {
    let engine: &Arc<dyn LlmEngine> = &set.llm[which].engine;
    let request = LlmRequest {
        messages: [ChatMessage::text(ChatRole::User, text)].into(),
        tools: [].into(),
        tool_choice: ToolChoice::None,
        max_tokens: Some(64),
        truncation: Truncation::default(),
        urgency: Urgency::default(),
    };
    time(Instant::now(), engine.generate(request, CancelFlag::new())).await
}

async fn speak(set: &EngineSet) -> Result<Taken, EngineError> {
    let begun = Instant::now();
    time(begun, set.tts[0].engine.synthesize(sentence(), CancelFlag::new())).await
}

async fn time<T>(
    begun: Instant,
    mut stream: impl Stream<Item = Result<T, EngineError>> + Unpin,
) -> Result<Taken, EngineError> {
    let mut first = None;
    while let Some(event) = stream.next().await {
        event?;
        first.get_or_insert_with(|| begun.elapsed());
    }
    let whole = begun.elapsed();
    Ok((first.unwrap_or(whole), whole))
}

async fn spoken(set: &EngineSet) -> Result<Arc<[f32]>, Box<dyn Error>> {
    let engine: &Arc<dyn TtsEngine> = &set.tts[0].engine;
    let (mut speech, mut samples, mut rate) =
        (engine.synthesize(sentence(), CancelFlag::new()), Vec::new(), 0);
    while let Some(event) = speech.next().await {
        if let TtsEvent::Audio(chunk) = event? {
            rate = chunk.sample_rate;
            samples.extend(chunk.samples);
        }
    }
    let samples = resample(&samples, rate, STT_SAMPLE_RATE)?;
    Ok(samples.into_iter().map(|sample| f32::from(sample) / 32_768.0).collect())
}

fn sentence() -> TtsRequest {
    TtsRequest { text: SENTENCE.into(), voice: "alloy".into(), speed: 1.0 }
}

fn report(what: &str, [home, away]: [Vec<Taken>; 2]) {
    let of = |taken: &[Taken], which: fn(&Taken) -> Duration| {
        let mut times: Vec<f64> = taken.iter().map(|one| ms(which(one))).collect();
        times.sort_by(f64::total_cmp);
        (times[times.len() / 2], times[(times.len() * 95 / 100).min(times.len() - 1)])
    };
    for (part, which) in [("first", (|one| one.0) as fn(&Taken) -> Duration), ("whole", |one| one.1)] {
        let ((home, home_95), (away, away_95)) = (of(&home, which), of(&away, which));
        println!(
            "{:<28} {home:>7.2} {home_95:>7.2} {away:>7.2} {away_95:>7.2} {:>10.2}",
            format!("{what}: {part}"),
            away - home
        );
    }
}

fn memory(engine: &str, home: Option<u64>, away: Option<u64>) {
    let mib = |bytes: Option<u64>| bytes.unwrap_or_default() >> 20;
    println!("{engine}: {} MiB in the server, {} MiB in a process", mib(home), mib(away));
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
