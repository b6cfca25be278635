//! The secret that opens a session again.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore;
use sha2::{Digest, Sha256};

use crate::store::TokenHash;

/// Random bytes of a token: 256 bits, so that none is ever guessed.
const TOKEN_BYTES: usize = 32;
const PREFIX: &str = "rt_";

/// A resume token: random, and of no meaning but to the store, which has its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken(String);

impl ResumeToken {
    /// A new token.
    pub fn random() -> Self {
        let mut bytes = [0; TOKEN_BYTES];
        rand::rng().fill_bytes(&mut bytes); // a cryptographic generator, seeded by the system
        Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// What a client sent. Anything may be a token; most open nothing.
    pub fn of_client(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The token as its client gets it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the store knows of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeToken(..)") // a secret is in no log
    }
}
