//! Opens a graph, checks what it takes, and runs it.

use std::path::Path;

use ort::session::builder::GraphOptimizationLevel;
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{TensorElementType, ValueType};

use super::Sound;
use crate::backend::LoadError;
use crate::backend::onnx_llm::environment::environment;

/// A graph with one thread.
pub(in crate::backend) fn open(engine: &str, path: &Path, library: &Path) -> Result<Session, LoadError> {
    std::fs::metadata(path).map_err(|error| super::files::missing(engine, path, &error))?;
    let environment = environment(library).map_err(|reason| LoadError::Dependency {
        engine: engine.to_owned(),
        what: format!("ONNX Runtime's library {}", library.display()),
        reason,
        next_step: "Run `scripts/setup` to install it, or set `engines.onnxruntime`".into(),
    })?;
    build(&environment, path).map_err(|error| super::files::invalid(engine, path, error.to_string()))
}

fn build(environment: &ort::environment::Environment, path: &Path) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        // Patterns are remembered for each shape, and every text has another.
        .with_memory_pattern(false)?
        .commit_from_file(path)
}

/// What an input takes; `None` where there is no such input.
pub(in crate::backend) fn input(session: &Session, name: &str) -> Option<TensorElementType> {
    let found = session.inputs().iter().find(|input| input.name() == name)?;
    match found.dtype() {
        ValueType::Tensor { ty, .. } => Some(*ty),
        _ => None,
    }
}

/// The names of its inputs, for errors.
pub(in crate::backend) fn inputs(session: &Session) -> Vec<&str> {
    session.inputs().iter().map(ort::value::Outlet::name).collect()
}

/// Runs the graph: audio comes first, lengths of ids second where it tells them.
pub(in crate::backend) fn run(
    session: &mut Session,
    inputs: Vec<(&str, SessionInputValue<'_>)>,
    stop: &RunOptions,
) -> Result<Sound, String> {
    let outputs = session.run_with_options(inputs, stop).map_err(|error| error.to_string())?;
    let mut values = outputs.values();
    let audio = values.next().ok_or("it has no output")?;
    let (_, samples) = audio.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
    if samples.iter().any(|sample| !sample.is_finite()) {
        return Err("its audio holds what is no number".into());
    }
    let samples = samples.to_vec();
    let lengths = values.next().map(|value| {
        let floats = value.try_extract_tensor::<f32>().map(|(_, lengths)| lengths.to_vec());
        #[expect(clippy::cast_precision_loss, reason = "frames of a phoneme")]
        let whole =
            || value.try_extract_tensor::<i64>().map(|(_, all)| all.iter().map(|n| *n as f32).collect());
        floats.or_else(|_| whole()).unwrap_or_default()
    });
    Ok(Sound { samples, lengths: lengths.unwrap_or_default() })
}
