//! The SQLite file: made private to the server's user, locked for this process, checked, its schema brought up.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use crate::store::StoreError;

/// `application_id`: "Anti" in ASCII.
const APPLICATION: i64 = 0x416e_7469;
/// `user_version` of this schema.
const SCHEMA: i64 = 1;
/// How long a server that is just ending may keep the lock.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// Bytes of a page.
const PAGE: u64 = 4_096;

const TABLES: &str = "
    CREATE TABLE session(
        id TEXT PRIMARY KEY NOT NULL,
        token BLOB NOT NULL UNIQUE,
        former BLOB,
        owner TEXT NOT NULL,
        open INTEGER NOT NULL,
        until_ms INTEGER NOT NULL
    );
    CREATE INDEX session_former ON session(former) WHERE former IS NOT NULL;
    CREATE INDEX session_until ON session(until_ms);
    CREATE TABLE part(
        session TEXT NOT NULL REFERENCES session(id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        value BLOB NOT NULL,
        UNIQUE(session, name)
    );";

/// Opens the file of at most about `max_bytes`.
pub(super) fn open(path: &Path, max_bytes: u64) -> Result<Connection, StoreError> {
    make_private(path)?;
    let connection = Connection::open(path).map_err(|failure| error(path, &failure))?;
    prepare(&connection, max_bytes).map_err(|failure| error(path, &failure))?;
    let found: i64 = pragma(&connection, "user_version").map_err(|failure| error(path, &failure))?;
    let of: i64 = pragma(&connection, "application_id").map_err(|failure| error(path, &failure))?;
    match (of, found) {
        (APPLICATION, SCHEMA) => check(&connection, path)?,
        (APPLICATION, newer) => {
            return Err(StoreError::Newer { path: path.to_owned(), found: newer, known: SCHEMA });
        }
        (0, 0) if is_empty(&connection).map_err(|failure| error(path, &failure))? => {
            let schema = format!(
                "BEGIN; {TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA}; COMMIT;"
            );
            connection.execute_batch(&schema).map_err(|failure| error(path, &failure))?;
        }
        _ => return Err(damaged(path, "it is an SQLite database, but not of Antiphon")),
    }
    Ok(connection)
}

/// What SQLite said, with what to do about it.
pub(super) fn error(path: &Path, error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Locked { path: path.to_owned() }
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => damaged(path, &error.to_string()),
        _ => unwritable(path, &error.to_string()),
    }
}

/// Conversations are nobody else's to read: SQLite gives its other files the rights of this one.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| unwritable(path, &error.to_string());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(failed)?;
    Ok(())
}

fn prepare(connection: &Connection, max_bytes: u64) -> rusqlite::Result<()> {
    connection.busy_timeout(LOCK_WAIT)?;
    // A quarter beyond the bound, for what comes until it is next looked after.
    let pages = max_bytes.saturating_add(max_bytes / 4).div_ceil(PAGE).max(64);
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE};
         PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = NORMAL;
         PRAGMA secure_delete = ON;
         PRAGMA foreign_keys = ON;
         PRAGMA journal_size_limit = 4194304;
         PRAGMA max_page_count = {pages};
         BEGIN EXCLUSIVE; COMMIT;"
    ))
}

fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|failure| error(path, &failure))?;
    if found == "ok" { Ok(()) } else { Err(damaged(path, &found)) }
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables == 0)
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
}

fn damaged(path: &Path, reason: &str) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), reason: reason.to_owned() }
}

fn unwritable(path: &Path, reason: &str) -> StoreError {
    StoreError::Unwritable { path: path.to_owned(), reason: reason.to_owned() }
}
