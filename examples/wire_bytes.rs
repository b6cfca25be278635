//! What a minute of speech costs on the wire, for each format and transport: `cargo run --release --example
//! wire_bytes`. With `--write` the table of docs/protocol.md is written anew.
//!
//! A real server and a real client over TCP: espeak-ng's speech goes up in frames of 20 ms, an answer in espeak-ng's
//! voice comes down with all of its events. Counted are bytes of the connection, WebSocket headers included, TCP and
//! IP not. `kept` is what deflate would give if each direction remembered the messages before, which the server does
//! not offer: computed from the same messages.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

#[path = "../tests/socket/counted.rs"]
mod counted;

use std::fmt::Write as _;
use std::time::Duration;

use antiphon::app::Server;
use antiphon::audio::resample::resample;
use antiphon::audio::wav::decode_wav;
use antiphon::audio::{AudioFormat, Encoder};
use antiphon::backend::catalog::{EnginesConfig, LlmConfig, SttConfig, TtsConfig, VadConfig};
use antiphon::backend::scripted::{ScriptedLlmConfig, Step};
use antiphon::config::Config;
use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use counted::{Count, Counted};
use flate2::{Compress, Compression, FlushCompress};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use yawc::{CompressionLevel, Frame, OpCode, Options, WebSocket};

/// Aesop, in a translation of the International Phonetic Association.
const TEXT: &str = "The North Wind and the Sun were disputing which was the stronger, when a traveler came along \
    wrapped in a warm cloak. They agreed that the one who first succeeded in making the traveler take his cloak off \
    should be considered stronger than the other. Then the North Wind blew as hard as he could, but the more he blew \
    the more closely did the traveler fold his cloak around him; and at last the North Wind gave up the attempt. \
    Then the Sun shined out warmly, and immediately the traveler took off his cloak. And so the North Wind was \
    obliged to confess that the Sun was the stronger of the two.";
const FORMATS: [(&str, AudioFormat); 3] =
    [("audio/pcm", AudioFormat::Pcm16), ("audio/pcmu", AudioFormat::Pcmu), ("audio/opus", AudioFormat::Opus)];
const BEGIN: &str = "<!-- wire-bytes:begin -->\n";
const END: &str = "<!-- wire-bytes:end -->";

#[tokio::main]
async fn main() -> Result<()> {
    let server = Server::start(config()?).await?;
    let speech = espeak()?;
    let mut table = String::from(
        "| audio | format | up | up, deflate | (kept) | down | down, deflate | (kept) |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for transport in ["json", "binary"] {
        for (name, format) in FORMATS {
            let way = Way { transport, name, format };
            let plain = way.measure(&server, &speech, false).await?;
            let deflated = way.measure(&server, &speech, true).await?;
            let cells = [plain.up, deflated.up, plain.up_kept, plain.down, deflated.down, plain.down_kept];
            let cells = cells.map(|bytes| format!("{:.0}", bytes / 1_000.0)).join(" | ");
            writeln!(table, "| {transport} | `{name}` | {cells} |")?;
        }
    }
    server.stop().await?;
    print!("{table}");
    if std::env::args().any(|argument| argument == "--write") { write(&table) } else { Ok(()) }
}

fn config() -> Result<Config> {
    let llm = ScriptedLlmConfig { calls: vec![vec![Step::text(0, TEXT)]], word_ms: 0, ..Default::default() };
    let mut config = Config {
        engines: EnginesConfig {
            stt: vec![SttConfig::Scripted(Default::default())],
            llm: vec![LlmConfig::Scripted(llm)],
            tts: vec![TtsConfig::Espeak(Default::default())],
            vad: VadConfig::Scripted(Default::default()),
            ..EnginesConfig::default()
        },
        ..Config::default()
    };
    config.server.bind = "127.0.0.1:0".parse()?;
    // As fast as it is made: how long it takes changes no byte.
    config.session.playback.max_ahead_ms = 60_000;
    Ok(config)
}

/// The text as speech at 24 kHz.
fn espeak() -> Result<Vec<i16>> {
    let spoken = std::process::Command::new("espeak-ng").args(["--stdout", TEXT]).output();
    let wav = decode_wav(&spoken.context("espeak-ng is missing: run `scripts/setup`")?.stdout)?;
    Ok(resample(&wav.samples, wav.sample_rate, 24_000)?)
}

fn write(table: &str) -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md");
    let page = std::fs::read_to_string(path)?;
    let (before, rest) = page.split_once(BEGIN).context("docs/protocol.md has no place for the table")?;
    let (_, after) = rest.split_once(END).context("docs/protocol.md has no end of the table")?;
    Ok(std::fs::write(path, format!("{before}{BEGIN}{table}{END}{after}"))?)
}

/// One way for audio to travel.
struct Way {
    transport: &'static str,
    name: &'static str,
    format: AudioFormat,
}

/// Bytes a minute of speech.
struct Cost {
    up: f64,
    up_kept: f64,
    down: f64,
    down_kept: f64,
}

impl Way {
    async fn measure(&self, server: &Server, speech: &[i16], compress: bool) -> Result<Cost> {
        let mut client = Client::connect(server, self.transport, compress).await?;
        client.until("session.created").await?;
        let format = json!({"format": {"type": self.name}});
        let input = json!({"format": {"type": self.name}, "turn_detection": null});
        let session = json!({"type": "realtime", "audio": {"input": input, "output": format}});
        client.send(json!({"type": "session.update", "session": session})).await?;
        client.until("session.updated").await?;
        let (up, up_kept) = self.speak(&mut client, speech).await?;
        let (down, down_kept) = self.listen(&mut client).await?;
        client.socket.close().await?;
        Ok(Cost { up, up_kept, down, down_kept })
    }

    async fn speak(&self, client: &mut Client, speech: &[i16]) -> Result<(f64, f64)> {
        let rate = self.format.sample_rate();
        let samples = resample(speech, 24_000, rate)?;
        let mut encoder = Encoder::new(self.format);
        let (before, mut kept) = (client.count.written(), Kept::new());
        for samples in samples.chunks(rate as usize / 50) {
            for audio in encoder.encode(samples) {
                let frame = match self.transport {
                    "binary" => Frame::binary(audio),
                    _ => Frame::text(
                        json!({"type": "input_audio_buffer.append", "audio": STANDARD.encode(audio)})
                            .to_string(),
                    ),
                };
                kept.add(frame.payload(), 4)?;
                client.socket.send(frame).await?;
            }
        }
        let written = client.count.written() - before;
        client.send(json!({"type": "input_audio_buffer.clear"})).await?;
        client.until("input_audio_buffer.cleared").await?;
        let minutes = samples.len() as f64 / f64::from(rate) / 60.0;
        Ok((written as f64 / minutes, kept.bytes as f64 / minutes))
    }

    async fn listen(&self, client: &mut Client) -> Result<(f64, f64)> {
        let (before, mut kept) = (client.count.read(), Kept::new());
        client.send(json!({"type": "response.create"})).await?;
        let mut heard = Duration::ZERO;
        loop {
            let frame = client.socket.next().await.context("the server hung up")?;
            kept.add(frame.payload(), 0)?;
            if frame.opcode() == OpCode::Binary {
                heard += self.format.duration(&frame.payload()[4..]);
                continue;
            }
            let event: Value = serde_json::from_slice(frame.payload())?;
            match event["type"].as_str() {
                Some("response.output_audio.delta") => {
                    let audio = STANDARD.decode(event["delta"].as_str().unwrap_or_default())?;
                    heard += self.format.duration(&audio);
                }
                Some("response.done") if event["response"]["status"] == "completed" => break,
                Some("response.done" | "error") => bail!("{event}"),
                _ => {}
            }
        }
        let minutes = heard.as_secs_f64() / 60.0;
        Ok(((client.count.read() - before) as f64 / minutes, kept.bytes as f64 / minutes))
    }
}

/// Deflate that remembers the messages before.
struct Kept {
    deflate: Compress,
    bytes: usize,
}

impl Kept {
    fn new() -> Self {
        Self { deflate: Compress::new(Compression::fast(), false), bytes: 0 }
    }

    /// Counts a message with its header, whose mask has so many bytes.
    fn add(&mut self, message: &[u8], mask: usize) -> Result<()> {
        let mut output = Vec::with_capacity(message.len() + 1_024);
        self.deflate.compress_vec(message, &mut output, FlushCompress::Sync)?;
        // The last four bytes of a flush are always the same and stay away (RFC 7692, section 7.2.1).
        let length = output.len().saturating_sub(4);
        self.bytes += length + if length < 126 { 2 } else { 4 } + mask;
        Ok(())
    }
}

struct Client {
    socket: WebSocket<Counted>,
    count: Count,
}

impl Client {
    async fn connect(server: &Server, transport: &str, compress: bool) -> Result<Self> {
        let address = server.address();
        let url = format!("ws://{address}/v1/realtime?model=measured&audio={transport}").parse()?;
        let count = Count::default();
        let io = Counted::new(TcpStream::connect(address).await?, &count);
        let options = Options::default();
        let options =
            if compress { options.with_compression_level(CompressionLevel::fast()) } else { options };
        Ok(Self { socket: WebSocket::handshake(url, io, options).await?, count })
    }

    async fn send(&mut self, event: Value) -> Result<()> {
        Ok(self.socket.send(Frame::text(event.to_string())).await?)
    }

    async fn until(&mut self, kind: &str) -> Result<()> {
        loop {
            let frame = self.socket.next().await.context("the server hung up")?;
            if frame.opcode() == OpCode::Text {
                let event: Value = serde_json::from_slice(frame.payload())?;
                if event["type"] == kind {
                    return Ok(());
                }
            }
        }
    }
}
