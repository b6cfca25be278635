//! Both graphs by the contract of the hub's exports: an encoder from `input_values` to `last_hidden_state`, and a
//! decoder with its cache and both of its branches in one graph. Everything is found by name, and attention masks are
//! fed where a graph declares them: newer exports do.
//!
//! What was heard, and what the decoder remembers, stays where it was computed: on a GPU it never leaves it. Logits
//! alone come to the CPU.

use half::f16;
use ort::session::{RunOptions, Session};
use ort::value::{DynValue, TensorElementType};

use crate::backend::onnx::{Binding, CacheSlot, PAST, last_row};
use crate::engine::Device;

const INPUT: &str = "input_values";
const INPUT_MASK: &str = "attention_mask";
const TOKENS: &str = "input_ids";
const HEARD: &str = "encoder_hidden_states";
const HEARD_MASK: &str = "encoder_attention_mask";
const BRANCH: &str = "use_cache_branch";
const HIDDEN: &str = "last_hidden_state";
const LOGITS: &str = "logits";

/// A pair of loaded graphs.
#[derive(Debug)]
pub(super) struct Graphs {
    encoder: Session,
    decoder: Session,
    device: Device,
    /// What the encoder takes samples as.
    samples: TensorElementType,
    has_input_mask: bool,
    has_heard_mask: bool,
    cache: Vec<CacheSlot>,
}

/// What the decoder's next step reads: what the encoder made of a stretch of audio, and what the decoder remembers.
#[derive(Debug)]
pub(super) struct Hearing {
    binding: Binding,
    has_begun: bool,
}

impl Graphs {
    /// Checks that the graphs keep the contract. `device` is where both compute; `sizes` are the heads of a cache and
    /// their size, for graphs that leave them open. The error names the graph that does not: 0 the encoder, 1 the
    /// decoder.
    pub(super) fn new(
        (encoder, decoder): (Session, Session),
        device: Device,
        sizes: (i64, i64),
    ) -> Result<Self, (usize, String)> {
        let (samples, has_input_mask) = encoder_inputs(&encoder).map_err(|reason| (0, reason))?;
        let (cache, has_heard_mask) = decoder_inputs(&decoder, sizes).map_err(|reason| (1, reason))?;
        Ok(Self { encoder, decoder, device, samples, has_input_mask, has_heard_mask, cache })
    }

    /// Hears `audio`, 16 kHz. `stop` ends it from another thread.
    pub(super) fn hear(&mut self, audio: &[f32], stop: &RunOptions) -> Result<Hearing, String> {
        let hidden = self.encode(audio, stop)?;
        let positions = hidden.dtype().tensor_shape().and_then(|shape| shape.get(1).copied()).unwrap_or(0);
        let positions = usize::try_from(positions).unwrap_or(0);
        if positions == 0 {
            return Err(format!("the encoder made nothing of {} samples", audio.len()));
        }
        let mut binding = Binding::new(&self.decoder, self.device)?;
        binding.pass(HEARD, &hidden)?;
        if self.has_heard_mask {
            binding.feed(HEARD_MASK, vec![1, positions], vec![1_i64; positions])?;
        }
        for slot in &self.cache {
            binding.pass(&slot.past, &slot.empty(&self.decoder)?)?;
        }
        Ok(Hearing { binding, has_begun: false })
    }

    fn encode(&mut self, audio: &[f32], stop: &RunOptions) -> Result<DynValue, String> {
        let (mut binding, shape) = (Binding::new(&self.encoder, self.device)?, vec![1, audio.len()]);
        if self.has_input_mask {
            binding.feed(INPUT_MASK, shape.clone(), vec![1_i64; audio.len()])?;
        }
        if self.samples == TensorElementType::Float16 {
            let halves = audio.iter().map(|sample| f16::from_f32(*sample)).collect();
            binding.feed::<f16>(INPUT, shape, halves)?;
        } else {
            binding.feed(INPUT, shape, audio.to_vec())?;
        }
        binding.keep(HIDDEN)?;
        let mut outputs = binding.run(&mut self.encoder, Some(stop))?;
        outputs.remove(HIDDEN).ok_or_else(|| "the encoder gave nothing".to_owned())
    }

    /// The logits of what follows `token`. After an error the hearing is of no more use.
    pub(super) fn step(
        &mut self,
        Hearing { binding, has_begun }: &mut Hearing,
        token: u32,
        stop: &RunOptions,
    ) -> Result<Vec<f32>, String> {
        // The branch with a cache makes nothing of the audio: what the first step made is read by all others.
        let is_first = !*has_begun;
        let made: Vec<&CacheSlot> = self.cache.iter().filter(|slot| is_first || !is_of_audio(slot)).collect();
        binding.feed(TOKENS, vec![1, 1], vec![i64::from(token)])?;
        binding.feed(BRANCH, vec![1], vec![!is_first])?;
        binding.clear_outputs();
        binding.fetch(LOGITS)?;
        made.iter().try_for_each(|slot| binding.keep(&slot.present))?;
        let (logits, values) = {
            let mut outputs = binding.run(&mut self.decoder, Some(stop))?;
            let logits = last_row(outputs.get(LOGITS).ok_or("no logits came out")?)?;
            let present = |slot: &&CacheSlot| {
                outputs.remove(&slot.present).ok_or("a part of the cache did not come out")
            };
            (logits, made.iter().map(present).collect::<Result<Vec<_>, _>>()?)
        };
        made.iter().zip(&values).try_for_each(|(slot, value)| binding.pass(&slot.past, value))?;
        *has_begun = true;
        Ok(logits)
    }
}

/// Keys and values of the audio, which the first step makes once for all.
fn is_of_audio(slot: &CacheSlot) -> bool {
    slot.past.contains(".encoder.")
}

fn encoder_inputs(encoder: &Session) -> Result<(TensorElementType, bool), String> {
    let (mut samples, mut has_mask) = (None, false);
    for input in encoder.inputs() {
        match (input.name(), input.dtype().tensor_type()) {
            (INPUT, Some(kind @ (TensorElementType::Float32 | TensorElementType::Float16))) => {
                samples = Some(kind);
            }
            (INPUT_MASK, _) => has_mask = true,
            (name, kind) => return Err(format!("its input `{name}` ({kind:?}) is not known")),
        }
    }
    outputs(encoder, &[HIDDEN])?;
    let samples = samples.ok_or(format!("it has no input `{INPUT}` for samples"))?;
    Ok((samples, has_mask))
}

fn decoder_inputs(decoder: &Session, sizes: (i64, i64)) -> Result<(Vec<CacheSlot>, bool), String> {
    let (mut cache, mut has_mask, mut found) = (Vec::new(), false, Vec::new());
    for input in decoder.inputs() {
        match input.name() {
            name @ (TOKENS | HEARD | BRANCH) => found.push(name),
            HEARD_MASK => has_mask = true,
            name if name.starts_with(PAST) => {
                cache.push(CacheSlot::new(name, input.dtype(), (Some(sizes.0), Some(sizes.1)))?);
            }
            name => return Err(format!("its input `{name}` is not known")),
        }
    }
    if let Some(missing) = [TOKENS, HEARD, BRANCH].into_iter().find(|name| !found.contains(name)) {
        return Err(format!(
            "it has no input `{missing}`; take `decoder_model_merged`, which has both branches"
        ));
    }
    if !cache.iter().any(is_of_audio) || cache.iter().all(is_of_audio) {
        return Err(format!("it has no cache inputs (`{PAST}*.decoder.*` and `{PAST}*.encoder.*`)"));
    }
    let presents = cache.iter().map(|slot| slot.present.as_str());
    outputs(decoder, &presents.chain([LOGITS]).collect::<Vec<_>>())?;
    Ok((cache, has_mask))
}

fn outputs(session: &Session, needed: &[&str]) -> Result<(), String> {
    let given: Vec<&str> = session.outputs().iter().map(|output| output.name()).collect();
    let missing = needed.iter().find(|name| !given.contains(name));
    missing.map_or(Ok(()), |name| Err(format!("it has no output `{name}`")))
}
