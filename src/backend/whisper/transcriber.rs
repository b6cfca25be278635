//! What one thread does with its state: takes a job, transcribes it, answers.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use whisper_rs::{FullParams, WhisperContext, WhisperError, WhisperState};

use super::abort::{Abort, run};
use super::audio::{fill_up, max_tokens, window_len};
use super::context::ContextRule;
use super::model_file::ModelFile;
use super::run::{detect, draft, no_speech_probability, parameters};
use super::{WhisperConfig, language};
use crate::backend::cuts::windows;
use crate::backend::guards::Draft;
use crate::backend::stt_calls::{Job, append, drop_text, finish};
use crate::backend::word_times::words;
use crate::engine::EngineError;
use crate::engine::stt::{Guarded, SttRequest, Transcript};
use crate::telemetry::metrics as names;

/// Characters of a prompt that are worth tokenizing: the last ones, since its end is what counts.
const MAX_PROMPT_CHARS: usize = 2000;
/// Milliseconds of a position of the encoder.
const POSITION_MS: usize = 20;

/// What a thread starts from.
#[derive(Clone, Debug)]
pub(super) struct Seed {
    pub(super) context: Arc<WhisperContext>,
    /// The same model for calls that want times of words: whisper.cpp aligns every call of a context, or none.
    pub(super) aligned: Option<Arc<WhisperContext>>,
    pub(super) file: ModelFile,
    pub(super) config: WhisperConfig,
}

/// One thread's state and the parameters that it uses again and again.
pub(super) struct Transcriber {
    seed: Seed,
    rule: ContextRule,
    /// Taken for a run and put back after it: a state that a panic left behind is never used again.
    state: Option<WhisperState>,
    /// The same for calls that want times of words; made for the first.
    aligned: Option<WhisperState>,
    is_aligning: bool,
    /// whisper-rs leaks a C string whenever a language is set, so it is set once for each language that is asked
    /// for: at most a hundred strings of three bytes a thread.
    parameters: HashMap<Option<i32>, FullParams<'static, 'static>>,
}

impl Transcriber {
    pub(super) fn new(seed: Seed, state: Option<WhisperState>) -> Self {
        let rule = ContextRule::new(seed.config.audio_ctx, seed.config.audio_ctx_margin, &seed.file);
        Self { seed, rule, state, aligned: None, is_aligning: false, parameters: HashMap::new() }
    }

    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        for Job { request, cancel, answer } in jobs {
            let abort = Abort { cancel: &cancel, answer: &answer };
            let transcript = self.transcribe(&request, &abort);
            // A caller that has gone wants no answer.
            drop(answer.send(transcript));
        }
    }

    fn transcribe(&mut self, request: &SttRequest, abort: &Abort<'_>) -> Result<Transcript, EngineError> {
        let language = self.language(request)?;
        if request.audio.is_empty() {
            return Ok(Transcript::default());
        }
        let prompt = self.prompt(request);
        let aligned = self.seed.aligned.as_ref().filter(|_| request.word_times);
        self.is_aligning = aligned.is_some();
        let context = Arc::clone(aligned.unwrap_or(&self.seed.context));
        let mut state = match self.kept().take() {
            Some(state) => state,
            None => context.create_state().map_err(|error| self.failed(&error))?,
        };
        let transcript = self.transcribe_windows(&mut state, request, (language, &prompt), abort);
        *self.kept() = Some(state);
        let mut transcript = transcript?;
        finish(&self.seed.config.name, &mut transcript, &self.seed.config.guards, &request.audio);
        Ok(transcript)
    }

    /// Where the state of the call is kept between calls.
    fn kept(&mut self) -> &mut Option<WhisperState> {
        if self.is_aligning { &mut self.aligned } else { &mut self.state }
    }

    fn transcribe_windows(
        &mut self,
        state: &mut WhisperState,
        request: &SttRequest,
        (mut language, prompt): (Option<i32>, &[i32]),
        abort: &Abort<'_>,
    ) -> Result<Transcript, EngineError> {
        let mut whole = Transcript::default();
        let window = usize::try_from(self.seed.file.sizes.audio_ctx).unwrap_or_default();
        for range in windows(&request.audio, window_len(window)) {
            let (start_ms, end_ms) = (ms(range.start), ms(range.end));
            let audio = fill_up(&request.audio[range]);
            if language.is_none() && self.seed.file.languages() > 0 {
                alive(abort)?;
                language = Some(self.detect(state, &audio)?);
            }
            let mut heard = self.hear_window(state, &audio, (language, prompt), abort)?;
            for word in &mut heard.words {
                word.start_ms = (word.start_ms + start_ms).min(end_ms);
                word.end_ms = (word.end_ms + start_ms).min(end_ms);
            }
            append(&mut whole, heard);
        }
        whole.language = language.or(Some(0)).and_then(whisper_rs::get_lang_str).map(str::to_owned);
        Ok(whole)
    }

    /// Hears one window, a second time if the first was doubtful, and guards what it wrote.
    fn hear_window(
        &mut self,
        state: &mut WhisperState,
        audio: &[f32],
        expected: (Option<i32>, &[i32]),
        abort: &Abort<'_>,
    ) -> Result<Transcript, EngineError> {
        let guards = self.seed.config.guards.clone();
        let positions = self.rule.positions(audio.len());
        let mut draft = self.hear(state, (audio, positions), expected, abort)?;
        if let Some(positions) = self.rule.again(positions).filter(|_| guards.is_doubtful(&draft)) {
            metrics::counter!(names::STT_HEARD_AGAIN_TOTAL, "engine" => self.seed.config.name.clone())
                .increment(1);
            draft = self.hear(state, (audio, positions), expected, abort)?;
        }
        let mut heard = Transcript { guarded: guards.shorten(&mut draft), ..Transcript::default() };
        heard.text = draft.text();
        if guards.is_unsure(&draft) {
            let probability = no_speech_probability(state, &self.seed.context);
            let probability = probability.map_err(|error| self.failed(&error))?;
            heard.no_speech_probability = Some(probability);
            if guards.is_no_speech(probability) {
                drop_text(&mut heard, Guarded::NoSpeech);
                return Ok(heard);
            }
        }
        heard.words = words(&draft.tokens, &draft.ends_ms, audio);
        heard.tokens = draft.tokens;
        Ok(heard)
    }

    fn hear(
        &mut self,
        state: &mut WhisperState,
        (audio, positions): (&[f32], usize),
        (language, prompt): (Option<i32>, &[i32]),
        abort: &Abort<'_>,
    ) -> Result<Draft, EngineError> {
        alive(abort)?;
        let mut params: FullParams<'_, '_> = self.parameters(language).clone();
        params.set_audio_ctx(i32::try_from(positions).unwrap_or_default());
        params.set_max_tokens(i32::try_from(max_tokens(audio.len())).unwrap_or_default());
        if !prompt.is_empty() {
            params.set_tokens(prompt);
        }
        if self.is_aligning {
            // whisper.cpp ends the process where audio to align is longer than what the encoder works on.
            let most = positions * POSITION_MS;
            params.set_duration_ms(i32::try_from(most.min(audio.len() / 16)).unwrap_or_default());
        }
        match run(state, params, audio, abort) {
            Ok(()) => Ok(draft(state, self.seed.context.token_eot())),
            Err(_) if abort.is_due() => Err(EngineError::Cancelled),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn detect(&mut self, state: &mut WhisperState, audio: &[f32]) -> Result<i32, EngineError> {
        let positions = i32::try_from(self.rule.positions(audio.len())).unwrap_or_default();
        // Any language will do: with none, whisper.cpp would detect one by itself.
        let mut params = self.parameters(Some(0)).clone();
        params.set_audio_ctx(positions);
        detect(state, params, audio, self.seed.file.languages()).map_err(|error| self.failed(&error))
    }

    /// The language to transcribe in; `None` lets the model decide.
    fn language(&self, request: &SttRequest) -> Result<Option<i32>, EngineError> {
        let asked = request.language.as_deref().or(self.seed.config.language.as_deref());
        let number = asked.map(|asked| language::number(asked, self.seed.file.languages())).transpose();
        number.map_err(|reason| EngineError::BadRequest {
            engine: self.seed.config.name.clone(),
            reason: reason.into(),
        })
    }

    /// The prompt's last tokens, as many as the model looks at; none for a model that was not trained with prompts.
    fn prompt(&self, request: &SttRequest) -> Vec<i32> {
        let (Some(prompt), most @ 1..) = (&request.prompt, self.seed.file.max_prompt()) else {
            return Vec::new();
        };
        let skipped = prompt.chars().count().saturating_sub(MAX_PROMPT_CHARS);
        let prompt: String = prompt.chars().skip(skipped).filter(|c| *c != '\0').collect();
        let tokens = self.seed.context.tokenize(&prompt, prompt.len() + 1).unwrap_or_default();
        tokens[tokens.len().saturating_sub(most)..].to_vec()
    }

    fn parameters(&mut self, language: Option<i32>) -> &FullParams<'static, 'static> {
        let is_multilingual = self.seed.file.languages() > 0;
        let is_complete = self.seed.file.has_complete_vocabulary;
        let step = self.seed.config.temperature_step;
        self.parameters.entry(language).or_insert_with(|| {
            let mut params = parameters(step);
            // As OpenAI's own decoder: no brackets, notes and the like. A small vocabulary has none.
            params.set_suppress_nst(is_complete);
            if is_multilingual {
                params.set_language(language.and_then(whisper_rs::get_lang_str));
            }
            params
        })
    }

    fn failed(&self, error: &WhisperError) -> EngineError {
        EngineError::Failed { engine: self.seed.config.name.clone(), reason: error.to_string() }
    }
}

fn ms(samples: usize) -> u32 {
    u32::try_from(samples / 16).unwrap_or(u32::MAX)
}

fn alive(abort: &Abort<'_>) -> Result<(), EngineError> {
    if abort.is_due() { Err(EngineError::Cancelled) } else { Ok(()) }
}
