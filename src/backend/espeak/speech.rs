//! One clause on its way from text to audio and word times.

use std::sync::Arc;

use futures::stream;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout};

use super::process::Program;
use super::text::{Ending, speakable};
use super::wav::WavReader;
use super::words::{WordLengths, nominal_ms, nominal_ms_by_letters, spread};
use crate::backend::worker::raised;
use crate::engine::tts::{SpeechChunk, TimedWord, TtsEvent};
use crate::engine::{CancelFlag, EngineError, EngineStream};

/// Bytes of a chunk of audio: at most 93 ms at espeak-ng's 22.05 kHz.
const CHUNK_BYTES: usize = 4096;
/// Up to this, a sample at the beginning is silence: espeak-ng begins with about 12 ms of zeros.
const SILENCE_PEAK: u16 = 16;

/// What to speak and how.
#[derive(Debug)]
pub(super) struct Clause {
    /// The text's words, as they are to be reported.
    pub(super) words: Vec<String>,
    /// As espeak-ng names it.
    pub(super) voice: String,
    pub(super) words_per_minute: u32,
}

/// One call.
#[derive(Debug)]
pub(super) struct Speech {
    engine: String,
    program: Program,
    clause: Clause,
    lengths: Arc<WordLengths>,
    phase: Phase,
    wav: WavReader,
    heard: usize,
}

#[derive(Debug)]
enum Phase {
    Begin,
    Speaking(Child, ChildStdout),
    /// So many samples of silence are still to be sent.
    Pause(usize),
    Words,
    Done,
}

impl Speech {
    pub(super) fn new(engine: &str, program: Program, clause: Clause, lengths: Arc<WordLengths>) -> Self {
        let (engine, phase, wav) = (engine.to_owned(), Phase::Begin, WavReader::default());
        Self { engine, program, clause, lengths, phase, wav, heard: 0 }
    }

    /// The call as a stream. Dropping it kills the program.
    pub(super) fn stream(self, cancel: CancelFlag) -> EngineStream<TtsEvent> {
        Box::pin(stream::unfold((self, cancel), |(mut speech, cancel)| async move {
            if matches!(speech.phase, Phase::Done) {
                return None;
            }
            let event = tokio::select! {
                biased;
                () = raised(&cancel) => Err(EngineError::Cancelled),
                event = speech.next() => event,
            };
            if event.is_err() {
                speech.phase = Phase::Done;
            }
            Some((event, (speech, cancel)))
        }))
    }

    async fn next(&mut self) -> Result<TtsEvent, EngineError> {
        loop {
            match &mut self.phase {
                Phase::Begin => self.phase = self.begin().await?,
                Phase::Speaking(child, stdout) => {
                    let mut samples = Vec::new();
                    let spoken = read_samples(stdout, &mut self.wav, &mut samples, self.heard == 0).await;
                    if spoken.map_err(|reason| failed(&self.engine, reason))? > 0 {
                        self.heard += samples.len();
                        return Ok(self.chunk(samples));
                    }
                    ended(child).await.map_err(|reason| failed(&self.engine, reason))?;
                    self.phase = Phase::Pause(self.pause_len());
                }
                Phase::Pause(0) => self.phase = Phase::Words,
                Phase::Pause(left) => {
                    let len = (*left).min(CHUNK_BYTES / 2);
                    *left -= len;
                    return Ok(self.chunk(vec![0; len]));
                }
                Phase::Words | Phase::Done => {
                    let words = self.timed_words().await;
                    self.phase = Phase::Done;
                    return Ok(TtsEvent::Words(words));
                }
            }
        }
    }

    async fn begin(&mut self) -> Result<Phase, EngineError> {
        let speakable: Vec<String> = self.clause.words.iter().map(|word| speakable(word)).collect();
        let text = speakable.join(" ");
        if text.trim().is_empty() {
            return Ok(Phase::Words);
        }
        let started = self.program.speak(&text, &self.clause.voice, self.clause.words_per_minute).await;
        let mut child = started.map_err(|error| self.gone(&error))?;
        let stdout = child.stdout.take();
        let stdout = stdout.ok_or_else(|| failed(&self.engine, "it has no standard output".into()))?;
        Ok(Phase::Speaking(child, stdout))
    }

    fn chunk(&self, samples: Vec<i16>) -> TtsEvent {
        let sample_rate = self.wav.sample_rate().unwrap_or_default();
        TtsEvent::Audio(SpeechChunk { samples, sample_rate })
    }

    /// Samples of the silence that belongs after the clause.
    fn pause_len(&self) -> usize {
        let pause_ms = self.clause.words.last().map_or(0, |word| Ending::of(word).pause_ms());
        pause_ms as usize * self.wav.sample_rate().unwrap_or_default() as usize / 1000
    }

    async fn timed_words(&self) -> Vec<TimedWord> {
        let words = &self.clause.words;
        let rate = u64::from(self.wav.sample_rate().unwrap_or(1));
        let audio_ms = u32::try_from(self.heard as u64 * 1000 / rate).unwrap_or(u32::MAX);
        if self.heard > 0 {
            self.sound_out_new_words().await;
        }
        let length = |word: &String| {
            let known = self.lengths.get(self.language(), word);
            known.unwrap_or_else(|| nominal_ms_by_letters(word))
        };
        let nominal: Vec<u32> = words.iter().map(length).collect();
        spread(words, &nominal, audio_ms)
    }

    /// Times are worth a guess, but not worth failing a call whose audio is already out: so no error here.
    async fn sound_out_new_words(&self) {
        let is_new = |word: &&String| self.lengths.get(self.language(), word).is_none();
        let new: Vec<&String> = self.clause.words.iter().filter(is_new).collect();
        if new.is_empty() {
            return;
        }
        let lines: Vec<String> = new.iter().map(|word| speakable(word)).collect();
        match self.program.sound_out(&lines, &self.clause.voice).await {
            Ok(Some(listing)) => {
                for (word, ipa) in new.into_iter().zip(&listing) {
                    self.lengths.insert(self.language(), word, nominal_ms(ipa));
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(engine = self.engine, %error, "phonemes are not told, letters count")
            }
        }
    }

    /// A variant changes the sound of a voice, not its phonemes.
    fn language(&self) -> &str {
        self.clause.voice.split('+').next().unwrap_or_default()
    }

    fn gone(&self, error: &std::io::Error) -> EngineError {
        let reason = format!("cannot start espeak-ng: {error}");
        EngineError::Unavailable { engine: self.engine.clone(), reason }
    }
}

fn failed(engine: &str, reason: String) -> EngineError {
    EngineError::Failed { engine: engine.to_owned(), reason }
}

async fn ended(child: &mut Child) -> Result<(), String> {
    match child.wait().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the program ended with {status}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads until there are samples to hear; 0 at the end. `at_begin` leaves out silence.
async fn read_samples(
    stdout: &mut ChildStdout,
    wav: &mut WavReader,
    samples: &mut Vec<i16>,
    at_begin: bool,
) -> Result<usize, String> {
    let mut bytes = [0; CHUNK_BYTES];
    loop {
        let len = stdout.read(&mut bytes).await.map_err(|error| error.to_string())?;
        wav.push(&bytes[..len], samples).map_err(|error| error.to_string())?;
        if at_begin {
            let silent = samples.iter().take_while(|sample| sample.unsigned_abs() <= SILENCE_PEAK).count();
            samples.drain(..silent);
        }
        if len == 0 || !samples.is_empty() {
            return Ok(samples.len());
        }
    }
}
