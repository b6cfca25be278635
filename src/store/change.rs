//! What a session tells the store.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// SHA-256 of a resume token. Tokens themselves never come here.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// What changed of a session since its last change.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The snapshot begins with this change; what was kept of the session before is forgotten.
    pub begin: Option<Begin>,
    /// Until when it is kept, where that changed.
    pub keep: Option<Keep>,
    /// Its client has the token that it was given last: the one before opens nothing any more.
    pub confirmed: bool,
    /// Parts that changed; `None` for those that are gone.
    pub parts: BTreeMap<String, Option<Part>>,
}

/// A session as it begins to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// What opens it.
    pub token: TokenHash,
    /// Whose it is; empty for nobody's.
    pub owner: String,
}

/// Until when a snapshot is kept, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The session runs. If the server ends without a word, it is kept for the grace time after the next start,
    /// and never longer than this.
    Open {
        /// The end of its longest duration.
        until_ms: u64,
    },
    /// It has ended.
    Ended {
        /// The end of the grace time.
        until_ms: u64,
    },
}

/// The content of a part.
#[derive(Clone)]
pub enum Part {
    /// As it is kept.
    Bytes(Vec<u8>),
    /// Samples in [-1, 1], kept as 16 bit, little endian. They are shared, and converted where they are written:
    /// the session's task only counts a reference.
    Samples(Arc<[f32]>),
}

impl Part {
    /// Bytes that it takes when kept.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Samples(samples) => samples.len() * size_of::<i16>(),
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As it is kept.
    pub fn to_bytes(&self) -> std::borrow::Cow<'_, [u8]> {
        match self {
            Self::Bytes(bytes) => bytes.into(),
            Self::Samples(samples) => {
                let samples = samples.iter().map(|&sample| crate::audio::pcm::sample_to_i16(sample));
                samples.flat_map(i16::to_le_bytes).collect::<Vec<u8>>().into()
            }
        }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len()) // what people said is in no log
    }
}

impl Change {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.begin.is_none() && self.keep.is_none() && !self.confirmed && self.parts.is_empty()
    }

    /// Bytes that its parts hold.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|(name, part)| name.len() + part.as_ref().map_or(0, Part::len)).sum()
    }

    /// Puts a later change over this one.
    pub(super) fn overlay(&mut self, later: Self) {
        if later.begin.is_some() {
            *self = later;
            return;
        }
        self.keep = later.keep.or(self.keep);
        self.confirmed |= later.confirmed;
        self.parts.extend(later.parts);
    }
}
