//! When one endpoint may be called next, and by whom: its limits, split among the sessions that use it.
//!
//! A session's share of a limit is that limit divided by the sessions that use the endpoint, and one more who may
//! come. Within its share a session is served as long as there is room at all. What others leave unused is lent:
//! evenly over the minute, so that it comes back evenly, and without the last tenth, which waits for who comes next.
//! What no person waits for (transcripts and translations of unfinished words) counts against nobody's share: it is
//! a loan always, and leaves half of the limit alone. Pure: it is told the time.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::window::{Amount, MINUTE, Window};
use crate::engine::endpoint::EndpointLimits;
use crate::pool::queue::{HolderId, Ticket};

/// What is lent is lent a tenth of the minute's limit at a time, and a tenth is never lent.
const TENTH: u64 = 10;
/// The time for one tenth of what is lent.
const LENDING: Duration = Duration::from_secs(MINUTE.as_secs() / TENTH);

/// Whether a call may start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::pool) enum Verdict {
    /// Now.
    Now,
    /// Not before this time; ask again then.
    At(Instant),
}

/// Who wants to call.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct Ask {
    /// The session.
    pub(in crate::pool) holder: HolderId,
    /// Tokens that it is thought to take.
    pub(in crate::pool) tokens: u64,
    /// Whether a person waits for it; what nobody waits for is always a loan.
    pub(in crate::pool) urgent: bool,
    /// Sessions that wait for this pool or have used this endpoint in the last minute, this one included.
    pub(in crate::pool) active: u64,
}

/// One limit, for status.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct LimitStats {
    /// What the endpoint allows in a minute.
    pub limit: u64,
    /// What was used in the last minute.
    pub used: u64,
}

/// One session's part, for status.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct ShareStats {
    /// The session as the pools name it.
    #[serde(skip)]
    pub holder: HolderId,
    /// Calls a minute that are its share; absent without a limit.
    pub requests_share: Option<u64>,
    /// Its calls of the last minute.
    pub requests: u64,
    /// Tokens a minute that are its share; absent without a limit.
    pub tokens_share: Option<u64>,
    /// Its tokens of the last minute.
    pub tokens: u64,
}

/// Counts the calls of one endpoint.
#[derive(Debug, Default)]
pub(in crate::pool) struct Meter {
    limits: EndpointLimits,
    window: Window,
    last_start: Option<Instant>,
    held_until: Option<Instant>,
}

impl Meter {
    pub(in crate::pool) fn new(limits: EndpointLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Forgets what is older than a minute; to be done before anything is asked.
    pub(in crate::pool) fn prune(&mut self, now: Instant) {
        self.window.prune(now);
        self.held_until = self.held_until.filter(|until| *until > now);
    }

    /// Whether this call may start now.
    pub(in crate::pool) fn verdict(&self, ask: &Ask, now: Instant) -> Verdict {
        let interval = Duration::from_millis(self.limits.min_interval_ms);
        let paced = self.last_start.map(|last| last + interval).filter(|at| *at > now);
        let held = self.held_until.filter(|at| *at > now);
        let requests = (u64::from(self.limits.requests_per_minute), 1, of_requests as Part);
        let tokens = (u64::from(self.limits.tokens_per_minute), ask.tokens, of_tokens as Part);
        let limited = [requests, tokens].into_iter().filter_map(|part| self.limited(part, ask, now));
        match limited.chain(paced).chain(held).max() {
            Some(at) => Verdict::At(at),
            None => Verdict::Now,
        }
    }

    /// A call starts.
    pub(in crate::pool) fn start(&mut self, ticket: Ticket, ask: &Ask, now: Instant) {
        self.last_start = Some(now);
        if self.counts() {
            self.window.start(ticket, ask, now);
        }
    }

    /// What a call took in truth.
    pub(in crate::pool) fn settle(&mut self, ticket: Ticket, tokens: u64) {
        self.window.settle(ticket, tokens);
    }

    /// The endpoint asked not to be called before `until`.
    pub(in crate::pool) fn hold(&mut self, until: Instant) {
        self.held_until = self.held_until.max(Some(until));
    }

    /// A session has ended.
    pub(in crate::pool) fn forget(&mut self, holder: HolderId) {
        self.window.forget(holder);
    }

    /// Sessions that used it in the last minute.
    pub(in crate::pool) fn holders(&self) -> impl Iterator<Item = HolderId> {
        self.window.holders().map(|(holder, _)| holder)
    }

    /// How long the endpoint asked to be left alone from now on.
    pub(in crate::pool) fn held(&self, now: Instant) -> Option<Duration> {
        self.held_until.map(|until| until.saturating_duration_since(now)).filter(|held| !held.is_zero())
    }

    /// What is used of its limits: calls, then tokens.
    pub(in crate::pool) fn limits(&self) -> [Option<LimitStats>; 2] {
        let Amount { requests, tokens } = self.window.used();
        [(self.limits.requests_per_minute, requests), (self.limits.tokens_per_minute, tokens)]
            .map(|(limit, used)| (limit > 0).then_some(LimitStats { limit: limit.into(), used }))
    }

    /// Each session's part, where `active` sessions share.
    pub(in crate::pool) fn shares(&self, active: u64) -> Vec<ShareStats> {
        let share_of = |limit: u32| (limit > 0).then(|| share(limit.into(), active));
        let stats = |(holder, amount): (HolderId, Amount)| ShareStats {
            holder,
            requests_share: share_of(self.limits.requests_per_minute),
            requests: amount.requests,
            tokens_share: share_of(self.limits.tokens_per_minute),
            tokens: amount.tokens,
        };
        self.window.holders().map(stats).collect()
    }

    fn counts(&self) -> bool {
        self.limits.requests_per_minute > 0 || self.limits.tokens_per_minute > 0
    }

    /// When one limit lets a call through; `None`: now. What it says is never too late, but may be too early.
    fn limited(&self, (limit, cost, part): (u64, u64, Part), ask: &Ask, now: Instant) -> Option<Instant> {
        if limit == 0 {
            return None;
        }
        let cost = cost.min(limit); // what is larger than all there is goes when all there is is free
        let used = part(self.window.used());
        let is_lent =
            !ask.urgent || part(self.window.urgent_of(ask.holder)) + cost > share(limit, ask.active);
        let kept = match (ask.urgent, is_lent) {
            (false, _) => limit / 2,
            (true, true) => limit / TENTH,
            (true, false) => 0,
        };
        let most = (limit - kept).max(cost);
        if used + cost > most {
            return self.window.room_at(upto(part, most - cost));
        }
        let since = now.checked_sub(LENDING)?;
        let recent = part(self.window.used_since(since));
        let is_early = is_lent && recent > 0 && recent + cost > limit / TENTH;
        is_early.then(|| self.window.first_since(since).map(|first| first + LENDING))?
    }
}

/// Which of an amount a limit counts.
type Part = fn(Amount) -> u64;

fn of_requests(amount: Amount) -> u64 {
    amount.requests
}

fn of_tokens(amount: Amount) -> u64 {
    amount.tokens
}

/// An amount whose `part` is `most`, and whose other part does not matter.
fn upto(part: Part, most: u64) -> Amount {
    let [requests, tokens] =
        [Amount { requests: most, tokens: u64::MAX }, Amount { requests: u64::MAX, tokens: most }];
    if part(requests) == most { requests } else { tokens }
}

/// One session's share of a limit: there is always one share more than sessions.
fn share(limit: u64, active: u64) -> u64 {
    (limit / (active + 1)).max(1)
}

#[cfg(test)]
mod tests;
