//! How sockets end: each side sends one close frame, whoever begins.

use crate::socket::{Client, DEADLINE, config, start};
use antiphon::app::Server;
use futures::StreamExt;
use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn a_close_is_answered_with_its_code_and_the_connection_ends() {
    let server = start(config()).await;
    let mut client = Client::admitted(server.address()).await;
    let reason =
        tokio_tungstenite::tungstenite::protocol::CloseFrame { code: 4_001.into(), reason: "bye".into() };
    client.0.close(Some(reason)).await.expect("closes");
    assert_eq!(client.close_code().await, 4_001);
    let end = timeout(DEADLINE, client.0.next()).await.expect("the server hangs up");
    assert!(!matches!(end, Some(Ok(_))), "nothing comes after the close: {end:?}");
    server.stop().await.expect("everything ends");
}

/// A WebSocket without a library, which would hide what breaks the protocol.
struct Raw(TcpStream);

impl Raw {
    /// Connects and waits for the first frame, which is the session's.
    async fn connect(server: &Server) -> Self {
        let address = server.address();
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let upgrade = format!(
            "GET /v1/realtime?model=test HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(upgrade.as_bytes()).await.expect("writes");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let mut client = Self(stream);
        assert_eq!(client.frame().await.expect("a frame").0, TEXT);
        client
    }

    /// The next frame: its opcode and what it carries; `None` at the end of the connection.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let first = self.0.read_u8().await.ok()?;
            let length = match self.0.read_u8().await.expect("a length") {
                126 => u64::from(self.0.read_u16().await.expect("a length")),
                127 => self.0.read_u64().await.expect("a length"),
                short => u64::from(short),
            };
            let mut payload = vec![0; usize::try_from(length).expect("it fits")];
            self.0.read_exact(&mut payload).await.expect("a whole frame");
            Some((first & 0x0f, payload))
        };
        timeout(DEADLINE, read).await.expect("in time")
    }

    /// Sends a close frame with this code; the mask is zero.
    async fn close(&mut self, code: u16) {
        let [high, low] = code.to_be_bytes();
        self.0.write_all(&[0x80 | CLOSE, 0x80 | 2, 0, 0, 0, 0, high, low]).await.ok();
    }

    /// The codes of all close frames up to the end of the connection. Nothing may follow one.
    async fn closes(&mut self) -> Vec<u16> {
        let mut codes = Vec::new();
        while let Some((opcode, payload)) = self.frame().await {
            if opcode == CLOSE {
                codes.push(u16::from_be_bytes([payload[0], payload[1]]));
            } else {
                assert!(codes.is_empty(), "opcode {opcode} after the close frame");
            }
        }
        codes
    }
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;

#[tokio::test]
async fn a_close_is_answered_once() {
    let server = start(config()).await;
    let mut client = Raw::connect(&server).await;
    client.close(4_001).await;
    assert_eq!(client.closes().await, [4_001]);
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn a_frame_that_breaks_the_protocol_is_answered_with_one_close() {
    let server = start(config()).await;
    let mut client = Raw::connect(&server).await;
    client.0.write_all(&[0x83, 0x80, 0, 0, 0, 0]).await.expect("writes");
    assert_eq!(client.closes().await.len(), 1);
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn the_servers_close_is_its_only_one() {
    let server = start(config()).await;
    let mut client = Raw::connect(&server).await;
    let ended = async {
        let mut codes = Vec::new();
        while let Some((opcode, payload)) = client.frame().await {
            if opcode == CLOSE {
                codes.push(payload);
                client.close(1_012).await;
            }
        }
        assert_eq!(codes.len(), 1, "{codes:?}");
        assert!(codes[0].starts_with(&1_012u16.to_be_bytes()), "{codes:?}");
    };
    let (stopped, ()) = tokio::join!(server.stop(), ended);
    stopped.expect("everything ends");
}

/// Either may come first; both together are one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closing_from_both_sides_at_once_is_one_close_frame() {
    for _ in 0..20 {
        let server = start(config()).await;
        let mut clients = join_all((0..16).map(|_| Raw::connect(&server))).await;
        let closed = join_all(clients.iter_mut().map(|client| async {
            client.close(4_001).await;
            client.closes().await
        }));
        let (stopped, closed) = tokio::join!(server.stop(), closed);
        stopped.expect("everything ends");
        for codes in closed {
            assert!(matches!(codes[..], [4_001 | 1_012]), "{codes:?}");
        }
    }
}

/// The head of the next answer on a connection; what its body is, is thrown away.
async fn status(stream: &mut TcpStream) -> String {
    let read = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("the connection holds"));
        }
        let head = String::from_utf8(head).expect("text").to_lowercase();
        let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next());
        let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
        stream.read_exact(&mut body).await.expect("its body");
        head.lines().next().unwrap_or_default().to_owned()
    };
    timeout(DEADLINE, read).await.expect("in time")
}

/// A connection that is closed over bytes that nobody read is reset, and its client loses the answer.
#[tokio::test]
async fn a_request_that_is_refused_before_it_is_whole_gets_its_answer() {
    let server = start(config()).await;
    let address = server.address();
    let field = "--x\r\nContent-Disposition: form-data; name=\"temperature\"\r\n\r\nwarm\r\n";
    let file = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n";
    let audio = vec![0_u8; 8 << 20];
    let form = "/v1/audio/transcriptions HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x";
    // Nothing reads the second at all.
    for (path, refusal) in
        [(form, "http/1.1 400 bad request"), ("/nowhere HTTP/1.1", "http/1.1 404 not found")]
    {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let length = field.len() + file.len() + audio.len();
        let head = format!("POST {path}\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{field}{file}");
        stream.write_all(head.as_bytes()).await.expect("writes");
        assert_eq!(status(&mut stream).await, refusal);
        timeout(DEADLINE, stream.write_all(&audio)).await.expect("in time").expect("somebody reads on");
        let next = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(next.as_bytes()).await.expect("writes");
        assert_eq!(status(&mut stream).await, "http/1.1 200 ok", "the connection is as good as before");
    }
    // One that waits for leave to send is not asked for what nobody wants.
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let head = format!(
        "POST /nowhere HTTP/1.1\r\nHost: {address}\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("writes");
    assert_eq!(status(&mut stream).await, "http/1.1 404 not found");
    server.stop().await.expect("everything ends");
}
