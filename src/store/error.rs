//! What can be wrong with a store.

use std::path::PathBuf;

use thiserror::Error;

/// Why a store cannot be opened or asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// The folder or file cannot be made or opened.
    #[error(
        "cannot keep sessions in '{}': {reason}. Set store.path to a file that can be written, or store.kind to \
         \"memory\" (sessions do not survive the server) or \"off\".", path.display()
    )]
    Unwritable {
        /// `store.path`.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Another process has it.
    #[error(
        "cannot keep sessions in '{}': another process uses it. Stop that server, or give each its own store.path.",
        path.display()
    )]
    Locked {
        /// `store.path`.
        path: PathBuf,
    },
    /// It is damaged, or no store.
    #[error(
        "cannot keep sessions in '{}': the file is damaged or of another program ({reason}). Move it away (sessions \
         that waited to be resumed are lost), or set store.path to another file.", path.display()
    )]
    Damaged {
        /// `store.path`.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It was written by a newer version.
    #[error(
        "cannot keep sessions in '{}': it was written by a newer version (schema {found}, this one knows {known}). \
         Move it away, or set store.path to another file.", path.display()
    )]
    Newer {
        /// `store.path`.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The schema of this version.
        known: i64,
    },
    /// It does not answer now.
    #[error("the store of sessions does not answer: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}
