//! Bodies that a handler answers before it has read them: the rest is read and thrown away. A connection that is closed
//! over bytes that nobody read is reset, and the client loses the answer that says what was wrong with its request.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use futures::{Stream, StreamExt};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::router::ServerState;

/// How long a rest is read at most, and how long one that stands still: nginx's `lingering_time` and
/// `lingering_timeout`.
const WHOLE: Duration = Duration::from_secs(30);
const STILL: Duration = Duration::from_secs(5);

/// Answers at once, and reads what the handler left of the body.
pub(super) async fn read_on(State(state): State<ServerState>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // A client that waits for leave to send keeps its body where it is refused.
    let is_asked_for = !request.headers().contains_key(header::EXPECT);
    let (back, mut rest) = oneshot::channel();
    let lent = |body: Body| Lent { body: Some(body.into_data_stream()), is_asked_for, back: Some(back) };
    let response = next.run(request.map(|body| Body::from_stream(lent(body)))).await;
    if let Ok(rest) = rest.try_recv() {
        let ends = state.runtime.shutdown_token().clone().cancelled_owned();
        state.runtime.spawn("unread body", async move {
            tokio::select! {
                () = discard(rest) => {}
                () = ends => {}
            }
        });
    }
    response
}

async fn discard(mut rest: impl Stream<Item = Result<impl Sized, impl Sized>> + Unpin) {
    let read = async { while let Ok(Some(Ok(_))) = timeout(STILL, rest.next()).await {} };
    timeout(WHOLE, read).await.ok();
}

/// A body that is given back when it is dropped before its end.
struct Lent {
    body: Option<BodyDataStream>,
    /// Its client sends it, or has begun to.
    is_asked_for: bool,
    back: Option<oneshot::Sender<BodyDataStream>>,
}

impl Stream for Lent {
    type Item = <BodyDataStream as Stream>::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.is_asked_for = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let next = body.poll_next_unpin(context);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        next
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|_| self.is_asked_for);
        if let (Some(rest), Some(back)) = (rest, self.back.take()) {
            back.send(rest).ok(); // nobody takes it where the request itself was given up
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rest_that_does_not_end_is_left() {
        let begin = Instant::now();
        discard(stream::pending::<Result<(), ()>>()).await;
        assert_eq!(begin.elapsed(), STILL);
        let begin = Instant::now();
        let drips = stream::unfold((), |()| async {
            tokio::time::sleep(STILL / 2).await;
            Some((Ok::<_, ()>(()), ()))
        });
        discard(Box::pin(drips)).await;
        assert_eq!(begin.elapsed(), WHOLE);
        let begin = Instant::now();
        discard(stream::iter([Ok(()), Ok(()), Err(()), Ok(())])).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
