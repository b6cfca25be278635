//! A request as it came, and what it is answered with, act by act.
#![expect(dead_code, reason = "each test file uses a part of it")]

use std::time::Duration;

use serde_json::{Value, json};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Number of the connection, from 0.
    pub(crate) connection: usize,
    /// `POST`.
    pub(crate) method: String,
    /// `/v1/chat/completions`.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One thing that the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Writes these bytes as they are.
    Raw(Vec<u8>),
    /// Writes a piece of a chunked body.
    Chunk(Vec<u8>),
    /// Ends a chunked body.
    End,
    /// Does nothing for so long.
    Wait(Duration),
    /// Does nothing until the client closes the connection.
    Stall,
    /// Closes its sending half, and reads on.
    HalfClose,
    /// Cuts the connection with a reset.
    Reset,
}

/// What a request is answered with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) acts: Vec<Act>,
}

impl Reply {
    /// A whole body with its length.
    pub(crate) fn whole(status: u16, content_type: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n", body.len());
        if !content_type.is_empty() {
            head.push_str(&format!("content-type: {content_type}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Self { acts: vec![Act::Raw([head.as_bytes(), body].concat())] }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::whole(status, "application/json", &[], body.to_string().as_bytes())
    }

    /// An error as OpenAI writes it.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(status, &json!({ "error": { "code": code, "message": message } }))
    }

    /// The head of a chunked body; pieces follow.
    pub(crate) fn chunked(content_type: &str) -> Self {
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n");
        Self { acts: vec![Act::Raw(head.into_bytes())] }
    }

    /// The head of an event stream.
    pub(crate) fn events() -> Self {
        Self::chunked("text/event-stream; charset=utf-8")
    }

    /// A body that lasts until the connection closes.
    pub(crate) fn until_close(content_type: &str) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nconnection: close\r\n\r\n");
        Self { acts: vec![Act::Raw(head.into_bytes())] }
    }

    /// Then this.
    pub(crate) fn then(mut self, act: Act) -> Self {
        self.acts.push(act);
        self
    }

    /// Before anything is answered, a pause.
    pub(crate) fn after(mut self, pause: Duration) -> Self {
        self.acts.insert(0, Act::Wait(pause));
        self
    }

    pub(crate) fn wait(self, ms: u64) -> Self {
        self.then(Act::Wait(Duration::from_millis(ms)))
    }

    pub(crate) fn chunk(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Act::Chunk(bytes.into()))
    }

    /// An event of a stream.
    pub(crate) fn event(self, data: &str) -> Self {
        self.chunk(format!("data: {data}\n\n"))
    }

    /// A piece of an answer.
    pub(crate) fn delta(self, delta: &Value) -> Self {
        self.event(&json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] }).to_string())
    }

    /// A piece of text.
    pub(crate) fn text(self, text: &str) -> Self {
        self.delta(&json!({ "content": text }))
    }

    /// Why the answer ends.
    pub(crate) fn finish(self, reason: &str) -> Self {
        self.event(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] }).to_string())
    }

    pub(crate) fn usage(self, input: u32, output: u32) -> Self {
        let usage = json!({ "prompt_tokens": input, "completion_tokens": output });
        self.event(&json!({ "choices": [], "usage": usage }).to_string())
    }

    /// `[DONE]` and the end of the body.
    pub(crate) fn done(self) -> Self {
        self.event("[DONE]").end()
    }

    pub(crate) fn end(self) -> Self {
        self.then(Act::End)
    }

    /// A whole streamed answer, word by word.
    pub(crate) fn answer(text: &str) -> Self {
        let words = text.split_inclusive(' ').fold(Self::events(), Self::text);
        words.finish("stop").usage(11, 7).done()
    }
}
