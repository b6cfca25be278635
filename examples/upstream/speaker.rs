//! One person: speaks at the pace of a microphone, and notes when words and their translations are told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use antiphon::audio::pcm;
use anyhow::{Context, Result, bail};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::words::{RATE, sound};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Audio goes up in pieces of this length.
const PIECE: Duration = Duration::from_millis(100);
/// Silence behind each sentence, in pieces.
const PAUSE: usize = 12;
/// How long translations are waited for when all is said.
const PATIENCE: Duration = Duration::from_secs(6);

/// What a person was told.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// From the words told to their translation, while the person spoke.
    pub(crate) partials: Vec<Duration>,
    /// From the transcript to its translation.
    pub(crate) finals: Vec<Duration>,
    /// Sentences whose translation failed, as the server said.
    pub(crate) failed: usize,
    /// Sentences whose translation did not come in time.
    pub(crate) late: usize,
    /// The words of each item that were told so far.
    told: HashMap<String, String>,
    /// When a text was told.
    at: HashMap<String, Instant>,
}

/// Says the sentences and waits for their translations.
pub(crate) async fn speak(address: SocketAddr, sentences: Vec<Vec<usize>>, begin: Duration) -> Result<Heard> {
    sleep(begin).await;
    let url = format!("ws://{address}/v1/realtime?intent=transcription&audio=binary");
    let (mut sink, mut stream) = connect_async(url).await?.0.split();
    let session = json!({"type": "transcription", "antiphon": {"translate_to": ["es"]}});
    sink.send(Message::Text(json!({"type": "session.update", "session": session}).to_string().into()))
        .await?;
    let count = sentences.len();
    let mut heard = Heard::default();
    let talk = say(&mut sink, sentences);
    let spoken = async {
        talk.await?;
        sleep(PATIENCE).await;
        anyhow::Ok(())
    };
    tokio::select! {
        ended = spoken => ended?,
        all = heard.listen(&mut stream, count) => all?,
    }
    heard.late = count - heard.finals.len() - heard.failed;
    sink.close().await?;
    timeout(PATIENCE, async { while let Some(Ok(_)) = stream.next().await {} }).await.ok();
    Ok(heard)
}

async fn say(sink: &mut SplitSink<Socket, Message>, sentences: Vec<Vec<usize>>) -> Result<()> {
    let mut pace = interval(PIECE);
    let piece = RATE as usize / 10;
    for words in sentences {
        let mut samples = sound(&words);
        samples.resize(samples.len().next_multiple_of(piece) + PAUSE * piece, 0);
        for piece in samples.chunks(piece) {
            pace.tick().await;
            sink.send(Message::Binary(pcm::to_le_bytes(piece).into())).await?;
        }
    }
    Ok(())
}

impl Heard {
    /// Until this many sentences are translated, or are known not to be.
    async fn listen(&mut self, stream: &mut SplitStream<Socket>, sentences: usize) -> Result<()> {
        let mut over = 0;
        while over < sentences {
            let frame = stream.next().await.context("the server hung up")??;
            let Message::Text(text) = frame else { continue };
            let event: Value = serde_json::from_str(&text)?;
            over += usize::from(self.take(&event)?);
        }
        Ok(())
    }

    /// Whether a sentence is over.
    fn take(&mut self, event: &Value) -> Result<bool> {
        let text = |field: &str| event[field].as_str().unwrap_or_default().trim().to_owned();
        let now = Instant::now();
        match event["type"].as_str().unwrap_or_default() {
            "conversation.item.input_audio_transcription.delta" => {
                let told = self.told.entry(text("item_id")).or_default();
                told.push_str(event["delta"].as_str().unwrap_or_default());
                self.at.insert(told.trim().to_owned(), now);
            }
            "conversation.item.input_audio_transcription.completed" => {
                self.at.insert(format!("all: {}", text("transcript")), now);
            }
            "antiphon.translation.partial" => {
                let at = self.at.get(&text("source")).context("a translation of words that were not told")?;
                self.partials.push(now - *at);
            }
            "antiphon.translation.completed" => {
                let at = self.at.get(&format!("all: {}", text("source")));
                self.finals.push(now - *at.context("a translation without its transcript")?);
                return Ok(true);
            }
            "antiphon.translation.failed" => {
                self.failed += 1;
                return Ok(true);
            }
            "error" => bail!("{event}"),
            _ => {}
        }
        Ok(false)
    }
}
