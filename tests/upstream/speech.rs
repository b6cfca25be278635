//! Text-to-speech behind a URL.

use antiphon::audio::wav::{encode_wav, stream_header};
use antiphon::backend::openai::{OpenAiTts, OpenAiTtsConfig, SpeechFormat};
use antiphon::engine::tts::{OPENAI_VOICES, TtsEngine, TtsEvent, TtsRequest};
use antiphon::engine::{CancelFlag, EngineError};
use futures::StreamExt;
use tokio::time::timeout;

use crate::reply::{Act, Reply};
use crate::server::{DEADLINE, FaultServer};

fn config(server: &FaultServer) -> OpenAiTtsConfig {
    OpenAiTtsConfig { url: server.url(), model: "tts-1".into(), ..OpenAiTtsConfig::default() }
}

async fn speak(config: &OpenAiTtsConfig, text: &str) -> Vec<Result<TtsEvent, EngineError>> {
    let engine = OpenAiTts::open(config).expect("it opens");
    let request = TtsRequest { text: text.into(), voice: "nova".into(), speed: 1.25 };
    let stream = engine.synthesize(request, CancelFlag::new());
    timeout(DEADLINE, stream.collect()).await.expect("in time")
}

/// All samples and their rate.
fn audio_of(events: &[Result<TtsEvent, EngineError>]) -> (Vec<i16>, u32) {
    let mut audio = (Vec::new(), 0);
    for event in events {
        if let Ok(TtsEvent::Audio(chunk)) = event {
            audio.0.extend(&chunk.samples);
            audio.1 = chunk.sample_rate;
        }
    }
    audio
}

fn clip() -> Vec<i16> {
    (0..24_000).map(|n| (n % 2_000) as i16 - 1_000).collect()
}

fn bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

#[tokio::test]
async fn speech_comes_in_pieces_of_any_size_with_times_for_its_words() {
    let pcm = bytes(&clip());
    let pieces =
        pcm.chunks(4_999).fold(Reply::chunked("audio/pcm"), |reply, piece| reply.chunk(piece).wait(1));
    let server = FaultServer::start([pieces.end()]).await;
    let events = speak(&config(&server), "Hello there.").await;
    assert_eq!(audio_of(&events), (clip(), 24_000));
    assert!(events.len() > 4, "it is handed on as it comes: {} events", events.len());
    let Some(Ok(TtsEvent::Words(words))) = events.last() else { panic!("words come last") };
    let times: Vec<_> = words.iter().map(|word| (word.text.as_str(), word.start_ms, word.end_ms)).collect();
    assert_eq!(times, [("Hello", 0, 416), ("there.", 500, 1_000)]);
    let body = server.seen()[0].json();
    let expected = serde_json::json!({
        "model": "tts-1", "input": "Hello there.", "voice": "nova", "response_format": "pcm", "speed": 1.25,
    });
    assert_eq!((server.seen()[0].path.as_str(), body), ("/v1/audio/speech", expected));
}

#[tokio::test]
async fn a_wav_tells_its_rate_even_if_its_header_lies_about_the_length() {
    let mut stream = stream_header(16_000);
    stream.extend(bytes(&clip()));
    for (format, body) in [
        (SpeechFormat::Wav, stream),
        (SpeechFormat::Wav, encode_wav(&clip(), 16_000)),
        (SpeechFormat::Pcm, encode_wav(&clip(), 16_000)),
    ] {
        let server = FaultServer::start([Reply::whole(200, "audio/wav", &[], &body)]).await;
        let events = speak(&OpenAiTtsConfig { response_format: format, ..config(&server) }, "Hello.").await;
        assert_eq!(audio_of(&events), (clip(), 16_000), "{format:?}");
    }
}

#[tokio::test]
async fn one_connection_serves_many_clauses() {
    let server = FaultServer::start([Reply::whole(200, "", &[], &bytes(&[1, 2, 3]))]).await;
    let engine = OpenAiTts::open(&config(&server)).expect("it opens");
    for _ in 0..3 {
        let request = TtsRequest { text: "Yes.".into(), voice: "alloy".into(), speed: 1.0 };
        let events: Vec<_> = engine.synthesize(request, CancelFlag::new()).collect().await;
        assert_eq!(audio_of(&events).0, [1, 2, 3]);
    }
    assert_eq!((server.seen().len(), server.connections()), (3, 1));
    assert_eq!(engine.voices(), OPENAI_VOICES);
}

#[tokio::test]
async fn faults_are_told() {
    let whole = encode_wav(&clip(), 16_000);
    let table = [
        (Reply::whole(200, "audio/mpeg", &[], b"ID3"), "failed", "audio/mpeg in place of samples"),
        (Reply::whole(200, "application/json", &[], b"{}"), "failed", "in place of samples"),
        (Reply::whole(200, "audio/pcm", &[], b""), "failed", "no audio"),
        (Reply::whole(200, "audio/wav", &[], &whole[..1000]), "failed", "before its header says"),
        (
            Reply::chunked("audio/pcm").chunk(bytes(&[1; 100])).then(Act::Reset),
            "failed",
            "the connection broke",
        ),
        (Reply::error(400, "bad", "input 'Hello there.' is bad"), "bad_request", "(bad)"),
        (Reply::error(503, "", "loading"), "failed", "loading"),
    ];
    for (reply, kind, part) in table {
        let server = FaultServer::start([reply]).await;
        let events = speak(&config(&server), "Hello there.").await;
        let error = events.into_iter().find_map(Result::err).expect(part);
        assert!(error.kind() == kind && error.to_string().contains(part), "{error}");
    }
    let server = FaultServer::start([]).await;
    let error = speak(&config(&server), &"x".repeat(4_097)).await.remove(0).expect_err("too long");
    assert!(error.to_string().contains("4097 characters, the limit is 4096"), "{error}");
    assert_eq!(server.connections(), 0);
}
