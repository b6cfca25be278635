//! What a model's settings and its tokenizer say: which tokens begin and end a text, how long a text can be, what a
//! token means. Read once; knows no graph.

use std::collections::HashSet;

use serde_json::Value;
use tokenizers::Tokenizer;

use super::MoonshineConfig;
use super::files::Files;
use crate::backend::LoadError;
use crate::engine::stt::STT_SAMPLE_RATE;

/// Tokens that a text may have beyond what its length allows, so that a short word has room for its end and a sign of
/// punctuation. The makers' own code gives none and cuts what is shorter than a second.
const SPARE_TOKENS: usize = 4;
/// The longest audio that the models were trained with.
const MAX_WINDOW_S: f64 = 30.0;
const RATE: f64 = STT_SAMPLE_RATE as f64;

/// What a thread needs to know of a model besides its graphs.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) start: u32,
    ends: HashSet<u32>,
    /// Heads of a cache and their size.
    pub(super) cache_sizes: (i64, i64),
    tokens_a_second: f64,
    /// Tokens that the decoder has positions for.
    positions: usize,
    tokenizer: Tokenizer,
    /// Tokens that are no text.
    special: HashSet<u32>,
}

impl Model {
    pub(super) fn read(config: &MoonshineConfig) -> Result<Self, LoadError> {
        let files = Files { config };
        let wrong = |name: &str, reason: String| files.invalid(&files.path(name), reason);
        let settings = files.json("config.json")?;
        match settings["model_type"].as_str() {
            Some("moonshine") => {}
            kind => return Err(wrong("config.json", format!("`model_type` is {kind:?}, not \"moonshine\""))),
        }
        check_features(&files.optional_json("preprocessor_config.json")?)
            .map_err(|reason| wrong("preprocessor_config.json", reason))?;
        let generation = files.optional_json("generation_config.json")?;
        let tokenizer = files.tokenizer()?;
        let special = tokenizer.get_added_tokens_decoder();
        let special = special.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        let number = |key: &str| settings[key].as_u64().and_then(|number| usize::try_from(number).ok());
        let needed =
            |key: &str| number(key).ok_or_else(|| wrong("config.json", format!("it has no `{key}`")));
        let ends =
            [&generation["eos_token_id"], &settings["eos_token_id"]].into_iter().flat_map(ids).collect();
        Ok(Self {
            start: ids(&settings["decoder_start_token_id"]).next().unwrap_or(1),
            ends,
            cache_sizes: cache_sizes(&settings).ok_or_else(|| {
                wrong("config.json", "it has no `hidden_size` or `decoder_num_attention_heads`".to_owned())
            })?,
            tokens_a_second: config.max_tokens_per_second,
            positions: needed("max_position_embeddings")?,
            tokenizer,
            special,
        })
    }

    /// The most samples that one run hears: what fits both the training and the tokens of a text.
    pub(super) fn window_len(&self) -> usize {
        window_len(self.positions, self.tokens_a_second)
    }

    /// The most tokens of a text of so many samples.
    pub(super) fn max_tokens(&self, samples: usize) -> usize {
        max_tokens(samples, self.positions, self.tokens_a_second)
    }

    pub(super) fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The bytes of a token, which may be a part of a sign; none of one that is no text. `▁` is a space, and `<0x0A>`
    /// a byte: so SentencePiece writes its tokens, with which all of these models were trained.
    pub(super) fn bytes(&self, token: u32) -> Option<Vec<u8>> {
        let written = self.tokenizer.id_to_token(token).filter(|_| !self.special.contains(&token))?;
        let byte = written.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => Some(vec![byte]),
            None => Some(written.replace('▁', " ").into_bytes()),
        }
    }
}

/// Heads of a cache and their size.
pub(super) fn cache_sizes(settings: &Value) -> Option<(i64, i64)> {
    let number = |key: &str| settings[key].as_i64().filter(|number| *number > 0);
    let heads = number("decoder_num_attention_heads")?;
    Some((number("decoder_num_key_value_heads").unwrap_or(heads), number("hidden_size")? / heads))
}

/// The most samples that one run hears.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few seconds of samples")]
pub(super) fn window_len(positions: usize, tokens_a_second: f64) -> usize {
    let by_tokens = positions.saturating_sub(SPARE_TOKENS).max(1) as f64 / tokens_a_second;
    (by_tokens.min(MAX_WINDOW_S) * RATE) as usize
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "tokens of a few seconds")]
fn max_tokens(samples: usize, positions: usize, tokens_a_second: f64) -> usize {
    let spoken = (samples as f64 * tokens_a_second / RATE) as usize;
    (spoken + SPARE_TOKENS).min(positions)
}

/// A token's id, or a list of them.
fn ids(value: &Value) -> impl Iterator<Item = u32> {
    let many = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    many.into_iter().filter_map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
}

/// What the model wants its samples to be, where it says.
fn check_features(settings: &Value) -> Result<(), String> {
    match settings["sampling_rate"].as_u64() {
        Some(rate) if rate != u64::from(STT_SAMPLE_RATE) => {
            return Err(format!("`sampling_rate` is {rate}, and speech is heard at {STT_SAMPLE_RATE}"));
        }
        _ => {}
    }
    if settings["do_normalize"] == true {
        return Err("`do_normalize` is true, which no Moonshine model asks for".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_is_as_long_as_its_audio_allows_and_a_window_as_its_text() {
        let table =
            [(0, 4), (1_600, 4), (8_000, 7), (16_000, 10), (160_000, 69), (470_000, 194), (9_000_000, 194)];
        for (samples, expected) in table {
            assert_eq!(max_tokens(samples, 194, 6.5), expected, "{samples} samples");
        }
        // 29.2 s for the published models, half of that where a second has twice the tokens, and 30 s at most.
        assert_eq!(window_len(194, 6.5) / 1_600, 292);
        assert_eq!(window_len(194, 13.0) / 1_600, 146);
        assert_eq!((window_len(4_096, 6.5), window_len(0, 6.5)), (480_000, 2_461));
    }

    #[test]
    fn features_that_are_not_made_here_are_refused() {
        assert_eq!(check_features(&Value::Null), Ok(()));
        assert_eq!(check_features(&json!({"sampling_rate": 16_000, "do_normalize": false})), Ok(()));
        assert!(
            check_features(&json!({"sampling_rate": 8_000})).is_err_and(|reason| reason.contains("8000"))
        );
        assert!(check_features(&json!({"do_normalize": true})).is_err());
    }

    #[test]
    fn sizes_and_ids_are_read_as_they_are_written() {
        let settings = json!({"hidden_size": 288, "decoder_num_attention_heads": 8});
        assert_eq!(cache_sizes(&settings), Some((8, 36)));
        let grouped =
            json!({"hidden_size": 288, "decoder_num_attention_heads": 8, "decoder_num_key_value_heads": 2});
        assert_eq!(cache_sizes(&grouped), Some((2, 36)));
        assert_eq!(cache_sizes(&json!({"hidden_size": 288, "decoder_num_attention_heads": 0})), None);
        assert_eq!(ids(&json!([2, 7])).collect::<Vec<_>>(), [2, 7]);
        assert_eq!((ids(&json!(2)).next(), ids(&Value::Null).next()), (Some(2), None));
    }
}
