//! A transcript in the formats that clients ask for. Pure.
//!
//! What is always known is when each stretch of speech between two pauses began and ended, and that is what segments
//! and subtitles show; times of words are the engine's, where it tells them.

use std::fmt::Write;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::engine::stt::{HeardWord, TokenLogprob};

/// Formats that are made.
pub(super) const FORMATS: &[(&str, TextFormat)] = &[
    ("json", TextFormat::Json),
    ("text", TextFormat::Text),
    ("verbose_json", TextFormat::VerboseJson),
    ("srt", TextFormat::Srt),
    ("vtt", TextFormat::Vtt),
];

/// How a transcript is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextFormat {
    /// The text in an object.
    Json,
    /// The text alone.
    Text,
    /// The text and its segments.
    VerboseJson,
    /// Subtitles, SubRip.
    Srt,
    /// Subtitles, WebVTT.
    Vtt,
}

/// What was said between two pauses.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segment {
    /// The words.
    pub(super) text: String,
    /// Begin and end in milliseconds.
    pub(super) span_ms: (u64, u64),
    /// The language that the engine heard, where it says.
    pub(super) language: Option<String>,
    /// The tokens and how sure the engine is of each; empty where it does not say.
    pub(super) tokens: Vec<TokenLogprob>,
    /// When each word was said; empty where that was not asked for.
    pub(super) words: Vec<TimedWord>,
}

/// A word and when it was said.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TimedWord {
    text: String,
    /// Begin and end in milliseconds from the begin of the file.
    span_ms: (u64, u64),
}

impl TimedWord {
    /// A word of a piece that begins at `begin_ms`.
    pub(super) fn of(word: HeardWord, begin_ms: u64) -> Self {
        let at = |ms: u32| begin_ms + u64::from(ms);
        Self { span_ms: (at(word.start_ms), at(word.end_ms)), text: word.text }
    }

    /// In OpenAI's shape.
    fn json(&self) -> Value {
        json!({"word": self.text, "start": seconds(self.span_ms.0), "end": seconds(self.span_ms.1)})
    }
}

impl Segment {
    /// The tokens in OpenAI's shape.
    pub(super) fn logprobs(&self) -> Vec<Value> {
        let token = |token: &TokenLogprob| {
            let text = String::from_utf8_lossy(&token.bytes);
            json!({"token": text, "bytes": token.bytes, "logprob": token.logprob})
        };
        self.tokens.iter().map(token).collect()
    }

    fn mean_logprob(&self) -> Option<f64> {
        let sum: f64 = self.tokens.iter().map(|token| f64::from(token.logprob)).sum();
        (!self.tokens.is_empty()).then(|| sum / self.tokens.len() as f64)
    }
}

/// What of a transcript is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) format: TextFormat,
    /// The language that the client named.
    pub(super) language: Option<String>,
    /// Whether how sure the engine is of each token.
    pub(super) logprobs: bool,
    /// Which times, in `verbose_json`.
    pub(super) times: Times,
}

/// Which times a transcript tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) words: bool,
    /// Asked for by name; those of segments are told where nothing is asked for.
    pub(super) segments: bool,
}

/// All that was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Transcription {
    /// In order; none is empty.
    pub(super) segments: Vec<Segment>,
    /// Length of the audio in seconds.
    pub(super) seconds: f64,
}

impl Transcription {
    /// The whole text.
    pub(super) fn text(&self) -> String {
        let texts: Vec<&str> = self.segments.iter().map(|segment| segment.text.as_str()).collect();
        texts.join(" ")
    }

    /// What was used, in OpenAI's shape.
    pub(super) fn usage(&self) -> Value {
        json!({"type": "duration", "seconds": self.seconds.ceil()})
    }

    /// The tokens of all segments.
    pub(super) fn logprobs(&self) -> Vec<Value> {
        self.segments.iter().flat_map(Segment::logprobs).collect()
    }

    /// The answer.
    pub(super) fn response(&self, wanted: &Wanted) -> Response {
        let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        match wanted.format {
            TextFormat::Json => {
                let mut answer = json!({"text": self.text(), "usage": self.usage()});
                if wanted.logprobs {
                    answer["logprobs"] = self.logprobs().into();
                }
                axum::Json(answer).into_response()
            }
            TextFormat::VerboseJson => {
                axum::Json(self.verbose(wanted.language.as_deref(), wanted.times)).into_response()
            }
            TextFormat::Text => (plain, self.text() + "\n").into_response(),
            TextFormat::Srt => (plain, self.srt()).into_response(),
            TextFormat::Vtt => {
                ([(header::CONTENT_TYPE, "text/vtt; charset=utf-8")], self.vtt()).into_response()
            }
        }
    }

    fn verbose(&self, asked: Option<&str>, times: Times) -> Value {
        let heard = self.segments.iter().find_map(|segment| segment.language.as_deref());
        let mut verbose = json!({
            "task": "transcribe",
            "language": heard.or(asked).unwrap_or("unknown"),
            "duration": self.seconds,
            "text": self.text(),
            "usage": self.usage(),
        });
        if times.words {
            let words = self.segments.iter().flat_map(|segment| &segment.words);
            verbose["words"] = words.map(TimedWord::json).collect();
        }
        if times.segments || !times.words {
            verbose["segments"] = self.segments.iter().enumerate().map(segment).collect();
        }
        verbose
    }

    fn srt(&self) -> String {
        let mut srt = String::new();
        for (number, segment) in (1..).zip(&self.segments) {
            let (begin, end) = segment.span_ms;
            let times = format!("{} --> {}", time(begin, ','), time(end, ','));
            // Writing to a String cannot fail.
            let _ = write!(srt, "{number}\n{times}\n{}\n\n", segment.text);
        }
        srt
    }

    fn vtt(&self) -> String {
        let mut vtt = "WEBVTT\n\n".to_owned();
        for segment in &self.segments {
            let (begin, end) = segment.span_ms;
            let _ = write!(vtt, "{} --> {}\n{}\n\n", time(begin, '.'), time(end, '.'), segment.text);
        }
        vtt
    }
}

/// A segment in OpenAI's shape; null is what the engine does not tell.
fn segment((id, segment): (usize, &Segment)) -> Value {
    let (begin, end) = segment.span_ms;
    json!({
        "id": id, "seek": begin / 10, "start": seconds(begin), "end": seconds(end), "text": segment.text,
        "tokens": [], "temperature": 0.0,
        "avg_logprob": segment.mean_logprob(), "compression_ratio": null, "no_speech_prob": null,
    })
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

fn time(ms: u64, point: char) -> String {
    let (s, rest) = (ms / 1_000, ms % 1_000);
    format!("{:02}:{:02}:{:02}{point}{rest:03}", s / 3_600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcription() -> Transcription {
        let segment = |text: &str, span_ms| {
            let token = |logprob| TokenLogprob { bytes: b"x".to_vec(), logprob };
            let tokens = if text == "Bye." { Vec::new() } else { vec![token(-0.5), token(-0.25)] };
            let words = text.split(' ').map(|text| TimedWord { text: text.to_owned(), span_ms }).collect();
            Segment { text: text.to_owned(), span_ms, language: Some("en".to_owned()), tokens, words }
        };
        let segments = vec![segment("Good morning.", (320, 1_500)), segment("Bye.", (3_600_050, 3_661_999))];
        Transcription { segments, seconds: 3_662.25 }
    }

    #[test]
    fn subtitles_are_as_players_read_them() {
        let srt = "1\n00:00:00,320 --> 00:00:01,500\nGood morning.\n\n\
                   2\n01:00:00,050 --> 01:01:01,999\nBye.\n\n";
        let vtt = "WEBVTT\n\n00:00:00.320 --> 00:00:01.500\nGood morning.\n\n\
                   01:00:00.050 --> 01:01:01.999\nBye.\n\n";
        assert_eq!((transcription().srt().as_str(), transcription().vtt().as_str()), (srt, vtt));
        assert_eq!(Transcription::default().vtt(), "WEBVTT\n\n");
    }

    #[test]
    fn verbose_json_has_segments_and_what_is_unknown_is_null() {
        let verbose = transcription().verbose(Some("de"), Times::default());
        assert_eq!((&verbose["text"], &verbose["language"]), (&json!("Good morning. Bye."), &json!("en")));
        assert_eq!((&verbose["duration"], &verbose["usage"]["seconds"]), (&json!(3662.25), &json!(3663.0)));
        let segment = &verbose["segments"][1];
        assert_eq!(
            (&segment["id"], &segment["start"], &segment["end"]),
            (&json!(1), &json!(3600.05), &json!(3661.999))
        );
        assert_eq!(segment["avg_logprob"], Value::Null);
        assert_eq!(verbose["segments"][0]["avg_logprob"], -0.375);
        let logprobs = transcription().logprobs();
        assert_eq!(
            logprobs,
            [-0.5, -0.25].map(|logprob| json!({"token": "x", "bytes": [120], "logprob": logprob}))
        );
        assert_eq!(verbose.get("words"), None, "they were not asked for");
        assert_eq!(Transcription::default().verbose(Some("de"), Times::default())["language"], "de");
        assert_eq!(Transcription::default().verbose(None, Times::default())["language"], "unknown");
    }

    #[test]
    fn times_of_words_are_told_where_they_are_asked_for() {
        let word = HeardWord { text: "Hi,".to_owned(), start_ms: 40, end_ms: 250 };
        assert_eq!(TimedWord::of(word, 1_000).json(), json!({"word": "Hi,", "start": 1.04, "end": 1.25}));
        for (words, segments, keys) in
            [(true, false, [true, false]), (true, true, [true, true]), (false, true, [false, true])]
        {
            let verbose = transcription().verbose(None, Times { words, segments });
            assert_eq!(["words", "segments"].map(|key| verbose.get(key).is_some()), keys);
        }
        let verbose = transcription().verbose(None, Times { words: true, segments: false });
        assert_eq!(verbose["words"].as_array().map(Vec::len), Some(3));
        assert_eq!(verbose["words"][2], json!({"word": "Bye.", "start": 3600.05, "end": 3661.999}));
    }
}
