//! What the process says to its server: one message at a time, whole.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::process::frames;
use crate::backend::process::wire::FromEngine;

/// The way to the server. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Voice(Arc<Mutex<File>>);

impl Voice {
    /// Takes standard output for itself; what is printed there from now on goes to standard error.
    pub(super) fn claim_stdout() -> io::Result<Self> {
        let own = io::stdout().as_fd().try_clone_to_owned()?;
        nix::unistd::dup2_stdout(io::stderr())?;
        Ok(Self(Arc::new(Mutex::new(own.into()))))
    }

    /// Says something. Where the server has gone there is nobody to hear it; the end of the input tells that.
    pub(super) fn say(&self, message: &FromEngine) {
        let mut pipe = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = frames::write(&mut *pipe, message) {
            tracing::debug!(%error, "the server does not hear");
        }
    }
}
