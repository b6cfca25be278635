//! Files that Hugging Face's own tools downloaded before. Reads their cache and never writes to it.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::digest::Sha256Hex;
use super::super::store::StoreError;

/// A file of the cache, its links followed.
pub(super) fn find(cache: &Path, (repo, revision): (&str, &str), path: &str) -> Option<PathBuf> {
    let repo = cache.join(format!("models--{}", repo.replace('/', "--")));
    let commit = fs::read_to_string(repo.join("refs").join(revision));
    let commit = commit.map_or_else(|_| revision.to_owned(), |text| text.trim().to_owned());
    let file = repo.join("snapshots").join(commit).join(path).canonicalize().ok()?;
    file.is_file().then_some(file)
}

/// The checksum that the cache itself gives a large file: its name.
pub(super) fn named_digest(file: &Path) -> Option<Sha256Hex> {
    Sha256Hex::try_from(file.file_name()?.to_str()?.to_owned()).ok()
}

/// Puts a file of the cache at `aside` without a second copy: a hard link, or across file systems a symbolic one.
pub(super) fn link(file: &Path, aside: &Path) -> Result<(), StoreError> {
    if let Some(folder) = aside.parent() {
        fs::create_dir_all(folder).map_err(StoreError::io("make the folder", folder))?;
    }
    fs::remove_file(aside).ok();
    let linked = fs::hard_link(file, aside).or_else(|_| std::os::unix::fs::symlink(file, aside));
    linked.map_err(StoreError::io("make a link at", aside))
}
