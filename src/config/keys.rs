//! Every key: what it means and which values it takes. Validation, the example file and the manual read this
//! one table. A key's default and type stand in the struct of the module that reads it.

use super::check;

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// Dotted; `[*]` stands for any place in a list: `server.auth.keys[*].name`.
    pub(super) name: &'static str,
    /// What it means, for the person who sets it.
    pub(super) meaning: &'static str,
    pub(super) allowed: Allowed,
}

/// Which values a key takes, beyond its type.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowed {
    /// Whatever the type takes, in words.
    Any(&'static str),
    /// Numbers from the first to the second.
    Between(f64, f64),
    /// These words; the type checks it.
    OneOf(&'static [&'static str]),
    /// Text that the function takes, in words; it answers with what is wrong.
    Text(&'static str, fn(&str) -> Result<(), String>),
}

use Allowed::{Any, Between, OneOf, Text};

const FALLBACK: &str = "It serves only where no other engine of its list is healthy";
const ENGINE_NAME: &str = "Its name in logs and metrics; no two of a list share it";
/// More is a slip of the pen, and would be as many threads.
const SLOTS: Allowed = Between(1.0, 256.0);
const MINUTE_MS: f64 = 60_000.0;
const DAY_S: f64 = 86_400.0;
const MIB: f64 = 1_048_576.0;
const GIB_AS_MIB: f64 = 1_024.0;
const COST_MIB: Allowed = Between(0.0, GIB_AS_MIB * 65_536.0);

const COST_US: Allowed = Between(0.0, 1e9);
const COST_RAM: &str = "RAM of the instance without its slots; worked out from its files where not set";
const COST_SLOT_RAM: &str = "RAM of each slot at work";
const COST_VRAM: &str = "GPU memory of the instance without its slots";
const COST_SLOT_VRAM: &str = "GPU memory of each slot at work";

/// Every key, in the order in which people read them.
pub(super) const KEYS: &[Key] = &[
    key("preset", "Where values start from that are not set here", OneOf(&["cpu", "gpu-16gb"])),
    key(
        "server.bind",
        "Address and port to listen on",
        Any("address:port; beyond loopback only with API keys"),
    ),
    key("server.max_sessions", "Sessions at once; one more is refused with 503", Between(1.0, 100_000.0)),
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
        "session.limits.max_input_audio_ms",
        "Audio that a client may send without committing it",
        Between(1_000.0, 30.0 * MINUTE_MS),
    ),
    key(
        "session.limits.max_utterance_ms",
        "Longest utterance; it is committed there as it stands",
        Between(1_000.0, 10.0 * MINUTE_MS),
    ),
    key("session.limits.max_items", "Items of a conversation", Between(2.0, 100_000.0)),
    key("session.limits.max_session_s", "Duration of a session", Between(10.0, DAY_S)),
    key(
        "session.limits.drain_ms",
        "How long the answer that runs may go on when the server stops",
        Between(0.0, 10.0 * MINUTE_MS),
    ),
    key("session.limits.idle_s", "Silence of the client after which its session ends", Between(5.0, DAY_S)),
    key(
        "session.limits.max_memory_bytes",
        "Memory of a session: audio, history, settings, queues",
        Between(65_536.0, 65_536.0 * MIB),
    ),
    key(
        "session.limits.max_requests_per_minute",
        "Responses and transcriptions of a session within a minute",
        Between(1.0, 100_000.0),
    ),
    key(
        "session.limits.max_concurrent_requests",
        "Responses and transcriptions of a session at once",
        Between(1.0, 1_000.0),
    ),
    key(
        "session.per_user.max_sessions",
        "Sessions of one API key at once; one more is refused with 429",
        Between(1.0, 100_000.0),
    ),
    key(
        "session.per_user.max_concurrent_requests",
        "Requests at once of all sessions of one API key",
        Between(1.0, 100_000.0),
    ),
    key(
        "session.per_user.max_responses_per_minute",
        "Responses within a minute of all sessions of one API key",
        Between(1.0, 100_000.0),
    ),
    key("session.records.per_session", "Requests remembered of an open session", Between(1.0, 10_000.0)),
    key(
        "session.records.of_ended_sessions",
        "Requests remembered of all sessions that ended",
        Between(0.0, 1_000_000.0),
    ),
    key("session.health.interval_s", "How often all sessions are looked at", Between(1.0, 3_600.0)),
    key("session.health.stuck_s", "Stillness of a session's task that ends it", Between(10.0, DAY_S)),
    key(
        "session.health.max_silence_s",
        "Time without any sign of life on a socket that ends its session",
        Between(10.0, DAY_S),
    ),
    key(
        "session.endpointing.soft_pause_ms",
        "Silence after which transcript and answer are begun speculatively",
        Between(32.0, 5_000.0),
    ),
    key("session.endpointing.complete_ms", "Silence that ends a whole sentence", Between(32.0, 10_000.0)),
    key("session.endpointing.unsure_ms", "Silence that ends what may be whole", Between(32.0, 10_000.0)),
    key(
        "session.endpointing.incomplete_ms",
        "Silence that ends what stops in the middle of something",
        Between(32.0, 10_000.0),
    ),
    key("session.endpointing.speculate", "Begin answers before the turn has ended", Any("true or false")),
    key(
        "session.playback.max_ahead_ms",
        "How far audio sent may be ahead of audio heard",
        Between(200.0, MINUTE_MS),
    ),
    key("session.defaults.instructions", "System message of sessions that set none", Any("text")),
    key("session.defaults.voice", "Voice of sessions that set none", Text("text", check::not_empty)),
    key(
        "pools.max_wait_ms",
        "How long a request waits for an engine before `overloaded`",
        Between(50.0, MINUTE_MS),
    ),
    key(
        "pools.max_waiting",
        "Requests that may wait in one pool; one more is refused",
        Between(1.0, 100_000.0),
    ),
    key(
        "pools.max_share",
        "The part of a pool's slots that one session may have at once; two it may always have",
        Between(0.01, 1.0),
    ),
    key(
        "pools.cpu_permits",
        "Engine calls that compute on this machine's CPU at once, over all pools; 0: as many as it has cores",
        Between(0.0, 1_024.0),
    ),
    key(
        "pools.first_output_ms",
        "How long an engine may take to its first output; then the call is tried once elsewhere",
        Between(100.0, 10.0 * MINUTE_MS),
    ),
    key(
        "pools.stall_ms",
        "How long an engine may pause within its answer before the call counts as failed",
        Between(100.0, 10.0 * MINUTE_MS),
    ),
    key(
        "pools.breaker_failures",
        "Failed calls in a row after which an engine gets no more until a probe succeeds",
        Between(1.0, 1_000.0),
    ),
    key(
        "pools.breaker_backoff_ms",
        "Pause before that probe; it doubles with each that fails, up to a minute",
        Between(10.0, MINUTE_MS),
    ),
    key(
        "pools.stuck_after_ms",
        "How long an engine may hold on to a cancelled call before it is replaced",
        Between(100.0, 10.0 * MINUTE_MS),
    ),
    key("pools.probe_interval_s", "An engine that nobody used for so long is tried", Between(1.0, DAY_S)),
    key("pools.probe_timeout_ms", "How long a probe may take", Between(100.0, MINUTE_MS)),
    key(
        "pools.grow_after_ms",
        "A pool grows, up to max_instances, when waits stay longer than this",
        Between(1.0, MINUTE_MS),
    ),
    key("pools.max_instances.stt", "Speech-to-text engines that the pool may grow to", SLOTS),
    key("pools.max_instances.llm", "Language models that the pool may grow to", SLOTS),
    key("pools.max_instances.tts", "Text-to-speech engines that the pool may grow to", SLOTS),
    key(
        "pools.governor.queue_delay_ms",
        "The wait for an engine that counts as full pressure",
        Between(1.0, MINUTE_MS),
    ),
    key(
        "pools.governor.raise_after_ms",
        "How long full pressure lasts before the next thing is done without",
        Between(100.0, 10.0 * MINUTE_MS),
    ),
    key(
        "pools.governor.lower_after_ms",
        "How long pressure stays low before one is taken back",
        Between(100.0, 10.0 * MINUTE_MS),
    ),
    key(
        "engines.onnxruntime",
        "ONNX Runtime's shared library, read when an engine needs it",
        Any("a path; scripts/setup puts the library at the default"),
    ),
    key("engines.stt[*].kind", "Speech-to-text: what it runs on", OneOf(&["whisper", "scripted"])),
    key("engines.stt[*].name", ENGINE_NAME, Text("text", check::not_empty)),
    key("engines.stt[*].slots", "Utterances transcribed at once: a thread and a state each", SLOTS),
    key("engines.stt[*].fallback", FALLBACK, Any("true or false")),
    key("engines.stt[*].model", "A ggml Whisper model", Any("a path")),
    key(
        "engines.stt[*].language",
        "Language of requests that name none",
        Any("an ISO 639-1 code that the model knows"),
    ),
    key(
        "engines.stt[*].audio_ctx_margin",
        "Encoder positions of 20 ms beyond the audio; more is steadier and slower",
        Between(0.0, 1_500.0),
    ),
    key("engines.stt[*].cost.ram_mib", COST_RAM, COST_MIB),
    key("engines.stt[*].cost.slot_ram_mib", COST_SLOT_RAM, COST_MIB),
    key("engines.stt[*].cost.vram_mib", COST_VRAM, COST_MIB),
    key("engines.stt[*].cost.slot_vram_mib", COST_SLOT_VRAM, COST_MIB),
    key("engines.stt[*].cost.unit_cpu_us", "CPU time of a second of speech heard, in microseconds", COST_US),
    key("engines.llm[*].kind", "Language model: what it runs on", OneOf(&["onnx", "scripted"])),
    key("engines.llm[*].name", ENGINE_NAME, Text("text", check::not_empty)),
    key("engines.llm[*].slots", "Answers written at once", SLOTS),
    key("engines.llm[*].fallback", FALLBACK, Any("true or false")),
    key("engines.llm[*].model", "Directory of the model", Any("a path")),
    key(
        "engines.llm[*].file",
        "The graph within it",
        Any("a path; without it onnx/model.onnx, else model.onnx"),
    ),
    key(
        "engines.llm[*].max_context",
        "Tokens of a prompt and its answer, at most; a cache of so many is held for each answer",
        Between(64.0, 1_048_576.0),
    ),
    key(
        "engines.llm[*].max_tokens",
        "Tokens of an answer where the request does not say",
        Between(1.0, 1_048_576.0),
    ),
    key(
        "engines.llm[*].sampling.temperature",
        "0 takes the likeliest token, 1 the model's own odds",
        Between(0.0, 5.0),
    ),
    key(
        "engines.llm[*].sampling.top_p",
        "Draws among the likeliest that add up to this",
        Between(0.001, 1.0),
    ),
    key(
        "engines.llm[*].sampling.top_k",
        "Draws among so many of the likeliest, 0 among all",
        Between(0.0, 1_048_576.0),
    ),
    key(
        "engines.llm[*].sampling.repetition_penalty",
        "Makes tokens that were there less likely; 1 does not",
        Between(0.1, 10.0),
    ),
    key("engines.llm[*].cost.ram_mib", COST_RAM, COST_MIB),
    key("engines.llm[*].cost.slot_ram_mib", COST_SLOT_RAM, COST_MIB),
    key("engines.llm[*].cost.vram_mib", COST_VRAM, COST_MIB),
    key("engines.llm[*].cost.slot_vram_mib", COST_SLOT_VRAM, COST_MIB),
    key("engines.llm[*].cost.unit_cpu_us", "CPU time of a token of an answer, in microseconds", COST_US),
    key("engines.tts[*].kind", "Text-to-speech: what it runs on", OneOf(&["espeak", "scripted"])),
    key("engines.tts[*].name", ENGINE_NAME, Text("text", check::not_empty)),
    key("engines.tts[*].slots", "Clauses spoken at once: a process each", SLOTS),
    key("engines.tts[*].fallback", FALLBACK, Any("true or false")),
    key("engines.tts[*].program", "espeak-ng, looked up in PATH", Any("a path or a name")),
    key(
        "engines.tts[*].language",
        "Language that OpenAI's voice names speak",
        Any("a language of `espeak-ng --voices`"),
    ),
    key("engines.tts[*].cost.ram_mib", COST_RAM, COST_MIB),
    key("engines.tts[*].cost.slot_ram_mib", COST_SLOT_RAM, COST_MIB),
    key("engines.tts[*].cost.vram_mib", COST_VRAM, COST_MIB),
    key("engines.tts[*].cost.slot_vram_mib", COST_SLOT_VRAM, COST_MIB),
    key("engines.tts[*].cost.unit_cpu_us", "CPU time of a second of speech made, in microseconds", COST_US),
    key("engines.vad.kind", "Voice activity: what it runs on", OneOf(&["earshot", "scripted"])),
    key(
        "memory.ram_mib",
        "RAM that all engines and sessions may take, in MiB; 0 is four fifths of what there is",
        COST_MIB,
    ),
    key(
        "memory.vram_mib",
        "GPU memory that all engines may take, in MiB; 0 is nine tenths of what there is",
        COST_MIB,
    ),
    key(
        "telemetry.log",
        "Which log lines are written",
        Text("a filter like \"info\" or \"warn,antiphon::pool=debug\"", check::log_filter),
    ),
    key("telemetry.log_format", "How a log line looks", OneOf(&["text", "json"])),
];

const fn key(name: &'static str, meaning: &'static str, allowed: Allowed) -> Key {
    Key { name, meaning, allowed }
}

/// The row of a key; indices are any place: `a[3].b` has the row `a[*].b`.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.is_row_of(name))
}

impl Key {
    /// Whether this row is about the key `name`.
    pub(super) fn is_row_of(&self, name: &str) -> bool {
        self.name == any_place(name)
    }
}

/// The key with its indices replaced by `*`.
fn any_place(name: &str) -> String {
    let mut parts = name.split('[');
    let mut pattern = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        pattern.push_str("[*]");
        pattern.push_str(part.split_once(']').map_or("", |(_, rest)| rest));
    }
    pattern
}

impl std::fmt::Display for Allowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Any(words) | Text(words, _) => f.write_str(words),
            Between(least, most) => write!(f, "{least} to {most}"),
            OneOf(words) => f.write_str(&words.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_list_finds_its_row() {
        assert_eq!(find("server.auth.keys[12].name").map(|key| key.name), Some("server.auth.keys[*].name"));
        assert_eq!(find("server.bind").map(|key| key.name), Some("server.bind"));
        assert!(find("server").is_none());
    }

    #[test]
    fn ranges_read_like_numbers() {
        assert_eq!(Between(0.5, 60_000.0).to_string(), "0.5 to 60000");
    }
}
