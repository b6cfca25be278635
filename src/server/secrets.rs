//! The client secrets that open sessions in place of an API key: who made them, for how long, and what their
//! sessions start with. Only their SHA-256 is kept.
//!
//! [`SecretTable`] is pure and told the time; [`ClientSecrets`] is the handle that handlers share. Knows
//! nothing of HTTP.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::distr::{Alphanumeric, SampleString};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::time::Instant;

use crate::protocol::SessionUpdate;
use crate::session::Owner;

/// How a secret begins, as OpenAI's do.
pub(super) const SECRET_PREFIX: &str = "ek_";
/// Secrets of all API keys together.
const SECRETS_CAPACITY: usize = 4096;
/// Bytes of the session settings of all secrets together, as they came: 64 MiB.
const SECRET_BYTES_CAPACITY: usize = 67108864;
/// One API key may hold the first of so many equal parts of either.
const SHARES: usize = 4;
/// Random letters and digits of a secret: 190 bits.
const RANDOM_CHARS: usize = 32;

/// What a secret is good for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grant {
    /// The API key that made it; sessions are its own.
    pub(super) owner: Owner,
    /// What sessions start with.
    pub(super) session: Arc<SessionUpdate>,
}

/// There is no room for another secret.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "{whose} many client secrets that have not expired: at most {limit}. Open several sessions with one \
     secret, let them live shorter (expires_after.seconds), or try again in {retry_after_s} s, when the next \
     one expires."
)]
pub(super) struct NoRoom {
    whose: &'static str,
    limit: usize,
    pub(super) retry_after_s: u64,
}

/// The secrets of a server. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientSecrets(Arc<Mutex<SecretTable>>);

impl ClientSecrets {
    /// Makes a secret that lives for `life`; `bytes` is the size of its settings as they came.
    pub(super) fn make(&self, grant: Grant, life: Duration, bytes: usize) -> Result<String, NoRoom> {
        let random = Alphanumeric.sample_string(&mut rand::rng(), RANDOM_CHARS);
        let secret = format!("{SECRET_PREFIX}{random}");
        let now = Instant::now();
        self.lock().insert(hash(&secret), Entry { grant, bytes, expires: now + life }, now)?;
        Ok(secret)
    }

    /// What this secret is good for; `None` if it is unknown or has expired.
    pub(super) fn find(&self, secret: &str) -> Option<Grant> {
        self.lock().find(hash(secret), Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, SecretTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Hash = [u8; 32];

fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

#[derive(Debug)]
struct Entry {
    grant: Grant,
    bytes: usize,
    expires: Instant,
}

/// Secrets by their hash.
#[derive(Debug, Default)]
struct SecretTable {
    secrets: HashMap<Hash, Entry>,
}

impl SecretTable {
    fn insert(&mut self, hash: Hash, entry: Entry, now: Instant) -> Result<(), NoRoom> {
        self.secrets.retain(|_, known| known.expires > now);
        let owner = &entry.grant.owner;
        self.check("This API key has as", entry.bytes, |known| known.grant.owner == *owner, (SHARES, now))?;
        self.check("This server has as", entry.bytes, |_| true, (1, now))?;
        self.secrets.insert(hash, entry);
        Ok(())
    }

    /// Whether there is room for `bytes` more beside those that `counts` takes.
    fn check(
        &self,
        whose: &'static str,
        bytes: usize,
        counts: impl Fn(&Entry) -> bool,
        (shares, now): (usize, Instant),
    ) -> Result<(), NoRoom> {
        let counted: Vec<&Entry> = self.secrets.values().filter(|known| counts(known)).collect();
        let held: usize = counted.iter().map(|known| known.bytes).sum();
        let limit = SECRETS_CAPACITY / shares;
        if counted.len() < limit && held + bytes <= SECRET_BYTES_CAPACITY / shares {
            return Ok(());
        }
        let next = counted.iter().map(|known| known.expires).min();
        let wait = next.map(|expires| expires.saturating_duration_since(now)).unwrap_or_default();
        Err(NoRoom { whose, limit, retry_after_s: wait.as_secs() + 1 })
    }

    fn find(&self, hash: Hash, now: Instant) -> Option<Grant> {
        let known = self.secrets.get(&hash).filter(|known| known.expires > now)?;
        Some(known.grant.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::SessionType;

    const MINUTE: Duration = Duration::from_secs(60);

    fn grant(owner: &str) -> Grant {
        let session = Arc::new(SessionUpdate::new(SessionType::Realtime));
        Grant { owner: Owner(owner.into()), session }
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_is_random_and_lives_as_long_as_was_asked() {
        let secrets = ClientSecrets::default();
        let [first, second] =
            [(); 2].map(|()| secrets.make(grant("anna"), MINUTE, 10).expect("there is room"));
        assert_ne!(first, second);
        let random = first.strip_prefix("ek_").expect("OpenAI's prefix");
        assert!(random.len() == 32 && random.chars().all(|c| c.is_ascii_alphanumeric()), "{first}");
        assert_eq!(secrets.find(&first), Some(grant("anna")));
        assert_eq!(secrets.find(&first), Some(grant("anna")), "it opens several sessions");
        assert_eq!((secrets.find("ek_guess"), secrets.find("")), (None, None));
        assert!(!format!("{secrets:?}").contains(random), "only its hash is kept");
        tokio::time::advance(MINUTE).await;
        assert_eq!(secrets.find(&first), None);
    }

    #[test]
    fn the_table_is_bounded_and_one_key_leaves_room_to_others() {
        let (mut table, now) = (SecretTable::default(), Instant::now());
        let mut number = 0u64;
        let mut insert = |table: &mut SecretTable, owner: &str, bytes, now: Instant| {
            number += 1;
            let entry = Entry { grant: grant(owner), bytes, expires: now + MINUTE };
            table.insert(hash(&number.to_string()), entry, now)
        };
        for _ in 0..1_024 {
            insert(&mut table, "anna", 1, now).expect("within its share");
        }
        let refused = insert(&mut table, "anna", 1, now + MINUTE / 2).expect_err("its share is taken");
        assert_eq!((refused.limit, refused.retry_after_s), (1_024, 31));
        assert!(refused.to_string().starts_with("This API key"), "{refused}");
        for owner in ["ben", "carl", "dora"] {
            for _ in 0..1_024 {
                insert(&mut table, owner, 1, now).expect("within its share");
            }
        }
        let refused = insert(&mut table, "eve", 1, now).expect_err("all is taken");
        assert!(refused.to_string().starts_with("This server"), "{refused}");
        assert_eq!(table.secrets.len(), SECRETS_CAPACITY);
        insert(&mut table, "eve", 16 << 20, now + MINUTE).expect("all have expired");
        assert_eq!(table.secrets.len(), 1, "those that expired are gone");
        insert(&mut table, "eve", 1, now + MINUTE).expect_err("bytes count too");
    }
}
