//! Sentences as the server hears them, spoken by espeak-ng.

use antiphon::audio::Resampler;
use antiphon::backend::espeak::EspeakTts;
use antiphon::engine::CancelFlag;
use antiphon::engine::tts::{TtsEngine, TtsEvent, TtsRequest};
use anyhow::Result;
use futures::TryStreamExt;

/// A sentence as 16 kHz mono in [-1, 1], with so much silence behind it.
pub(crate) async fn speak(tts: &EspeakTts, text: &str, voice: &str, pause_ms: usize) -> Result<Vec<f32>> {
    let request = TtsRequest { text: text.into(), voice: voice.into(), speed: 1.0 };
    let events: Vec<TtsEvent> = tts.synthesize(request, CancelFlag::new()).try_collect().await?;
    let mut samples = Vec::new();
    let mut resampler = None;
    for event in events {
        if let TtsEvent::Audio(chunk) = event {
            if resampler.is_none() {
                resampler = Some(Resampler::new(chunk.sample_rate, 16_000)?);
            }
            samples.extend(resampler.iter_mut().flat_map(|resampler| resampler.push(&chunk.samples)));
        }
    }
    // As the server hears it: what lay before the speech, and the pause behind it.
    let silence = |ms: usize| std::iter::repeat_n(0.0, ms * 16);
    let speech = samples.into_iter().map(|sample| f32::from(sample) / 32_768.0);
    Ok(silence(300).chain(speech).chain(silence(pause_ms)).collect())
}
