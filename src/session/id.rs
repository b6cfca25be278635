//! Ids: opaque strings in OpenAI's form, a prefix and 21 alphanumerics, drawn at random so that none can be
//! guessed.

use std::fmt;
use std::sync::Arc;

use rand::Rng;
use rand::distr::Alphanumeric;
use serde::{Deserialize, Serialize};

/// Length of the random part, as OpenAI's ids have it: 125 bits.
const RANDOM_LEN: usize = 21;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// A new id.
            pub fn random() -> Self {
                let random = rand::rng().sample_iter(Alphanumeric).take(RANDOM_LEN).map(char::from);
                Self($prefix.chars().chain(random).collect::<String>().into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id_type!(
    /// A session.
    SessionId,
    "sess_"
);
id_type!(
    /// A session's conversation.
    ConversationId,
    "conv_"
);
id_type!(
    /// An item of a conversation. Clients may choose their own.
    ItemId,
    "item_"
);
id_type!(
    /// A response.
    ResponseId,
    "resp_"
);
id_type!(
    /// A request as it is tracked. That of a response is the response's id.
    RequestId,
    "req_"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_prefix_and_differ() {
        let (a, b) = (SessionId::random(), SessionId::random());
        assert!(a.as_str().starts_with("sess_") && a.as_str().len() == 5 + RANDOM_LEN);
        assert_ne!(a, b);
    }
}
