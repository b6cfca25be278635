//! Runs of the graph: the next frame of each session that has one, all in one batch.

use std::sync::Arc;

use ort::session::Session;
use ort::value::Tensor;

use crate::engine::Device;
use crate::engine::compute::ComputeGate;
use crate::engine::stt::STT_SAMPLE_RATE;

/// Samples a frame: 32 ms at 16 kHz.
pub(super) const FRAME: usize = 512;
/// Samples of the frame before that the graph is given too.
const CONTEXT: usize = 64;
/// Numbers of each of the two layers of a state.
const WIDTH: usize = 128;
const LAYERS: usize = 2;

/// What the graph remembers of one stream.
#[derive(Debug)]
pub(super) struct Memory {
    context: [f32; CONTEXT],
    state: Box<[[f32; WIDTH]; LAYERS]>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { context: [0.0; CONTEXT], state: Box::new([[0.0; WIDTH]; LAYERS]) }
    }
}

/// The graph.
#[derive(Debug)]
pub(super) struct Judge {
    session: Session,
    device: Device,
    gate: Arc<dyn ComputeGate>,
}

impl Judge {
    pub(super) fn new(session: Session, device: Device, gate: Arc<dyn ComputeGate>) -> Self {
        Self { session, device, gate }
    }

    /// The probability of speech in each whole frame of each stream; streams may have different numbers of frames.
    pub(super) fn judge(&mut self, streams: &mut [(&mut Memory, &[f32])]) -> Result<Vec<Vec<f32>>, String> {
        let mut judged = vec![Vec::new(); streams.len()];
        let longest = streams.iter().map(|(_, samples)| samples.len() / FRAME).max().unwrap_or(0);
        for step in 0..longest {
            let next = streams.iter_mut().enumerate();
            let mut active: Vec<_> = next
                .filter_map(|(index, (memory, samples))| {
                    Some((index, &mut **memory, samples.get(step * FRAME..(step + 1) * FRAME)?))
                })
                .collect();
            let probabilities = self.step(&mut active)?;
            for ((index, ..), probability) in active.iter().zip(probabilities) {
                judged[*index].push(probability);
            }
        }
        Ok(judged)
    }

    fn step(&mut self, active: &mut [(usize, &mut Memory, &[f32])]) -> Result<Vec<f32>, String> {
        let text = |error: ort::Error| error.to_string();
        let batch = active.len();
        let mut input = Vec::with_capacity(batch * (CONTEXT + FRAME));
        for (_, memory, frame) in active.iter() {
            input.extend_from_slice(&memory.context);
            input.extend_from_slice(frame);
        }
        let layers =
            (0..LAYERS).flat_map(|layer| active.iter().flat_map(move |(_, memory, _)| memory.state[layer]));
        let input = Tensor::from_array(([batch, CONTEXT + FRAME], input)).map_err(text)?;
        let state =
            Tensor::from_array(([LAYERS, batch, WIDTH], layers.collect::<Vec<f32>>())).map_err(text)?;
        let rate = Tensor::from_array((Vec::<i64>::new(), vec![i64::from(STT_SAMPLE_RATE)])).map_err(text)?;
        let _permit = self.gate.enter(self.device, true);
        let inputs = ort::inputs!["input" => input, "state" => state, "sr" => rate];
        let outputs = self.session.run(inputs).map_err(text)?;
        let output = |name: &str, length: usize| {
            let tensor = outputs.get(name).ok_or_else(|| format!("it has no output `{name}`"))?;
            let (_, values) = tensor.try_extract_tensor::<f32>().map_err(text)?;
            let is_whole = values.len() == length && values.iter().all(|value| value.is_finite());
            is_whole
                .then(|| values.to_vec())
                .ok_or_else(|| format!("its output `{name}` is not {length} numbers"))
        };
        let (probabilities, states) = (output("output", batch)?, output("stateN", LAYERS * batch * WIDTH)?);
        for (at, (_, memory, frame)) in active.iter_mut().enumerate() {
            for (layer, numbers) in memory.state.iter_mut().enumerate() {
                let from = (layer * batch + at) * WIDTH;
                numbers.copy_from_slice(&states[from..from + WIDTH]);
            }
            memory.context.copy_from_slice(&frame[FRAME - CONTEXT..]);
        }
        Ok(probabilities.into_iter().map(|probability| probability.clamp(0.0, 1.0)).collect())
    }
}
