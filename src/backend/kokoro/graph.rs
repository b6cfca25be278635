//! Kokoro's graph: `input_ids` (older exports: `tokens`), `style` and `speed`; the audio comes out, and in some exports
//! how many frames each token lasts.

use std::path::Path;
use std::sync::Arc;

use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{Tensor, TensorElementType};

use super::config::KokoroConfig;
use super::styles::{STYLE, Styles};
use crate::backend::onnx_voice::files::invalid;
use crate::backend::onnx_voice::{Manner, Sound, VoiceGraph, session};
use crate::backend::{LoadError, onnx};
use crate::engine::Device;

/// Slower than this the graph slurs; kokoro-onnx takes no less.
const SLOWEST: f32 = 0.5;
/// Ids of one short sound between pads, to try a graph with.
const TRIAL: [i64; 3] = [0, 43, 0];

#[derive(Debug)]
pub(super) struct Graph {
    session: Session,
    tokens: &'static str,
    /// Exports of v1.1 take whole speeds alone.
    speed: TensorElementType,
    styles: Arc<Styles>,
}

impl Graph {
    pub(super) fn load(
        config: &KokoroConfig,
        (library, device): (&Path, Device),
        styles: Arc<Styles>,
    ) -> Result<Self, LoadError> {
        let engine = config.name.as_str();
        let session = session::open(engine, &config.model, library, config.room(device))?;
        let wrong = |reason: String| invalid(engine, &config.model, reason);
        let found = onnx::inputs(&session).join(", ");
        let names = ["input_ids", "tokens"];
        let tokens = names.into_iter().find(|name| session::input(&session, name).is_some());
        let (Some(tokens), Some(style), Some(speed)) =
            (tokens, session::input(&session, "style"), session::input(&session, "speed"))
        else {
            return Err(wrong(format!(
                "it has not the inputs `input_ids` or `tokens`, `style` and `speed`, so it is no Kokoro; it has {found}"
            )));
        };
        if style != TensorElementType::Float32
            || session::input(&session, tokens) != Some(TensorElementType::Int64)
        {
            return Err(wrong(
                "its `style` is not in 32-bit floats, or its tokens are not in 64-bit integers".into(),
            ));
        }
        let mut graph = Self { session, tokens, speed, styles };
        let options = RunOptions::new().map_err(|error| wrong(error.to_string()))?;
        graph.speak(&TRIAL, Manner { voice: 0, speed: 1.0 }, &options).map_err(wrong)?;
        Ok(graph)
    }

    fn speed(&self, speed: f32) -> Result<SessionInputValue<'static>, String> {
        let speed = speed.max(SLOWEST);
        #[expect(clippy::cast_possible_truncation, reason = "between 1 and 4")]
        let whole = speed.round().max(1.0) as i32;
        let value: SessionInputValue<'static> = match self.speed {
            TensorElementType::Float32 => Tensor::from_array(([1], vec![speed])).map(Into::into),
            TensorElementType::Float64 => Tensor::from_array(([1], vec![f64::from(speed)])).map(Into::into),
            TensorElementType::Int32 => Tensor::from_array(([1], vec![whole])).map(Into::into),
            TensorElementType::Int64 => Tensor::from_array(([1], vec![i64::from(whole)])).map(Into::into),
            other => return Err(format!("its `speed` is of the type {other}")),
        }
        .map_err(|error| error.to_string())?;
        Ok(value)
    }
}

impl VoiceGraph for Graph {
    fn speak(&mut self, ids: &[i64], manner: Manner, stop: &RunOptions) -> Result<Sound, String> {
        let text = |error: ort::Error| error.to_string();
        let style = self.styles.row(manner.voice, ids.len().saturating_sub(TRIAL.len() - 1)).to_vec();
        let inputs: Vec<(&str, SessionInputValue<'_>)> = vec![
            (self.tokens, Tensor::from_array(([1, ids.len()], ids.to_vec())).map_err(text)?.into()),
            ("style", Tensor::from_array(([1, STYLE], style)).map_err(text)?.into()),
            ("speed", self.speed(manner.speed)?),
        ];
        session::run(&mut self.session, inputs, stop)
    }
}
