//! L2: where snapshots of sessions are kept, so that a cut connection or a killed server loses no conversation.
//!
//! A snapshot is a set of named parts whose content this layer does not read; a session writes the parts that
//! changed. [`SnapshotStore`] is the way in; `sqlite` (embedded, the default) and `memory` are behind it, and the
//! operations fit a hash per session in Redis too. Nothing here knows what a session is, the wire, or an engine.

mod change;
mod config;
mod error;
mod memory;
mod pending;
mod sqlite;
mod status;

pub use change::{Begin, Change, Keep, Part, TokenHash};
pub use config::{StoreConfig, StoreKind};
pub use error::StoreError;
pub use memory::MemoryStore;
pub use pending::PENDING_BYTES_CAPACITY;
pub use sqlite::{COMMANDS_CAPACITY, SqliteStore};
pub use status::StoreStatus;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

/// What comes later: a session never waits in its own task for the disk.
pub type Answer<T> = BoxFuture<'static, Result<T, StoreError>>;

/// The session that a token opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub session: String,
    /// Whose it is; empty for nobody's.
    pub owner: String,
}

/// A snapshot as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Which session, and whose.
    pub found: Found,
    /// Its parts by name.
    pub parts: BTreeMap<String, Vec<u8>>,
}

/// What was not taken in: too much waits for the disk already. The snapshot must be begun anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTaken;

/// Keeps snapshots. Times are milliseconds since 1970.
pub trait SnapshotStore: fmt::Debug + Send + Sync {
    /// Takes in what changed of a session; never waits, and later changes overtake earlier ones that were not
    /// written yet. A change of a session that is not kept (any more) and does not begin it has no effect.
    fn save(&self, session: &str, change: Change) -> Result<(), NotTaken>;

    /// The session that this token opens at `now_ms`. Nothing changes by it.
    fn find(&self, token: TokenHash, now_ms: u64) -> Answer<Option<Found>>;

    /// Gives the session that this token opens, with all that was saved before, and gives it the token `next`.
    /// The old one stays good until [`Change::confirmed`].
    fn claim(&self, token: TokenHash, next: TokenHash, now_ms: u64) -> Answer<Option<Stored>>;

    /// Forgets a session.
    fn delete(&self, session: &str);

    /// Forgets what has expired by `now_ms` and what is over the bounds: ended sessions first, soonest to expire
    /// first.
    fn expire(&self, now_ms: u64);

    /// Ready when everything saved before is written.
    fn flush(&self) -> Answer<()>;

    /// What it holds and how it is.
    fn status(&self) -> StoreStatus;
}

/// Opens the store that is configured; `None` if it is off. Sessions that were open when the last server on it
/// ended may be resumed for `grace` from now on.
pub fn open(
    config: &StoreConfig,
    grace: Duration,
    now_ms: u64,
) -> Result<Option<Arc<dyn SnapshotStore>>, StoreError> {
    Ok(match config.kind {
        StoreKind::Off => None,
        StoreKind::Memory => Some(Arc::new(MemoryStore::new(config))),
        StoreKind::Sqlite => Some(Arc::new(SqliteStore::open(config, grace, now_ms)?)),
    })
}

#[cfg(test)]
mod tests;
