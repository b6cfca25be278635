//! Moonshine beside its bare graphs called in a loop, for audio of several lengths.

use std::path::{Path, PathBuf};

use antiphon::backend::guards::GuardsConfig;
use antiphon::backend::moonshine::{MoonshineConfig, MoonshineEngine};
use antiphon::backend::onnx_environment;
use antiphon::telemetry::machine;
use anyhow::{Context, Result};
use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynTensor, DynValue, Tensor};
use tokio::time::Instant;

use super::{Spent, hear_tokens, resident_mib, sound};

/// Lengths of audio, in seconds.
const LENGTHS: [usize; 3] = [1, 3, 10];
/// What the backend lets a model write: 4 tokens and 6.5 a second.
const SPARE_TOKENS: usize = 4;
const START: i64 = 1;
const END: usize = 2;

/// Both graphs of a folder, in each of `variants` (`""`, `_quantized`), `rounds` calls of each length.
pub(super) async fn costs(folder: &Path, rounds: u32) -> Result<()> {
    println!("Moonshine, one thread. CPU and wall time of a call; memory after load and at work");
    println!(
        "variant seconds tokens | backend: CPU s, RTF, wall s, MiB | bare: CPU s, RTF, wall s, MiB | CPU ratio"
    );
    for variant in ["", "_quantized"] {
        let file = |stem: &str| PathBuf::from(format!("onnx/{stem}{variant}.onnx"));
        let (encoder, decoder) = (file("encoder_model"), file("decoder_model_merged"));
        if !folder.join(&encoder).exists() {
            continue;
        }
        for seconds in LENGTHS {
            let graphs = (encoder.clone(), decoder.clone());
            let (ours, tokens) = backend(folder, graphs, seconds, rounds).await?;
            let (bare, written) = bare((&folder.join(&encoder), &folder.join(&decoder)), seconds, rounds)?;
            anyhow::ensure!(tokens == written, "{tokens} tokens here, {written} there");
            let name = if variant.is_empty() { "32 bits" } else { "8 bits" };
            let (ratio, ours, bare) = (ours.cpu_s() / bare.cpu_s(), ours.of(seconds), bare.of(seconds));
            println!("{name} {seconds} {tokens} | {ours} | {bare} | {ratio:.3}");
        }
    }
    Ok(())
}

async fn backend(
    folder: &Path,
    (encoder, decoder): (PathBuf, PathBuf),
    seconds: usize,
    rounds: u32,
) -> Result<(Spent, usize)> {
    let guards = GuardsConfig { repeats: 0, min_voice_ms: 0, ..GuardsConfig::default() };
    let (encoder, decoder) = (Some(encoder), Some(decoder));
    let config = MoonshineConfig {
        model: folder.into(),
        slots: 1,
        encoder,
        decoder,
        guards,
        ..MoonshineConfig::default()
    };
    let before = resident_mib();
    let engine = MoonshineEngine::load(&config, &library())?;
    let mut spent = Spent { loaded_mib: resident_mib() - before, ..Spent::default() };
    let mut tokens = 0;
    for _ in 0..rounds {
        let begin = (Instant::now(), machine::cpu_time());
        tokens = hear_tokens(&engine, sound(seconds)).await?;
        spent.add(begin);
    }
    spent.working_mib = resident_mib() - before - spent.loaded_mib;
    Ok((spent, tokens))
}

fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/onnxruntime/libonnxruntime.so")
}

fn bare((encoder, decoder): (&Path, &Path), seconds: usize, rounds: u32) -> Result<(Spent, usize)> {
    let before = resident_mib();
    let (mut encoder, mut decoder) = (open(encoder)?, open(decoder)?);
    let mut spent = Spent { loaded_mib: resident_mib() - before, ..Spent::default() };
    let mut written = 0;
    for _ in 0..rounds {
        let begin = (Instant::now(), machine::cpu_time());
        written = bare_call(&mut encoder, &mut decoder, seconds)?;
        spent.add(begin);
    }
    spent.working_mib = resident_mib() - before - spent.loaded_mib;
    Ok((spent, written))
}

fn open(graph: &Path) -> Result<Session> {
    let environment = onnx_environment(&library()).map_err(anyhow::Error::msg)?;
    session(&environment, graph).map_err(|error| anyhow::anyhow!("{}: {error}", graph.display()))
}

/// With the backend's options.
fn session(environment: &Environment, graph: &Path) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_memory_pattern(false)?
        .commit_from_file(graph)
}

/// The tokens that are written, without the end.
fn bare_call(encoder: &mut Session, decoder: &mut Session, seconds: usize) -> Result<usize> {
    let audio = Tensor::from_array(([1, 16_000 * seconds], sound(seconds)))?;
    let heard =
        encoder.run(ort::inputs!["input_values" => audio])?.remove("last_hidden_state").context("nothing")?;
    let pasts: Vec<(String, [i64; 4])> = decoder.inputs().iter().filter_map(past).collect();
    let empty = |shape: &[i64; 4]| -> Result<DynValue> {
        let kind = ort::value::TensorElementType::Float32;
        Ok(DynTensor::new(decoder.allocator(), kind, shape.to_vec())?.into_dyn())
    };
    let mut cache = pasts.iter().map(|(_, shape)| empty(shape)).collect::<Result<Vec<_>>>()?;
    let (mut token, mut written) = (START, 0);
    for step in 0..SPARE_TOKENS + seconds * 13 / 2 {
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = vec![
            ("input_ids", Tensor::from_array(([1usize, 1], vec![token]))?.into()),
            ("use_cache_branch", Tensor::from_array(([1usize], vec![step > 0]))?.into()),
            ("encoder_hidden_states", (&heard).into()),
        ];
        inputs.extend(pasts.iter().zip(&cache).map(|((name, _), value)| (name.as_str(), value.into())));
        let mut outputs = decoder.run(inputs)?;
        let best = {
            let (_, logits) = outputs["logits"].try_extract_tensor::<f32>()?;
            logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).context("no logits")?.0
        };
        for ((name, _), value) in pasts.iter().zip(&mut cache) {
            if step == 0 || name.contains(".decoder.") {
                *value = outputs.remove(name.replace("past_key_values", "present")).context("no cache")?;
            }
        }
        if best == END {
            break;
        }
        (token, written) = (i64::try_from(best)?, written + 1);
    }
    Ok(written)
}

fn past(input: &ort::value::Outlet) -> Option<(String, [i64; 4])> {
    let shape = input.dtype().tensor_shape().filter(|_| input.name().starts_with("past_key_values."))?;
    Some((input.name().to_owned(), [1, shape[1], 0, shape[3]]))
}
