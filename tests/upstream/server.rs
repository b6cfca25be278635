//! A scriptable HTTP/1.1 server on loopback that speaks what engines behind a URL are asked, and gets it wrong on
//! demand: slow, stalled, broken, cut off. It records every request and every connection.
//!
//! Read [`FaultServer`] first; `reply` is what one request is answered with.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::reply::{Act, Reply, Seen};

/// How long tests wait for what must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What requests are answered with: the replies in turn, the last again and again, or what a function says.
type Script = Box<dyn FnMut(&Seen) -> Reply + Send>;

struct Shared {
    seen: Mutex<Vec<Seen>>,
    script: Mutex<Script>,
    opened: watch::Sender<usize>,
    closed: watch::Sender<usize>,
    asked: watch::Sender<usize>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// The server. It ends when it is dropped.
pub(crate) struct FaultServer {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.listening.abort();
        lock(&self.shared.tasks).drain(..).for_each(|task| task.abort());
    }
}

impl FaultServer {
    /// Answers with `replies` in turn; the last one again and again.
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut replies: VecDeque<Reply> = replies.into_iter().collect();
        Self::answering(move |_| match replies.len() {
            0 | 1 => replies.front().cloned().unwrap_or_default(),
            _ => replies.pop_front().unwrap_or_default(),
        })
        .await
    }

    /// Answers with what `script` makes of each request.
    pub(crate) async fn answering(script: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            script: Mutex::new(Box::new(script)),
            opened: watch::Sender::default(),
            closed: watch::Sender::default(),
            asked: watch::Sender::default(),
            tasks: Mutex::default(),
        });
        let listening = spawn(listen(listener, Arc::clone(&shared)));
        Self { address, shared, listening }
    }

    /// The base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// How many connections were opened so far.
    pub(crate) fn connections(&self) -> usize {
        *self.shared.opened.borrow()
    }

    /// Waits until `count` requests have come.
    pub(crate) async fn asked(&self, count: usize) {
        reached(&self.shared.asked, count, "requests").await;
    }

    /// Waits until `count` connections were closed by the client.
    pub(crate) async fn closed(&self, count: usize) {
        reached(&self.shared.closed, count, "closed connections").await;
    }
}

async fn reached(counter: &watch::Sender<usize>, count: usize, what: &str) {
    let mut changes = counter.subscribe();
    let found = timeout(DEADLINE, changes.wait_for(|now| *now >= count)).await;
    assert!(found.is_ok(), "{count} {what} in time; there were {}", *counter.borrow());
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "a server of tests; its tasks end with it")]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        let connection = *shared.opened.borrow();
        shared.opened.send_replace(connection + 1);
        let task = spawn(serve(socket, connection, Arc::clone(&shared)));
        lock(&shared.tasks).push(task);
    }
}

/// Answers the requests of one connection until it ends.
async fn serve(mut socket: TcpStream, connection: usize, shared: Arc<Shared>) {
    socket.set_nodelay(true).ok();
    let mut buffer = Vec::new();
    while let Some(seen) = read_request(&mut socket, &mut buffer, connection).await {
        let reply = (lock(&shared.script))(&seen);
        lock(&shared.seen).push(seen);
        shared.asked.send_modify(|count| *count += 1);
        match act(&mut socket, reply).await {
            Ending::Open => {}
            Ending::Closed => break,
            Ending::Over => {
                socket.shutdown().await.ok();
                gone(&socket).await;
                break;
            }
            Ending::Reset => {
                socket.set_zero_linger().ok();
                return;
            }
        }
    }
    shared.closed.send_modify(|count| *count += 1);
}

enum Ending {
    /// The next request may come.
    Open,
    /// The client closed it.
    Closed,
    /// The body lasts until here.
    Over,
    Reset,
}

async fn act(socket: &mut TcpStream, reply: Reply) -> Ending {
    let closes = reply.acts.first().is_some_and(
        |act| matches!(act, Act::Raw(head) if String::from_utf8_lossy(head).contains("connection: close")),
    );
    for act in reply.acts {
        let written = match act {
            Act::Raw(bytes) => socket.write_all(&bytes).await,
            Act::Chunk(bytes) => write_chunk(socket, &bytes).await,
            Act::End => socket.write_all(b"0\r\n\r\n").await,
            Act::Wait(pause) => {
                // A client that goes meanwhile is noticed at once.
                if timeout(pause, gone(socket)).await.is_ok() {
                    return Ending::Closed;
                }
                Ok(())
            }
            Act::Stall => {
                gone(socket).await;
                return Ending::Closed;
            }
            Act::HalfClose => {
                socket.shutdown().await.ok();
                gone(socket).await;
                return Ending::Closed;
            }
            Act::Reset => return Ending::Reset,
        };
        if written.is_err() {
            return Ending::Closed;
        }
    }
    if closes { Ending::Over } else { Ending::Open }
}

async fn write_chunk(socket: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    socket.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
    socket.write_all(bytes).await?;
    socket.write_all(b"\r\n").await
}

/// Waits until the client closes the connection.
async fn gone(socket: &TcpStream) {
    let mut byte = [0; 1];
    loop {
        match socket.peek(&mut byte).await {
            Ok(0) | Err(_) => return,
            // A next request already waits: it is looked at later.
            Ok(_) => sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn read_request(
    socket: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    connection: usize,
) -> Option<Seen> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        read_more(socket, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    buffer.drain(..head_end);
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let mut seen =
        Seen { connection, method: method.to_owned(), path: path.to_owned(), headers, body: Vec::new() };
    if seen.header("transfer-encoding").is_some() {
        seen.body = read_chunked(socket, buffer).await?;
    } else {
        let length = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        seen.body = take(socket, buffer, length).await?;
    }
    Some(seen)
}

async fn read_chunked(socket: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = loop {
            if let Some(at) = buffer.windows(2).position(|two| two == b"\r\n") {
                break at;
            }
            read_more(socket, buffer).await?;
        };
        let length = usize::from_str_radix(String::from_utf8_lossy(&buffer[..line_end]).trim(), 16).ok()?;
        buffer.drain(..line_end + 2);
        let chunk = take(socket, buffer, length + 2).await?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(&chunk[..length]);
    }
}

async fn take(socket: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
    while buffer.len() < length {
        read_more(socket, buffer).await?;
    }
    Some(buffer.drain(..length).collect())
}

async fn read_more(socket: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<()> {
    let read = socket.read_buf(buffer).await.ok()?;
    (read > 0).then_some(())
}
