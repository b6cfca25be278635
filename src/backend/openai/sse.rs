//! The events of a stream (`text/event-stream`), each with a bound on its length.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eventsource_stream::{EventStreamError, Eventsource};
use futures::{Stream, StreamExt};
use reqwest::Response;

use super::upstream::Upstream;
use crate::engine::EngineError;

/// The longest event, in bytes: real ones have some hundred, and a whole tool call in one piece some thousand.
const MAX_EVENT: usize = 1024 * 1024;

/// The data of each event.
pub(super) type Events = Pin<Box<dyn Stream<Item = Result<String, EngineError>> + Send>>;

/// Why the bytes ended.
enum Broken {
    Connection(reqwest::Error),
    TooLong,
}

/// The events of `response`. Ends with the body, or with its first error.
pub(super) fn events(upstream: &Arc<Upstream>, response: Response) -> Events {
    let unread = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&unread);
    // The parser holds what came since the last event; no more of it is handed over than an event may have.
    let bytes = response.bytes_stream().map(move |piece| {
        let piece = piece.map_err(Broken::Connection)?;
        let held = counted.fetch_add(piece.len(), Ordering::Relaxed) + piece.len();
        if held > MAX_EVENT { Err(Broken::TooLong) } else { Ok(piece) }
    });
    let upstream = Arc::clone(upstream);
    Box::pin(bytes.eventsource().map(move |event| match event {
        Ok(event) => {
            unread.store(0, Ordering::Relaxed);
            Ok(event.data)
        }
        Err(EventStreamError::Transport(Broken::Connection(error))) => Err(upstream.broken(&error)),
        Err(EventStreamError::Transport(Broken::TooLong)) => {
            Err(upstream.failed(format!("an event of its stream has more than {MAX_EVENT} bytes")))
        }
        // What is wrong is not told: it is text of the answer.
        Err(EventStreamError::Utf8(_)) => Err(upstream.failed("its stream is not UTF-8".to_owned())),
        Err(EventStreamError::Parser(_)) => Err(upstream.failed("its stream holds no events".to_owned())),
    }))
}
