//! Turns tokens into text as they come. A token may hold a part of a character: text is held back until it is
//! whole.

use tokenizers::Tokenizer;

/// What a tokenizer writes for bytes that are no character yet.
const INCOMPLETE: char = '\u{fffd}';
/// A character has at most four bytes, so more tokens than this are not on their way to one.
const MAX_HELD: usize = 6;

/// The text of one answer.
#[derive(Debug, Default)]
pub(super) struct Detokenizer {
    /// Tokens whose text is out, kept because a tokenizer writes a token by what stands before it.
    told: Vec<u32>,
    /// Tokens whose text is not out.
    held: Vec<u32>,
}

impl Detokenizer {
    /// The text that `token` adds; empty where it completes no character.
    pub(super) fn push(&mut self, token: u32, tokenizer: &Tokenizer) -> Result<String, String> {
        self.held.push(token);
        self.take(tokenizer, false)
    }

    /// What is left at the end. Bytes that make no character are left out.
    pub(super) fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String, String> {
        self.take(tokenizer, true)
    }

    fn take(&mut self, tokenizer: &Tokenizer, is_last: bool) -> Result<String, String> {
        let decode = |tokens: &[u32]| tokenizer.decode(tokens, true).map_err(|error| error.to_string());
        let before = decode(&self.told)?;
        let all = decode(&[self.told.as_slice(), self.held.as_slice()].concat())?;
        let is_incomplete = all.ends_with(INCOMPLETE);
        if is_incomplete && !is_last && self.held.len() < MAX_HELD {
            return Ok(String::new());
        }
        let new = match all.strip_prefix(before.as_str()) {
            Some(new) => new.to_owned(),
            // What was broken off before has become something else; then only the new tokens count.
            None => decode(&self.held)?,
        };
        self.told = std::mem::take(&mut self.held);
        Ok(if is_incomplete { new.trim_end_matches(INCOMPLETE).to_owned() } else { new })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::decoders::byte_level::ByteLevel;
    use tokenizers::models::bpe::BPE;

    /// One token a byte.
    fn bytes() -> Tokenizer {
        let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        alphabet.sort_unstable();
        let vocabulary = (0u32..).zip(alphabet).map(|(id, c)| (c.to_string(), id));
        let model =
            BPE::builder().vocab_and_merges(vocabulary.collect::<tokenizers::models::bpe::Vocab>(), vec![]);
        let mut tokenizer = Tokenizer::new(model.build().expect("a vocabulary"));
        tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, false)));
        tokenizer.with_decoder(Some(ByteLevel::default()));
        tokenizer
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn pieces_are_whole_and_add_up(text in "[ a-zäß€日😀👩‍👩‍👧]{0,24}") {
            let tokenizer = bytes();
            let ids = tokenizer.encode(text.as_str(), false).expect("encodes").get_ids().to_vec();
            let mut detokenizer = Detokenizer::default();
            let mut told = String::new();
            for id in ids {
                let piece = detokenizer.push(id, &tokenizer).expect("decodes");
                prop_assert!(!piece.contains(INCOMPLETE));
                told.push_str(&piece);
            }
            told.push_str(&detokenizer.finish(&tokenizer).expect("decodes"));
            prop_assert_eq!(told, text);
        }
    }

    #[test]
    fn broken_bytes_are_left_out() {
        let tokenizer = bytes();
        let ids = tokenizer.encode("a😀", false).expect("encodes").get_ids().to_vec();
        let mut detokenizer = Detokenizer::default();
        let pieces: Vec<String> =
            ids[..3].iter().map(|id| detokenizer.push(*id, &tokenizer).expect("decodes")).collect();
        assert_eq!(pieces, ["a", "", ""]);
        assert_eq!(detokenizer.finish(&tokenizer), Ok(String::new()));
    }
}
