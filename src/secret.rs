//! Secrets that come from outside: out of an environment variable, or a file that nobody else may read.
//!
//! Knows nothing of what they open. A secret is a [`SecretString`]: it is not printed, not serialized, and its
//! memory is cleared when it goes.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

/// The longest secret; a file beyond it holds something else.
const MAX_BYTES: usize = 16 * 1024;
/// The rights that nobody but a file's owner may have.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// Why there is no secret. Never holds one.
#[derive(Debug, Error)]
pub enum SecretError {
    /// A name that no variable should have: perhaps the secret itself.
    #[error("it is to name an environment variable (A-Z, 0-9, _), not to hold the key itself")]
    Name,
    /// The variable is not there.
    #[error("the environment variable {0} is not set: set it where the server is started, or name a file")]
    Unset(String),
    /// The file cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Others may read the file.
    #[error("{} may be read by others (mode {mode:03o}): chmod 600 it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its rights.
        mode: u32,
    },
    /// There is nothing in it.
    #[error("{0} is empty")]
    Empty(String),
    /// What is there cannot be a key.
    #[error("{0} does not hold a key: one line of visible ASCII characters, at most {MAX_BYTES} bytes")]
    NotAKey(String),
}

/// Reads the secret in the environment variable `name`.
pub fn from_env(name: &str) -> Result<SecretString, SecretError> {
    let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(SecretError::Name);
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "the configuration names the variable; it is read here alone"
    )]
    let value = std::env::var(name).map_err(|_| SecretError::Unset(name.to_owned()))?;
    checked(value, name)
}

/// Reads the secret in a file, which its owner alone may read. White space around it is left out.
pub fn from_file(path: &Path) -> Result<SecretString, SecretError> {
    let failed =
        |error: std::io::Error| SecretError::File { path: path.to_owned(), reason: error.to_string() };
    // Rights are looked at in the open file: it cannot be exchanged in between.
    let file = File::open(path).map_err(failed)?;
    check_rights(&file.metadata().map_err(failed)?, path)?;
    let mut text = String::with_capacity(MAX_BYTES + 1);
    file.take(MAX_BYTES as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    checked(text, &path.display().to_string())
}

#[cfg(unix)]
fn check_rights(metadata: &std::fs::Metadata, path: &Path) -> Result<(), SecretError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & OTHERS == 0 { Ok(()) } else { Err(SecretError::Exposed { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn check_rights(_: &std::fs::Metadata, _: &Path) -> Result<(), SecretError> {
    Ok(())
}

fn checked(mut text: String, place: &str) -> Result<SecretString, SecretError> {
    let trimmed = text.trim();
    let found = if trimmed.is_empty() {
        Err(SecretError::Empty(place.to_owned()))
    } else if text.len() > MAX_BYTES || !trimmed.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(SecretError::NotAKey(place.to_owned()))
    } else {
        Ok(SecretString::from(trimmed))
    };
    text.zeroize();
    found
}

/// `text` with the secret, and what looks like the beginning of it, left out.
pub fn redact(text: &str, secret: &SecretString) -> String {
    const TELLING: usize = 6;
    let whole = secret.expose_secret();
    let text = text.replace(whole, "[key]");
    let Some(begin) = whole.get(..TELLING) else { return text };
    let hide = |word: &str| if word.contains(begin) { "[key]".to_owned() } else { word.to_owned() };
    text.split(' ').map(hide).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("writable");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("ours");
        file
    }

    #[test]
    fn a_file_of_ones_own_is_read() {
        for mode in [0o600, 0o400, 0o700] {
            let file = file("  sk-secret\n", mode);
            assert_eq!(from_file(file.path()).expect("readable").expose_secret(), "sk-secret");
        }
    }

    #[test]
    fn what_others_may_read_is_refused() {
        for mode in [0o640, 0o604, 0o644, 0o660, 0o610] {
            let file = file("sk-secret", mode);
            let error = from_file(file.path()).expect_err("others may read it").to_string();
            assert!(error.contains(&format!("mode {mode:03o}")) && error.contains("chmod 600"), "{error}");
            assert!(!error.contains("sk-secret"), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_telling_it() {
        let long = "k".repeat(MAX_BYTES + 1);
        for (text, expected) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("two words", "one line"),
            ("k\u{e9}y", "one line"),
            (&long, "one line"),
        ] {
            let file = file(text, 0o600);
            let error = from_file(file.path()).expect_err("no key").to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("two words") && error.len() < 300, "{error}");
        }
        assert!(
            from_file(Path::new("/nowhere/key")).expect_err("absent").to_string().contains("/nowhere/key")
        );
    }

    #[test]
    fn variables_are_read_by_name() {
        assert_eq!(from_env("CARGO_PKG_NAME").expect("cargo sets it").expose_secret(), "antiphon");
        let unset = from_env("ANTIPHON_TEST_NO_SUCH_VARIABLE").expect_err("nobody sets it").to_string();
        assert!(unset.contains("ANTIPHON_TEST_NO_SUCH_VARIABLE"), "{unset}");
        for key in ["sk-proj-1234", "sk_live", "", "A B"] {
            let error = from_env(key).expect_err("no name").to_string();
            assert!(key.is_empty() || !error.contains(key), "{error}");
        }
    }

    #[test]
    fn texts_lose_the_secret_and_its_beginning() {
        let secret = SecretString::from("sk-proj-0123456789");
        assert_eq!(redact("bad key sk-proj-0123456789.", &secret), "bad key [key].");
        assert_eq!(redact("bad key sk-pro***6789, sorry", &secret), "bad key [key] sorry");
        assert_eq!(redact("no key at all", &secret), "no key at all");
        assert_eq!(format!("{secret:?}").matches("sk-proj").count(), 0);
    }
}
