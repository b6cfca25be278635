//! The keys of what serves people: the server, sessions, features.

use super::Allowed::{Any, Between, OneOf, Text};
use super::{DAY_S, Key, MINUTE_MS, key, next, now};
use crate::config::check;

const MIB: f64 = 1_048_576.0;

/// In the order in which people read them.
pub(super) const KEYS: &[Key] = &[
    key("preset", "Where values start from that are not set here", OneOf(&["cpu", "gpu-16gb"])),
    key(
        "server.role",
        "What is served: everything, or the engines alone to other servers, without sessions and pages",
        OneOf(&["all", "engines"]),
    ),
    key(
        "server.bind",
        "Address and port to listen on",
        Any("address:port; beyond loopback only with API keys"),
    ),
    next("server.max_sessions", "Sessions at once; one more waits in line", Between(1.0, 100_000.0)),
    key("server.max_frame_bytes", "Largest WebSocket message", Between(65_536.0, 64.0 * MIB)),
    key(
        "server.allowed_origins",
        "Web origins whose pages may connect, besides the server's own",
        Any("a list of origins like \"https://voice.example\", or \"*\""),
    ),
    key(
        "server.shutdown_grace_ms",
        "How long turns may finish when the server stops",
        Between(0.0, 10.0 * MINUTE_MS),
    ),
    key(
        "server.ping_interval_s",
        "How often clients are pinged; silent for three, they are gone",
        Between(1.0, 3_600.0),
    ),
    key(
        "server.tls.listen",
        "Address and port of HTTPS and WSS, beside the plain ones; empty for none",
        Text("address:port, or nothing; beyond loopback only with API keys", check::address_or_nothing),
    ),
    key("server.tls.cert", "Certificate, with those that signed it; read again at SIGHUP", Any("a PEM file")),
    key("server.tls.key", "The certificate's private key", Any("a PEM file")),
    key(
        "server.tls.self_signed",
        "Make a certificate at start, for trying and for tests: clients do not trust it by themselves",
        Any("true or false"),
    ),
    key(
        "server.tls.self_signed_file",
        "Where to write the self-signed certificate, for clients that are to trust it",
        Any("a path, or nothing"),
    ),
    key(
        "server.tls.names",
        "Names for which the self-signed certificate holds, besides localhost, 127.0.0.1, ::1 and `listen`",
        Any("a list of host names and addresses"),
    ),
    next(
        "server.admission.max_connections",
        "Sessions, waiting and refused clients at once; one more is answered 503",
        Between(1.0, 1_000_000.0),
    ),
    next(
        "server.admission.max_queue",
        "Clients that may wait for a place; one more is told `overloaded` and closed with 1013",
        Between(0.0, 10_000.0),
    ),
    now(
        "server.admission.max_wait_s",
        "How long a client may wait for a place before it is told `overloaded`",
        Between(1.0, 3_600.0),
    ),
    next(
        "server.admission.first_audio_target_ms",
        "From the end of a turn to the first audio of its answer, for 95 of 100 turns: headroom is 1 - p95 / this",
        Between(50.0, MINUTE_MS),
    ),
    next(
        "server.admission.min_headroom",
        "Below this headroom newcomers wait even if places are free; -1 never lets them wait for it until \
         answers take twice the target",
        Between(-10.0, 0.95),
    ),
    next(
        "server.admission.resume_headroom",
        "Headroom from which on they are let in again; not below `min_headroom`",
        Between(-10.0, 1.0),
    ),
    key("server.auth.keys", "API keys; without any, only this machine may connect", Any("a list of keys")),
    key(
        "server.auth.keys[*].name",
        "Whose key it is; stands in logs and status",
        Text("text", check::not_empty),
    ),
    key(
        "server.auth.keys[*].sha256",
        "SHA-256 of the key: `printf %s \"$KEY\" | sha256sum`",
        Text("64 hexadecimal digits", check::sha256),
    ),
    key("server.auth.keys[*].role", "What its holder may do (default user)", OneOf(&["user", "admin"])),
    key(
        "server.uploads.max_bytes",
        "Largest file for POST /v1/audio/transcriptions; one more byte is answered 413",
        Between(65_536.0, 1_024.0 * MIB),
    ),
    key("server.uploads.max_audio_s", "Longest audio of such a file", Between(1.0, DAY_S)),
    key(
        "server.uploads.max_at_once",
        "Such files at once, over all users; one more is answered 503",
        Between(1.0, 10_000.0),
    ),
    now(
        "session.limits.max_input_audio_ms",
        "Audio that a client may send without committing it",
        Between(1_000.0, 30.0 * MINUTE_MS),
    ),
    now(
        "session.limits.max_utterance_ms",
        "Longest utterance; it is committed there as it stands",
        Between(1_000.0, 10.0 * MINUTE_MS),
    ),
    now("session.limits.max_items", "Items of a conversation", Between(2.0, 100_000.0)),
    next("session.limits.max_session_s", "Duration of a session", Between(10.0, DAY_S)),
    now(
        "session.limits.drain_ms",
        "How long the answer that runs may go on when the server stops",
        Between(0.0, 10.0 * MINUTE_MS),
    ),
    now("session.limits.idle_s", "Silence of the client after which its session ends", Between(5.0, DAY_S)),
    now(
        "session.limits.max_memory_bytes",
        "Memory of a session: audio, history, settings, queues",
        Between(65_536.0, 65_536.0 * MIB),
    ),
    now(
        "session.limits.max_requests_per_minute",
        "Responses and transcriptions of a session within a minute",
        Between(1.0, 100_000.0),
    ),
    now(
        "session.limits.max_concurrent_requests",
        "Responses and transcriptions of a session at once",
        Between(1.0, 1_000.0),
    ),
    now(
        "session.per_user.max_sessions",
        "Sessions of one API key at once; one more is refused with 429",
        Between(1.0, 100_000.0),
    ),
    now(
        "session.per_user.max_concurrent_requests",
        "Requests at once of all sessions of one API key",
        Between(1.0, 100_000.0),
    ),
    now(
        "session.per_user.max_responses_per_minute",
        "Responses within a minute of all sessions of one API key",
        Between(1.0, 100_000.0),
    ),
    now("session.records.per_session", "Requests remembered of an open session", Between(1.0, 10_000.0)),
    now(
        "session.records.of_ended_sessions",
        "Requests remembered of all sessions that ended",
        Between(0.0, 1_000_000.0),
    ),
    now("session.health.interval_s", "How often all sessions are looked at", Between(1.0, 3_600.0)),
    now("session.health.stuck_s", "Stillness of a session's task that ends it", Between(10.0, DAY_S)),
    now(
        "session.health.max_silence_s",
        "Time without any sign of life on a socket that ends its session",
        Between(10.0, DAY_S),
    ),
    now(
        "session.endpointing.soft_pause_ms",
        "Silence after which transcript and answer are begun speculatively",
        Between(32.0, 5_000.0),
    ),
    now("session.endpointing.complete_ms", "Silence that ends a whole sentence", Between(32.0, 10_000.0)),
    now("session.endpointing.unsure_ms", "Silence that ends what may be whole", Between(32.0, 10_000.0)),
    now(
        "session.endpointing.incomplete_ms",
        "Silence that ends what stops in the middle of something",
        Between(32.0, 10_000.0),
    ),
    now(
        "session.partials.interval_ms",
        "Speech from one partial transcript to the next, where engines keep up",
        Between(200.0, MINUTE_MS),
    ),
    now(
        "session.hearing.context_words",
        "The conversation's last words that speech-to-text is told before the client's own prompt",
        Between(0.0, 200.0),
    ),
    now(
        "session.translation.instructions",
        "What the language model is told to do; `{language}` and `{code}` are filled in",
        Text("text with {language} or {code} in it", check::names_language),
    ),
    now("session.translation.max_targets", "Languages that a session may ask for", Between(1.0, 100.0)),
    now(
        "session.translation.interval_ms",
        "From one translation of an unfinished utterance to the next",
        Between(100.0, MINUTE_MS),
    ),
    now(
        "session.translation.partials_first",
        "Translate unfinished utterances before finished ones",
        Any("true or false"),
    ),
    now(
        "session.translation.cache_bytes",
        "Memory for translations that all sessions share; 0 remembers none",
        Between(0.0, 65_536.0 * MIB),
    ),
    now(
        "session.interruption.min_speech_ms",
        "Voice that a sound must hold to interrupt an answer; 0 believes every begin",
        Between(0.0, 5_000.0),
    ),
    now(
        "session.interruption.min_words",
        "Words that must be understood before an answer is interrupted; 0 waits for none",
        Between(0.0, 20.0),
    ),
    now(
        "session.interruption.resume",
        "An answer goes on when what interrupted it was a noise, a backchannel or its echo",
        Any("true or false"),
    ),
    now(
        "session.interruption.resume_timeout_ms",
        "How late the transcript of an interruption may come for the answer to go on",
        Between(0.0, MINUTE_MS),
    ),
    now(
        "session.interruption.backchannels",
        "What listeners say without wanting the floor; `default` stands for a list in a dozen languages",
        Any("a list of words and phrases"),
    ),
    now(
        "session.interruption.echo_guard",
        "Tell the answer, heard through the person's microphone, from the person",
        Any("true or false"),
    ),
    now(
        "session.playback.max_ahead_ms",
        "How far audio sent may be ahead of audio heard",
        Between(200.0, MINUTE_MS),
    ),
    now(
        "session.resume.grace_s",
        "How long a session may be resumed after its connection was cut or its server ended",
        Between(0.0, DAY_S),
    ),
    next("session.defaults.instructions", "System message of sessions that set none", Any("text")),
    next("session.defaults.voice", "Voice of sessions that set none", Text("text", check::not_empty)),
    key(
        "store.kind",
        "Where sessions are kept to be resumed: a file, this process (they do not survive it), nowhere",
        OneOf(&["sqlite", "memory", "off"]),
    ),
    key(
        "store.path",
        "File of `sqlite`; nobody but the server's user may read it",
        Any("a path; one server a file"),
    ),
    key("store.max_sessions", "Sessions kept at most, those that run included", Between(1.0, 10_000_000.0)),
    key("store.max_bytes", "Bytes kept at most", Between(MIB, 1_048_576.0 * MIB)),
    now("features.speculation", "Begin answers before the turn has ended", Any("true or false")),
    now(
        "features.partials",
        "Transcribe while the person still speaks, for clients that read along",
        Any("true or false"),
    ),
    now(
        "features.concurrent_processing",
        "Engines compute several calls at once; off, as a fallback, one call, or one step of a language model, at a time",
        Any("true or false"),
    ),
    now(
        "features.adaptive_quality",
        "Lower quality in steps before sessions are refused",
        Any("true or false"),
    ),
    next(
        "features.compression",
        "Compress what goes over sockets whose clients offer permessage-deflate",
        Any("true or false"),
    ),
];
