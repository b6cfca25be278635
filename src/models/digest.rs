//! SHA-256 of files, as 64 hexadecimal digits. Knows nothing of where files come from.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// A SHA-256 in lower-case hexadecimal digits.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Hex(String);

impl Sha256Hex {
    /// The digest of a hasher that has seen everything.
    pub(super) fn of(hasher: Sha256) -> Self {
        Self(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The digest of a file. `seen` hears how many bytes were read each time.
    pub(super) fn of_file(path: &Path, mut seen: impl FnMut(u64)) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        feed(&mut hasher, &mut File::open(path)?, &mut seen)?;
        Ok(Self::of(hasher))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Hashes the rest of `file`.
pub(super) fn feed(hasher: &mut Sha256, file: &mut impl Read, seen: &mut impl FnMut(u64)) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(total);
        }
        hasher.update(&buffer[..read]);
        total += read as u64;
        seen(read as u64);
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(format!("`{text}` is no SHA-256: 64 hexadecimal digits"))
        }
    }
}

impl From<Sha256Hex> for String {
    fn from(digest: Sha256Hex) -> Self {
        digest.0
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_judged_and_lowered() {
        assert_eq!(Sha256Hex::try_from("AB".repeat(32)).map(|d| d.to_string()), Ok("ab".repeat(32)));
        for text in ["", "unverified", &"ag".repeat(32), &"ab".repeat(33)] {
            assert!(Sha256Hex::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_has_the_digest_of_its_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").expect("writable");
        let mut seen = 0;
        let digest = Sha256Hex::of_file(&path, |bytes| seen += bytes).expect("readable");
        // FIPS 180-2, appendix B.1.
        assert_eq!(digest.as_str(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(seen, 3);
    }
}
