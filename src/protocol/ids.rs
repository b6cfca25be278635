//! Identifiers as OpenAI writes them: a prefix that tells the kind, then 21 random alphanumerics.
//!
//! Clients treat them as opaque. 21 characters carry 125 bits, so nobody checks for collisions, and an id
//! is not guessable.

use rand::distr::{Alphanumeric, SampleString};

/// Random characters after the prefix.
const RANDOM_CHARS: usize = 21;

/// A new server event id, `event_...`.
pub fn new_event_id() -> String {
    generate("event_")
}

/// A new conversation item id, `item_...`.
pub fn new_item_id() -> String {
    generate("item_")
}

/// A new response id, `resp_...`.
pub fn new_response_id() -> String {
    generate("resp_")
}

/// A new session id, `sess_...`.
pub fn new_session_id() -> String {
    generate("sess_")
}

/// A new conversation id, `conv_...`.
pub fn new_conversation_id() -> String {
    generate("conv_")
}

/// A new function call id, `call_...`.
pub fn new_call_id() -> String {
    generate("call_")
}

fn generate(prefix: &str) -> String {
    let mut id = String::with_capacity(prefix.len() + RANDOM_CHARS);
    id.push_str(prefix);
    Alphanumeric.append_string(&mut rand::rng(), &mut id, RANDOM_CHARS);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_prefix_and_21_alphanumerics() {
        let ids = || {
            [
                ("event_", new_event_id()),
                ("item_", new_item_id()),
                ("resp_", new_response_id()),
                ("sess_", new_session_id()),
                ("conv_", new_conversation_id()),
                ("call_", new_call_id()),
            ]
        };
        for ((prefix, id), (_, other)) in ids().into_iter().zip(ids()) {
            let random = id.strip_prefix(prefix).unwrap();
            assert_eq!(random.len(), 21, "{id}");
            assert!(random.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
            assert_ne!(id, other);
        }
    }
}
