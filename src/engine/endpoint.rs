//! What an engine behind a URL asks of those who call it: how often, how many tokens, how long to wait.
//!
//! Plain figures that backends read from their configuration and pools keep to; knows neither.

use serde::{Deserialize, Serialize};

/// How often an endpoint may be called. Each endpoint has limits of its own.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointLimits {
    /// From the start of one call to the start of the next, in milliseconds. 50: a burst of sessions does not hit
    /// a server in the same instant, and nobody hears the difference.
    pub min_interval_ms: u64,
    /// Calls a minute; 0 for no limit.
    pub requests_per_minute: u32,
    /// Tokens a minute, those of prompts included; 0 for no limit. Language models only.
    pub tokens_per_minute: u32,
    /// How often a call is tried again while it has output nothing. 2.
    pub retries: u32,
}

impl Default for EndpointLimits {
    fn default() -> Self {
        Self { min_interval_ms: 50, requests_per_minute: 0, tokens_per_minute: 0, retries: 2 }
    }
}

/// How long an endpoint is waited for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointTimeouts {
    /// For the connection, in milliseconds. 2,000.
    pub connect_ms: u64,
    /// From the call to its first output, in milliseconds. 10,000: a large model that reads a long talk.
    pub first_output_ms: u64,
    /// Between two pieces of output, in milliseconds. 5,000.
    pub between_ms: u64,
    /// For the whole call, in milliseconds. 120,000.
    pub whole_ms: u64,
}

impl Default for EndpointTimeouts {
    fn default() -> Self {
        Self { connect_ms: 2_000, first_output_ms: 10_000, between_ms: 5_000, whole_ms: 120_000 }
    }
}

/// What a pool must know of an instance that is an endpoint.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Endpoint {
    /// How often it may be called.
    pub limits: EndpointLimits,
    /// How long it is waited for.
    pub timeouts: EndpointTimeouts,
}
