//! A transcript in the formats that clients ask for. Pure.
//!
//! The engine knows no times; what is known is when each stretch of speech between two pauses began and ended,
//! and that is what segments and subtitles show.

use std::fmt::Write;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::engine::stt::TokenLogprob;

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
            TextFormat::VerboseJson => axum::Json(self.verbose(wanted.language.as_deref())).into_response(),
            TextFormat::Text => (plain, self.text() + "\n").into_response(),
            TextFormat::Srt => (plain, self.srt()).into_response(),
            TextFormat::Vtt => {
                ([(header::CONTENT_TYPE, "text/vtt; charset=utf-8")], self.vtt()).into_response()
            }
        }
    }

    fn verbose(&self, asked: Option<&str>) -> Value {
        let heard = self.segments.iter().find_map(|segment| segment.language.as_deref());
        let segments: Vec<Value> = self.segments.iter().enumerate().map(segment).collect();
        json!({
            "task": "transcribe",
            "language": heard.or(asked).unwrap_or("unknown"),
            "duration": self.seconds,
            "text": self.text(),
            "segments": segments,
            "usage": self.usage(),
        })
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
    let seconds = |ms: u64| ms as f64 / 1_000.0;
    json!({
        "id": id, "seek": begin / 10, "start": seconds(begin), "end": seconds(end), "text": segment.text,
        "tokens": [], "temperature": 0.0,
        "avg_logprob": segment.mean_logprob(), "compression_ratio": null, "no_speech_prob": null,
    })
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
            Segment { text: text.to_owned(), span_ms, language: Some("en".to_owned()), tokens }
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
        let verbose = transcription().verbose(Some("de"));
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
        assert_eq!(Transcription::default().verbose(Some("de"))["language"], "de");
        assert_eq!(Transcription::default().verbose(None)["language"], "unknown");
    }
}
