//! Whisper's languages by name and number. Knows no model.

/// whisper.cpp's number of the language that `asked` names, for a model that knows the first `known` of them; the
/// error says what is wrong. A model that knows none knows English alone.
pub(super) fn number(asked: &str, known: usize) -> Result<i32, &'static str> {
    // Clients send `en-US` where the API asks for `en`.
    let code = asked.split(['-', '_']).next().unwrap_or(asked).to_ascii_lowercase();
    // The lookup makes a C string of it, which must not hold a zero; it takes whole names too.
    let is_code = code.len() <= 3 && code.chars().all(|c| c.is_ascii_lowercase());
    let number = if is_code { whisper_rs::get_lang_id(&code) } else { None };
    match number {
        None => Err("Whisper does not know the language; ISO 639-1 codes like `en` are expected"),
        Some(_) if known == 0 && code != "en" => Err("the model knows English alone"),
        Some(id) if known > 0 && usize::try_from(id).is_ok_and(|id| id >= known) => {
            Err("the model was made before Whisper knew this language")
        }
        Some(id) => Ok(id),
    }
}

/// Codes of the first `count` languages.
pub(super) fn first(count: usize) -> Vec<String> {
    let ids = 0..i32::try_from(count).unwrap_or(i32::MAX).min(whisper_rs::get_lang_max_id() + 1);
    ids.filter_map(|id| whisper_rs::get_lang_str(id).map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_those_of_the_model() {
        assert_eq!((first(99).len(), first(100).len()), (99, 100));
        assert_eq!(first(100).last().map(String::as_str), Some("yue"));
        assert_eq!((number("en-US", 0), number("DE", 99), number("yue", 100)), (Ok(0), Ok(2), Ok(99)));
        for (asked, known, part) in
            [("de", 0, "English alone"), ("yue", 99, "before"), ("xx", 100, "639-1"), ("d\0", 99, "639-1")]
        {
            assert!(number(asked, known).is_err_and(|reason| reason.contains(part)), "{asked:?}");
        }
    }
}
