//! Snapshots in the memory of this process: they survive cuts, not the server.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt;

use super::change::{Change, Keep};
use super::status::Reported;
use super::{Answer, Found, NotTaken, SnapshotStore, StoreConfig, StoreStatus, Stored, TokenHash};

/// Snapshots in memory.
#[derive(Debug)]
pub struct MemoryStore {
    rows: Mutex<HashMap<String, Row>>,
    max_sessions: usize,
    max_bytes: u64,
    reported: Reported,
}

#[derive(Debug)]
struct Row {
    token: TokenHash,
    former: Option<TokenHash>,
    owner: String,
    keep: Keep,
    parts: BTreeMap<String, Vec<u8>>,
}

impl MemoryStore {
    /// An empty store within the bounds of `config`.
    pub fn new(config: &StoreConfig) -> Self {
        Self {
            rows: Mutex::default(),
            max_sessions: config.max_sessions,
            max_bytes: config.max_bytes,
            reported: Reported::new("memory"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, rows: &HashMap<String, Row>) {
        self.reported.holds(rows.len(), rows.values().map(Row::bytes).sum());
    }
}

impl SnapshotStore for MemoryStore {
    fn save(&self, session: &str, change: Change) -> Result<(), NotTaken> {
        let mut rows = self.lock();
        if let Some(begin) = &change.begin {
            let (token, owner) = (begin.token, begin.owner.clone());
            let keep = Keep::Open { until_ms: u64::MAX };
            let row = Row { token, former: None, owner, keep, parts: BTreeMap::new() };
            rows.insert(session.to_owned(), row);
        }
        if let Some(row) = rows.get_mut(session) {
            row.apply(change);
        }
        Ok(())
    }

    fn find(&self, token: TokenHash, now_ms: u64) -> Answer<Option<Found>> {
        let rows = self.lock();
        let found = rows.iter().find(|(_, row)| row.opens(token, now_ms));
        let found = found.map(|(session, row)| row.found(session));
        std::future::ready(Ok(found)).boxed()
    }

    fn claim(&self, token: TokenHash, next: TokenHash, now_ms: u64) -> Answer<Option<Stored>> {
        let mut rows = self.lock();
        let claimed = rows.iter_mut().find(|(_, row)| row.opens(token, now_ms)).map(|(session, row)| {
            (row.former, row.token) = (Some(token), next);
            Stored { found: row.found(session), parts: row.parts.clone() }
        });
        std::future::ready(Ok(claimed)).boxed()
    }

    fn delete(&self, session: &str) {
        self.lock().remove(session);
    }

    fn expire(&self, now_ms: u64) {
        let mut rows = self.lock();
        rows.retain(|_, row| row.keep.until_ms() > now_ms);
        let mut bytes: u64 = rows.values().map(Row::bytes).sum();
        let mut order: Vec<_> = rows.iter().map(|(id, row)| (row.keep.rank(), id.clone())).collect();
        order.sort_unstable();
        for (_, session) in order {
            if rows.len() <= self.max_sessions && bytes <= self.max_bytes {
                break;
            }
            bytes -= rows.remove(&session).map_or(0, |row| row.bytes());
        }
        self.report(&rows);
    }

    fn flush(&self) -> Answer<()> {
        std::future::ready(Ok(())).boxed()
    }

    fn status(&self) -> StoreStatus {
        self.report(&self.lock());
        self.reported.get()
    }
}

impl Row {
    fn apply(&mut self, change: Change) {
        self.keep = change.keep.unwrap_or(self.keep);
        if change.confirmed {
            self.former = None;
        }
        for (name, part) in change.parts {
            match part {
                Some(part) => drop(self.parts.insert(name, part.to_bytes().into_owned())),
                None => drop(self.parts.remove(&name)),
            }
        }
    }

    fn opens(&self, token: TokenHash, now_ms: u64) -> bool {
        (self.token == token || self.former == Some(token)) && self.keep.until_ms() > now_ms
    }

    fn found(&self, session: &str) -> Found {
        Found { session: session.to_owned(), owner: self.owner.clone() }
    }

    fn bytes(&self) -> u64 {
        self.parts.iter().map(|(name, part)| (name.len() + part.len()) as u64).sum()
    }
}

impl Keep {
    fn until_ms(self) -> u64 {
        match self {
            Self::Open { until_ms } | Self::Ended { until_ms } => until_ms,
        }
    }

    /// Who goes first where there is no room.
    fn rank(self) -> (bool, u64) {
        (matches!(self, Self::Open { .. }), self.until_ms())
    }
}
