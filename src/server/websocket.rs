//! The WebSocket itself: its upgrade, what is agreed on with the client, and how it ends. Knows frames and nothing
//! of events.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use futures::StreamExt;
use futures::stream::{SplitSink, SplitStream};
use tokio::time::timeout;
use yawc::{CompressionLevel, DeflateOptions, DeflatePool, Frame, IncomingUpgrade, OpCode, Options};

use super::audio_frames::AudioTransport;
use super::one_close::OneClose;
use crate::runtime::Runtime;

/// How long a client may take to answer a close frame.
pub(super) const CLOSE_GRACE: Duration = Duration::from_secs(2);
/// The subprotocol that is answered where the client offers it: a browser that gets none back fails. What carries a
/// key is never echoed.
const SUBPROTOCOL: &str = "realtime";
/// Messages below this many bytes go out as they are: deflate hardly shortens them, and Opus packets not at all.
const COMPRESSED_FROM: usize = 256;
/// Idle compressors that are kept for the next message of any socket, 300 KiB each: about one for each thread.
const KEPT_COMPRESSORS: usize = 16;

/// Compressors that sockets take for one message at a time. Nothing of one message is left for the next.
pub(super) fn compressors() -> DeflatePool {
    DeflatePool::new(KEPT_COMPRESSORS)
}

/// What the server wants of a socket.
#[derive(Debug)]
pub(super) struct SocketOptions {
    /// The largest message that a client may send, in bytes.
    pub(super) max_frame_bytes: usize,
    /// With which messages are compressed where the client offers it; `None` for never.
    pub(super) compressors: Option<DeflatePool>,
    /// How audio travels.
    pub(super) transport: AudioTransport,
}

/// A client's socket, and what was read from it before its session began.
pub(super) struct Socket {
    pub(super) sink: SplitSink<OneClose, Frame>,
    pub(super) stream: SplitStream<OneClose>,
    pub(super) backlog: VecDeque<Frame>,
    pub(super) transport: AudioTransport,
}

/// A request that may become a socket.
pub(super) struct Upgrade {
    incoming: IncomingUpgrade,
    subprotocol: bool,
    options: SocketOptions,
}

impl Upgrade {
    pub(super) fn new(incoming: IncomingUpgrade, headers: &HeaderMap, options: SocketOptions) -> Self {
        Self { incoming, subprotocol: offers_subprotocol(headers), options }
    }

    /// Answers the request; `serve` gets the socket, as a task of the runtime.
    pub(super) fn on_upgrade<F>(
        self,
        runtime: &Runtime,
        serve: impl FnOnce(Socket) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let SocketOptions { max_frame_bytes, compressors, transport } = self.options;
        let (response, upgraded) = match self.incoming.upgrade(options(max_frame_bytes, compressors)) {
            Ok(agreed) => agreed,
            Err(error) => {
                tracing::debug!(%error, "an upgrade failed");
                return bad_request();
            }
        };
        drop(runtime.spawn("socket", async move {
            match upgraded.await {
                Ok(websocket) => {
                    let (sink, stream) = OneClose::new(websocket).split();
                    serve(Socket { sink, stream, backlog: VecDeque::new(), transport }).await;
                }
                Err(error) => tracing::debug!(%error, "the client was gone before its socket was open"),
            }
        }));
        let mut response = response.map(|_| Body::empty());
        if self.subprotocol {
            let name = HeaderValue::from_static(SUBPROTOCOL);
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, name);
        }
        response
    }
}

fn options(max_frame_bytes: usize, compressors: Option<DeflatePool>) -> Options {
    // Twice the limit, so that a frame slightly over it is answered rather than cut off. What is inflated counts too.
    let limit = max_frame_bytes.saturating_mul(2);
    Options {
        compression: compressors.map(deflate),
        ..Options::default().with_limits(limit, limit).with_utf8()
    }
}

/// Each message by itself: a socket that keeps what came before takes 370 KiB more, for little less on the wire
/// (docs/protocol.md has both figures).
fn deflate(pool: DeflatePool) -> DeflateOptions {
    DeflateOptions {
        level: CompressionLevel::fast(),
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        compression_threshold: COMPRESSED_FROM,
        pool: Some(pool),
    }
}

fn offers_subprotocol(headers: &HeaderMap) -> bool {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names = offered.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    names.any(|name| name.trim() == SUBPROTOCOL)
}

fn bad_request() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = axum::http::StatusCode::BAD_REQUEST;
    response
}

/// After the client's close frame, or a frame that broke the protocol: sends the close frame that answers it.
pub(super) async fn answer_close(stream: &mut SplitStream<OneClose>) {
    if timeout(CLOSE_GRACE, stream.next()).await.is_err() {
        tracing::debug!("the client did not take the close frame");
    }
}

/// After the server's close frame: reads on until the client answers it, so that what it was told is not lost with
/// the connection.
pub(super) async fn await_close(stream: &mut SplitStream<OneClose>) {
    let answered =
        async { while stream.next().await.is_some_and(|frame| frame.opcode() != OpCode::Close) {} };
    if timeout(CLOSE_GRACE, answered).await.is_err() {
        tracing::debug!("the client did not answer the close frame");
    }
}
