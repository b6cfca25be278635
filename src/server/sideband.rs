//! `GET /v1/realtime?call_id=SESSION`: a second socket of a session that runs, for a backend beside the client. It
//! speaks JSON in text frames, whatever the session's own socket does.
//!
//! It takes no place: it is counted with its session, and goes when that ends.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use yawc::{Frame, OpCode};

use super::access::{Viewer, api_error};
use super::convert;
use super::one_close::OneClose;
use super::router::ServerState;
use super::socket::{MISSED_PINGS, reject, text_frame};
use super::websocket::{self, CLOSE_GRACE, Socket};
use crate::session::event::CloseReason;
use crate::session::id::SessionId;
use crate::session::router::AttachError;
use crate::session::sideband::{Sideband, SidebandCommands};
use crate::session::{SessionCommand, SessionEvent};

/// Attaches to the session of this id, if it is the viewer's.
pub(super) async fn attach(
    state: &ServerState,
    viewer: &Viewer,
    id: &str,
) -> Result<Sideband, Box<Response>> {
    let refuse = |status, code, message: &str| Err(Box::new(api_error(status, code, message)));
    let unknown = "There is no open session of yours with this 'call_id'. It is the id in session.created; on a \
                   server without keys, only this machine may attach.";
    let Some(owner) = viewer.attaches_to() else {
        return refuse(StatusCode::NOT_FOUND, "session_not_found", unknown);
    };
    match state.sessions.attach(&SessionId::from(id), owner).await {
        Ok(sideband) => Ok(sideband),
        Err(AttachError::NotFound(_)) => refuse(StatusCode::NOT_FOUND, "session_not_found", unknown),
        Err(error @ AttachError::TooMany) => {
            refuse(StatusCode::TOO_MANY_REQUESTS, "sideband_limit_reached", &error.to_string())
        }
    }
}

/// Serves it until it goes or its session ends.
pub(super) async fn serve(socket: Socket, sideband: Sideband, state: ServerState) {
    let Socket { sink, stream, .. } = socket;
    let gone = CancellationToken::new();
    let ping = Duration::from_secs(state.config.ping_interval_s);
    let reader = Reader {
        stream,
        commands: sideband.commands(),
        max_frame_bytes: state.config.max_frame_bytes,
        silence: ping * MISSED_PINGS,
    };
    let (reading, writing) = (gone.clone(), gone.clone());
    let read = async move {
        let mut reader = reader;
        let ended = tokio::select! {
            () = reading.cancelled() => false,
            () = reader.run() => true,
        };
        reading.cancel();
        match ended {
            true => websocket::answer_close(&mut reader.stream).await,
            false => websocket::await_close(&mut reader.stream).await,
        }
    };
    let writer = Writer { sink, sideband, ping };
    let reader = state.runtime.spawn("sideband reader", read);
    let writer = state.runtime.spawn("sideband writer", writer.run(writing));
    for task in [reader, writer] {
        if let Err(error) = task.await {
            tracing::error!(%error, "a sideband's task failed");
        }
    }
}

/// Frames in.
struct Reader {
    stream: SplitStream<OneClose>,
    commands: SidebandCommands,
    max_frame_bytes: usize,
    silence: Duration,
}

impl Reader {
    /// Ends when the sideband goes, shows no life, or its session has ended.
    async fn run(&mut self) {
        while let Ok(Some(frame)) = timeout(self.silence, self.stream.next()).await {
            let command = match frame.opcode() {
                OpCode::Text => self.text(&frame),
                OpCode::Binary => {
                    Some(reject("invalid_frame", "A sideband takes text frames alone.".to_owned()))
                }
                OpCode::Ping | OpCode::Pong | OpCode::Continuation => None,
                OpCode::Close => return,
            };
            if let Some(command) = command
                && self.commands.ask(command).await.is_err()
            {
                // The writer tells why; what is still sent here has no session any more.
                return std::future::pending().await;
            }
        }
    }

    fn text(&self, frame: &Frame) -> Option<SessionCommand> {
        let (length, limit) = (frame.payload().len(), self.max_frame_bytes);
        if length > limit {
            let message =
                format!("The frame has {length} bytes, the limit is {limit} (server.max_frame_bytes).");
            return Some(reject("frame_too_large", message));
        }
        convert::command(frame.as_str())
    }
}

/// Events out.
struct Writer {
    sink: SplitSink<OneClose, Frame>,
    sideband: Sideband,
    ping: Duration,
}

impl Writer {
    async fn run(mut self, gone: CancellationToken) {
        let close = tokio::select! {
            () = gone.cancelled() => None,
            close = self.write() => close,
        };
        if let Some((code, reason)) = close {
            let frame = Frame::close(code.into(), reason);
            if !matches!(timeout(CLOSE_GRACE, self.sink.send(frame)).await, Ok(Ok(()))) {
                tracing::debug!("a sideband was gone before it was told the end");
            }
        }
        gone.cancel();
    }

    /// Writes until the end; gives the close code, or `None` if the socket is gone.
    async fn write(&mut self) -> Option<(u16, &'static str)> {
        let mut pings = interval(self.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset(); // not at once
        loop {
            let frame = tokio::select! {
                event = self.sideband.events.recv() => match event {
                    Some(SessionEvent::Closing(reason)) => return Some(close_code(reason)),
                    Some(event) => text_frame(convert::server_event(event)?)?,
                    None if self.sideband.was_slow() => {
                        return Some((1008, "this socket does not read what it is sent"));
                    }
                    None => return Some((1011, "the session failed")),
                },
                _ = pings.tick() => Frame::ping(Bytes::new()),
            };
            self.sink.send(frame).await.ok()?;
        }
    }
}

fn close_code(reason: CloseReason) -> (u16, &'static str) {
    match reason {
        CloseReason::ClientGone => (1000, "the session's client has gone"),
        CloseReason::TakenOver => (1012, "the session goes on on another connection; attach again"),
        reason => convert::close_code(reason),
    }
}
