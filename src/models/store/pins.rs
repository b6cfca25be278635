//! Checksums of files of which the catalogue knows none: trusted when they are pulled first, held to from then on.

use std::collections::BTreeMap;
use std::io;

use super::{Lock, Sha256Hex, Store, StoreError, write_whole};

/// Checksums by where a file comes from.
#[derive(Debug)]
pub(in super::super) struct Pins {
    store: Store,
}

/// Said above the checksums.
const HEADER: &str = "# Checksums of files of which the catalogue knows none, as they were when they were pulled \
                      first. A file that differs later is refused; remove its line to trust it anew.\n";

impl Pins {
    pub(in super::super) fn of(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    /// The checksum that the file from `origin` had.
    pub(in super::super) fn get(&self, origin: &str) -> Result<Option<Sha256Hex>, StoreError> {
        Ok(self.read()?.remove(origin))
    }

    /// Remembers it. Other processes that do so at the same time lose nothing.
    pub(in super::super) fn set(&self, origin: &str, digest: &Sha256Hex) -> Result<(), StoreError> {
        // No model has this name: it begins with a dot.
        let lock = Lock::wait(&self.store, ".pins")?;
        let mut pins = self.read()?;
        pins.insert(origin.to_owned(), digest.clone());
        let text = toml::to_string(&pins).unwrap_or_default();
        let written = write_whole(&self.path(), &format!("{HEADER}{text}"));
        drop(lock);
        written
    }

    fn path(&self) -> std::path::PathBuf {
        self.store.dir().join(".pins.toml")
    }

    fn read(&self) -> Result<BTreeMap<String, Sha256Hex>, StoreError> {
        let path = self.path();
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let damaged =
                    |error: toml::de::Error| StoreError::Damaged { path, reason: error.to_string() };
                toml::from_str(&text).map_err(damaged)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(StoreError::Io { what: "read", path, source: error }),
        }
    }
}
