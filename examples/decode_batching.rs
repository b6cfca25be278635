//! What a language model's decode steps cost batched and interleaved: `cargo run --release --example decode_batching
//! [MODEL_DIR] [CONTEXT]`, with `onnx/model.onnx` or `onnx/model_q4.onnx` and a cache in 32 bits. One thread, as the server runs it; both ways take turns in one run, so that a busy machine
//! slows both.
//!
//! Batched: one step of the graph for N answers. Interleaved: N steps of one answer each. Once with caches of the
//! same length, which is batching's best case; once with lengths from a quarter to seven quarters of CONTEXT, as
//! talks of different age have them: a batch is padded to the longest. What it costs to copy caches together
//! whenever an answer begins or ends is not counted.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor};
use tokio::time::Instant;

const ROUNDS: usize = 60;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "models/starter/llm".to_owned());
    let context: usize = arguments.next().map_or(Ok(300), |text| text.parse())?;
    let library =
        ort::init_from(".cache/onnxruntime/libonnxruntime.so").context("run `scripts/setup` first")?;
    let files = ["model", "model_q4"].map(|name| format!("{model}/onnx/{name}.onnx"));
    let file = files.iter().find(|file| Path::new(file).is_file()).context("no graph there")?;
    let mut session = open(&library.build()?, file).map_err(Error::msg)?;
    let head_size = head_size(Path::new(&model))?;
    println!("{model}, {context} tokens of context, one thread, fastest of {ROUNDS} rounds");
    println!("lengths  answers   batched ms   interleaved ms   batched / interleaved");
    for (kind, spread) in [("equal", false), ("mixed", true)] {
        for answers in [2, 4, 8, 16] {
            let lengths: Vec<usize> = (0..answers)
                .map(|at| if spread { context / 4 + context * 3 / 2 * at / (answers - 1) } else { context })
                .collect();
            let (batched, interleaved) = measure(&mut session, &lengths, head_size)?;
            let ratio = batched.as_secs_f64() / interleaved.as_secs_f64();
            println!("{kind:<7} {answers:>8} {:>12.2} {:>16.2} {ratio:>23.2}", ms(batched), ms(interleaved));
        }
    }
    Ok(())
}

fn open(environment: &Environment, graph: &str) -> Result<Session, String> {
    let builder = Session::builder(environment).map_err(|error| error.to_string())?;
    let builder = builder.with_intra_threads(1).map_err(|error| error.to_string())?;
    let mut builder = builder.with_memory_pattern(false).map_err(|error| error.to_string())?;
    builder.commit_from_file(graph).map_err(|error| error.to_string())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Time to make one token for each of the answers: in one step, and in a step each.
fn measure(session: &mut Session, lengths: &[usize], head_size: usize) -> Result<(Duration, Duration)> {
    let names: Vec<String> = session.inputs().iter().map(|input| input.name().to_owned()).collect();
    let longest = lengths.iter().max().copied().unwrap_or_default();
    let batch = Step::new(session, &names, (lengths.len(), longest, head_size))?;
    let singles: Vec<Step> = lengths
        .iter()
        .map(|length| Step::new(session, &names, (1, *length, head_size)))
        .collect::<Result<_>>()?;
    let (mut batched, mut interleaved) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        batch.run(session)?;
        let middle = Instant::now();
        for single in &singles {
            single.run(session)?;
        }
        batched.push(middle - start);
        interleaved.push(middle.elapsed());
    }
    Ok((fastest(&batched), fastest(&interleaved)))
}

fn fastest(times: &[Duration]) -> Duration {
    // What others on the machine take is not what the step costs.
    times.iter().min().copied().unwrap_or_default()
}

/// The size of a head, for graphs that leave it open.
fn head_size(model: &Path) -> Result<usize> {
    let settings: serde_json::Value = serde_json::from_slice(&std::fs::read(model.join("config.json"))?)?;
    let number = |key: &str| settings[key].as_u64().and_then(|number| usize::try_from(number).ok());
    let by_heads = || Some(number("hidden_size")? / number("num_attention_heads")?.max(1));
    number("head_dim").or_else(by_heads).context("config.json tells no size of a head")
}

/// One decode step for `batch` answers whose caches hold `context` tokens.
struct Step {
    inputs: Vec<(String, DynValue)>,
}

impl Step {
    fn new(
        session: &Session,
        names: &[String],
        (batch, context, head_size): (usize, usize, usize),
    ) -> Result<Self> {
        let mut inputs = Vec::new();
        for (name, input) in names.iter().zip(session.inputs()) {
            let value: DynValue = match name.as_str() {
                "input_ids" => Tensor::from_array(([batch, 1], vec![7_i64; batch]))?.into_dyn(),
                "attention_mask" => {
                    Tensor::from_array(([batch, context + 1], vec![1_i64; batch * (context + 1)]))?.into_dyn()
                }
                "position_ids" => Tensor::from_array(([batch, 1], vec![context as i64; batch]))?.into_dyn(),
                cache => {
                    let shape =
                        input.dtype().tensor_shape().with_context(|| format!("{cache} has no shape"))?;
                    let (heads, size) =
                        (usize::try_from(shape[1])?, usize::try_from(shape[3]).unwrap_or(head_size));
                    let values = vec![0.01_f32; batch * heads * context * size];
                    Tensor::from_array(([batch, heads, context, size], values))?.into_dyn()
                }
            };
            inputs.push((name.clone(), value));
        }
        Ok(Self { inputs })
    }

    fn run(&self, session: &mut Session) -> Result<()> {
        let inputs: Vec<(&str, SessionInputValue<'_>)> =
            self.inputs.iter().map(|(name, value)| (name.as_str(), value.into())).collect();
        session.run(inputs)?;
        Ok(())
    }
}
