//! The calls of the last minute: how many, how many tokens, and whose. Pure: it is told the time.
//!
//! A sliding window and no bucket: endpoints count by the minute, each in its own way, and a bucket that was full
//! lets nearly twice its limit through within one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::meter::Ask;
use crate::pool::queue::{HolderId, Ticket};

/// What limits "a minute" count over.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// Calls and their tokens.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Amount {
    pub(super) requests: u64,
    pub(super) tokens: u64,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    at: Instant,
    ticket: Ticket,
    /// `None` once its session has ended: the endpoint counts it still, but nobody's share does.
    holder: Option<HolderId>,
    tokens: u64,
    urgent: bool,
}

/// What one session has used.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    all: Amount,
    /// Of these, what a person waited for.
    urgent: Amount,
}

/// The calls of the last minute. Holds as many as the endpoint's limits let through.
#[derive(Debug, Default)]
pub(super) struct Window {
    calls: VecDeque<Call>,
    used: Amount,
    by_holder: BTreeMap<HolderId, Part>,
}

impl Window {
    /// Forgets what is older than a minute.
    pub(super) fn prune(&mut self, now: Instant) {
        while let Some(call) = self.calls.front().filter(|call| call.at + MINUTE <= now).copied() {
            self.calls.pop_front();
            self.count((call.holder, call.urgent), |amount| {
                amount.requests -= 1;
                amount.tokens -= call.tokens;
            });
        }
    }

    /// A call starts, with the tokens that it is thought to take.
    pub(super) fn start(&mut self, ticket: Ticket, ask: &Ask, now: Instant) {
        let Ask { holder, tokens, urgent, .. } = *ask;
        self.calls.push_back(Call { at: now, ticket, holder: Some(holder), tokens, urgent });
        self.count((Some(holder), urgent), |amount| {
            amount.requests += 1;
            amount.tokens += tokens;
        });
    }

    /// What a call took in truth, if it is not forgotten yet.
    pub(super) fn settle(&mut self, ticket: Ticket, tokens: u64) {
        let Some(call) = self.calls.iter_mut().rev().find(|call| call.ticket == ticket) else { return };
        let (of, before) = ((call.holder, call.urgent), std::mem::replace(&mut call.tokens, tokens));
        self.count(of, |amount| amount.tokens = amount.tokens + tokens - before);
    }

    /// A session has ended: its calls count for the endpoint alone.
    pub(super) fn forget(&mut self, holder: HolderId) {
        if self.by_holder.remove(&holder).is_some() {
            let of_it = self.calls.iter_mut().filter(|call| call.holder == Some(holder));
            of_it.for_each(|call| call.holder = None);
        }
    }

    /// All of the last minute.
    pub(super) fn used(&self) -> Amount {
        self.used
    }

    /// What a person of one session waited for.
    pub(super) fn urgent_of(&self, holder: HolderId) -> Amount {
        self.by_holder.get(&holder).map(|part| part.urgent).unwrap_or_default()
    }

    /// What started after `since`.
    pub(super) fn used_since(&self, since: Instant) -> Amount {
        let recent = self.calls.iter().rev().take_while(|call| call.at > since);
        recent.fold(Amount::default(), |sum, call| Amount {
            requests: sum.requests + 1,
            tokens: sum.tokens + call.tokens,
        })
    }

    /// Sessions with calls in the window.
    pub(super) fn holders(&self) -> impl Iterator<Item = (HolderId, Amount)> {
        self.by_holder.iter().map(|(holder, part)| (*holder, part.all))
    }

    /// When the first calls will be forgotten so that no more than `most` are left; `None` if that is so already.
    pub(super) fn room_at(&self, most: Amount) -> Option<Instant> {
        let mut left = self.used;
        let mut free_at = None;
        for call in &self.calls {
            if left.requests <= most.requests && left.tokens <= most.tokens {
                break;
            }
            left = Amount { requests: left.requests - 1, tokens: left.tokens - call.tokens };
            free_at = Some(call.at + MINUTE);
        }
        free_at
    }

    /// When the oldest call after `since` will have gone out of a span that long.
    pub(super) fn first_since(&self, since: Instant) -> Option<Instant> {
        self.calls.iter().rev().take_while(|call| call.at > since).last().map(|call| call.at)
    }

    fn count(&mut self, (holder, urgent): (Option<HolderId>, bool), change: impl Fn(&mut Amount)) {
        change(&mut self.used);
        let Some(holder) = holder else { return };
        let part = self.by_holder.entry(holder).or_default();
        change(&mut part.all);
        if urgent {
            change(&mut part.urgent);
        }
        if part.all.requests == 0 {
            self.by_holder.remove(&holder);
        }
    }
}
