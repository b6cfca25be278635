//! One WebSocket to the server.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response, header};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::wire::{self, ServerEvent};

/// A server that reads nothing for so long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// An open connection.
#[derive(Debug)]
pub(crate) struct Line {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Line {
    /// Connects, as stock clients do.
    pub(crate) async fn open(address: &str, api_key: Option<&str>, limit: Duration) -> anyhow::Result<Self> {
        let mut request = address.into_client_request().with_context(|| format!("the address {address}"))?;
        if let Some(key) = api_key {
            let value = HeaderValue::from_str(&format!("Bearer {key}")).context("the API key")?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let connecting = connect_async_with_config(request, None, true);
        match timeout(limit, connecting).await {
            Err(_) => bail!("no connection within {} s", limit.as_secs_f64()),
            Ok(Err(Error::Http(response))) => bail!("refused: {}", refusal(&response)),
            Ok(Err(error)) => Err(anyhow!(error).context(format!("cannot connect to {address}"))),
            Ok(Ok((socket, _))) => Ok(Self { socket }),
        }
    }

    /// Sends one event.
    pub(crate) async fn send(&mut self, event: impl Into<Utf8Bytes>) -> anyhow::Result<()> {
        self.send_message(Message::Text(event.into())).await
    }

    /// Sends one message.
    pub(crate) async fn send_message(&mut self, message: Message) -> anyhow::Result<()> {
        let sending = self.socket.send(message);
        let sent = timeout(SEND_TIMEOUT, sending).await.context("the server does not read any more")?;
        sent.context("the connection broke")
    }

    /// The next event. Dropping the future loses nothing.
    pub(crate) async fn receive(&mut self) -> anyhow::Result<ServerEvent> {
        loop {
            let message = self.socket.next().await.context("the server hung up")?;
            match message.context("the connection broke")? {
                Message::Text(text) => {
                    let shown = text.get(..200).unwrap_or(&text);
                    return serde_json::from_str(&text).with_context(|| format!("not an event: {shown}"));
                }
                Message::Binary(frame) => {
                    return wire::binary_audio(&frame).context("a binary frame without a stream");
                }
                Message::Close(Some(frame)) => bail!("closed by the server: {} {}", frame.code, frame.reason),
                Message::Close(None) => bail!("closed by the server"),
                _ => {}
            }
        }
    }

    /// Says goodbye.
    pub(crate) async fn close(mut self) {
        // A server that does not answer the goodbye costs nothing but these two seconds.
        drop(timeout(CLOSE_TIMEOUT, self.socket.close(None)).await);
    }
}

fn refusal(response: &Response<Option<Vec<u8>>>) -> String {
    let retry = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry = retry.map(|seconds| format!(", retry after {seconds} s")).unwrap_or_default();
    let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    let body: String = body.chars().take(200).collect();
    format!("{}{retry} {}", response.status(), body.trim())
}
