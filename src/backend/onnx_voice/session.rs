//! Opens a graph, checks what it takes, and runs it.

use std::path::Path;

use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{TensorElementType, ValueType};

use super::Sound;
use crate::backend::onnx::Room;
use crate::backend::{LoadError, onnx};

/// Opens the graph of a voice.
pub(in crate::backend) fn open(
    engine: &str,
    path: &Path,
    library: &Path,
    room: Room,
) -> Result<Session, LoadError> {
    std::fs::metadata(path).map_err(|error| super::files::missing(engine, path, &error))?;
    onnx::open(room, engine, path, library, |reason| super::files::invalid(engine, path, reason))
}

/// What an input takes; `None` where there is no such input.
pub(in crate::backend) fn input(session: &Session, name: &str) -> Option<TensorElementType> {
    let found = session.inputs().iter().find(|input| input.name() == name)?;
    match found.dtype() {
        ValueType::Tensor { ty, .. } => Some(*ty),
        _ => None,
    }
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
