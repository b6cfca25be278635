//! What one thread does with its state: takes a job, transcribes it, answers.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperError, WhisperState};

use super::WhisperConfig;
use super::abort::{Abort, Answer, run};
use super::audio::{audio_ctx, fill_up, max_tokens, window_len, windows};
use super::model_file::ModelFile;
use crate::engine::stt::{SttRequest, TokenLogprob, Transcript};
use crate::engine::{CancelFlag, EngineError};

/// The most prompt tokens: half of Whisper's text context, which is all that it looks at.
pub(super) const MAX_PROMPT_TOKENS: usize = 224;
/// Characters of a prompt that are worth tokenizing for that many tokens.
const MAX_PROMPT_CHARS: usize = 2000;

/// An utterance and where its text goes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: SttRequest,
    pub(super) cancel: CancelFlag,
    pub(super) answer: Answer,
}

/// What a thread starts from.
#[derive(Clone, Debug)]
pub(super) struct Seed {
    pub(super) context: Arc<WhisperContext>,
    pub(super) file: ModelFile,
    pub(super) config: WhisperConfig,
}

/// whisper.cpp's number of a language.
pub(super) fn language_id(language: &str) -> Option<i32> {
    // The lookup makes a C string of it, which must not hold a zero.
    let is_code = language.chars().all(|c| c.is_ascii_lowercase());
    if is_code { whisper_rs::get_lang_id(language) } else { None }
}

/// Codes of all languages that Whisper was trained for.
pub(super) fn all_languages() -> Vec<String> {
    let code = |id| whisper_rs::get_lang_str(id).map(str::to_owned);
    (0..=whisper_rs::get_lang_max_id()).filter_map(code).collect()
}

/// Runs the model over silence, so that the first caller does not wait for memory to be touched.
pub(super) fn warm_up(state: &mut WhisperState) -> Result<(), WhisperError> {
    let mut params = parameters();
    params.set_audio_ctx(64);
    params.set_max_tokens(1);
    state.full(params, &fill_up(&[]))
}

fn parameters() -> FullParams<'static, 'static> {
    let mut params = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
    params.set_n_threads(1);
    params.set_no_timestamps(true);
    params.set_single_segment(true);
    params.set_no_context(true);
    params.set_temperature(0.0);
    params.set_temperature_inc(0.0);
    params.set_suppress_blank(true);
    // whisper.cpp 1.8.3 takes the probability of "no speech" from the logits that the state's call before left
    // behind. Nothing of one utterance may decide over another, so it decides nothing, and is not told either.
    params.set_no_speech_thold(f32::INFINITY);
    params.set_print_special(false);
    params.set_print_progress(false);
    params.set_print_realtime(false);
    params.set_print_timestamps(false);
    params
}

/// One thread's state and the parameters that it uses again and again.
pub(super) struct Transcriber {
    seed: Seed,
    /// Taken for a run and put back after it: a state that a panic left behind is never used again.
    state: Option<WhisperState>,
    /// whisper-rs leaks a C string whenever a language is set, so it is set once for each language that is asked
    /// for: at most a hundred strings of three bytes a thread.
    parameters: HashMap<Option<i32>, FullParams<'static, 'static>>,
}

impl Transcriber {
    pub(super) fn new(seed: Seed, state: Option<WhisperState>) -> Self {
        Self { seed, state, parameters: HashMap::new() }
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
        let mut state = match self.state.take() {
            Some(state) => state,
            None => self.seed.context.create_state().map_err(|error| self.failed(&error))?,
        };
        let transcript = self.transcribe_windows(&mut state, request, (language, &prompt), abort);
        self.state = Some(state);
        transcript
    }

    fn transcribe_windows(
        &mut self,
        state: &mut WhisperState,
        request: &SttRequest,
        (language, prompt): (Option<i32>, &[i32]),
        abort: &Abort<'_>,
    ) -> Result<Transcript, EngineError> {
        let model_ctx = usize::try_from(self.seed.context.model_n_audio_ctx()).unwrap_or_default();
        let mut whole = Transcript::default();
        for window in windows(&request.audio, window_len(model_ctx)) {
            if abort.is_due() {
                return Err(EngineError::Cancelled);
            }
            let audio = fill_up(&request.audio[window]);
            let mut params: FullParams<'_, '_> = self.parameters(language).clone();
            let context = audio_ctx(audio.len(), self.seed.config.audio_ctx_margin, model_ctx);
            params.set_audio_ctx(i32::try_from(context).unwrap_or_default());
            params.set_max_tokens(i32::try_from(max_tokens(audio.len())).unwrap_or_default());
            if !prompt.is_empty() {
                params.set_tokens(prompt);
            }
            match run(state, params, &audio, abort) {
                Ok(()) => append(&mut whole, state, self.seed.context.token_eot()),
                Err(_) if abort.is_due() => return Err(EngineError::Cancelled),
                Err(error) => return Err(self.failed(&error)),
            }
        }
        if self.seed.context.is_multilingual() {
            let heard = whisper_rs::get_lang_str(state.full_lang_id_from_state());
            whole.language = heard.map(str::to_owned);
        } else {
            whole.language = Some("en".into());
        }
        Ok(whole)
    }

    /// The language to transcribe in; `None` lets the model decide.
    fn language(&self, request: &SttRequest) -> Result<Option<i32>, EngineError> {
        let asked = request.language.as_deref().or(self.seed.config.language.as_deref());
        let Some(asked) = asked else { return Ok(None) };
        // Clients send `en-US` where the API asks for `en`.
        let code = asked.split(['-', '_']).next().unwrap_or(asked).to_ascii_lowercase();
        let reason = match language_id(&code) {
            None => "Whisper does not know the language; ISO 639-1 codes like `en` are expected",
            Some(_) if code != "en" && !self.seed.context.is_multilingual() => {
                "the model knows English alone"
            }
            Some(id) => return Ok(Some(id)),
        };
        Err(EngineError::BadRequest { engine: self.seed.config.name.clone(), reason: reason.into() })
    }

    /// The prompt's tokens; none for a model that was not trained with prompts.
    fn prompt(&self, request: &SttRequest) -> Vec<i32> {
        let Some(prompt) = &request.prompt else { return Vec::new() };
        if !self.seed.file.has_complete_vocabulary {
            return Vec::new();
        }
        let prompt: String = prompt.chars().filter(|c| *c != '\0').take(MAX_PROMPT_CHARS).collect();
        let mut tokens = self.seed.context.tokenize(&prompt, MAX_PROMPT_CHARS).unwrap_or_default();
        tokens.truncate(MAX_PROMPT_TOKENS);
        tokens
    }

    fn parameters(&mut self, language: Option<i32>) -> &FullParams<'static, 'static> {
        let is_multilingual = self.seed.context.is_multilingual();
        let is_complete = self.seed.file.has_complete_vocabulary;
        self.parameters.entry(language).or_insert_with(|| {
            let mut params = parameters();
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

/// Adds what `state` heard to `whole`.
fn append(whole: &mut Transcript, state: &WhisperState, first_special: i32) {
    for segment in state.as_iter() {
        let text = segment.to_str_lossy().unwrap_or_default();
        let text = text.trim();
        if !text.is_empty() && !whole.text.is_empty() {
            whole.text.push(' ');
        }
        whole.text.push_str(text);
        let tokens = (0..segment.n_tokens()).filter_map(|index| segment.get_token(index));
        // Whatever is not text has an id from the end of text on: languages, tasks, times.
        let spoken = tokens.filter(|token| token.token_id() < first_special);
        whole.tokens.extend(spoken.map(|token| TokenLogprob {
            bytes: token.to_bytes().unwrap_or_default().to_vec(),
            logprob: token.token_data().plog,
        }));
    }
}
