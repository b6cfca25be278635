//! A session's socket: the reader and the writer, two tasks, so that a slow client holds up neither its own
//! audio nor anybody else's.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;
use yawc::{Frame, OpCode};

use super::audio_frames::AudioTransport;
use super::convert;
use super::one_close::OneClose;
use super::router::ServerState;
use super::websocket::{self, CLOSE_GRACE, Socket};
use crate::protocol::{ErrorCode, ServerEvent, ServerMessage};
use crate::session::event::CloseReason;
use crate::session::health::SessionGauge;
use crate::session::metered;
use crate::session::router::OpenSession;
use crate::session::{Action, SessionCommand, SessionError, SessionEvent};
use crate::telemetry::metrics as names;

/// Pings without any sign of life after which a client counts as gone.
pub(super) const MISSED_PINGS: u32 = 3;
/// Content of the ping behind the `session.created` of a resumed session: whoever answers it has the new token.
const RESUMED_PING: &[u8] = b"resumed";

/// Serves the session until either side ends it. Runs reader, writer and session as tasks of their own.
pub(super) async fn serve(socket: Socket, session: OpenSession, state: ServerState) {
    let Socket { sink, stream, backlog, transport } = socket;
    let gone = CancellationToken::new();
    let ping = Duration::from_secs(state.config.ping_interval_s);
    let id = session.id.clone();
    let reader = Reader {
        stream,
        backlog,
        commands: session.commands,
        gauge: session.gauge,
        max_frame_bytes: state.config.max_frame_bytes,
        takes_binary: transport.is_binary(),
        silence: ping * MISSED_PINGS,
        gone: gone.clone(),
    };
    let confirm = session.resumed;
    let writer = Writer { sink, transport, events: session.events, ping, confirm, gone: gone.clone() };
    let reader = state.runtime.spawn("reader", reader.run());
    let writer = state.runtime.spawn("writer", writer.run());
    match session.task.await {
        Ok(reason) => {
            metrics::counter!(names::SESSIONS_TOTAL, "outcome" => outcome(reason)).increment(1);
        }
        // Counted and logged by whoever took it down.
        Err(error) if error.is_cancelled() => {
            metrics::counter!(names::SESSIONS_TOTAL, "outcome" => outcome(CloseReason::Unhealthy))
                .increment(1);
        }
        Err(error) => {
            metrics::counter!(names::SESSIONS_TOTAL, "outcome" => "panicked").increment(1);
            metrics::counter!(names::PANICS_TOTAL).increment(1);
            tracing::error!(session = %id, %error, "a session's task panicked; its client is told, others go on");
        }
    }
    match tokio::time::timeout(CLOSE_GRACE, writer).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(session = %id, %error, "a session's writer failed"),
        // It is stuck on a client that does not read.
        Err(_) => gone.cancel(),
    }
    if tokio::time::timeout(CLOSE_GRACE, reader).await.is_err() {
        tracing::debug!(session = %id, "the client did not answer the close frame");
    }
}

fn outcome(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::ClientGone => "client_gone",
        CloseReason::Shutdown => "shutdown",
        CloseReason::Idle => "idle",
        CloseReason::Expired => "expired",
        CloseReason::SlowClient => "slow_client",
        CloseReason::OutOfMemory => "out_of_memory",
        CloseReason::Silent => "silent",
        CloseReason::Unhealthy => "unhealthy",
        CloseReason::TakenOver => "taken_over",
    }
}

/// Frames in.
struct Reader {
    stream: SplitStream<OneClose>,
    /// What was read while the client waited for its place.
    backlog: VecDeque<Frame>,
    commands: metered::Sender<SessionCommand>,
    gauge: std::sync::Arc<SessionGauge>,
    max_frame_bytes: usize,
    /// Whether binary frames are audio.
    takes_binary: bool,
    silence: Duration,
    gone: CancellationToken,
}

impl Reader {
    /// Ends when the client, the session or the writer does. Dropping the sender of commands ends the session.
    async fn run(mut self) {
        loop {
            let frame = tokio::select! {
                () = self.gone.cancelled() => return websocket::await_close(&mut self.stream).await,
                frame = timeout_at(Instant::now() + self.silence, next(&mut self.backlog, &mut self.stream)) => frame,
            };
            if matches!(frame, Ok(Some(_))) {
                self.gauge.heard(Instant::now());
            }
            let command = match frame {
                Ok(Some(frame)) => match frame.opcode() {
                    OpCode::Text | OpCode::Binary => self.message(frame),
                    OpCode::Close => return websocket::answer_close(&mut self.stream).await,
                    OpCode::Pong if &frame.payload()[..] == RESUMED_PING => {
                        Some(SessionCommand { client_event_id: None, action: Action::ConfirmResumed })
                    }
                    OpCode::Ping | OpCode::Pong | OpCode::Continuation => None,
                },
                // It is closed, or broke the protocol, which is answered with a close frame.
                Ok(None) => return websocket::answer_close(&mut self.stream).await,
                Err(_) => {
                    tracing::debug!("the client has gone silent");
                    return self.end_silent().await;
                }
            };
            if let Some(command) = command
                && self.commands.send(command).await.is_err()
            {
                return;
            }
        }
    }

    /// The session tells the client why, in case that it reads after all; one that cannot hear it is let go.
    async fn end_silent(&self) {
        let command = SessionCommand { client_event_id: None, action: Action::End(CloseReason::Silent) };
        let told = tokio::time::timeout(CLOSE_GRACE, self.commands.send(command)).await;
        if !matches!(told, Ok(Ok(()))) {
            self.gone.cancel();
        }
    }

    fn message(&self, frame: Frame) -> Option<SessionCommand> {
        let length = frame.payload().len();
        metrics::counter!(names::WEBSOCKET_BYTES_TOTAL, "direction" => "in").increment(length as u64);
        if length > self.max_frame_bytes {
            let message = format!(
                "The frame has {length} bytes, the limit is {} (server.max_frame_bytes). Send audio in smaller pieces.",
                self.max_frame_bytes
            );
            return Some(reject("frame_too_large", message));
        }
        match frame.opcode() {
            OpCode::Text => convert::command(frame.as_str()),
            _ if self.takes_binary => {
                let action = Action::AppendAudio(frame.into_payload().into());
                Some(SessionCommand { client_event_id: None, action })
            }
            _ => Some(unwanted_binary(length)),
        }
    }
}

async fn next(backlog: &mut VecDeque<Frame>, stream: &mut SplitStream<OneClose>) -> Option<Frame> {
    match backlog.pop_front() {
        Some(frame) => Some(frame),
        None => stream.next().await,
    }
}

fn unwanted_binary(length: usize) -> SessionCommand {
    let message = format!(
        "A binary frame of {length} bytes where a text frame is due. Send audio as base64 in \
         input_audio_buffer.append, or connect with ?audio=binary."
    );
    reject("invalid_frame", message)
}

pub(super) fn reject(code: &str, message: String) -> SessionCommand {
    let error = SessionError::BadEvent { code: code.to_owned(), message, param: None };
    SessionCommand { client_event_id: None, action: Action::Reject(error) }
}

/// Events out.
struct Writer {
    sink: SplitSink<OneClose, Frame>,
    transport: AudioTransport,
    events: metered::Receiver<SessionEvent>,
    ping: Duration,
    /// Whether the client is to show that it has what was sent first: the token of a resumed session.
    confirm: bool,
    gone: CancellationToken,
}

impl Writer {
    async fn run(mut self) {
        let gone = self.gone.clone();
        let close = tokio::select! {
            close = self.write() => close,
            () = gone.cancelled() => None,
        };
        if let Some((code, reason)) = close
            && self.sink.send(Frame::close(code.into(), reason)).await.is_err()
        {
            tracing::debug!("the client was gone before it was told the end");
        }
        self.gone.cancel();
    }

    /// Writes until the end; gives the close code, or `None` if the client is gone.
    async fn write(&mut self) -> Option<(u16, &'static str)> {
        let mut pings = interval(self.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset(); // not at once
        loop {
            let frame = tokio::select! {
                event = self.events.recv() => match event {
                    Some(SessionEvent::Closing(reason)) => return Some(convert::close_code(reason)),
                    Some(event) => self.transport.frame(event)?,
                    // No closing event: the session's task panicked.
                    None => return Some((1011, "the session failed; open a new one")),
                },
                _ = pings.tick() => Frame::ping(Bytes::new()),
            };
            self.sink.send(frame).await.ok()?;
            if std::mem::take(&mut self.confirm) {
                self.sink.send(Frame::ping(Bytes::from_static(RESUMED_PING))).await.ok()?;
            }
        }
    }
}

/// An event as a frame, counted.
pub(super) fn text_frame(event: ServerEvent) -> Option<Frame> {
    let message = ServerMessage::from(event);
    if let ServerEvent::Error { error } = &message.event {
        let code = error.code.as_ref().map_or("none", ErrorCode::as_str).to_owned();
        metrics::counter!(names::PROTOCOL_ERRORS_TOTAL, "code" => code).increment(1);
    }
    match message.to_json() {
        Ok(json) => {
            count_out(json.len());
            Some(Frame::text(json))
        }
        Err(error) => {
            tracing::error!(%error, "an event could not be written as JSON");
            None
        }
    }
}

/// Counts bytes of a message that goes out, before they are compressed.
pub(super) fn count_out(bytes: usize) {
    metrics::counter!(names::WEBSOCKET_BYTES_TOTAL, "direction" => "out").increment(bytes as u64);
}
