//! ONNX Runtime's shared library and its environment, once a process: the runtime allows no second. It holds no
//! state of a session or a model.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;

/// The environment and the library that it came from.
static ENVIRONMENT: Mutex<Option<(Environment, PathBuf)>> = Mutex::new(None);

/// The environment of `library`. The error says what is wrong with it; another library may be tried after one.
pub fn environment(library: &Path) -> Result<Environment, String> {
    let mut current = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    let library = std::path::absolute(library).map_err(|error| error.to_string())?;
    if let Some((environment, loaded)) = &*current {
        if *loaded != library {
            let (loaded, library) = (loaded.display(), library.display());
            tracing::warn!(%loaded, %library, "ONNX Runtime is loaded already; the second library is not used");
        }
        return Ok(environment.clone());
    }
    // Without this, ort panics on its first use.
    if let Err(error) = std::fs::metadata(&library) {
        return Err(error.to_string());
    }
    let builder = ort::init_from(&library).map_err(|error| error.to_string())?;
    let environment =
        builder.with_name("antiphon").with_telemetry(false).build().map_err(|error| error.to_string())?;
    *current = Some((environment.clone(), library));
    Ok(environment)
}
