//! The sockets of those who have no session yet: they wait in line, or are told to come back.
//!
//! `session.created` is held meanwhile, so a stock client sees nothing but a slow start. What it sends is left
//! unread but for a small backlog, which is read so that its close is noticed.

use std::time::Duration;

use axum::body::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use yawc::{Frame, OpCode};

use super::convert;
use super::socket::text_frame;
use super::websocket::{self, Socket};
use crate::protocol::{ErrorBody, ErrorCode, ErrorType, ServerEvent};
use crate::session::admission::{Outcome, Permit, Position, Refusal, WaitStep, Waiting};

/// Frames that are read from a client that waits. What it sends beyond stays in its own socket.
const BACKLOG_CAPACITY: usize = 64;
/// The same in bytes: about a second of audio.
const BACKLOG_BYTES: usize = 65_536;
/// How long a frame to a client may take; one that does not read is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a client that waits is pinged at least: where nothing is read from it, only a failed ping tells
/// that it is gone.
const PING_AT_LEAST: Duration = Duration::from_secs(5);

/// Close codes: a limit of the user; come back later; the server stops; the session could not be made.
const POLICY_VIOLATION: u16 = 1008;
const TRY_AGAIN_LATER: u16 = 1013;
const SERVICE_RESTART: u16 = 1012;
const INTERNAL_ERROR: u16 = 1011;

/// How a client wants to wait.
#[derive(Debug)]
pub(super) struct WaitOptions {
    /// It asked for its place in line.
    pub(super) positions: bool,
    pub(super) ping: Duration,
    pub(super) shutdown: CancellationToken,
}

/// Holds a client in line. Gives its permit when its turn has come, or `None` when it is gone or was told to go.
pub(super) async fn wait(socket: &mut Socket, waiting: Waiting, options: &WaitOptions) -> Option<Permit> {
    match wait_for_outcome(socket, waiting, options).await {
        End::Over(Outcome::Admitted(permit)) => Some(permit),
        End::Over(Outcome::Expired(refusal)) => {
            let retry_s = refusal.retry_after().as_secs();
            let message = format!(
                "No place came free in time: the server is busy. Try again in {retry_s} seconds, or ask the \
                 operator to raise server.max_sessions or server.admission.max_wait_s."
            );
            close_busy(socket, &message).await;
            None
        }
        End::Shutdown => {
            close(socket, SERVICE_RESTART, "the server shuts down").await;
            None
        }
        End::Gone => None,
    }
}

/// Tells a client that there is no room, and when to come back.
pub(super) async fn refuse(socket: &mut Socket, refusal: Refusal) {
    let retry_s = refusal.retry_after().as_secs();
    let message = format!(
        "The server is full and so is its waiting line. Try again in {retry_s} seconds, or ask the operator to \
         raise server.max_sessions or server.admission.max_queue."
    );
    close_busy(socket, &message).await;
}

/// Tells a client whose turn had come that its session could not be made.
pub(super) async fn fail(socket: &mut Socket, error: &crate::session::router::OpenError) {
    use crate::session::router::OpenError;
    match error {
        OpenError::ShuttingDown => close(socket, SERVICE_RESTART, "the server shuts down").await,
        OpenError::Quota(error) => {
            send_error(socket, convert::quota_code(error), &error.to_string()).await;
            close(socket, POLICY_VIOLATION, "too many sessions of this user").await;
        }
        OpenError::NothingToResume => {
            send_error(socket, ErrorCode::other("session_not_found"), &error.to_string()).await;
            close(socket, POLICY_VIOLATION, "there is no such session to resume").await;
        }
        OpenError::Store => {
            send_error(socket, ErrorCode::SERVER_ERROR, &error.to_string()).await;
            close(socket, TRY_AGAIN_LATER, "sessions cannot be resumed at the moment").await;
        }
        OpenError::Build(error) => {
            send_error(socket, ErrorCode::SERVER_ERROR, &error.to_string()).await;
            close(socket, INTERNAL_ERROR, "no session could be made").await;
        }
    }
}

enum End {
    Over(Outcome),
    Shutdown,
    Gone,
}

async fn wait_for_outcome(socket: &mut Socket, mut waiting: Waiting, options: &WaitOptions) -> End {
    let mut pings = interval(options.ping.min(PING_AT_LEAST));
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.reset(); // not at once
    let mut backlog_bytes = 0;
    loop {
        let room = socket.backlog.len() < BACKLOG_CAPACITY && backlog_bytes < BACKLOG_BYTES;
        let frame = tokio::select! {
            biased;
            () = options.shutdown.cancelled() => return End::Shutdown,
            step = waiting.next(options.positions) => match step {
                WaitStep::Over(outcome) => return End::Over(outcome),
                WaitStep::Moved(position) => position_frame(position),
            },
            frame = socket.stream.next(), if room => match frame {
                Some(data) if matches!(data.opcode(), OpCode::Text | OpCode::Binary) => {
                    backlog_bytes += data.payload().len();
                    socket.backlog.push_back(data);
                    continue;
                }
                Some(control) if control.opcode() != OpCode::Close => continue,
                _ => {
                    websocket::answer_close(&mut socket.stream).await;
                    return End::Gone;
                }
            },
            _ = pings.tick() => Some(Frame::ping(Bytes::new())),
        };
        if let Some(frame) = frame
            && !send(socket, frame).await
        {
            return End::Gone;
        }
    }
}

fn position_frame(position: Position) -> Option<Frame> {
    let seconds = |wait: Duration| u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
    text_frame(ServerEvent::AntiphonQueuePosition {
        position: u32::try_from(position.place).unwrap_or(u32::MAX),
        estimated_wait_s: position.estimated_wait.map(seconds),
    })
}

async fn close_busy(socket: &mut Socket, message: &str) {
    send_error(socket, ErrorCode::OVERLOADED, message).await;
    close(socket, TRY_AGAIN_LATER, "overloaded; try again later").await;
}

async fn send_error(socket: &mut Socket, code: ErrorCode, message: &str) {
    let error = ErrorBody::new(ErrorType::ServerError, code, message);
    if let Some(frame) = text_frame(ServerEvent::Error { error }) {
        send(socket, frame).await;
    }
}

/// Closes, and waits for the client to do so too, so that what it was told is not lost with the connection.
async fn close(socket: &mut Socket, code: u16, reason: &'static str) {
    if send(socket, Frame::close(code.into(), reason)).await {
        websocket::await_close(&mut socket.stream).await;
    }
}

/// Sends; says whether the client took it.
async fn send(socket: &mut Socket, frame: Frame) -> bool {
    matches!(timeout(SEND_TIMEOUT, socket.sink.send(frame)).await, Ok(Ok(())))
}
