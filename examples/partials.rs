//! How soon words are told while they are spoken, and how often the final transcript contradicts them:
//! `cargo run --release --example partials [--interval-ms 1000] [--show] [FILE]`. The starter model hears
//! espeak-ng; FILE has a sentence a line, and some are built in. Pace and agreement are the server's own, and time
//! is that of the audio, so the machine's load changes nothing but the column of the engine's time.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

#[path = "spoken/mod.rs"]
mod spoken;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use antiphon::backend::espeak::{EspeakConfig, EspeakTts};
use antiphon::backend::whisper::{WhisperConfig, WhisperEngine};
use antiphon::engine::CancelFlag;
use antiphon::engine::stt::{SttEngine, SttRequest};
use antiphon::pool::Degradation;
use antiphon::session::partials::{Partials, Wish};
use anyhow::{Context, Result};
use tokio::time::Instant;

use spoken::speak;

const VOICES: [&str; 4] = ["en-us", "en-gb", "en-us+m7", "en-gb-scotland"];
const SENTENCES: [&str; 14] = [
    "My name is Anna and I live in Oslo.",
    "What is my name and where do I live?",
    "I would like a coffee and two cups of tea, please.",
    "Please set a timer for fifteen minutes.",
    "What is seven plus eight?",
    "My favourite colour is blue and my dog is called Max.",
    "One two three four five six seven eight nine ten eleven twelve.",
    "Hello, how are you? My name is Peter and I have a question.",
    "I live in Berlin. My brother lives in Paris. My sister lives in Rome.",
    "Can you tell me what the weather is like today?",
    "My name is Laura. I am a teacher and I live in London with my cat.",
    "I want to order a pizza with cheese and a salad, and then I would like to pay, please.",
    "Thank you very much for your help, and have a nice day.",
    "My birthday is in July. My favourite food is soup. My car is red. My house is old and my garden is small.",
];
/// Samples in 20 ms at 16 kHz.
const STEP: usize = 320;

/// Sums over utterances.
#[derive(Debug, Default)]
struct Totals {
    utterances: usize,
    contradicted_utterances: usize,
    words: usize,
    told_early: usize,
    contradicted: usize,
    speech: Duration,
    finals: Duration,
    partials: Duration,
    asked: usize,
    first_words: Duration,
    with_first_words: u32,
}

#[tokio::main]
async fn main() -> Result<()> {
    let (mut interval, mut file) = (1_000, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--interval-ms" => {
                interval = arguments.next().context("--interval-ms takes a number")?.parse()?
            }
            "--show" => {}
            _ => file = Some(argument),
        }
    }
    let text = file.map(std::fs::read_to_string).transpose()?;
    let sentences: Vec<&str> = text.as_deref().map_or(SENTENCES.to_vec(), |text| text.lines().collect());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = root.join("models/starter/stt/ggml-starter.bin");
    let stt = WhisperEngine::load(&WhisperConfig { model, ..WhisperConfig::default() })?;
    let tts = EspeakTts::load(&EspeakConfig::default())?;
    println!("{} sentences in {} voices, a partial every {interval} ms", sentences.len(), VOICES.len());
    println!(
        "voice            words  told early  contradicted  utterances with one  first words  partials / final"
    );
    let mut all = Totals::default();
    for voice in VOICES {
        let mut totals = Totals::default();
        for sentence in &sentences {
            let audio = speak(&tts, sentence, voice, 128).await?;
            hear(&stt, &audio, Duration::from_millis(interval), &mut totals).await?;
        }
        row(voice, &totals);
        all.add(&totals);
    }
    row("all", &all);
    Ok(())
}

async fn hear(stt: &WhisperEngine, audio: &[f32], every: Duration, totals: &mut Totals) -> Result<()> {
    let (mut partials, start) = (Partials::default(), Instant::now());
    let wish = Wish { every, degradation: Degradation::None };
    let mut busy_until = start;
    let mut first = None;
    for end in (STEP..audio.len().saturating_sub(128 * 16)).step_by(STEP) {
        let now = start + Duration::from_secs_f64(end as f64 / 16_000.0);
        if now < busy_until {
            continue;
        }
        let Some(key) = partials.begin((0, end as u64), wish, now) else { continue };
        let (text, took) = transcribe(stt, &audio[..end]).await?;
        busy_until = now + took;
        partials.end(key, took, busy_until);
        (totals.partials, totals.asked) = (totals.partials + took, totals.asked + 1);
        if partials.observe(&text).is_some() {
            first.get_or_insert(busy_until - start);
        }
    }
    let (text, took) = transcribe(stt, audio).await?;
    let settled = partials.finish().settle(&text);
    if settled.contradicted > 0 && std::env::args().any(|argument| argument == "--show") {
        println!(
            "  told {:?}\n  then {text:?}",
            settled.told.strip_suffix(&settled.rest).unwrap_or_default()
        );
    }
    totals.utterances += 1;
    totals.contradicted_utterances += usize::from(settled.contradicted > 0);
    totals.words += text.split_whitespace().count();
    totals.told_early += settled.told_early;
    totals.contradicted += settled.contradicted;
    totals.speech += Duration::from_secs_f64(audio.len() as f64 / 16_000.0);
    totals.finals += took;
    if let Some(first) = first {
        (totals.first_words, totals.with_first_words) =
            (totals.first_words + first, totals.with_first_words + 1);
    }
    Ok(())
}

async fn transcribe(stt: &WhisperEngine, audio: &[f32]) -> Result<(String, Duration)> {
    let request = SttRequest { audio: Arc::from(audio), language: None, prompt: None, word_times: false };
    let begin = Instant::now();
    let transcript = stt.transcribe(request, CancelFlag::new()).await?;
    Ok((transcript.text, begin.elapsed()))
}

fn row(name: &str, totals: &Totals) {
    let share = |part: usize, whole: usize| part as f64 * 100.0 / whole.max(1) as f64;
    println!(
        "{name:<16} {:>5} {:>9.1} % {:>11.2} % {:>18.1} % {:>9.2} s {:>8.0} / {:.0} ms a second of speech",
        totals.words,
        share(totals.told_early, totals.words),
        share(totals.contradicted, totals.told_early),
        share(totals.contradicted_utterances, totals.utterances),
        totals.first_words.as_secs_f64() / f64::from(totals.with_first_words.max(1)),
        totals.partials.as_secs_f64() * 1_000.0 / totals.speech.as_secs_f64(),
        totals.finals.as_secs_f64() * 1_000.0 / totals.speech.as_secs_f64(),
    );
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.utterances += other.utterances;
        self.contradicted_utterances += other.contradicted_utterances;
        self.words += other.words;
        self.told_early += other.told_early;
        self.contradicted += other.contradicted;
        self.speech += other.speech;
        self.finals += other.finals;
        self.partials += other.partials;
        self.asked += other.asked;
        self.first_words += other.first_words;
        self.with_first_words += other.with_first_words;
    }
}
