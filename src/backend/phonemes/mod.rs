//! How text sounds, for voices that are given phonemes: espeak-ng lists them (`-q --ipa`), a child process for each
//! clause of a talk, about 10 ms. It is under the GPL: a program of its own, nothing of it is linked in.
//!
//! Knows no model. Read [`Script`] first: it cuts a text where the voice pauses, and keeps which words lie where.

mod lengths;
mod script;

pub(super) use lengths::{letters_ms, phoneme_ms};
pub(super) use script::{Marks, Script, Segment};

use std::path::PathBuf;

use super::LoadError;
use super::espeak::process::Program;
use crate::engine::EngineError;

/// Lists phonemes.
#[derive(Clone, Debug)]
pub(super) struct Phonemizer {
    engine: String,
    program: Program,
    /// What it is asked beside the phonemes; `--tie=^` joins those that are one sound.
    option: Option<&'static str>,
}

impl Phonemizer {
    pub(super) fn new(engine: &str, program: PathBuf, option: Option<&'static str>) -> Self {
        Self { engine: engine.to_owned(), program: Program::new(program), option }
    }

    /// Whether espeak-ng has the voice or language `name`. Blocks; for start-up only.
    pub(super) fn speaks(&self, name: &str) -> Result<bool, LoadError> {
        self.program.knows(name).map_err(|reason| LoadError::Dependency {
            engine: self.engine.clone(),
            what: self.program.path().display().to_string(),
            reason,
            next_step: "Install it with `apt-get install espeak-ng`, or set the engine's `program`".into(),
        })
    }

    /// What is heard of each segment of `script`, in groups as espeak-ng parts them: about one for each word.
    pub(super) async fn sound_out(
        &self,
        script: &Script,
        voice: &str,
    ) -> Result<Vec<Vec<String>>, EngineError> {
        let lines: Vec<String> = script.segments().iter().map(|segment| segment.line()).collect();
        let lists = self.lists(&lines, voice).await.map_err(|error| EngineError::Unavailable {
            engine: self.engine.clone(),
            reason: format!("cannot start espeak-ng: {error}"),
        })?;
        Ok(lists
            .iter()
            .map(|list| without_flags(list).split_whitespace().map(str::to_owned).collect())
            .collect())
    }

    /// A listing for each of `lines`. espeak-ng may see more clauses in a line than [`Script`] did; then it is
    /// asked for halves, until the line in question stands alone.
    async fn lists(&self, lines: &[String], voice: &str) -> std::io::Result<Vec<String>> {
        let mut lists = Vec::with_capacity(lines.len());
        let mut left = vec![lines];
        while let Some(lines) = left.pop() {
            if lines.is_empty() {
                continue;
            }
            let found = self.program.list(lines, voice, self.option).await?;
            if found.len() == lines.len() {
                lists.extend(found);
            } else if lines.len() == 1 {
                lists.push(found.join(" "));
            } else {
                let (first, second) = lines.split_at(lines.len() / 2);
                left.extend([second, first]);
            }
        }
        Ok(lists)
    }
}

/// Without the flags that stand where the language changes: `(en)kəmpjˈuːtə(de)`.
fn without_flags(list: &str) -> String {
    let mut out = String::with_capacity(list.len());
    let mut rest = list;
    while let Some((before, flag)) = rest.split_once('(') {
        out.push_str(before);
        match flag.split_once(')') {
            Some((name, after)) if !name.is_empty() => rest = after,
            _ => rest = flag,
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_languages_are_left_out() {
        for (list, expected) in
            [("das (en)kɒmpjˈuːtə(de) ɪst", "das kɒmpjˈuːtə ɪst"), ("a(b", "ab"), ("", "")]
        {
            assert_eq!(without_flags(list), expected);
        }
    }

    #[tokio::test]
    async fn segments_keep_their_phonemes_apart() {
        let phonemizer = Phonemizer::new("test", "espeak-ng".into(), None);
        assert_eq!((phonemizer.speaks("en-us"), phonemizer.speaks("tlh-x")), (Ok(true), Ok(false)));
        let words: Vec<String> =
            "Hello there, my friend. *** A… “b”!".split_whitespace().map(str::to_owned).collect();
        let script = Script::new(&words, Marks::PIPER);
        let found = phonemizer.sound_out(&script, "en-us").await.expect("espeak-ng is installed");
        assert_eq!(found.len(), script.segments().len());
        assert_eq!(found[0], ["həlˈoʊ", "ðˈɛɹ"]);
        // A line in which espeak-ng sees two clauses does not shift the others.
        let lines = ["one. Two", "three", "four. Five", ""].map(str::to_owned);
        let lists = phonemizer.lists(&lines, "en-us").await.expect("espeak-ng is installed");
        assert_eq!(lists, ["wˈʌn tˈuː", "θɹˈiː", "fˈoːɹ fˈaɪv", ""]);
    }

    #[tokio::test]
    async fn a_program_that_is_gone_says_so() {
        let phonemizer = Phonemizer::new("test", "/nowhere/espeak-ng".into(), None);
        let told = phonemizer.speaks("en-us").expect_err("it is not there").to_string();
        assert!(told.contains("/nowhere/espeak-ng") && told.contains("apt-get"), "{told}");
        let script = Script::new(&["one".to_owned()], Marks::PIPER);
        let error = phonemizer.sound_out(&script, "en-us").await.expect_err("it is not there");
        assert!(matches!(error, EngineError::Unavailable { .. }), "{error}");
    }
}
