//! One process at a time works on a model: a lock that the system lets go of when its holder dies.

use std::fs::{self, File, OpenOptions};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{Store, StoreError};

/// The right to change a model's files, until it is dropped.
#[derive(Debug)]
pub(in super::super) struct Lock {
    _held: Flock<File>,
}

impl Lock {
    /// Takes it, or says that another process has it.
    pub(in super::super) fn try_take(store: &Store, name: &str) -> Result<Option<Self>, StoreError> {
        Self::take(store, name, FlockArg::LockExclusiveNonblock)
    }

    /// Takes it when nobody else has it.
    pub(super) fn wait(store: &Store, name: &str) -> Result<Option<Self>, StoreError> {
        Self::take(store, name, FlockArg::LockExclusive)
    }

    fn take(store: &Store, name: &str, how: FlockArg) -> Result<Option<Self>, StoreError> {
        let folder = store.dir().join(".locks");
        fs::create_dir_all(&folder).map_err(StoreError::io("make the folder", &folder))?;
        let path = folder.join(name);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(StoreError::io("open", &path))?;
        match Flock::lock(file, how) {
            Ok(held) => Ok(Some(Self { _held: held })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(StoreError::Io { what: "lock", path, source: error.into() }),
        }
    }
}
