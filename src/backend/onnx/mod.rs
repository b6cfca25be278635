//! ONNX Runtime as all backends use it: its library, once a process, and sessions with one set of options.
//!
//! Knows no model: what a graph takes and gives is its backend's.

mod environment;

use std::path::Path;

use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

pub use self::environment::environment;
use super::LoadError;

/// Opens a graph for an engine with threads of its own: it computes on the thread that runs it. `library` is ONNX
/// Runtime's; `invalid` says what to do about a file that is no graph.
pub(super) fn open(
    engine: &str,
    graph: &Path,
    library: &Path,
    invalid: impl FnOnce(String) -> LoadError,
) -> Result<Session, LoadError> {
    let environment = environment(library).map_err(|reason| LoadError::Dependency {
        engine: engine.to_owned(),
        what: format!("ONNX Runtime's library {}", library.display()),
        reason,
        next_step: "Run `scripts/setup` to install it, or set `engines.onnxruntime`".into(),
    })?;
    build(&environment, graph).map_err(|error| invalid(error.to_string()))
}

/// The names of its inputs, for checks and errors.
pub(super) fn inputs(session: &Session) -> Vec<&str> {
    session.inputs().iter().map(ort::value::Outlet::name).collect()
}

fn build(environment: &ort::environment::Environment, graph: &Path) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        // Patterns are remembered for each shape, and nearly every run has another.
        .with_memory_pattern(false)?
        .commit_from_file(graph)
}
