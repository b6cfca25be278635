//! Room on the disk, asked for before bytes are.

use std::io;
use std::path::Path;

use super::FetchError;

/// How many bytes a file system has for us; tests put another function in its place.
pub(super) type Free = fn(&Path) -> io::Result<u64>;

/// Bytes free at the nearest folder that there is.
pub(super) fn free(dir: &Path) -> io::Result<u64> {
    let nearest = dir.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let stat = nix::sys::statvfs::statvfs(nearest)?;
    #[expect(clippy::useless_conversion, reason = "both are 32 bits wide on some systems")]
    Ok(u64::from(stat.blocks_available()) * u64::from(stat.fragment_size()))
}

/// Fails where `needed` bytes do not fit. A file system that cannot say how much it has is taken as having room.
pub(super) fn check(ask: Free, dir: &Path, needed: u64) -> Result<(), FetchError> {
    match ask(dir) {
        Ok(free) if free < needed => Err(FetchError::DiskFull { dir: dir.to_owned(), needed, free }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_has_the_room_of_its_parent() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(free(&folder.path().join("not/yet")).expect("it is asked for") > 0);
    }

    #[test]
    fn what_does_not_fit_is_told_with_both_numbers() {
        let error = check(|_| Ok(5_000_000), Path::new("/models"), 7_500_000).expect_err("too much");
        let text = error.to_string();
        assert!(text.starts_with("/models has 5.0 MB free, and 7.5 MB are needed"), "{text}");
        assert!(check(|_| Ok(8), Path::new("/models"), 8).is_ok());
        assert!(check(|_| Err(io::ErrorKind::Unsupported.into()), Path::new("/models"), 8).is_ok());
    }
}
