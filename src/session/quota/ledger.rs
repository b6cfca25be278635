//! Who uses how much: the books of the quotas. Pure: limits and `now` are given.

use std::collections::HashMap;

use tokio::time::Instant;

use super::QuotaLimits;
use super::error::{QuotaError, whole_seconds};
use super::window::SlidingWindow;
use crate::session::router::Owner;

/// What is told where nobody can know when a request or a session ends, in seconds.
const SOON_S: u64 = 1;
/// The same for a session, which takes longer to end.
const LATER_S: u64 = 10;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// A response, or a chat completion.
    Response,
    /// A transcription, or a speech without a session.
    Other,
}

/// Whose share is used: an API key's, or, where there are none, a session's own.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum User {
    Key(Owner),
    Session(u64),
}

#[derive(Debug, Default)]
struct UserUse {
    sessions: usize,
    active: usize,
    responses: SlidingWindow,
}

#[derive(Debug)]
struct SessionUse {
    user: User,
    active: usize,
    requests: SlidingWindow,
}

/// The books. Sessions go by number; one that is closed is forgotten, and what ends late changes nothing.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    users: HashMap<User, UserUse>,
    sessions: HashMap<u64, SessionUse>,
}

impl Ledger {
    /// Opens a session.
    pub(super) fn open(
        &mut self,
        session: u64,
        owner: &Owner,
        limits: &QuotaLimits,
        now: Instant,
    ) -> Result<(), QuotaError> {
        self.users.retain(|_, user| user.sessions + user.active > 0 || !user.responses.is_empty(now));
        let user = if owner.is_anonymous() { User::Session(session) } else { User::Key(owner.clone()) };
        let limit = limits.per_user.max_sessions;
        let entry = self.users.entry(user.clone()).or_default();
        if entry.sessions >= limit {
            return Err(QuotaError::UserSessions { limit, retry_after_s: LATER_S });
        }
        entry.sessions += 1;
        let entry = SessionUse { user, active: 0, requests: SlidingWindow::default() };
        self.sessions.insert(session, entry);
        Ok(())
    }

    /// Gives back all that a session holds.
    pub(super) fn close(&mut self, session: u64) {
        let Some(entry) = self.sessions.remove(&session) else { return };
        if let Some(user) = self.users.get_mut(&entry.user) {
            user.sessions -= 1;
            user.active -= entry.active;
            if matches!(entry.user, User::Session(_)) {
                self.users.remove(&entry.user);
            }
        }
    }

    /// Whether a session may make a request now.
    pub(super) fn check(
        &self,
        session: u64,
        charge: Charge,
        limits: &QuotaLimits,
        now: Instant,
    ) -> Result<(), QuotaError> {
        let Some(entry) = self.sessions.get(&session) else { return Ok(()) };
        let limit = limits.session.max_concurrent_requests;
        if entry.active >= limit {
            return Err(QuotaError::SessionConcurrentRequests { limit, retry_after_s: SOON_S });
        }
        let limit = limits.session.max_requests_per_minute;
        if let Some(wait) = entry.requests.wait(limit, now) {
            return Err(QuotaError::SessionRequestsPerMinute { limit, retry_after_s: whole_seconds(wait) });
        }
        self.check_user(&entry.user, charge, limits, now)
    }

    /// Counts a request of a session as begun, whatever the limits say.
    pub(super) fn begin(&mut self, session: u64, charge: Charge, limits: &QuotaLimits, now: Instant) {
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        entry.active += 1;
        entry.requests.record(limits.session.max_requests_per_minute, now);
        let user = self.users.entry(entry.user.clone()).or_default();
        user.active += 1;
        if charge == Charge::Response {
            user.responses.record(limits.per_user.max_responses_per_minute, now);
        }
    }

    /// Counts a request of a session as over.
    pub(super) fn end(&mut self, session: u64) {
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        entry.active -= 1;
        if let Some(user) = self.users.get_mut(&entry.user) {
            user.active -= 1;
        }
    }

    /// Begins a request without a session. Nobody is counted on a server without keys.
    pub(super) fn begin_outside(
        &mut self,
        owner: &Owner,
        charge: Charge,
        limits: &QuotaLimits,
        now: Instant,
    ) -> Result<(), QuotaError> {
        if owner.is_anonymous() {
            return Ok(());
        }
        let user = User::Key(owner.clone());
        self.check_user(&user, charge, limits, now)?;
        let user = self.users.entry(user).or_default();
        user.active += 1;
        if charge == Charge::Response {
            user.responses.record(limits.per_user.max_responses_per_minute, now);
        }
        Ok(())
    }

    /// Ends a request without a session.
    pub(super) fn end_outside(&mut self, owner: &Owner) {
        if let Some(user) = self.users.get_mut(&User::Key(owner.clone())) {
            user.active = user.active.saturating_sub(1);
        }
    }

    fn check_user(
        &self,
        user: &User,
        charge: Charge,
        limits: &QuotaLimits,
        now: Instant,
    ) -> Result<(), QuotaError> {
        let Some(entry) = self.users.get(user) else { return Ok(()) };
        let limit = limits.per_user.max_concurrent_requests;
        if entry.active >= limit {
            return Err(QuotaError::UserConcurrentRequests { limit, retry_after_s: SOON_S });
        }
        let limit = limits.per_user.max_responses_per_minute;
        match entry.responses.wait(limit, now).filter(|_| charge == Charge::Response) {
            Some(wait) => {
                Err(QuotaError::UserResponsesPerMinute { limit, retry_after_s: whole_seconds(wait) })
            }
            None => Ok(()),
        }
    }

    /// Users and sessions that are in the books, for tests.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.users.len(), self.sessions.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn limits() -> QuotaLimits {
        let mut limits = QuotaLimits::default();
        limits.per_user.max_sessions = 2;
        limits.per_user.max_responses_per_minute = 2;
        limits
    }

    fn key(name: &str) -> Owner {
        Owner(name.into())
    }

    #[test]
    fn a_user_is_a_key_and_without_keys_a_session() {
        let (now, limits) = (Instant::now(), limits());
        let mut ledger = Ledger::default();
        for session in 0..2 {
            ledger.open(session, &key("anna"), &limits, now).expect("within the limit");
        }
        let refused = ledger.open(2, &key("anna"), &limits, now);
        assert_eq!(refused, Err(QuotaError::UserSessions { limit: 2, retry_after_s: LATER_S }));
        ledger.open(3, &key("ben"), &limits, now).expect("another user");
        for session in 10..20 {
            ledger.open(session, &Owner::anonymous(), &limits, now).expect("each is its own user");
        }
        ledger.close(0);
        ledger.open(2, &key("anna"), &limits, now).expect("a place is free");
    }

    #[test]
    fn responses_are_counted_over_sessions_and_remembered_when_they_end() {
        let (now, limits) = (Instant::now(), limits());
        let mut ledger = Ledger::default();
        for session in 0..2 {
            ledger.open(session, &key("anna"), &limits, now).expect("within the limit");
            ledger.begin(session, Charge::Response, &limits, now);
            ledger.close(session);
        }
        let later = now + Duration::from_secs(20);
        ledger.open(2, &key("anna"), &limits, later).expect("no session is open");
        let refused = ledger.check(2, Charge::Response, &limits, later);
        assert_eq!(refused, Err(QuotaError::UserResponsesPerMinute { limit: 2, retry_after_s: 40 }));
        assert_eq!(ledger.check(2, Charge::Other, &limits, later), Ok(()));
        let minute = now + Duration::from_secs(60);
        assert_eq!(ledger.check(2, Charge::Response, &limits, minute), Ok(()));
    }

    #[test]
    fn completions_without_a_session_are_counted_with_the_responses_of_sessions() {
        let (now, limits) = (Instant::now(), limits());
        let mut ledger = Ledger::default();
        let anna = key("anna");
        ledger.open(0, &anna, &limits, now).expect("within the limit");
        ledger.begin(0, Charge::Response, &limits, now);
        assert_eq!(ledger.begin_outside(&anna, Charge::Response, &limits, now), Ok(()));
        ledger.end_outside(&anna);
        let refused = Err(QuotaError::UserResponsesPerMinute { limit: 2, retry_after_s: 60 });
        assert_eq!(ledger.begin_outside(&anna, Charge::Response, &limits, now), refused);
        assert_eq!(ledger.check(0, Charge::Response, &limits, now), refused);
        assert_eq!(ledger.begin_outside(&anna, Charge::Other, &limits, now), Ok(()));
        assert_eq!(ledger.begin_outside(&Owner::anonymous(), Charge::Response, &limits, now), Ok(()));
    }

    proptest! {
        /// Whatever begins, ends and closes, in any order and also late: nothing is held in the end, and no
        /// user's count differs from what its sessions hold.
        #[test]
        fn all_is_given_back(steps in prop::collection::vec((0u8..5, 0u64..6), 1..80)) {
            let (now, limits) = (Instant::now(), limits());
            let mut ledger = Ledger::default();
            let mut held: HashMap<u64, usize> = HashMap::new();
            for (step, session) in steps {
                let owner = if session % 2 == 0 { key("anna") } else { Owner::anonymous() };
                let open = held.contains_key(&session);
                match step {
                    0 if !open && ledger.open(session, &owner, &limits, now).is_ok() => {
                        held.insert(session, 0);
                    }
                    1 | 2 if open => {
                        ledger.begin(session, Charge::Response, &limits, now);
                        held.entry(session).and_modify(|count| *count += 1);
                    }
                    3 if held.get(&session).is_none_or(|count| *count > 0) => {
                        ledger.end(session); // also of a session that was closed
                        held.entry(session).and_modify(|count| *count -= 1);
                        if !open { held.remove(&session); }
                    }
                    4 => {
                        ledger.close(session);
                        held.remove(&session);
                    }
                    _ => {}
                }
                let active: usize = ledger.users.values().map(|user| user.active).sum();
                prop_assert_eq!(active, held.values().sum::<usize>());
            }
            for session in 0..6 {
                ledger.close(session);
            }
            let minute = now + Duration::from_secs(60);
            ledger.open(9, &key("ben"), &limits, minute).expect("there is room");
            ledger.close(9);
            prop_assert_eq!(ledger.len(), (1, 0), "only the last user is known");
        }
    }
}
