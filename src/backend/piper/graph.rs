//! Piper's graph: `input` (ids), `input_lengths`, `scales` (noise, length, noise of lengths), for several speakers
//! `sid`; the audio comes out, and where the export was patched for it, how many frames each id lasts.

use std::path::Path;

use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::Tensor;

use super::config::PiperConfig;
use super::voice::{Scales, Voice};
use crate::backend::onnx_voice::files::invalid;
use crate::backend::onnx_voice::{Manner, Sound, VoiceGraph, session};
use crate::backend::{LoadError, onnx};
use crate::engine::Device;

/// The quietest peak that is made as loud as the others, as in Piper's own server: what is quieter is silence.
const LEAST_PEAK: f32 = 0.01;

#[derive(Debug)]
pub(super) struct Graph {
    session: Session,
    scales: Scales,
    has_speakers: bool,
}

impl Graph {
    pub(super) fn load(
        config: &PiperConfig,
        (library, device): (&Path, Device),
        voice: &Voice,
    ) -> Result<Self, LoadError> {
        let engine = config.name.as_str();
        let session = session::open(engine, &config.model, library, config.room(device))?;
        let wrong = |reason: String| invalid(engine, &config.model, reason);
        for name in ["input", "input_lengths", "scales"] {
            if session::input(&session, name).is_none() {
                let found = onnx::inputs(&session);
                return Err(wrong(format!(
                    "it has no input `{name}`, so it is no Piper voice; its inputs are {found:?}"
                )));
            }
        }
        let has_speakers = session::input(&session, "sid").is_some();
        if voice.has_speakers() && !has_speakers {
            return Err(wrong("its settings name several speakers, but it has no input `sid`".into()));
        }
        let mut graph = Self { session, scales: voice.scales, has_speakers };
        // One short call, so that the first caller does not wait for memory to be touched.
        let options = RunOptions::new().map_err(|error| wrong(error.to_string()))?;
        graph.speak(&voice.trial(), Manner { voice: 0, speed: 1.0 }, &options).map_err(wrong)?;
        Ok(graph)
    }
}

impl VoiceGraph for Graph {
    fn speak(&mut self, ids: &[i64], manner: Manner, stop: &RunOptions) -> Result<Sound, String> {
        let text = |error: ort::Error| error.to_string();
        let Scales { noise, length, noise_w } = self.scales;
        let count = i64::try_from(ids.len()).map_err(|error| error.to_string())?;
        let speaker = i64::try_from(manner.voice).map_err(|error| error.to_string())?;
        let scales = vec![noise, length / manner.speed, noise_w];
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = vec![
            ("input", Tensor::from_array(([1, ids.len()], ids.to_vec())).map_err(text)?.into()),
            ("input_lengths", Tensor::from_array(([1], vec![count])).map_err(text)?.into()),
            ("scales", Tensor::from_array(([3], scales)).map_err(text)?.into()),
        ];
        if self.has_speakers {
            inputs.push(("sid", Tensor::from_array(([1], vec![speaker])).map_err(text)?.into()));
        }
        let mut sound = session::run(&mut self.session, inputs, stop)?;
        let peak = sound.samples.iter().fold(LEAST_PEAK, |peak, sample| peak.max(sample.abs()));
        sound.samples.iter_mut().for_each(|sample| *sample /= peak);
        Ok(sound)
    }
}
