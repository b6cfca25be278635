//! The metrics: their names, units and meaning. One constant each; [`ALL`] is what `/metrics` describes and
//! what `docs/operations.md` lists.
//!
//! ```
//! use antiphon::telemetry::metrics;
//! ::metrics::counter!(metrics::TURNS_TOTAL).increment(1);
//! ::metrics::histogram!(metrics::STAGE_SECONDS, "stage" => metrics::stage::STT).record(0.12);
//! ```

use std::time::Duration;

use metrics::Unit;

/// Sessions that are connected now.
pub const SESSIONS_ACTIVE: &str = "antiphon_sessions_active";
/// Sessions that ended, by `outcome`.
pub const SESSIONS_TOTAL: &str = "antiphon_sessions_total";
/// Who came, by what became of them: `admitted` at once, `queued`, `refused_soft`, `refused_hard`.
pub const ADMISSION_TOTAL: &str = "antiphon_admission_total";
/// Clients that wait for a place.
pub const ADMISSION_QUEUE_LENGTH: &str = "antiphon_admission_queue_length";
/// Seconds that a client waited for a place, by how the wait ended: `admitted`, `expired`, `left`.
pub const ADMISSION_WAIT_SECONDS: &str = "antiphon_admission_wait_seconds";
/// Share of the first-audio target that is left: 1 at rest, 0 where p95 is at the target, negative beyond.
pub const ADMISSION_HEADROOM: &str = "antiphon_admission_headroom";
/// Configurations read while the server runs, by `source` (`signal`, `api`) and `outcome` (`applied`, `refused`).
pub const CONFIG_RELOADS_TOTAL: &str = "antiphon_config_reloads_total";
/// User turns that were committed.
pub const TURNS_TOTAL: &str = "antiphon_turns_total";
/// Partial transcripts, by `outcome`: `heard`, `failed`, `stale` (of an utterance that is over), `superseded` (the
/// pause came first).
pub const PARTIALS_TOTAL: &str = "antiphon_partials_total";
/// Words told while they were spoken, by `outcome`: `kept`, or `contradicted` by the final transcript.
pub const PARTIAL_WORDS_TOTAL: &str = "antiphon_partial_words_total";
/// Translations told, by `outcome`: `partial`, `completed`, `failed`.
pub const TRANSLATIONS_TOTAL: &str = "antiphon_translations_total";
/// Texts to translate, by `how`: `made` by the language model, `merged` with one under way, `cached`.
pub const TRANSLATION_REQUESTS_TOTAL: &str = "antiphon_translation_requests_total";
/// Bytes of translations that are remembered.
pub const TRANSLATION_CACHE_BYTES: &str = "antiphon_translation_cache_bytes";
/// Sounds while an answer ran or played, by `outcome`: `dismissed` (too short, or the answer's own echo), `parked`
/// (it interrupted), then `meant`, `resumed` (it was nothing) or `expired` (that was known too late).
pub const INTERRUPTIONS_TOTAL: &str = "antiphon_interruptions_total";
/// Responses that ended, by `status`: `completed`, `cancelled`, `incomplete`, `failed`.
pub const RESPONSES_TOTAL: &str = "antiphon_responses_total";
/// Seconds from the endpoint (the turn is committed) to the first audio handed to the client's socket.
pub const RESPONSE_LATENCY_SECONDS: &str = "antiphon_response_latency_seconds";
/// Seconds that one `stage` of a turn took; the stages are in [`stage`].
pub const STAGE_SECONDS: &str = "antiphon_stage_seconds";
/// Transcripts of an `engine` of this machine, by `outcome`: `kept`, `empty`, `repetition` (shortened), `no_speech`
/// and `nothing_said` (dropped).
pub const STT_TRANSCRIPTS_TOTAL: &str = "antiphon_stt_transcripts_total";
/// Utterances that an `engine` heard a second time, with its whole window, because the first was doubtful.
pub const STT_HEARD_AGAIN_TOTAL: &str = "antiphon_stt_heard_again_total";
/// Seconds that a request waited for a slot of `pool`.
pub const POOL_WAIT_SECONDS: &str = "antiphon_pool_wait_seconds";
/// Slots of `pool` whose engines serve.
pub const POOL_SLOTS: &str = "antiphon_pool_slots";
/// Requests that wait for a slot of `pool` now.
pub const POOL_WAITING: &str = "antiphon_pool_waiting";
/// Slots of `pool` that are leased now.
pub const POOL_IN_USE: &str = "antiphon_pool_in_use";
/// Engine calls that failed, by `engine` and `kind` (the variant of `EngineError`).
pub const ENGINE_ERRORS_TOTAL: &str = "antiphon_engine_errors_total";
/// Probes of engines, by `engine` and `outcome`: `ok`, `failed`.
pub const ENGINE_PROBES_TOTAL: &str = "antiphon_engine_probes_total";
/// Engines of `pool` that were taken out of service because they did not let go of a cancelled call.
pub const ENGINE_QUARANTINES_TOTAL: &str = "antiphon_engine_quarantines_total";
/// Engines of `pool` that were built anew.
pub const ENGINE_RESTARTS_TOTAL: &str = "antiphon_engine_restarts_total";
/// Whether the endpoint behind `engine` gets one call at a time: 1 after it failed under several.
pub const ENDPOINT_SEQUENTIAL: &str = "antiphon_endpoint_sequential";
/// Calls of the last minute of the endpoint behind `engine`, where it has a limit.
pub const ENDPOINT_REQUESTS: &str = "antiphon_endpoint_requests";
/// Tokens of the last minute of the endpoint behind `engine`, where it has a limit.
pub const ENDPOINT_TOKENS: &str = "antiphon_endpoint_tokens";
/// Longest wait for an engine in the last seconds, 1 being `pools.governor.queue_delay_ms`.
pub const PRESSURE: &str = "antiphon_pressure";
/// What the server does without: 0 nothing, 1 frequent partials, 2 speech ahead of the turn's end, 3 partials,
/// 4 long answers, 5 new sessions.
pub const DEGRADATION_STEP: &str = "antiphon_degradation_step";
/// Error events sent to clients, by `code`.
pub const PROTOCOL_ERRORS_TOTAL: &str = "antiphon_protocol_errors_total";
/// Tasks of sessions and requests that panicked. Each one is a bug: the log line beside it names the place.
pub const PANICS_TOTAL: &str = "antiphon_panics_total";
/// Seconds of audio by `direction`: `in` from clients, `out` to them. Recorded with [`count_audio`].
pub const AUDIO_SECONDS_TOTAL: &str = "antiphon_audio_seconds_total";
/// Bytes of WebSocket messages by `direction`: `in` from clients, `out` to them.
pub const WEBSOCKET_BYTES_TOTAL: &str = "antiphon_websocket_bytes_total";
/// Requests under way, by `kind`: `response`, `transcription`, `speech`, `translation`.
pub const REQUESTS_ACTIVE: &str = "antiphon_requests_active";
/// Requests that wait for a slot, by `stage`: `stt`, `llm`, `tts`.
pub const REQUESTS_WAITING: &str = "antiphon_requests_waiting";
/// Requests that ended, by `kind` and `outcome`: `completed`, `timeout`, `error`, `cancelled`.
pub const REQUESTS_TOTAL: &str = "antiphon_requests_total";
/// Seconds of a request, by `kind` and `stage`: `queue_stt` and its kin (one wait), `stt` and its kin (one engine
/// call), `total` (received to over, playback of speech included).
pub const REQUEST_SECONDS: &str = "antiphon_request_seconds";
/// Requests that failed, by `engine` (instance, or pool where none was reached) and `code`.
pub const REQUEST_FAILURES_TOTAL: &str = "antiphon_request_failures_total";
/// Requests, sessions and events refused, by `limit` (its configuration key).
pub const QUOTA_REFUSALS_TOTAL: &str = "antiphon_quota_refusals_total";
/// Accounted bytes of sessions, by `of`: `all` together, the `largest`.
pub const SESSION_MEMORY_BYTES: &str = "antiphon_session_memory_bytes";
/// Sessions ended because they were unhealthy, by `reason`: `stuck`, `leaking`, `silent`.
pub const UNHEALTHY_TOTAL: &str = "antiphon_sessions_unhealthy_total";
/// Memory of a GPU that engines compute on, by `gpu` (its number) and `kind`: `total`, `used` by all programs, the
/// server's `own` where the driver tells. NaN where the driver has stopped telling.
pub const GPU_MEMORY_BYTES: &str = "antiphon_gpu_memory_bytes";
/// Alerts that fire now, by `alert`.
pub const ALERTS_FIRING: &str = "antiphon_alerts_firing";
/// Transactions of the session store, by `outcome`: `written`, `failed` (tried again).
pub const STORE_WRITES_TOTAL: &str = "antiphon_store_writes_total";
/// Seconds of one transaction of the session store.
pub const STORE_WRITE_SECONDS: &str = "antiphon_store_write_seconds";
/// 1 while snapshots cannot be written.
pub const STORE_FAILING: &str = "antiphon_store_failing";
/// Sessions that are kept to be resumed, those that run included.
pub const STORE_SESSIONS: &str = "antiphon_store_sessions";
/// Bytes that the session store takes.
pub const STORE_BYTES: &str = "antiphon_store_bytes";
/// Bytes of changes that sessions handed to the store.
pub const SNAPSHOT_BYTES_TOTAL: &str = "antiphon_snapshot_bytes_total";
/// Seconds that a session's task takes to hand its changes to the store.
pub const SNAPSHOT_SECONDS: &str = "antiphon_snapshot_seconds";
/// Attempts to resume a session, by `outcome`: `resumed`, `unknown` (wrong, expired or foreign token), `failed`.
pub const RESUMES_TOTAL: &str = "antiphon_resumes_total";
/// Sideband sockets that are attached now.
pub const SIDEBANDS_ACTIVE: &str = "antiphon_sidebands_active";

/// Values of the label `stage` of [`STAGE_SECONDS`].
pub mod stage {
    /// The final transcription of a turn.
    pub const STT: &str = "stt";
    /// A transcription while the person still speaks.
    pub const PARTIAL: &str = "partial";
    /// From the request to the language model's first token.
    pub const LLM_FIRST_TOKEN: &str = "llm_first_token";
    /// From the request to the first clause that can be spoken.
    pub const LLM_FIRST_CLAUSE: &str = "llm_first_clause";
    /// From the clause to its first audio.
    pub const TTS_FIRST_AUDIO: &str = "tts_first_audio";
    /// Waiting for a speech-to-text slot.
    pub const QUEUE_STT: &str = "queue_stt";
    /// Waiting for a language model slot.
    pub const QUEUE_LLM: &str = "queue_llm";
    /// Waiting for a text-to-speech slot.
    pub const QUEUE_TTS: &str = "queue_tts";
}

/// What kind of metric a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Grows only.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution over [`LATENCY_BUCKETS`].
    Histogram,
}

/// One metric, as `/metrics` and the manual describe it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name in Prometheus.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// Unit of its value.
    pub unit: Unit,
    /// Labels, comma-separated; empty where it has none.
    pub labels: &'static str,
    /// What it counts.
    pub help: &'static str,
}

/// Upper bounds in seconds: fine where the targets lie (0.35 s and 0.5 s), coarse up to a minute's trouble.
pub const LATENCY_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.65, 0.8,
    1.0, 1.5, 2.5, 5.0, 10.0, 30.0,
];

/// Every metric of the server.
pub const ALL: &[Metric] = &[
    gauge(SESSIONS_ACTIVE, "", "Sessions that are connected now"),
    counter(SESSIONS_TOTAL, "outcome", "Sessions that ended"),
    counter(ADMISSION_TOTAL, "outcome", "Clients that came, by what became of them"),
    gauge(ADMISSION_QUEUE_LENGTH, "", "Clients that wait for a place"),
    seconds(ADMISSION_WAIT_SECONDS, "outcome", "Wait of a client for a place"),
    gauge(ADMISSION_HEADROOM, "", "Share of the first-audio target that is left; below 0 it is missed"),
    counter(CONFIG_RELOADS_TOTAL, "source, outcome", "Configurations read while the server runs"),
    counter(TURNS_TOTAL, "", "User turns that were committed"),
    counter(PARTIALS_TOTAL, "outcome", "Transcripts of utterances that were still being spoken"),
    counter(
        PARTIAL_WORDS_TOTAL,
        "outcome",
        "Words told while they were spoken, by what the final transcript says",
    ),
    counter(
        TRANSLATIONS_TOTAL,
        "outcome",
        "Translations told to clients, and whole utterances that had none",
    ),
    counter(TRANSLATION_REQUESTS_TOTAL, "how", "Texts to translate, by where the translation came from"),
    Metric { unit: Unit::Bytes, ..gauge(TRANSLATION_CACHE_BYTES, "", "Translations that are remembered") },
    counter(INTERRUPTIONS_TOTAL, "outcome", "Sounds while an answer ran or played"),
    counter(RESPONSES_TOTAL, "status", "Responses that ended"),
    seconds(RESPONSE_LATENCY_SECONDS, "", "From the end of the user's turn to the first audio of the answer"),
    seconds(STAGE_SECONDS, "stage", "What one stage of a turn took, queue waits included"),
    counter(
        STT_TRANSCRIPTS_TOTAL,
        "engine, outcome",
        "Transcripts, by what guards against invented text found",
    ),
    counter(
        STT_HEARD_AGAIN_TOTAL,
        "engine",
        "Doubtful transcripts that were made anew with the whole window",
    ),
    seconds(POOL_WAIT_SECONDS, "pool", "Wait for a slot of a pool"),
    gauge(POOL_IN_USE, "pool", "Slots of a pool that are leased now"),
    gauge(POOL_SLOTS, "pool", "Slots of a pool whose engines serve"),
    gauge(POOL_WAITING, "pool", "Requests that wait for a slot of a pool now"),
    counter(ENGINE_ERRORS_TOTAL, "engine, kind", "Engine calls that failed"),
    counter(ENGINE_PROBES_TOTAL, "engine, outcome", "Probes of engines"),
    counter(ENGINE_QUARANTINES_TOTAL, "pool", "Engines that did not let go of a cancelled call"),
    counter(ENGINE_RESTARTS_TOTAL, "pool", "Engines that were built anew"),
    gauge(
        ENDPOINT_SEQUENTIAL,
        "engine",
        "Endpoints that get one call at a time because they failed under several",
    ),
    gauge(ENDPOINT_REQUESTS, "engine", "Calls of the last minute of an endpoint with a limit"),
    gauge(ENDPOINT_TOKENS, "engine", "Tokens of the last minute of an endpoint with a limit"),
    gauge(PRESSURE, "", "Longest wait for an engine lately, as a part of what counts as full pressure"),
    gauge(
        DEGRADATION_STEP,
        "",
        "What is done without: 1 frequent partials, 2 speech ahead, 3 partials, 4 long answers, 5 new sessions",
    ),
    counter(PROTOCOL_ERRORS_TOTAL, "code", "Error events sent to clients"),
    counter(PANICS_TOTAL, "", "Tasks of sessions and requests that panicked; each one is a bug"),
    Metric {
        unit: Unit::Seconds,
        ..gauge(AUDIO_SECONDS_TOTAL, "direction", "Audio received and sent; only grows")
    },
    Metric {
        unit: Unit::Bytes,
        ..counter(WEBSOCKET_BYTES_TOTAL, "direction", "WebSocket messages received and sent")
    },
    gauge(REQUESTS_ACTIVE, "kind", "Requests under way"),
    gauge(REQUESTS_WAITING, "stage", "Requests that wait for an engine"),
    counter(REQUESTS_TOTAL, "kind, outcome", "Requests that ended"),
    seconds(REQUEST_SECONDS, "kind, stage", "One wait, one engine call or the whole of a request"),
    counter(REQUEST_FAILURES_TOTAL, "engine, code", "Requests that failed or took too long"),
    counter(QUOTA_REFUSALS_TOTAL, "limit", "What was refused because a limit was reached"),
    Metric {
        unit: Unit::Bytes,
        ..gauge(SESSION_MEMORY_BYTES, "of", "Accounted bytes of sessions: all, largest")
    },
    counter(UNHEALTHY_TOTAL, "reason", "Sessions that were ended because they were unhealthy"),
    Metric {
        unit: Unit::Bytes,
        ..gauge(
            GPU_MEMORY_BYTES,
            "gpu, kind",
            "Memory of a GPU that engines compute on: total, used by all programs, the server's own",
        )
    },
    gauge(ALERTS_FIRING, "alert", "Alerts that fire now, see `GET /api/alerts`"),
    counter(STORE_WRITES_TOTAL, "outcome", "Transactions of the session store"),
    seconds(STORE_WRITE_SECONDS, "", "One transaction of the session store"),
    gauge(STORE_FAILING, "", "1 while snapshots cannot be written"),
    gauge(STORE_SESSIONS, "", "Sessions that are kept to be resumed, those that run included"),
    Metric { unit: Unit::Bytes, ..gauge(STORE_BYTES, "", "Bytes that the session store takes") },
    Metric {
        unit: Unit::Bytes,
        ..counter(SNAPSHOT_BYTES_TOTAL, "", "Changes that sessions handed to the store")
    },
    seconds(SNAPSHOT_SECONDS, "", "What handing its changes to the store takes of a session's task"),
    counter(RESUMES_TOTAL, "outcome", "Attempts to resume a session"),
    gauge(SIDEBANDS_ACTIVE, "", "Sideband sockets that are attached now"),
];

/// Which way audio or bytes go, seen from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a client.
    In,
    /// To a client.
    Out,
}

impl Direction {
    /// Value of the label `direction`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// Adds to [`AUDIO_SECONDS_TOTAL`]. It is a gauge that only grows, because counters take whole numbers and a
/// frame is 20 ms.
pub fn count_audio(direction: Direction, length: Duration) {
    metrics::gauge!(AUDIO_SECONDS_TOTAL, "direction" => direction.as_str()).increment(length.as_secs_f64());
}

/// Adds to [`WEBSOCKET_BYTES_TOTAL`].
pub fn count_bytes(direction: Direction, bytes: usize) {
    metrics::counter!(WEBSOCKET_BYTES_TOTAL, "direction" => direction.as_str()).increment(bytes as u64);
}

/// Tells the recorder what each metric means.
pub fn describe_all() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

const fn counter(name: &'static str, labels: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, unit: Unit::Count, labels, help }
}

const fn gauge(name: &'static str, labels: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit: Unit::Count, labels, help }
}

const fn seconds(name: &'static str, labels: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, unit: Unit::Seconds, labels, help }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_prometheus_conventions() {
        let mut names: Vec<&str> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len(), "no name twice");
        for metric in ALL {
            assert!(metric.name.starts_with("antiphon_"), "{}", metric.name);
            assert!(metric.kind != Kind::Counter || metric.name.ends_with("_total"), "{}", metric.name);
            assert!(metric.kind != Kind::Histogram || metric.name.ends_with("_seconds"), "{}", metric.name);
            assert!(!metric.help.is_empty(), "{}", metric.name);
        }
    }

    #[test]
    fn buckets_rise_and_hold_the_targets() {
        assert!(LATENCY_BUCKETS.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(LATENCY_BUCKETS.contains(&0.35) && LATENCY_BUCKETS.contains(&0.5));
    }
}
