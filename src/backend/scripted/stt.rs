//! Speech-to-text that says what its script says.

use std::collections::VecDeque;

use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::log::{CallLog, CallStats};
use super::play::{Beat, play};
use super::script::{Act, Script, Step, fill};
use crate::backend::Placement;
use crate::engine::cost::OwnCost;
use crate::engine::stt::{STT_SAMPLE_RATE, SttEngine, SttRequest, Transcript};
use crate::engine::{CancelFlag, EngineCost, EngineError, EngineFuture};

/// Configuration of [`ScriptedStt`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptedSttConfig {
    /// Name in logs, metrics and errors.
    pub name: String,
    /// Calls that may run at once; told to the pool, not enforced.
    pub slots: usize,
    /// It serves only where no other engine of its list is healthy.
    pub fallback: bool,
    /// Where it runs: in the server itself, or in a child process that may crash alone.
    pub placement: Placement,
    /// Steps of each call in turn; the last call's steps repeat. A call ends at its first text.
    pub calls: Vec<Vec<Step>>,
    /// What it is said to cost; nothing where that is not said.
    pub cost: OwnCost,
}

impl Default for ScriptedSttConfig {
    /// One text after 60 ms: what the starter model takes for a short utterance on one core.
    fn default() -> Self {
        let calls = vec![vec![Step::text(60, "utterance {call} of {ms} milliseconds")]];
        Self {
            name: "scripted-stt".into(),
            slots: 4,
            fallback: false,
            placement: Placement::default(),
            calls,
            cost: OwnCost::default(),
        }
    }
}

impl ScriptedSttConfig {
    /// A script computes nothing: it costs what the configuration says.
    pub fn cost(&self) -> Result<EngineCost, String> {
        Ok(EngineCost { threads: self.slots, ..EngineCost::default() })
    }
}

/// What [`ScriptedStt`] was asked; the audio itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SttCall {
    /// Length of the audio in milliseconds.
    pub audio_ms: u32,
    /// The request's language.
    pub language: Option<String>,
    /// The request's prompt.
    pub prompt: Option<String>,
}

/// Speech-to-text that says what its script says.
#[derive(Debug)]
pub struct ScriptedStt {
    name: String,
    script: Script,
    log: CallLog<SttCall>,
}

impl ScriptedStt {
    /// An engine that follows `config`.
    pub fn new(config: &ScriptedSttConfig) -> Self {
        let script = Script::new(config.calls.clone());
        Self { name: config.name.clone(), script, log: CallLog::default() }
    }

    /// An engine that answers every call with `text` after `after_ms`.
    pub fn saying(after_ms: u64, text: &str) -> Self {
        let calls = vec![vec![Step::text(after_ms, text)]];
        Self::new(&ScriptedSttConfig { calls, ..ScriptedSttConfig::default() })
    }

    /// Follows other calls from now on.
    pub fn set_calls(&self, calls: Vec<Vec<Step>>) {
        self.script.replace(calls);
    }

    /// The latest requests, oldest first.
    pub fn calls(&self) -> Vec<SttCall> {
        self.log.requests()
    }

    /// Counts of calls.
    pub fn stats(&self) -> CallStats {
        self.log.stats()
    }
}

impl SttEngine for ScriptedStt {
    fn transcribe(&self, request: SttRequest, cancel: CancelFlag) -> EngineFuture<Transcript> {
        let audio_ms = request.audio.len() as u64 * 1000 / u64::from(STT_SAMPLE_RATE);
        let (call, steps) = self.script.next_call();
        let values = [
            ("call", call.to_string()),
            ("ms", audio_ms.to_string()),
            ("hz", dominant_frequency(&request.audio).to_string()),
        ];
        let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let beats = plan(&self.name, &steps, &values, request.language.as_deref());
        let guard = self.log.begin(SttCall {
            audio_ms: u32::try_from(audio_ms).unwrap_or(u32::MAX),
            language: request.language,
            prompt: request.prompt,
        });
        let mut stream = play(beats, cancel, guard);
        let engine = self.name.clone();
        Box::pin(async move {
            let reason = "the script has no text for this call".to_owned();
            stream.next().await.unwrap_or(Err(EngineError::Failed { engine, reason }))
        })
    }
}

fn plan(
    engine: &str,
    steps: &[Step],
    values: &[(&str, &str)],
    language: Option<&str>,
) -> VecDeque<Beat<Transcript>> {
    let beat = |step: &Step| match &step.act {
        Act::Text(template) => {
            let text = fill(template, values);
            let no_speech_probability = Some(if text.is_empty() { 1.0 } else { 0.0 });
            let transcript = Transcript {
                text,
                language: language.map(Into::into),
                no_speech_probability,
                ..Transcript::default()
            };
            Some(Beat::emit(step.after_ms, transcript))
        }
        act => Beat::fault(engine, step.after_ms, act),
    };
    steps.iter().filter_map(beat).collect()
}

/// Frequency of a clean tone by its zero crossings, to 10 Hz.
fn dominant_frequency(audio: &[f32]) -> u64 {
    let crossings = audio.windows(2).filter(|pair| (pair[0] < 0.0) != (pair[1] < 0.0)).count() as u64;
    let halves = audio.len().max(1) as u64 * 2;
    (crossings * u64::from(STT_SAMPLE_RATE) / halves + 5) / 10 * 10
}

#[cfg(test)]
mod tests {
    use super::super::script::Hang;
    use super::*;
    use std::time::Duration;
    use tokio::time::{Instant, timeout};

    fn tone(hz: f32, ms: usize) -> SttRequest {
        let step = hz * std::f32::consts::TAU / STT_SAMPLE_RATE as f32;
        let audio = (0..ms * 16).map(|n| (n as f32 * step).sin()).collect::<Vec<_>>().into();
        SttRequest { audio, language: Some("en".into()), prompt: None, word_times: false }
    }

    #[tokio::test(start_paused = true)]
    async fn it_says_what_the_script_says_when_it_says() {
        let stt = ScriptedStt::saying(80, "call {call}: {hz} Hz for {ms} ms");
        let begin = Instant::now();
        let transcript = stt.transcribe(tone(440.0, 500), CancelFlag::new()).await.expect("a text");
        assert_eq!(transcript.text, "call 1: 440 Hz for 500 ms");
        assert_eq!(begin.elapsed(), Duration::from_millis(80));
        assert_eq!(stt.calls(), [SttCall { audio_ms: 500, language: Some("en".into()), prompt: None }]);
        assert_eq!(stt.stats().finished, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn faults_come_in_turn() {
        let stt = ScriptedStt::saying(0, "");
        stt.set_calls(vec![
            vec![Step::error(5, "broken")],
            vec![Step::hang(Hang::UntilCancelled)],
            vec![Step::hang(Hang::IgnoringCancel)],
            vec![],
        ]);
        let flag = CancelFlag::new();
        let failed = stt.transcribe(tone(1.0, 1), flag.clone()).await.expect_err("scripted");
        assert!(matches!(failed, EngineError::Failed { reason, .. } if reason == "broken"));
        let hang = stt.transcribe(tone(1.0, 1), flag.clone());
        flag.cancel();
        assert_eq!(hang.await, Err(EngineError::Cancelled));
        let deaf = CancelFlag::new();
        let hang = stt.transcribe(tone(1.0, 1), deaf.clone());
        let raise = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            deaf.cancel();
        };
        let (waited, ()) = tokio::join!(timeout(Duration::from_secs(60), hang), raise);
        assert!(waited.is_err(), "it goes on hanging");
        assert!(stt.transcribe(tone(1.0, 1), CancelFlag::new()).await.is_err());
        assert_eq!(stt.stats().in_flight, 0);
    }

    #[tokio::test]
    #[should_panic(expected = "scripted panic")]
    async fn a_scripted_panic_panics() {
        let stt = ScriptedStt::saying(0, "");
        stt.set_calls(vec![vec![Step::panic(0)]]);
        drop(stt.transcribe(tone(1.0, 1), CancelFlag::new()).await);
    }
}
