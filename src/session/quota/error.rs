//! Which limit was reached: its key, its value, and when to try again.

use std::time::Duration;

use thiserror::Error;

/// A limit that was reached. One variant a limit; each names its configuration key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum QuotaError {
    /// Too many sessions of one user.
    #[error(
        "This API key has {limit} sessions open, the most that it may (session.per_user.max_sessions). Close \
         one, or try again in {retry_after_s} s."
    )]
    UserSessions {
        /// `session.per_user.max_sessions`.
        limit: usize,
        /// When to try again.
        retry_after_s: u64,
    },
    /// Too many requests of one user at once.
    #[error(
        "This user has {limit} requests under way, the most at once \
         (session.per_user.max_concurrent_requests). Wait for one to end, or try again in {retry_after_s} s."
    )]
    UserConcurrentRequests {
        /// `session.per_user.max_concurrent_requests`.
        limit: usize,
        /// When to try again.
        retry_after_s: u64,
    },
    /// Too many responses of one user in a minute.
    #[error(
        "This user has had {limit} responses within a minute, the most allowed \
         (session.per_user.max_responses_per_minute). Try again in {retry_after_s} s."
    )]
    UserResponsesPerMinute {
        /// `session.per_user.max_responses_per_minute`.
        limit: usize,
        /// When to try again.
        retry_after_s: u64,
    },
    /// Too many requests of one session at once.
    #[error(
        "This session has {limit} requests under way, the most at once \
         (session.limits.max_concurrent_requests). Wait for one to end, or try again in {retry_after_s} s."
    )]
    SessionConcurrentRequests {
        /// `session.limits.max_concurrent_requests`.
        limit: usize,
        /// When to try again.
        retry_after_s: u64,
    },
    /// Too many requests of one session in a minute.
    #[error(
        "This session has made {limit} requests within a minute, the most allowed \
         (session.limits.max_requests_per_minute). Try again in {retry_after_s} s."
    )]
    SessionRequestsPerMinute {
        /// `session.limits.max_requests_per_minute`.
        limit: usize,
        /// When to try again.
        retry_after_s: u64,
    },
    /// The session would hold too much memory.
    #[error(
        "This session holds {used} bytes and this event would add {incoming}; the limit is {limit} \
         (session.limits.max_memory_bytes). Commit or clear the audio buffer, delete items, read what the \
         server sends, then try again in {retry_after_s} s."
    )]
    Memory {
        /// `session.limits.max_memory_bytes`.
        limit: u64,
        /// Bytes held.
        used: u64,
        /// Bytes of the event that was refused.
        incoming: u64,
        /// When to try again.
        retry_after_s: u64,
    },
}

impl QuotaError {
    /// The limit's configuration key.
    pub fn key(&self) -> &'static str {
        match self {
            Self::UserSessions { .. } => "session.per_user.max_sessions",
            Self::UserConcurrentRequests { .. } => "session.per_user.max_concurrent_requests",
            Self::UserResponsesPerMinute { .. } => "session.per_user.max_responses_per_minute",
            Self::SessionConcurrentRequests { .. } => "session.limits.max_concurrent_requests",
            Self::SessionRequestsPerMinute { .. } => "session.limits.max_requests_per_minute",
            Self::Memory { .. } => "session.limits.max_memory_bytes",
        }
    }

    /// When to try again, in whole seconds.
    pub fn retry_after_s(&self) -> u64 {
        match self {
            Self::UserSessions { retry_after_s, .. }
            | Self::UserConcurrentRequests { retry_after_s, .. }
            | Self::UserResponsesPerMinute { retry_after_s, .. }
            | Self::SessionConcurrentRequests { retry_after_s, .. }
            | Self::SessionRequestsPerMinute { retry_after_s, .. }
            | Self::Memory { retry_after_s, .. } => *retry_after_s,
        }
    }
}

/// A wait in whole seconds, rounded up, so that a client that keeps to it is not refused again.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
