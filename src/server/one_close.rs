//! A WebSocket that sends one close frame, whoever begins: its own, or the answer to the client's. Nothing follows
//! it. Reader and writer are tasks of their own and may end the socket at the same moment; both pass here, one at a
//! time. Knows nothing of sessions.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{Sink, SinkExt, Stream, StreamExt};
use yawc::{Frame, HttpWebSocket, OpCode, WebSocketError};

/// The socket and who has ended it.
pub(super) struct OneClose {
    socket: HttpWebSocket,
    /// Our close frame is on its way: the client's is the answer to it.
    sent: bool,
    /// The client closed or broke the protocol: yawc has its answer ready, which goes out as the socket is read on.
    answered: bool,
}

impl OneClose {
    pub(super) fn new(socket: HttpWebSocket) -> Self {
        Self { socket, sent: false, answered: false }
    }
}

impl Stream for OneClose {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        if self.sent && self.answered {
            return Poll::Ready(None); // yawc would answer the answer
        }
        let frame = ready!(self.socket.poll_next_unpin(cx));
        self.answered |= frame.as_ref().is_none_or(|frame| frame.opcode() == OpCode::Close);
        Poll::Ready(frame)
    }
}

impl Sink<Frame> for OneClose {
    type Error = WebSocketError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        if self.sent { Poll::Ready(Ok(())) } else { self.socket.poll_ready_unpin(cx) }
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Frame) -> Result<(), WebSocketError> {
        if self.sent || self.answered {
            return Ok(());
        }
        self.sent = frame.opcode() == OpCode::Close;
        self.socket.start_send_unpin(frame)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        self.socket.poll_flush_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        self.socket.poll_close_unpin(cx)
    }
}
