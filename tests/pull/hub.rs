//! A stand-in for a model hub: one server that answers and redirects, another that sends the bytes, as Hugging Face
//! does. Files, tags and faults are set by the test; every request is written down.
#![expect(dead_code, reason = "each test file uses a part of it")]

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use antiphon::runtime::Runtime;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

/// Both servers.
pub(crate) struct StandIn {
    pub(crate) address: SocketAddr,
    pub(crate) content: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _runtime: Runtime,
}

#[derive(Default)]
struct Shared {
    files: HashMap<String, Served>,
    faults: HashMap<(Side, String), VecDeque<Fault>>,
    seen: Vec<Seen>,
    content: Option<SocketAddr>,
}

/// A file that is served.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) bytes: Vec<u8>,
    pub(crate) tag: String,
    /// The tag that the hub tells of when it redirects; without one, the hub sends the bytes itself.
    pub(crate) linked: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Side {
    Hub,
    Content,
}

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Another status, and `Retry-After`.
    Status(u16, Option<&'static str>),
    /// The connection ends after so many bytes.
    Cut(usize),
    /// Nothing comes after so many bytes.
    Stall(usize),
    /// A redirect to there.
    Redirect(String),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) side: Side,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) host: String,
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let (runtime, shared) = (Runtime::new(), Arc::new(Mutex::new(Shared::default())));
        let content = serve(&runtime, Side::Content, &shared).await;
        let address = serve(&runtime, Side::Hub, &shared).await;
        let stand_in = Self { address, content, shared, _runtime: runtime };
        stand_in.lock().content = Some(content);
        stand_in
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves a large file as Hugging Face does: by way of the content server, its tag the checksum.
    pub(crate) fn add(&self, path: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        let tag = format!("\"{digest}\"");
        self.put(path, Served { bytes: bytes.to_vec(), tag: tag.clone(), linked: Some(tag) });
        digest
    }

    pub(crate) fn put(&self, path: &str, file: Served) {
        self.lock().files.insert(path.to_owned(), file);
    }

    pub(crate) fn fault(&self, side: Side, path: &str, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.entry((side, path.to_owned())).or_default().extend(faults);
    }

    /// The requests so far; they are forgotten.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.lock().seen)
    }

    pub(crate) fn seen_by(&self, side: Side) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.side == side).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no test panicked in it")
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

type Both = (Side, Arc<Mutex<Shared>>);

async fn serve(runtime: &Runtime, side: Side, shared: &Arc<Mutex<Shared>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let router = Router::new().fallback(answer).with_state((side, Arc::clone(shared)));
    drop(runtime.spawn("stand-in", async move { axum::serve(listener, router).await }));
    address
}

async fn answer(State((side, shared)): State<Both>, request: Request) -> Response {
    let (path, headers) = (request.uri().path().to_owned(), request.headers());
    let mut shared = shared.lock().expect("no test panicked in it");
    let text = |name: &str| headers.get(name).map(|value| value.to_str().expect("ASCII").to_owned());
    let host = request.uri().authority().map(ToString::to_string).or_else(|| text("host"));
    shared.seen.push(Seen {
        side,
        path: path.clone(),
        range: text("range"),
        if_range: text("if-range"),
        token: text("authorization"),
        host: host.unwrap_or_default(),
    });
    let fault = shared.faults.get_mut(&(side, path.clone())).and_then(VecDeque::pop_front);
    match &fault {
        Some(Fault::Status(status, retry_after)) => {
            let status = StatusCode::from_u16(*status).expect("a status");
            let headers = retry_after.map(|value| [("retry-after", value)]);
            return headers.map_or(status.into_response(), |headers| (status, headers).into_response());
        }
        Some(Fault::Redirect(to)) => {
            return (StatusCode::FOUND, [("location", to.clone())]).into_response();
        }
        _ => {}
    }
    let Some(file) = shared.files.get(&path) else { return StatusCode::NOT_FOUND.into_response() };
    match (&file.linked, side, shared.content) {
        (Some(linked), Side::Hub, Some(content)) => {
            let length = file.bytes.len().to_string();
            let location = format!("http://{content}{path}?signature=secret");
            let linked = [("location", &location), ("x-linked-etag", linked), ("x-linked-size", &length)];
            (StatusCode::FOUND, linked.map(|(name, value)| (name, value.clone()))).into_response()
        }
        _ => bytes(file, headers, fault.as_ref()),
    }
}

/// The file, from where it is asked for.
fn bytes(file: &Served, headers: &HeaderMap, fault: Option<&Fault>) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let first = text("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let first = first.filter(|_| text("if-range").is_none_or(|tag| tag == file.tag));
    let (length, from) = (file.bytes.len(), first.unwrap_or(0));
    if first.is_some() && from >= length {
        let range = format!("bytes */{length}");
        return (StatusCode::RANGE_NOT_SATISFIABLE, [("content-range", range)]).into_response();
    }
    let rest = Bytes::copy_from_slice(&file.bytes[from..]);
    let mut answer = Response::builder()
        .status(if first.is_some() { 206 } else { 200 })
        .header("etag", &file.tag)
        .header("content-length", rest.len());
    if first.is_some() {
        answer = answer.header("content-range", format!("bytes {from}-{}/{length}", length - 1));
    }
    answer.body(body(rest, fault)).expect("a good answer")
}

fn body(rest: Bytes, fault: Option<&Fault>) -> Body {
    match fault {
        Some(Fault::Cut(after)) => {
            let begin = stream::iter([Ok(rest.slice(..*after))]);
            let end = stream::once(async {
                tokio::task::yield_now().await; // what there is goes out first
                Err(std::io::Error::other("cut"))
            });
            Body::from_stream(begin.chain(end))
        }
        Some(Fault::Stall(after)) => {
            let begin = stream::iter([Ok::<_, std::io::Error>(rest.slice(..*after))]);
            Body::from_stream(begin.chain(stream::pending()))
        }
        _ => Body::from(rest),
    }
}
