//! Files that are whole or not there: written aside, made durable, renamed.

use std::fs::{self, File};
use std::path::Path;

use super::StoreError;

/// Moves a file that is whole to `target`, which is in the same file system. When it returns, a power cut takes
/// nothing away.
pub(in super::super) fn move_into_place(from: &Path, target: &Path) -> Result<(), StoreError> {
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(StoreError::io("make the folder", folder))?;
    File::open(from).and_then(|file| file.sync_all()).map_err(StoreError::io("write", from))?;
    fs::rename(from, target).map_err(StoreError::io("move a file to", target))?;
    File::open(folder).and_then(|file| file.sync_all()).map_err(StoreError::io("write", folder))
}

/// Writes a small file whole.
pub(in super::super) fn write_whole(path: &Path, text: &str) -> Result<(), StoreError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(StoreError::io("make the folder", folder))?;
    }
    let aside = path.with_extension("new");
    fs::write(&aside, text).map_err(StoreError::io("write", &aside))?;
    move_into_place(&aside, path)
}
