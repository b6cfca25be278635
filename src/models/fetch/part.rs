//! A file that is being downloaded: its bytes so far, their hash, and which version of the file they are of.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::digest::{Sha256Hex, feed};
use super::super::store::{StoreError, write_whole};

/// Which version of the file the bytes are of.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Version {
    /// The tag of the server that sends the bytes.
    pub(super) tag: Option<String>,
    /// The tag that the hub told of.
    pub(super) linked_tag: Option<String>,
    /// Bytes of the whole file.
    pub(super) total: Option<u64>,
}

/// A file that grows.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    length: u64,
    version: Version,
}

impl Part {
    /// Opens what there is of it. Bytes of which no version is known are dropped.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(StoreError::io("make the folder", folder))?;
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let file = file.map_err(StoreError::io("open", path))?;
        let version = fs::read_to_string(version_path(path)).ok().and_then(|text| toml::from_str(&text).ok());
        let mut part = Self {
            path: path.to_owned(),
            file,
            hasher: Sha256::new(),
            length: 0,
            version: Version::default(),
        };
        match version {
            Some(version) => {
                part.version = version;
                let fed = feed(&mut part.hasher, &mut part.file, &mut |_| {});
                part.length = fed.map_err(StoreError::io("read", path))?;
            }
            None => part.restart(Version::default())?,
        }
        Ok(part)
    }

    /// Bytes that there are.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Which version they are of.
    pub(super) fn version(&self) -> &Version {
        &self.version
    }

    /// Where they lie.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins anew with this version.
    pub(super) fn restart(&mut self, version: Version) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(StoreError::io("write", &self.path))?;
        self.file.seek(SeekFrom::Start(0)).map_err(StoreError::io("write", &self.path))?;
        (self.hasher, self.length) = (Sha256::new(), 0);
        self.version = version;
        let text = toml::to_string(&self.version).unwrap_or_default();
        write_whole(&version_path(&self.path), &text)
    }

    /// Adds bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(StoreError::io("write", &self.path))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// The hash of what there is.
    pub(super) fn digest(&self) -> Sha256Hex {
        Sha256Hex::of(self.hasher.clone())
    }

    /// Forgets it.
    pub(super) fn remove(self) {
        fs::remove_file(&self.path).ok();
        fs::remove_file(version_path(&self.path)).ok();
    }
}

fn version_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".version");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_goes_on_where_it_stopped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/f.part");
        let version = Version { tag: Some("\"1\"".into()), linked_tag: None, total: Some(3) };
        let mut part = Part::open(&path).expect("writable");
        part.restart(version.clone()).expect("writable");
        part.append(b"ab").expect("writable");
        drop(part);
        let mut part = Part::open(&path).expect("readable");
        assert_eq!((part.length(), part.version()), (2, &version));
        part.append(b"c").expect("writable");
        assert!(part.digest().as_str().starts_with("ba7816bf"), "the digest of abc");
        part.remove();
        assert_eq!(std::fs::read_dir(folder.path().join("deep")).expect("there").count(), 0);
    }

    #[test]
    fn bytes_of_an_unknown_version_are_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f.part");
        std::fs::write(&path, "whatever").expect("writable");
        assert_eq!(Part::open(&path).expect("readable").length(), 0);
    }
}
