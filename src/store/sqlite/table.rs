//! The tables: what is written, found, claimed and forgotten, in SQL.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::Claim;
use crate::store::change::{Change, Keep};
use crate::store::pending::Todo;
use crate::store::{Found, Stored, TokenHash};

/// Pages that are given back to the file system at a time.
const VACUUM_PAGES: u32 = 1_024;
/// Sessions that are forgotten at a time where there is no room.
const EVICT_AT_ONCE: usize = 64;

/// The tables of one file.
#[derive(Debug)]
pub(super) struct Table {
    connection: Connection,
    max_sessions: usize,
    max_bytes: u64,
}

impl Table {
    pub(super) fn new(connection: Connection, max_sessions: usize, max_bytes: u64) -> Self {
        Self { connection, max_sessions, max_bytes }
    }

    /// Takes over what the last server left: sessions that were open have ended. Gives how many there are.
    pub(super) fn adopt(&self, until_ms: u64) -> rusqlite::Result<usize> {
        let sql = "UPDATE session SET open = 0, until_ms = min(until_ms, ?1) WHERE open = 1";
        self.connection.execute(sql, params![stored(until_ms)])?;
        self.sessions()
    }

    /// Writes all of it, or nothing. What is deleted makes room for what is written.
    pub(super) fn write(&mut self, todo: &HashMap<String, Todo>) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        for (session, _) in todo.iter().filter(|(_, todo)| matches!(todo, Todo::Delete)) {
            delete(&transaction, session)?;
        }
        for (session, todo) in todo {
            if let Todo::Write(change) = todo {
                write(&transaction, session, change)?;
            }
        }
        transaction.commit()
    }

    /// The session that this token opens.
    pub(super) fn find(&self, token: TokenHash, now_ms: u64) -> rusqlite::Result<Option<Found>> {
        let sql = "SELECT id, owner FROM session WHERE (token = ?1 OR former = ?1) AND until_ms > ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = |row: &rusqlite::Row<'_>| Ok(Found { session: row.get(0)?, owner: row.get(1)? });
        statement.query_row(params![token.0, stored(now_ms)], found).optional()
    }

    /// The same with all its parts; from now on another token opens it too.
    pub(super) fn claim(&self, claim: Claim) -> rusqlite::Result<Option<Stored>> {
        let Some(found) = self.find(claim.token, claim.now_ms)? else { return Ok(None) };
        let parts = self.parts(&found.session)?;
        let sql = "UPDATE session SET token = ?2, former = ?3 WHERE id = ?1";
        self.connection.execute(sql, params![found.session, claim.next.0, claim.token.0])?;
        Ok(Some(Stored { found, parts }))
    }

    /// Forgets what has expired and what is over the bounds.
    pub(super) fn expire(&self, now_ms: u64) -> rusqlite::Result<()> {
        self.connection.execute("DELETE FROM session WHERE until_ms <= ?1", params![stored(now_ms)])?;
        loop {
            let sessions = self.sessions()?;
            let over = sessions.saturating_sub(self.max_sessions);
            if sessions == 0 || (over == 0 && self.bytes()? <= self.max_bytes) {
                break;
            }
            let count = if over > 0 { over } else { EVICT_AT_ONCE.min(sessions.div_ceil(8)) };
            self.evict(count, true)?;
        }
        self.connection.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))
    }

    /// Forgets some sessions that have ended, if there are any. What they held is used for what is written next.
    pub(super) fn make_room(&self) -> rusqlite::Result<()> {
        self.evict(EVICT_AT_ONCE.min(self.sessions()?.div_ceil(8)), false)
    }

    /// Forgets the sessions that ended first, then, if they may go, those that are open.
    fn evict(&self, count: usize, open_too: bool) -> rusqlite::Result<()> {
        let sql = "DELETE FROM session WHERE id IN
                   (SELECT id FROM session WHERE open <= ?2 ORDER BY open, until_ms LIMIT ?1)";
        let sessions = self.connection.execute(sql, params![count as u64, open_too])?;
        if sessions > 0 {
            let why = "snapshots were forgotten: store.max_sessions or store.max_bytes is reached";
            tracing::warn!(sessions, "{why}");
        }
        Ok(())
    }

    pub(super) fn sessions(&self) -> rusqlite::Result<usize> {
        self.connection.query_row("SELECT count(*) FROM session", [], |row| row.get(0))
    }

    /// Bytes of the pages in use.
    pub(super) fn bytes(&self) -> rusqlite::Result<u64> {
        let pragma = |name: &str| self.connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
        let (all, free, size): (u64, u64, u64) =
            (pragma("page_count")?, pragma("freelist_count")?, pragma("page_size")?);
        Ok((all - free) * size)
    }

    fn parts(&self, session: &str) -> rusqlite::Result<BTreeMap<String, Vec<u8>>> {
        let mut statement =
            self.connection.prepare_cached("SELECT name, value FROM part WHERE session = ?1")?;
        let parts = statement.query_map(params![session], |row| Ok((row.get(0)?, row.get(1)?)))?;
        parts.collect()
    }
}

fn write(transaction: &Transaction<'_>, session: &str, change: &Change) -> rusqlite::Result<()> {
    if let Some(begin) = &change.begin {
        delete(transaction, session)?;
        let sql = "INSERT INTO session(id, token, owner, open, until_ms) VALUES (?1, ?2, ?3, 1, ?4)";
        let mut statement = transaction.prepare_cached(sql)?;
        statement.execute(params![session, begin.token.0, begin.owner, i64::MAX])?;
    } else if !is_kept(transaction, session)? {
        return Ok(()); // it has expired, or there was no room
    }
    if let Some(keep) = change.keep {
        let (open, until_ms) = match keep {
            Keep::Open { until_ms } => (true, until_ms),
            Keep::Ended { until_ms } => (false, until_ms),
        };
        let mut statement =
            transaction.prepare_cached("UPDATE session SET open = ?2, until_ms = ?3 WHERE id = ?1")?;
        statement.execute(params![session, open, stored(until_ms)])?;
    }
    if change.confirmed {
        transaction
            .prepare_cached("UPDATE session SET former = NULL WHERE id = ?1")?
            .execute(params![session])?;
    }
    write_parts(transaction, session, change)
}

fn write_parts(transaction: &Transaction<'_>, session: &str, change: &Change) -> rusqlite::Result<()> {
    let put = "INSERT INTO part(session, name, value) VALUES (?1, ?2, ?3)
               ON CONFLICT(session, name) DO UPDATE SET value = excluded.value";
    let mut put = transaction.prepare_cached(put)?;
    let mut remove = transaction.prepare_cached("DELETE FROM part WHERE session = ?1 AND name = ?2")?;
    for (name, part) in &change.parts {
        match part {
            Some(part) => put.execute(params![session, name, part.to_bytes()])?,
            None => remove.execute(params![session, name])?,
        };
    }
    Ok(())
}

fn delete(transaction: &Transaction<'_>, session: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM session WHERE id = ?1")?.execute(params![session])?;
    Ok(())
}

fn is_kept(transaction: &Transaction<'_>, session: &str) -> rusqlite::Result<bool> {
    transaction.prepare_cached("SELECT 1 FROM session WHERE id = ?1")?.exists(params![session])
}

/// SQLite's integers have a sign.
fn stored(time_ms: u64) -> i64 {
    i64::try_from(time_ms).unwrap_or(i64::MAX)
}
