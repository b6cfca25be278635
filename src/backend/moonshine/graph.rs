//! Both graphs by the contract of the hub's exports: an encoder from `input_values` to `last_hidden_state`, and a
//! decoder with its cache and both of its branches in one graph. Everything is found by name, and attention masks are
//! fed where a graph declares them: newer exports do.

use half::f16;
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{DynTensor, DynValue, Tensor, TensorElementType, ValueType};

use crate::backend::onnx::last_row;

const INPUT: &str = "input_values";
const INPUT_MASK: &str = "attention_mask";
const TOKENS: &str = "input_ids";
const HEARD: &str = "encoder_hidden_states";
const HEARD_MASK: &str = "encoder_attention_mask";
const BRANCH: &str = "use_cache_branch";
const PAST: &str = "past_key_values.";
const PRESENT: &str = "present.";
const HIDDEN: &str = "last_hidden_state";
const LOGITS: &str = "logits";

/// A pair of loaded graphs.
#[derive(Debug)]
pub(super) struct Graphs {
    encoder: Session,
    decoder: Session,
    /// What the encoder takes samples as.
    samples: TensorElementType,
    has_input_mask: bool,
    has_heard_mask: bool,
    cache: Vec<CacheSlot>,
}

/// What the encoder made of a stretch of audio, and what the decoder remembers of it.
#[derive(Debug)]
pub(super) struct Hearing {
    hidden: DynValue,
    positions: usize,
    cache: Vec<DynValue>,
    has_begun: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct CacheSlot {
    past: String,
    present: String,
    /// Keys and values of the audio, which the first step makes once for all.
    is_of_audio: bool,
    shape: [i64; 4],
    kind: TensorElementType,
}

impl Graphs {
    /// Checks that the graphs keep the contract. `sizes` are the heads of a cache and their size, for graphs that leave
    /// them open. The error names the graph that does not: 0 the encoder, 1 the decoder.
    pub(super) fn new(
        encoder: Session,
        decoder: Session,
        sizes: (i64, i64),
    ) -> Result<Self, (usize, String)> {
        let (samples, has_input_mask) = encoder_inputs(&encoder).map_err(|reason| (0, reason))?;
        let (cache, has_heard_mask) = decoder_inputs(&decoder, sizes).map_err(|reason| (1, reason))?;
        Ok(Self { encoder, decoder, samples, has_input_mask, has_heard_mask, cache })
    }

    /// Hears `audio`, 16 kHz. `stop` ends it from another thread.
    pub(super) fn hear(&mut self, audio: &[f32], stop: &RunOptions) -> Result<Hearing, String> {
        let mut inputs = vec![(INPUT, samples(audio, self.samples)?)];
        if self.has_input_mask {
            inputs.push((INPUT_MASK, ones(audio.len())?));
        }
        let mut outputs = self.encoder.run_with_options(inputs, stop).map_err(text)?;
        let hidden = outputs.remove(HIDDEN).ok_or("the encoder gave nothing")?;
        let positions = hidden.dtype().tensor_shape().and_then(|shape| shape.get(1).copied()).unwrap_or(0);
        let positions = usize::try_from(positions).unwrap_or(0);
        if positions == 0 {
            return Err(format!("the encoder made nothing of {} samples", audio.len()));
        }
        let allocator = self.decoder.allocator();
        let empty = |slot: &CacheSlot| {
            let tensor = DynTensor::new(allocator, slot.kind, slot.shape.to_vec());
            tensor.map(|tensor| tensor.into_dyn()).map_err(text)
        };
        let cache = self.cache.iter().map(empty).collect::<Result<_, _>>()?;
        Ok(Hearing { hidden, positions, cache, has_begun: false })
    }

    /// The logits of what follows `token`.
    pub(super) fn step(
        &mut self,
        hearing: &mut Hearing,
        token: u32,
        stop: &RunOptions,
    ) -> Result<Vec<f32>, String> {
        let token = Tensor::from_array(([1usize, 1], vec![i64::from(token)])).map_err(text)?;
        let branch = Tensor::from_array(([1usize], vec![hearing.has_begun])).map_err(text)?;
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> =
            vec![(TOKENS, token.into()), (BRANCH, branch.into()), (HEARD, (&hearing.hidden).into())];
        if self.has_heard_mask {
            inputs.push((HEARD_MASK, ones(hearing.positions)?));
        }
        for (slot, value) in self.cache.iter().zip(&hearing.cache) {
            inputs.push((slot.past.as_str(), value.into()));
        }
        let mut outputs = self.decoder.run_with_options(inputs, stop).map_err(text)?;
        let logits = last_row(outputs.get(LOGITS).ok_or("no logits came out")?)?;
        for (slot, value) in self.cache.iter().zip(&mut hearing.cache) {
            if slot.is_of_audio && hearing.has_begun {
                continue; // the branch with a cache gives nothing for it
            }
            *value = outputs.remove(&slot.present).ok_or("a part of the cache did not come out")?;
        }
        hearing.has_begun = true;
        Ok(logits)
    }
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
            name if name.starts_with(PAST) => cache.push(cache_slot(name, input.dtype(), sizes)?),
            name => return Err(format!("its input `{name}` is not known")),
        }
    }
    if let Some(missing) = [TOKENS, HEARD, BRANCH].into_iter().find(|name| !found.contains(name)) {
        return Err(format!(
            "it has no input `{missing}`; take `decoder_model_merged`, which has both branches"
        ));
    }
    if !cache.iter().any(|slot| slot.is_of_audio) || cache.iter().all(|slot| slot.is_of_audio) {
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

fn cache_slot(name: &str, kind: &ValueType, sizes: (i64, i64)) -> Result<CacheSlot, String> {
    let wrong = || format!("its cache input `{name}` has not the shape batch, heads, tokens, head size");
    let (Some(shape), Some(kind)) = (kind.tensor_shape(), kind.tensor_type()) else { return Err(wrong()) };
    let &[_, heads, _, size] = &shape[..] else { return Err(wrong()) };
    let known = |told: i64, otherwise: i64| if told > 0 { told } else { otherwise };
    let suffix = name.strip_prefix(PAST).unwrap_or_default();
    Ok(CacheSlot {
        past: name.to_owned(),
        present: format!("{PRESENT}{suffix}"),
        is_of_audio: suffix.contains(".encoder."),
        shape: [1, known(heads, sizes.0), 0, known(size, sizes.1)],
        kind,
    })
}

fn samples(audio: &[f32], kind: TensorElementType) -> Result<SessionInputValue<'static>, String> {
    let shape = [1, audio.len()];
    if kind == TensorElementType::Float16 {
        let halves: Vec<f16> = audio.iter().map(|sample| f16::from_f32(*sample)).collect();
        return Ok(Tensor::from_array((shape, halves)).map_err(text)?.into());
    }
    Ok(Tensor::from_array((shape, audio.to_vec())).map_err(text)?.into())
}

fn ones(len: usize) -> Result<SessionInputValue<'static>, String> {
    Ok(Tensor::from_array(([1, len], vec![1i64; len])).map_err(text)?.into())
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn text(error: ort::Error) -> String {
    error.to_string()
}
