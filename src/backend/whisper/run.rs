//! Runs of a whisper.cpp state: what is asked of it, and what it wrote.

use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperError, WhisperState};

use super::audio::fill_up;
use super::context::MIN_POSITIONS;
use crate::backend::guards::Draft;
use crate::engine::stt::TokenLogprob;

/// Audio for which whisper.cpp computes the spectrum and runs nothing, in milliseconds.
const NOTHING_MS: i32 = 100;

/// What every run is asked for.
pub(super) fn parameters(temperature_step: f64) -> FullParams<'static, 'static> {
    let mut params = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
    params.set_n_threads(1);
    params.set_no_timestamps(true);
    params.set_single_segment(true);
    params.set_no_context(true);
    params.set_temperature(0.0);
    #[expect(clippy::cast_possible_truncation, reason = "a setting between 0 and 1")]
    params.set_temperature_inc(temperature_step as f32);
    params.set_suppress_blank(true);
    // whisper.cpp 1.8.3 takes the probability of "no speech" from the logits that the state's call before left
    // behind (its pull request 3945). Nothing of one utterance may decide over another, so it decides nothing:
    // `no_speech_probability` asks the model itself.
    params.set_no_speech_thold(f32::INFINITY);
    params.set_print_special(false);
    params.set_print_progress(false);
    params.set_print_realtime(false);
    params.set_print_timestamps(false);
    params
}

/// Runs the model over silence, so that the first caller does not wait for memory to be touched.
pub(super) fn warm_up(state: &mut WhisperState) -> Result<(), WhisperError> {
    let mut params = parameters(0.0);
    params.set_audio_ctx(i32::try_from(MIN_POSITIONS).unwrap_or_default());
    params.set_max_tokens(1);
    state.full(params, &fill_up(&[]))
}

/// The language that the model hears in `audio` among its first `known`, with the audio context of `params`.
///
/// whisper.cpp's own detection encodes with the audio context of the state's call before, whatever that was: a short
/// one would hide most of a long utterance. A run over nothing sets it.
pub(super) fn detect(
    state: &mut WhisperState,
    mut params: FullParams<'_, '_>,
    audio: &[f32],
    known: usize,
) -> Result<i32, WhisperError> {
    params.set_duration_ms(NOTHING_MS);
    state.full(params, audio)?;
    let (_, probabilities) = state.lang_detect(0, 1)?;
    let likeliest = probabilities.iter().take(known).enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    Ok(likeliest.and_then(|(id, _)| i32::try_from(id).ok()).unwrap_or_default())
}

/// The probability that the audio of the latest run holds no speech, as OpenAI's decoder takes it: what the model
/// makes of the first position. Costs a step of the decoder; the encoder's work is still there.
pub(super) fn no_speech_probability(
    state: &mut WhisperState,
    context: &WhisperContext,
) -> Result<f32, WhisperError> {
    state.decode(&[context.token_sot()], 0, 1)?;
    let logits = state.get_logits()?;
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|logit| (logit - most).exp()).sum();
    let no_speech = usize::try_from(context.token_nosp()).ok().and_then(|token| logits.get(token));
    Ok(no_speech.map_or(0.0, |logit| (logit - most).exp() / sum))
}

/// What the latest run wrote.
pub(super) fn draft(state: &WhisperState, first_special: i32) -> Draft {
    let mut draft = Draft { has_ended: true, ..Draft::default() };
    let (mut sum, mut count) = (0.0, 0.0);
    for segment in state.as_iter() {
        for token in (0..segment.n_tokens()).filter_map(|index| segment.get_token(index)) {
            let (id, logprob) = (token.token_id(), token.token_data().plog);
            sum += logprob;
            count += 1.0;
            draft.has_ended = id == first_special;
            // Whatever is not text has an id from the end of text on: languages, tasks, times.
            if id < first_special {
                let bytes = token.to_bytes().unwrap_or_default().to_vec();
                draft.tokens.push(TokenLogprob { bytes, logprob });
                // In hundredths of a second; -1 where the context does not align. whisper.cpp tells where a token's
                // sound ends.
                draft.ends_ms.extend(u32::try_from(token.token_data().t_dtw * 10));
            }
        }
    }
    if draft.ends_ms.len() != draft.tokens.len() {
        draft.ends_ms.clear();
    }
    draft.mean_logprob = if count > 0.0 { sum / count } else { 0.0 };
    draft
}
