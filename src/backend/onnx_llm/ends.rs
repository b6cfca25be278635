//! Which tokens end an answer. Pure.

use std::collections::HashSet;

use serde_json::Value;
use tokenizers::Tokenizer;

/// Special tokens that end a turn in the families that there are; exports forget them in their settings at times.
/// A model writes none of them for anything else.
const TURN_ENDS: [&str; 9] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<turn|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<eos>",
];

/// The tokens that `generation_config.json` or else `config.json` names, and those that end a turn by their name.
pub(super) fn end_tokens(generation: &Value, config: &Value, tokenizer: &Tokenizer) -> HashSet<u32> {
    let mut ends = named(&[generation, config]);
    let special = tokenizer.get_added_tokens_decoder();
    ends.extend(
        special
            .iter()
            .filter(|(_, token)| token.special && TURN_ENDS.contains(&token.content.as_str()))
            .map(|(id, _)| *id),
    );
    ends
}

/// `eos_token_id` of the first of `settings` that has one: a number or a list.
fn named(settings: &[&Value]) -> HashSet<u32> {
    let tokens = |value: &Value| {
        let list = value.as_array().map_or_else(|| vec![value.clone()], Clone::clone);
        list.iter().filter_map(|token| u32::try_from(token.as_u64()?).ok()).collect::<HashSet<u32>>()
    };
    let found = settings.iter().map(|settings| tokens(&settings["eos_token_id"]));
    found.into_iter().find(|tokens| !tokens.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokenizers::AddedToken;
    use tokenizers::models::bpe::BPE;

    fn ends(generation: &Value, config: &Value, special: &[&str]) -> Vec<u32> {
        let mut tokenizer = Tokenizer::new(BPE::default());
        let tokens = special.iter().map(|token| AddedToken::from(*token, true));
        tokenizer.add_special_tokens(tokens).expect("added");
        let mut ends: Vec<u32> = end_tokens(generation, config, &tokenizer).into_iter().collect();
        ends.sort_unstable();
        ends
    }

    #[test]
    fn end_tokens_are_a_number_or_a_list() {
        let table = [
            (json!({ "eos_token_id": [2, 0] }), json!({ "eos_token_id": 5 }), vec![0, 2]),
            (Value::Null, json!({ "eos_token_id": 5 }), vec![5]),
            (json!({ "eos_token_id": null }), json!({}), vec![]),
        ];
        for (generation, config, expected) in table {
            assert_eq!(ends(&generation, &config, &[]), expected);
        }
    }

    #[test]
    fn tokens_that_end_a_turn_end_an_answer_though_the_settings_forget_them() {
        let special = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|eom_id|>"];
        assert_eq!(ends(&json!({ "eos_token_id": 9 }), &json!({}), &special), [1, 3, 9]);
    }
}
