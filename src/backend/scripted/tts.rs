//! Text-to-speech that hums: a tone as long as the text, with exact word times.

use std::collections::VecDeque;

use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::log::{CallLog, CallStats};
use super::play::{Beat, play};
use super::script::{Act, Script, Step, fill};
use crate::backend::Placement;
use crate::engine::cost::OwnCost;
use crate::engine::tts::{SpeechChunk, TimedWord, TtsEngine, TtsEvent, TtsRequest};
use crate::engine::{CancelFlag, EngineCost, EngineStream};

/// Peak of the tone: 12 dB below full scale.
const TONE_PEAK: f32 = 8192.0;

/// Configuration of [`ScriptedTts`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptedTtsConfig {
    /// Name in logs, metrics and errors.
    pub name: String,
    /// Calls that may run at once; told to the pool, not enforced.
    pub slots: usize,
    /// It serves only where no other engine of its list is healthy.
    pub fallback: bool,
    /// Where it runs: in the server itself, or in a child process that may crash alone.
    pub placement: Placement,
    /// Steps of each call in turn; the last call's steps repeat. `{ text = "{text}" }` speaks what is asked for.
    pub calls: Vec<Vec<Step>>,
    /// Samples a second.
    pub sample_rate: u32,
    /// Length of a character's tone at speed 1, in milliseconds.
    pub character_ms: u32,
    /// Length of a chunk of audio in milliseconds.
    pub chunk_ms: u32,
    /// Milliseconds from one chunk to the next.
    pub chunk_every_ms: u64,
    /// Frequency of the tone.
    pub tone_hz: f32,
    /// Voices to offer; they all hum alike.
    pub voices: Vec<String>,
    /// What it is said to cost; nothing where that is not said.
    pub cost: OwnCost,
}

impl Default for ScriptedTtsConfig {
    /// First audio after 15 ms, chunks of 100 ms at 22.05 kHz every 2 ms: about what espeak-ng does. 65 ms a
    /// character is its normal speed of 175 words a minute.
    fn default() -> Self {
        Self {
            name: "scripted-tts".into(),
            slots: 4,
            fallback: false,
            placement: Placement::default(),
            calls: vec![vec![Step::text(15, "{text}")]],
            sample_rate: 22_050,
            character_ms: 65,
            chunk_ms: 100,
            chunk_every_ms: 2,
            tone_hz: 440.0,
            voices: vec!["tone".into()],
            cost: OwnCost::default(),
        }
    }
}

impl ScriptedTtsConfig {
    /// A script computes nothing: it costs what the configuration says.
    pub fn cost(&self) -> Result<EngineCost, String> {
        Ok(EngineCost { threads: self.slots, ..EngineCost::default() })
    }
}

/// Text-to-speech that hums: a tone as long as the text, with exact word times.
#[derive(Debug)]
pub struct ScriptedTts {
    config: ScriptedTtsConfig,
    script: Script,
    log: CallLog<TtsRequest>,
}

impl ScriptedTts {
    /// An engine that follows `config`.
    pub fn new(config: &ScriptedTtsConfig) -> Self {
        let script = Script::new(config.calls.clone());
        Self { config: config.clone(), script, log: CallLog::default() }
    }

    /// An engine that hums what it is asked, the first audio after `after_ms`, the rest at once.
    pub fn humming(after_ms: u64) -> Self {
        let calls = vec![vec![Step::text(after_ms, "{text}")]];
        Self::new(&ScriptedTtsConfig { calls, chunk_every_ms: 0, ..ScriptedTtsConfig::default() })
    }

    /// Follows other calls from now on.
    pub fn set_calls(&self, calls: Vec<Vec<Step>>) {
        self.script.replace(calls);
    }

    /// The latest requests, oldest first.
    pub fn calls(&self) -> Vec<TtsRequest> {
        self.log.requests()
    }

    /// Counts of calls.
    pub fn stats(&self) -> CallStats {
        self.log.stats()
    }
}

impl TtsEngine for ScriptedTts {
    fn synthesize(&self, request: TtsRequest, cancel: CancelFlag) -> EngineStream<TtsEvent> {
        let (call, steps) = self.script.next_call();
        let call = call.to_string();
        let values = [("call", call.as_str()), ("text", request.text.as_str())];
        let mut plan = Plan::new(&self.config, request.speed);
        for step in &steps {
            match &step.act {
                Act::Text(template) => plan.speak(step.after_ms, &fill(template, &values)),
                act => plan.beats.extend(Beat::fault(&self.config.name, step.after_ms, act)),
            }
        }
        plan.beats.push_back(Beat::emit(0, Piece::Words(plan.words)));
        let (rate, hz) = (self.config.sample_rate, self.config.tone_hz);
        let pieces = play(plan.beats, cancel, self.log.begin(request));
        Box::pin(pieces.map(move |piece| piece.map(|piece| piece.into_event(rate, hz))))
    }

    fn voices(&self) -> Vec<String> {
        self.config.voices.clone()
    }
}

/// What is planned; the samples are made when they are due, so that a waiting call holds none.
#[derive(Debug, PartialEq)]
enum Piece {
    Tone { from: usize, len: usize },
    Words(Vec<TimedWord>),
}

impl Piece {
    fn into_event(self, sample_rate: u32, hz: f32) -> TtsEvent {
        match self {
            Self::Words(words) => TtsEvent::Words(words),
            Self::Tone { from, len } => {
                let step = f64::from(hz) * std::f64::consts::TAU / f64::from(sample_rate);
                let sample = |n: usize| ((n as f64 * step).sin() as f32 * TONE_PEAK) as i16;
                let samples = (from..from + len).map(sample).collect();
                TtsEvent::Audio(SpeechChunk { samples, sample_rate })
            }
        }
    }
}

/// The beats of one call while they are laid out.
struct Plan<'a> {
    config: &'a ScriptedTtsConfig,
    character_ms: f32,
    spoken_ms: f32,
    samples: usize,
    words: Vec<TimedWord>,
    beats: VecDeque<Beat<Piece>>,
}

impl<'a> Plan<'a> {
    fn new(config: &'a ScriptedTtsConfig, speed: f32) -> Self {
        let speed = if speed.is_finite() { speed.clamp(0.25, 4.0) } else { 1.0 };
        let character_ms = config.character_ms as f32 / speed;
        let (words, beats) = (Vec::new(), VecDeque::new());
        Self { config, character_ms, spoken_ms: 0.0, samples: 0, words, beats }
    }

    fn speak(&mut self, after_ms: u64, text: &str) {
        for word in text.split_whitespace() {
            let start_ms = self.spoken_ms as u32;
            self.spoken_ms += word.chars().count() as f32 * self.character_ms;
            self.words.push(TimedWord { text: word.to_owned(), start_ms, end_ms: self.spoken_ms as u32 });
        }
        let total = (self.spoken_ms as usize * self.config.sample_rate as usize).div_ceil(1000);
        let chunk = (self.config.chunk_ms as usize * self.config.sample_rate as usize / 1000).max(1);
        let mut wait = after_ms;
        while self.samples < total {
            let len = chunk.min(total - self.samples);
            self.beats.push_back(Beat::emit(wait, Piece::Tone { from: self.samples, len }));
            self.samples += len;
            wait = self.config.chunk_every_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineError;
    use futures::TryStreamExt;
    use std::time::Duration;
    use tokio::time::Instant;

    fn say(text: &str, speed: f32) -> TtsRequest {
        TtsRequest { text: text.into(), voice: "tone".into(), speed }
    }

    fn samples_of(events: &[TtsEvent]) -> usize {
        let samples = |event: &TtsEvent| match event {
            TtsEvent::Audio(chunk) => chunk.samples.len(),
            TtsEvent::Words(_) => 0,
        };
        events.iter().map(samples).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn it_hums_with_exact_word_times() {
        let tts = ScriptedTts::new(&ScriptedTtsConfig::default());
        let begin = Instant::now();
        let stream = tts.synthesize(say("Hello, dear  world.", 1.0), CancelFlag::new());
        let events: Vec<TtsEvent> = stream.try_collect().await.expect("no fault");
        assert_eq!(samples_of(&events), 16 * 65 * 22_050 / 1000);
        let word = |text: &str, start_ms, end_ms| TimedWord { text: text.into(), start_ms, end_ms };
        let words = vec![word("Hello,", 0, 390), word("dear", 390, 650), word("world.", 650, 1040)];
        assert_eq!(events.last(), Some(&TtsEvent::Words(words)));
        assert_eq!(begin.elapsed(), Duration::from_millis(15 + 10 * 2));
    }

    #[tokio::test(start_paused = true)]
    async fn speed_shortens_it_and_faults_cut_it() {
        let tts = ScriptedTts::humming(0);
        let stream = tts.synthesize(say("abcdefgh", 2.0), CancelFlag::new());
        let events: Vec<TtsEvent> = stream.try_collect().await.expect("no fault");
        assert_eq!(samples_of(&events), 260 * 22_050 / 1000);
        tts.set_calls(vec![vec![Step::text(0, "half"), Step::error(5, "gone")]]);
        let events: Vec<_> = tts.synthesize(say("whole", 1.0), CancelFlag::new()).collect().await;
        assert!(matches!(events.last(), Some(Err(EngineError::Failed { .. }))));
        assert_eq!(events.len(), 4);
    }
}
