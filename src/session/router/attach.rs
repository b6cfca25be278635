//! How a second socket is attached to a session that runs.

use thiserror::Error;

use super::{NotFound, Owner, SessionRouter};
use crate::session::id::SessionId;
use crate::session::sideband::{SIDEBANDS_MAX, Sideband};

/// Why a sideband was not attached.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AttachError {
    /// No such session of this owner.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// It has as many as it may.
    #[error("The session has {SIDEBANDS_MAX} sideband sockets, its limit. Close one first.")]
    TooMany,
}

impl SessionRouter {
    /// Attaches a sideband to a session of this owner.
    pub async fn attach(&self, id: &SessionId, owner: &Owner) -> Result<Sideband, AttachError> {
        let (taps, commands) = {
            let open = self.lock();
            let entry = open.get(id).filter(|entry| entry.owner == *owner).ok_or(NotFound)?;
            (entry.outbox.taps().clone(), entry.commands.clone())
        };
        let sideband = taps.add(commands).ok_or(AttachError::TooMany)?;
        sideband.commands().attach().await.map_err(|_| NotFound)?;
        Ok(sideband)
    }
}
