//! How bytes travel, over real sockets: binary audio, Opus, compression, frames that are too large.

#[path = "../socket/counted.rs"]
mod counted;

use crate::socket::{Client, DEADLINE, config, start};
use antiphon::app::Server;
use antiphon::audio::{AudioFormat, Decoder, Encoder, pcm};
use antiphon::config::Config;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use counted::{Count, Counted};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use yawc::close::CloseCode;
use yawc::{Frame, HttpRequest, OpCode, Options, WebSocket};

/// A second of a loud tone.
fn tone(rate: u32) -> Vec<i16> {
    (0..rate).map(|at| if (at / (rate / 400)).is_multiple_of(2) { 8_000 } else { -8_000 }).collect()
}

/// Push to talk, with both directions in `format`.
async fn set_format(client: &mut Client, format: &str) {
    let (input, output) =
        (json!({"format": {"type": format}, "turn_detection": null}), json!({"format": {"type": format}}));
    let session = json!({"type": "realtime", "audio": {"input": input, "output": output}});
    client.send(json!({"type": "session.update", "session": session})).await;
    let updated = client.until("session.updated").await["session"]["audio"].clone();
    assert_eq!(updated["input"]["format"]["type"], format, "{updated}");
    assert_eq!(updated["output"]["format"]["type"], format, "{updated}");
}

async fn raw(client: &mut Client, frame: Message) {
    client.0.send(frame).await.expect("the socket is open");
}

async fn say_aloud(client: &mut Client, text: &str) {
    client.item(text).await;
    client.send(json!({"type": "response.create"})).await;
}

/// One answer: its audio by stream (`None` for JSON), and the events around it.
#[derive(Debug, Default)]
struct Heard {
    audio: Vec<(Option<u32>, Vec<u8>)>,
    events: Vec<Value>,
}

impl Heard {
    async fn until_done(client: &mut Client) -> Self {
        let mut heard = Self::default();
        while heard.events.last().is_none_or(|event| event["type"] != "response.done") {
            match client.frame().await {
                Message::Text(text) => heard.text(&text),
                Message::Binary(frame) => heard.binary(&frame),
                _ => {}
            }
        }
        heard
    }

    fn text(&mut self, text: &str) {
        let event: Value = serde_json::from_str(text).expect("JSON");
        if event["type"] == "response.output_audio.delta" {
            let delta = event["delta"].as_str().expect("base64");
            self.audio.push((None, STANDARD.decode(delta).expect("base64")));
        }
        self.events.push(event);
    }

    fn binary(&mut self, frame: &[u8]) {
        let (stream, audio) = frame.split_first_chunk::<4>().expect("a stream's number");
        let names = |event: &&Value| event["type"].as_str().unwrap_or_default().to_owned();
        let last = self.events.last().as_ref().map(names).unwrap_or_default();
        assert_ne!(last, "response.output_audio.done", "audio after its end");
        self.audio.push((Some(u32::from_be_bytes(*stream)), audio.to_vec()));
    }

    fn event(&self, kind: &str) -> Option<&Value> {
        self.events.iter().find(|event| event["type"] == kind)
    }

    /// Length of the utterance that the scripted speech-to-text heard, in whole seconds.
    fn seconds_understood(&self) -> u32 {
        let done = self.event("response.output_audio_transcript.done").expect("words");
        let words = done["transcript"].as_str().expect("text");
        let ms: Option<u32> = words.split(' ').find_map(|word| word.parse().ok().filter(|ms| *ms > 100));
        // The resampler holds back half its filter: some milliseconds.
        (ms.expect(words) + 20) / 1_000
    }

    fn bytes(&self) -> Vec<u8> {
        self.audio.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
    }
}

#[tokio::test]
async fn binary_audio_goes_both_ways_and_says_what_json_would() {
    let server = start(config()).await;
    let mut plain = Client::admitted(server.address()).await;
    set_format(&mut plain, "audio/pcm").await;
    say_aloud(&mut plain, "The same words.").await;
    let by_json = Heard::until_done(&mut plain).await;
    assert!(by_json.event("response.content_part.added").expect("a part").get("antiphon").is_none());

    let mut client = Client::connect(server.address(), "&audio=binary").await;
    assert_eq!(client.event().await["type"], "session.created");
    set_format(&mut client, "audio/pcm").await;
    let mut numbers = Vec::new();
    for _ in 0..2 {
        say_aloud(&mut client, "The same words.").await;
        let heard = Heard::until_done(&mut client).await;
        let part = heard.event("response.content_part.added").expect("a part");
        let number = part["antiphon"]["audio_stream"].as_u64().and_then(|number| u32::try_from(number).ok());
        assert!(number.is_some(), "{part}");
        assert!(heard.audio.iter().all(|(stream, _)| *stream == number), "all of it is of this part");
        assert!(heard.event("response.output_audio.delta").is_none(), "no audio comes twice");
        assert_eq!(heard.bytes(), by_json.bytes(), "the same audio");
        numbers.push(number);
    }
    assert_ne!(numbers[0], numbers[1], "each answer has a stream of its own");

    raw(&mut client, Message::Binary(pcm::to_le_bytes(&tone(24_000)).into())).await;
    client.send(json!({"type": "input_audio_buffer.commit"})).await;
    client.until("input_audio_buffer.committed").await;
    client.send(json!({"type": "response.create"})).await;
    let heard = Heard::until_done(&mut client).await;
    assert_eq!(heard.seconds_understood(), 1);
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn audio_of_a_cancelled_answer_ends_with_its_stream() {
    let server = start(config()).await;
    let mut client = Client::connect(server.address(), "&audio=binary").await;
    set_format(&mut client, "audio/pcm").await;
    say_aloud(&mut client, &"A long story. ".repeat(40)).await;
    let first = loop {
        if let Message::Binary(frame) = client.frame().await {
            break frame[..4].to_vec();
        }
    };
    client.send(json!({"type": "response.cancel"})).await;
    let rest = Heard::until_done(&mut client).await;
    assert_eq!(rest.events.last().expect("done")["response"]["status"], "cancelled");
    assert!(rest.event("response.output_audio.done").is_some());
    say_aloud(&mut client, "Short.").await;
    let second = Heard::until_done(&mut client).await;
    assert!(!second.audio.is_empty());
    assert!(
        second
            .audio
            .iter()
            .all(|(stream, _)| stream.map(u32::to_be_bytes).as_ref().map(|n| &n[..]) != Some(&first[..]))
    );
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn half_a_sample_and_unknown_wishes_are_refused_and_the_session_goes_on() {
    let server = start(config()).await;
    let refused = Client::try_connect(server.address(), "&audio=ogg").await.err().expect("no such choice");
    assert_eq!((refused.status, &refused.body["error"]["code"]), (400, &json!("unsupported_query")));
    let mut client = Client::connect(server.address(), "&audio=binary").await;
    set_format(&mut client, "audio/pcm").await;
    raw(&mut client, Message::Binary(vec![1, 2, 3].into())).await;
    let error = client.until("error").await["error"].clone();
    assert_eq!((&error["code"], &error["param"]), (&json!("invalid_value"), &json!("audio")), "{error}");
    say_aloud(&mut client, "Still there?").await;
    let heard = Heard::until_done(&mut client).await;
    assert_eq!(heard.events.last().expect("done")["response"]["status"], "completed");
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn opus_goes_both_ways_one_packet_a_time() {
    let server = start(config()).await;
    for query in ["", "&audio=binary"] {
        let mut client = Client::connect(server.address(), query).await;
        set_format(&mut client, "audio/opus").await;
        let mut encoder = Encoder::new(AudioFormat::Opus);
        for packet in encoder.encode(&tone(24_000)) {
            if query.is_empty() {
                let audio = STANDARD.encode(packet);
                client.send(json!({"type": "input_audio_buffer.append", "audio": audio})).await;
            } else {
                raw(&mut client, Message::Binary(packet.into())).await;
            }
        }
        client.send(json!({"type": "input_audio_buffer.commit"})).await;
        client.send(json!({"type": "response.create"})).await;
        let heard = Heard::until_done(&mut client).await;
        assert_eq!(heard.seconds_understood(), 1);
        let mut decoder = Decoder::new(AudioFormat::Opus);
        let mut samples = Vec::new();
        for (_, packet) in &heard.audio {
            let packet = decoder.decode(packet).expect("one packet");
            assert_eq!(packet.len(), 480, "20 ms each");
            samples.extend(packet);
        }
        let loud = samples.iter().filter(|sample| sample.unsigned_abs() > 4_000).count();
        assert!(loud * 3 > samples.len(), "a tone is heard: {loud} of {}", samples.len());
        let done = heard.events.last().expect("done");
        assert_eq!(done["response"]["audio"]["output"]["format"]["type"], "audio/opus", "{done}");
    }
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn bad_packets_are_told_and_the_stream_goes_on() {
    let server = start(config()).await;
    let mut client = Client::connect(server.address(), "&audio=binary").await;
    set_format(&mut client, "audio/opus").await;
    let packets = Encoder::new(AudioFormat::Opus).encode(&tone(24_000));
    for bad in [vec![], vec![0x1a], [packets[0].clone(), vec![0xff; 3_000]].concat()] {
        raw(&mut client, Message::Binary(bad.clone().into())).await;
        let error = client.until("error").await["error"].clone();
        assert_eq!((&error["code"], &error["param"]), (&json!("invalid_value"), &json!("audio")), "{error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains("Opus packet")), "{error}");
    }
    for packet in packets {
        raw(&mut client, Message::Binary(packet.into())).await;
    }
    client.send(json!({"type": "input_audio_buffer.commit"})).await;
    client.until("input_audio_buffer.committed").await;
    server.stop().await.expect("everything ends");
}

type Compressing = WebSocket<Counted>;

/// A client that offers permessage-deflate, or not.
async fn compressing(server: &Server, offers: bool) -> (Compressing, Count) {
    let count = Count::default();
    let stream = TcpStream::connect(server.address()).await.expect("connects");
    let url = format!("ws://{}/v1/realtime?model=test", server.address()).parse().expect("a URL");
    let options = if offers { Options::default().with_balanced_compression() } else { Options::default() };
    let request = HttpRequest::builder().header("sec-websocket-protocol", "realtime");
    let io = Counted::new(stream, &count);
    let shaken = WebSocket::handshake_with_request(url, io, options, request);
    (timeout(DEADLINE, shaken).await.expect("in time").expect("the upgrade"), count)
}

async fn next_event(socket: &mut Compressing) -> Value {
    loop {
        let frame = timeout(DEADLINE, socket.next()).await.expect("in time").expect("the socket is open");
        if frame.opcode() == OpCode::Text {
            return serde_json::from_slice(frame.payload()).expect("JSON");
        }
    }
}

/// Bytes that cross the socket for one `session.update` and its answer, 20 KB of text each.
async fn cost_of_an_update(server: &Server, offers: bool) -> (usize, usize) {
    let (mut socket, count) = compressing(server, offers).await;
    assert_eq!(next_event(&mut socket).await["type"], "session.created");
    let before = (count.written(), count.read());
    let session = json!({"type": "realtime", "instructions": "Say little. ".repeat(1_700)});
    let update = json!({"type": "session.update", "session": session}).to_string();
    socket.send(Frame::text(update)).await.expect("the socket is open");
    let updated = next_event(&mut socket).await;
    assert_eq!(updated["session"]["instructions"], session["instructions"], "nothing is lost");
    let after = (count.written(), count.read());
    (after.0 - before.0, after.1 - before.1)
}

#[tokio::test]
async fn sockets_are_compressed_where_the_client_offers_it_and_the_operator_allows_it() {
    for (offers, allowed, compressed) in [(true, true, true), (false, true, false), (true, false, false)] {
        let mut config = config();
        config.features.compression = allowed;
        let server = start(config).await;
        let (sent, received) = cost_of_an_update(&server, offers).await;
        let small = |bytes: usize| bytes < 4_000;
        assert_eq!(
            (small(sent), small(received)),
            (compressed, compressed),
            "{offers} {allowed}: {sent} {received}"
        );
        server.stop().await.expect("everything ends");
    }
}

fn small_frames() -> Config {
    let mut config = config();
    config.server.max_frame_bytes = 65_536;
    config
}

/// A few kilobytes that inflate to 64 MiB must not be inflated to their end.
#[tokio::test]
async fn a_message_that_inflates_beyond_the_limit_closes_with_1009() {
    let server = start(small_frames()).await;
    let (mut socket, count) = compressing(&server, true).await;
    next_event(&mut socket).await;
    socket.send(Frame::text("A".repeat(64 * 1024 * 1024))).await.expect("the socket is open");
    assert!(count.written() < 1024 * 1024, "it was small on the wire");
    let closed = async {
        loop {
            let frame = socket.next().await.expect("a close frame comes");
            if frame.opcode() == OpCode::Close {
                return frame.close_code();
            }
        }
    };
    assert_eq!(timeout(DEADLINE, closed).await.expect("in time"), Some(CloseCode::Size));
    server.stop().await.expect("everything ends");
}

#[tokio::test]
async fn frames_over_twice_the_limit_and_broken_ones_are_closed_with_their_code() {
    let server = start(small_frames()).await;
    let mut client = Client::admitted(server.address()).await;
    raw(&mut client, Message::Text("A".repeat(100_000).into())).await;
    assert_eq!(client.until("error").await["error"]["code"], "frame_too_large", "up to twice the limit");
    raw(&mut client, Message::Text("A".repeat(200_000).into())).await;
    assert_eq!(client.close_code().await, 1009);
    server.stop().await.expect("everything ends");
}
