//! L5: the composition root: the only module that knows backends, pools, sessions and the server at once.

use crate::config::Config;

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It is not put together yet.
    #[error("the server is not put together yet")]
    NotBuilt,
}

/// Runs the server until it is told to stop.
#[expect(clippy::unused_async, reason = "the server to come waits for connections")]
pub async fn serve(_config: Config) -> Result<(), ServeError> {
    Err(ServeError::NotBuilt)
}
