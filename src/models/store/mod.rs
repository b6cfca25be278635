//! The store: the models on disk. Knows no network.
//!
//! ```text
//! DIR/NAME/…            a model's files, as its engine wants them
//! DIR/NAME/.model.toml  what was installed: files, sizes, checksums, sources
//! DIR/.parts/NAME/…     downloads that are not whole yet, in the same file system
//! DIR/.locks/NAME       held while a model is pulled or removed
//! DIR/.pins.toml        checksums of files of which the catalogue knows none, from their first pull
//! ```
//!
//! A file is moved into `DIR/NAME` when its checksum fits, and `.model.toml` is written when all are there: what has
//! one is whole, but for what happens to the files later, which [`Store::verify`] finds.

mod files;
mod lock;
mod pins;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::catalogue::Kind;
use super::digest::Sha256Hex;

pub(super) use files::{move_into_place, write_whole};
pub(super) use lock::Lock;
pub(super) use pins::Pins;

/// What says that a model is installed.
const RECORD: &str = ".model.toml";

/// The models on disk.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// A model that is installed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// What an engine's `model` names within the folder; empty for the folder.
    pub main: String,
    /// Its licence.
    pub licence: String,
    /// Its files.
    pub files: Vec<InstalledFile>,
}

/// A file that is installed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct InstalledFile {
    /// Where it lies in the model's folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its checksum.
    pub sha256: Sha256Hex,
    /// Where it came from.
    pub source: String,
}

/// How a model stands in the store, by the sizes of its files.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It is not installed.
    Absent,
    /// It is, and this file is missing or of another size.
    Broken(PathBuf),
    /// It is installed.
    Whole(Installed),
}

/// What is wrong with a file of an installed model.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Damage {
    /// It cannot be read.
    #[error("{path} cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// It has other content.
    #[error("{path} has the checksum {found} and should have {expected}")]
    Changed {
        /// The file.
        path: String,
        /// What it has.
        found: Sha256Hex,
        /// What it had when it was installed.
        expected: Sha256Hex,
    },
}

/// The store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was done.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the store says what it cannot say.
    #[error("{} is damaged: {reason}; remove it and pull again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
}

impl StoreError {
    /// For `map_err`.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }

    /// Whether the file system is full.
    pub(super) fn is_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Self::Io { source, .. } if full.contains(&source.kind()))
    }
}

impl Store {
    /// The store in this folder, which need not be there yet.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A model's folder.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where a model's downloads lie that are not whole yet.
    pub(super) fn parts(&self, name: &str) -> PathBuf {
        self.dir.join(".parts").join(name)
    }

    /// How a model stands. Looks at sizes alone.
    pub fn installed(&self, name: &str) -> State {
        let folder = self.folder(name);
        let Some(installed) = self.record(name) else { return State::Absent };
        let is_there = |file: &&InstalledFile| {
            folder.join(&file.path).metadata().is_ok_and(|meta| meta.is_file() && meta.len() == file.bytes)
        };
        match installed.files.iter().find(|file| !is_there(file)) {
            Some(file) => State::Broken(folder.join(&file.path)),
            None => State::Whole(installed),
        }
    }

    /// What was installed under this name.
    pub fn record(&self, name: &str) -> Option<Installed> {
        toml::from_str(&std::fs::read_to_string(self.folder(name).join(RECORD)).ok()?).ok()
    }

    /// Every model that is installed, by name.
    pub fn all(&self) -> Vec<Installed> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut all: Vec<Installed> = names.filter_map(|name| self.record(&name)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Says that all files of a model are in place.
    pub(super) fn write_record(&self, installed: &Installed) -> Result<(), StoreError> {
        let path = self.folder(&installed.name).join(RECORD);
        write_whole(&path, &toml::to_string(installed).unwrap_or_default())
    }

    /// Hashes every file of an installed model. `seen` hears how many bytes were read each time.
    pub fn verify(&self, installed: &Installed, mut seen: impl FnMut(u64)) -> Vec<Damage> {
        let folder = self.folder(&installed.name);
        let mut check = |file: &InstalledFile| match Sha256Hex::of_file(&folder.join(&file.path), &mut seen) {
            Ok(found) if found == file.sha256 => None,
            Ok(found) => {
                Some(Damage::Changed { path: file.path.clone(), found, expected: file.sha256.clone() })
            }
            Err(error) => Some(Damage::Unreadable { path: file.path.clone(), reason: error.to_string() }),
        };
        installed.files.iter().filter_map(&mut check).collect()
    }

    /// Removes a model and what was downloaded of it. Says whether there was anything. Blocks while it is pulled.
    pub fn remove(&self, name: &str) -> Result<bool, StoreError> {
        let folders = [self.folder(name), self.parts(name)];
        if !folders.iter().any(|folder| folder.exists()) {
            return Ok(false);
        }
        let lock = Lock::wait(self, name)?;
        for folder in folders.iter().filter(|folder| folder.exists()) {
            std::fs::remove_dir_all(folder).map_err(StoreError::io("remove", folder))?;
        }
        drop(lock);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
