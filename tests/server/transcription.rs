//! Sessions of type transcription as clients reach them: the session object, what is refused and why, the events of
//! a turn; with scripted engines, and with whisper.cpp, the starter models and espeak-ng's speech.

use std::path::Path;
use std::time::Duration;

use crate::socket::{Client, config, start};
use antiphon::audio::Resampler;
use antiphon::backend::espeak::{EspeakConfig, EspeakTts};
use antiphon::config::Config;
use antiphon::engine::CancelFlag;
use antiphon::engine::tts::{TtsEngine, TtsEvent, TtsRequest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::TryStreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;

const DELTA: &str = "conversation.item.input_audio_transcription.delta";
const COMPLETED: &str = "conversation.item.input_audio_transcription.completed";

fn update(session: Value) -> Value {
    let mut session = session;
    session["type"] = "transcription".into();
    json!({"type": "session.update", "event_id": "mine", "session": session})
}

async fn refused(client: &mut Client, event: Value) -> (String, String, String) {
    client.send(event).await;
    let error = client.until("error").await["error"].clone();
    let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
    (text("code"), text("param"), text("message"))
}

#[tokio::test]
async fn the_session_is_what_the_protocol_says_and_its_type_is_fixed() {
    let server = start(config()).await;
    let mut client = Client::connect(server.address(), "&intent=transcription").await;
    let session = client.event().await["session"].clone();
    assert_eq!(
        (&session["type"], &session["object"]),
        (&json!("transcription"), &json!("realtime.transcription_session"))
    );
    assert!(session.get("instructions").is_none() && session["audio"].get("output").is_none(), "{session}");
    let input = &session["audio"]["input"];
    assert_eq!(input["transcription"], json!({}), "on from the start");
    assert_eq!(input["turn_detection"]["type"], "server_vad");
    assert_eq!(input["turn_detection"]["create_response"], false);
    let wanted = json!({
        "audio": {"input": {
            "transcription": {"model": "gpt-4o-transcribe", "language": "en", "keywords": ["Oslo"], "prompt": "Cities."},
            "noise_reduction": {"type": "near_field"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 300, "create_response": true},
        }},
        "include": ["item.input_audio_transcription.logprobs"],
        "antiphon": {"translate_to": ["es", "de"]},
    });
    client.send(update(wanted.clone())).await;
    let session = client.until("session.updated").await["session"].clone();
    assert_eq!(session["audio"]["input"]["transcription"], wanted["audio"]["input"]["transcription"]);
    assert_eq!(session["audio"]["input"]["turn_detection"]["silence_duration_ms"], 300);
    assert_eq!(session["audio"]["input"]["turn_detection"]["create_response"], false, "there is none");
    assert_eq!((&session["include"], &session["antiphon"]), (&wanted["include"], &wanted["antiphon"]));
    let realtime = json!({"type": "session.update", "session": {"type": "realtime"}});
    let (_, param, message) = refused(&mut client, realtime).await;
    assert_eq!(param, "session.type");
    assert!(message.contains("'transcription'"), "{message}");
    let mut talk = Client::admitted(server.address()).await;
    let (_, param, message) = refused(&mut talk, update(json!({}))).await;
    assert!(param == "session.type" && message.contains("?intent=transcription"), "{message}");
    client.leave().await;
    talk.leave().await;
    server.stop().await.expect("ends");
}

#[tokio::test]
async fn what_does_not_belong_there_is_refused_by_name() {
    let server = start(config()).await;
    let mut client = Client::connect(server.address(), "&intent=transcription").await;
    let input = |input: Value| update(json!({"audio": {"input": input}}));
    let translate = |codes: Value| update(json!({"antiphon": {"translate_to": codes}}));
    for (event, param, says) in [
        (update(json!({"instructions": "Be brief."})), "session.instructions", "does not answer"),
        (update(json!({"audio": {"output": {"voice": "alloy"}}})), "session.audio.output", "does not answer"),
        (
            input(json!({"turn_detection": {"type": "semantic_vad"}})),
            "session.audio.input.turn_detection.type",
            "'server_vad' or null",
        ),
        (input(json!({"transcription": null})), "session.audio.input.transcription", "nothing to do"),
        (
            input(json!({"transcription": {"language": "English"}})),
            "session.audio.input.transcription.language",
            "Did you mean 'en'?",
        ),
        (
            input(json!({"transcription": {"languages": ["en", "xx"]}})),
            "session.audio.input.transcription.languages[1]",
            "'xx' is no language",
        ),
        (translate(json!(["es", "spa"])), "session.antiphon.translate_to[1]", "ISO 639-1"),
        (
            translate(json!(["es", "de", "fr", "it", "pt"])),
            "session.antiphon.translate_to",
            "at most 4 languages",
        ),
        (json!({"type": "response.create"}), "", "makes no responses"),
        (json!({"type": "response.cancel"}), "", "no active response"),
    ] {
        let (_, at, message) = refused(&mut client, event.clone()).await;
        assert_eq!(at, param, "{event}: {message}");
        assert!(message.contains(says), "{event}: {message}");
    }
    let mut talk = Client::admitted(server.address()).await;
    let session = json!({"type": "realtime", "antiphon": {"translate_to": ["es"]}});
    let (_, param, _) = refused(&mut talk, json!({"type": "session.update", "session": session})).await;
    assert_eq!(param, "session.antiphon.translate_to");
    client.leave().await;
    talk.leave().await;
    let refused = Client::try_connect(server.address(), "&intent=conversation").await.err().expect("refused");
    assert_eq!((refused.status, &refused.body["error"]["code"]), (400, &json!("unsupported_query")));
    server.stop().await.expect("ends");
}

/// A client that speaks and keeps what it is told.
struct Speaker {
    client: Client,
    seen: Vec<Value>,
}

impl Speaker {
    async fn connect(server: &antiphon::app::Server, session: Value) -> Self {
        let mut client = Client::connect(server.address(), "&intent=transcription").await;
        client.send(update(session)).await;
        let updated = client.until("session.updated").await;
        Self { client, seen: vec![updated] }
    }

    /// Says something at half the pace of speech, so that a busy machine keeps up, falls silent, and reads on to
    /// `last`.
    async fn say(&mut self, speech: &[i16], last: &str) -> Value {
        let silence = [0i16; 480];
        let mut chunks = speech.chunks(480).chain(std::iter::repeat_n(&silence[..], 100));
        let mut due = Instant::now();
        loop {
            tokio::select! {
                event = self.client.event() => {
                    self.seen.push(event.clone());
                    assert_ne!(event["type"], "error", "{event}");
                    if event["type"] == last {
                        return event;
                    }
                }
                () = tokio::time::sleep_until(due) => {
                    let Some(chunk) = chunks.next() else {
                        due += Duration::from_secs(600);
                        continue;
                    };
                    due += Duration::from_millis(40);
                    let bytes: Vec<u8> = chunk.iter().flat_map(|sample| sample.to_le_bytes()).collect();
                    let event = json!({"type": "input_audio_buffer.append", "audio": STANDARD.encode(bytes)});
                    self.client.send(event).await;
                }
            }
        }
    }

    fn deltas(&self) -> Vec<&str> {
        self.seen
            .iter()
            .filter(|event| event["type"] == DELTA)
            .filter_map(|event| event["delta"].as_str())
            .collect()
    }

    fn place(&self, kind: &str) -> usize {
        self.seen
            .iter()
            .position(|event| event["type"] == kind)
            .unwrap_or_else(|| panic!("no {kind}: {:?}", self.seen))
    }
}

/// `text` in espeak-ng's voice at the protocol's 24 kHz.
async fn spoken(text: &str, voice: &str) -> Vec<i16> {
    let tts = EspeakTts::load(&EspeakConfig::default()).expect("apt-get install espeak-ng");
    let request = TtsRequest { text: text.into(), voice: voice.into(), speed: 1.0 };
    let events: Vec<TtsEvent> =
        tts.synthesize(request, CancelFlag::new()).try_collect().await.expect("speech");
    let mut samples = vec![0; 12_000];
    let mut resampler = Resampler::new(22_050, 24_000).expect("any rates");
    for event in events {
        if let TtsEvent::Audio(chunk) = event {
            assert_eq!(chunk.sample_rate, 22_050);
            samples.extend(resampler.push(&chunk.samples));
        }
    }
    samples
}

fn words(text: &str) -> Vec<String> {
    let clean = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    text.split_whitespace().map(clean).collect()
}

/// The starter models, on any free port.
fn real() -> Config {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = Config::default();
    config.server.bind = "127.0.0.1:0".parse().expect("an address");
    config.store.kind = antiphon::store::StoreKind::Memory; // servers of several tests run side by side
    assert!(root.join("models/starter/stt/ggml-starter.bin").exists(), "run `make starter`");
    config
}

#[tokio::test]
async fn real_speech_is_told_word_by_word_and_each_person_hears_their_own() {
    let mut config = real();
    config.session.partials.interval_ms = 400;
    config.features.adaptive_quality = false;
    let server = start(config).await;
    let session = json!({"include": ["item.input_audio_transcription.logprobs"]});
    let people = [
        ("My name is Anna and I live in Oslo.", "en-us"),
        ("My name is Peter and I live in Berlin.", "en-gb"),
    ];
    let talk = people.map(|(text, voice)| {
        let (server, session) = (&server, session.clone());
        async move {
            let mut speaker = Speaker::connect(server, session).await;
            let speech = spoken(text, voice).await;
            let completed = speaker.say(&speech, COMPLETED).await;
            let transcript = completed["transcript"].as_str().expect("text").to_owned();
            assert_eq!(words(&transcript), words(text), "{transcript}");
            let deltas = speaker.deltas();
            assert_eq!(deltas.concat(), transcript, "deltas are only ever appended");
            assert!(deltas.len() >= 2, "some come early: {deltas:?}");
            assert!(speaker.place(DELTA) < speaker.place("input_audio_buffer.speech_stopped"));
            let item = &completed["item_id"];
            let of_item = |event: &&Value| event.get("item_id").is_some();
            assert!(speaker.seen.iter().filter(of_item).all(|event| event["item_id"] == *item));
            let logprobs = completed["logprobs"].as_array().expect("asked for");
            let text: String = logprobs.iter().filter_map(|token| token["token"].as_str()).collect();
            assert_eq!(words(&text), words(&transcript), "{logprobs:?}");
            assert!(
                logprobs.iter().all(|token| token["logprob"].as_f64().is_some_and(|p| p <= 0.0 && p > -20.0))
            );
            assert!(completed["usage"]["seconds"].as_f64().is_some_and(|seconds| seconds > 1.0));
            assert_eq!(completed["languages"], json!([{"code": "en"}]));
            assert!(
                !speaker
                    .seen
                    .iter()
                    .any(|event| event["type"].as_str().is_some_and(|kind| kind.starts_with("response.")))
            );
        }
    });
    futures::future::join_all(talk).await;
    server.stop().await.expect("ends");
}

/// The starter model cannot translate: this is about the chain of events alone.
#[tokio::test]
async fn a_real_turn_is_followed_by_one_translation_for_each_language() {
    let server = start(real()).await;
    let mut speaker = Speaker::connect(&server, json!({"antiphon": {"translate_to": ["es", "de"]}})).await;
    let speech = spoken("My name is Anna and I live in Oslo.", "en-us").await;
    let ended = |event: &Value| {
        let kind = event["type"].as_str().unwrap_or_default();
        matches!(kind, "antiphon.translation.completed" | "antiphon.translation.failed")
    };
    let completed = speaker.say(&speech, COMPLETED).await;
    while speaker.seen.iter().filter(|event| ended(event)).count() < 2 {
        let event = speaker.client.event().await;
        speaker.seen.push(event);
    }
    let told: Vec<_> = speaker.seen.iter().filter(|event| ended(event)).collect();
    let mut languages: Vec<_> = told.iter().filter_map(|event| event["language"].as_str()).collect();
    languages.sort_unstable();
    assert_eq!(languages, ["de", "es"]);
    for event in told {
        assert_eq!(event["item_id"], completed["item_id"], "{event}");
        assert!(
            event["type"] != "antiphon.translation.completed" || event["source"] == completed["transcript"],
            "{event}"
        );
    }
    server.stop().await.expect("ends");
}

#[tokio::test]
async fn translations_are_made_once_for_all_and_counted() {
    let mut config = config();
    config.session.translation.instructions = "{code}".to_owned();
    if let [antiphon::backend::catalog::LlmConfig::Scripted(llm)] = &mut config.engines.llm[..] {
        llm.calls = vec![vec![antiphon::backend::scripted::Step::text(800, "{system}: {user}")]];
    }
    if let [antiphon::backend::catalog::SttConfig::Scripted(stt)] = &mut config.engines.stt[..] {
        stt.calls = vec![vec![antiphon::backend::scripted::Step::text(20, "Good morning.")]];
    }
    let server = start(config).await;
    let tone: Vec<i16> = (0..14_400).map(|at| if at / 20 % 2 == 0 { 8_000 } else { -8_000 }).collect();
    let talk = (0..3).map(|_| async {
        let mut speaker = Speaker::connect(&server, json!({"antiphon": {"translate_to": ["es"]}})).await;
        let told = speaker.say(&tone, "antiphon.translation.completed").await;
        assert_eq!((&told["text"], &told["language"]), (&json!("es: Good morning."), &json!("es")));
    });
    futures::future::join_all(talk).await;
    let metrics = crate::socket::get(server.address(), "/metrics").await;
    let metrics = metrics.as_str().expect("text").to_owned();
    let count = |how: &str| -> u64 {
        let line = format!("antiphon_translation_requests_total{{how=\"{how}\"}} ");
        metrics.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok()).unwrap_or_default()
    };
    assert_eq!(count("made"), 1, "{}", count("merged"));
    assert_eq!(count("merged") + count("cached"), 2);
    server.stop().await.expect("ends");
}
