//! The keys of what computes: pools, engines, memory; and of logs.

use super::Allowed::{Any, Between, OneOf, Text};
use super::{Allowed, DAY_S, Key, MINUTE_MS, key, now};
use crate::config::check;

const FALLBACK: &str = "It serves only where no other engine of its list is healthy";
/// Not a choice of words: numbers go on.
const DEVICE: Allowed = Any("\"cpu\", or \"cuda:0\" for the first NVIDIA GPU, \"cuda:1\" for the second");
const ON_DEVICE: &str =
    "Where it computes; on the CPU where there is no such GPU, with a warning: see [GPUs](#gpus)";
const PLACEMENT: &str = "Where it runs: in the server itself, or in a child process, whose crash costs one call and not the server";
const ENGINE_NAME: &str = "Its name in logs and metrics; no two of a list share it";
const MODEL: &str = "a path, `models:NAME` for what `antiphon models pull NAME` brought, or a name";
/// More is a slip of the pen, and would be as many threads.
const SLOTS: Allowed = Between(1.0, 256.0);
const GIB_AS_MIB: f64 = 1_024.0;
const COST_MIB: Allowed = Between(0.0, GIB_AS_MIB * 65_536.0);

const COST_US: Allowed = Between(0.0, 1e9);
const COST_RAM: &str = "RAM of the instance without its slots; worked out from its files where not set";
const COST_SLOT_RAM: &str = "RAM of each slot at work";
const COST_VRAM: &str = "GPU memory of the instance without its slots";
const COST_SLOT_VRAM: &str = "GPU memory of each slot at work";

/// In the order in which people read them.
pub(super) const KEYS: &[Key] = &[
    now(
        "pools.max_wait_ms",
        "How long a request waits for an engine before `overloaded`",
        Between(50.0, MINUTE_MS),
    ),
    now(
        "pools.max_waiting",
        "Requests that may wait in one pool; one more is refused",
        Between(1.0, 100_000.0),
    ),
    now(
        "pools.max_share",
        "The part of a pool's slots that one session may have at once; two it may always have",
        Between(0.01, 1.0),
    ),
    now(
        "pools.cpu_permits",
        "Engine calls that compute on this machine's CPU at once, over all pools; 0: as many as it has cores",
        Between(0.0, 1_024.0),
    ),
    now(
        "pools.gpu_permits",
        "Engine calls and steps that compute on one GPU at once, over all pools",
        Between(1.0, 64.0),
    ),
    now(
        "pools.first_output_ms",
        "How long an engine may take to its first output; then the call is tried once elsewhere",
        Between(100.0, 10.0 * MINUTE_MS),
    ),
    now(
        "pools.stall_ms",
        "How long an engine may pause within its answer before the call counts as failed",
        Between(100.0, 10.0 * MINUTE_MS),
    ),
    now(
        "pools.breaker_failures",
        "Failed calls in a row after which an engine gets no more until a probe succeeds",
        Between(1.0, 1_000.0),
    ),
    now(
        "pools.breaker_backoff_ms",
        "Pause before that probe; it doubles with each that fails, up to a minute",
        Between(10.0, MINUTE_MS),
    ),
    now(
        "pools.stuck_after_ms",
        "How long an engine may hold on to a cancelled call before it is replaced",
        Between(100.0, 10.0 * MINUTE_MS),
    ),
    now("pools.probe_interval_s", "An engine that nobody used for so long is tried", Between(1.0, DAY_S)),
    now("pools.probe_timeout_ms", "How long a probe may take", Between(100.0, MINUTE_MS)),
    now(
        "pools.grow_after_ms",
        "A pool grows, up to max_instances, when waits stay longer than this",
        Between(1.0, MINUTE_MS),
    ),
    now("pools.max_instances.stt", "Speech-to-text engines that the pool may grow to", SLOTS),
    now("pools.max_instances.llm", "Language models that the pool may grow to", SLOTS),
    now("pools.max_instances.tts", "Text-to-speech engines that the pool may grow to", SLOTS),
    now(
        "pools.governor.queue_delay_ms",
        "The wait for an engine that counts as full pressure",
        Between(1.0, MINUTE_MS),
    ),
    now(
        "pools.governor.raise_after_ms",
        "How long full pressure lasts before the next thing is done without",
        Between(100.0, 10.0 * MINUTE_MS),
    ),
    now(
        "pools.governor.lower_after_ms",
        "How long pressure stays low before one is taken back",
        Between(100.0, 10.0 * MINUTE_MS),
    ),
    key(
        "engines.onnxruntime",
        "ONNX Runtime's shared library, read when an engine needs it",
        Any("a path, of version 1.22 or later; scripts/setup puts the library at the default"),
    ),
    key(
        "engines.program",
        "The program that runs engines with `placement = \"process\"`; empty: this very program",
        Any("a path to an antiphon of this version"),
    ),
    key(
        "engines.stt[*].kind",
        "Speech-to-text: what it runs on",
        OneOf(&["whisper", "moonshine", "openai", "scripted"]),
    ),
    key("engines.stt[*].name", ENGINE_NAME, Text("text", check::not_empty)),
    key("engines.stt[*].slots", "Utterances transcribed at once: a thread and a state each", SLOTS),
    key("engines.stt[*].fallback", FALLBACK, Any("true or false")),
    key("engines.stt[*].placement", PLACEMENT, OneOf(&["server", "process"])),
    key("engines.stt[*].device", ON_DEVICE, DEVICE),
    key(
        "engines.stt[*].model",
        "A ggml Whisper model; `moonshine`: directory of the model; `openai`: its name there",
        Any(MODEL),
    ),
    key(
        "engines.stt[*].language",
        "Language of requests that name none",
        Any("an ISO 639-1 code that the model knows"),
    ),
    key(
        "engines.stt[*].encoder",
        "`moonshine`: the encoder's graph within the directory",
        Any(
            "a path; without it the best for a CPU of those there: encoder_model_quantized.onnx, _uint8, _int8, 32 bits, _q4",
        ),
    ),
    key(
        "engines.stt[*].decoder",
        "`moonshine`: the decoder's graph, likewise",
        Any("a path; without it decoder_model_merged_quantized.onnx, .."),
    ),
    key(
        "engines.stt[*].max_tokens_per_second",
        "`moonshine`: the most tokens that a second of speech can hold; the makers' code has 6.5, 13 for scripts of many tokens a word",
        Between(1.0, 100.0),
    ),
    key(
        "engines.stt[*].audio_ctx",
        "How much of its window of 30 s Whisper's encoder works on; see [Whisper models](#whisper-models)",
        Any("\"auto\", \"full\", or at least so many positions of 20 ms: 64 to 1500"),
    ),
    key(
        "engines.stt[*].audio_ctx_margin",
        "Encoder positions of 20 ms beyond the audio; not set, 16 for models trained for short windows, else 128",
        Between(0.0, 1_500.0),
    ),
    key(
        "engines.stt[*].temperature_step",
        "Temperature by which a doubtful text is tried again, up to 1; 0 tries once, OpenAI's decoder has 0.2",
        Between(0.0, 1.0),
    ),
    key(
        "engines.stt[*].word_times",
        "`whisper`: whether it can tell when each word was said; the model is then in memory twice",
        Any("true or false"),
    ),
    key(
        "engines.stt[*].guards.no_speech_probability",
        "A text the model is unsure of is dropped above this probability of \"no speech\"; 0: never",
        Between(0.0, 1.0),
    ),
    key(
        "engines.stt[*].guards.mean_logprob",
        "Mean logarithm of its tokens' probabilities below which the model is unsure of a text",
        Between(-100.0, 0.0),
    ),
    key(
        "engines.stt[*].guards.repeats",
        "Copies of the same words in a row that may be a loop, of which one is left; 0 leaves them",
        Between(0.0, 1_000.0),
    ),
    key(
        "engines.stt[*].guards.compression_ratio",
        "Above this ratio of a text to what zlib makes of it, copies are a loop however short; 0 does not ask",
        Between(0.0, 1_000.0),
    ),
    key(
        "engines.stt[*].guards.min_voice_ms",
        "Voice that audio must hold for any text; 0 does not look",
        Between(0.0, 10_000.0),
    ),
    key("engines.stt[*].cost.ram_mib", COST_RAM, COST_MIB),
    key("engines.stt[*].cost.slot_ram_mib", COST_SLOT_RAM, COST_MIB),
    key("engines.stt[*].cost.vram_mib", COST_VRAM, COST_MIB),
    key("engines.stt[*].cost.slot_vram_mib", COST_SLOT_VRAM, COST_MIB),
    key("engines.stt[*].cost.unit_cpu_us", "CPU time of a second of speech heard, in microseconds", COST_US),
    key("engines.llm[*].kind", "Language model: what it runs on", OneOf(&["onnx", "openai", "scripted"])),
    key("engines.llm[*].name", ENGINE_NAME, Text("text", check::not_empty)),
    key("engines.llm[*].slots", "Answers written at once", SLOTS),
    key("engines.llm[*].fallback", FALLBACK, Any("true or false")),
    key("engines.llm[*].placement", PLACEMENT, OneOf(&["server", "process"])),
    key("engines.llm[*].device", ON_DEVICE, DEVICE),
    key("engines.llm[*].model", "Directory of the model; `openai`: its name there", Any(MODEL)),
    key(
        "engines.llm[*].file",
        "The graph within it",
        Any(
            "a path; without it the best for its device: on a CPU model_q4.onnx, int8, model.onnx, then half precision; on a GPU model_q4f16.onnx first",
        ),
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
        "engines.llm[*].prefix_cache_mib",
        "Memory for what was read of talks lately, so that a turn reads only what is new; 0 for none",
        Between(0.0, GIB_AS_MIB * 1_024.0),
    ),
    key(
        "engines.llm[*].batching",
        "Answers written at once make their steps together, not in turn",
        Any("true or false; without it, true where the weights are of 100 MiB or more"),
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
    key(
        "engines.tts[*].kind",
        "Text-to-speech: what it runs on",
        OneOf(&["espeak", "piper", "kokoro", "openai", "scripted"]),
    ),
    key("engines.tts[*].name", ENGINE_NAME, Text("text", check::not_empty)),
    key(
        "engines.tts[*].slots",
        "Clauses spoken at once: a process each, or a thread with a copy of the graph",
        SLOTS,
    ),
    key("engines.tts[*].fallback", FALLBACK, Any("true or false")),
    key("engines.tts[*].placement", PLACEMENT, OneOf(&["server", "process"])),
    key("engines.tts[*].device", ON_DEVICE, DEVICE),
    key("engines.tts[*].program", "espeak-ng, looked up in PATH", Any("a path or a name")),
    key(
        "engines.tts[*].settings",
        "`piper`: the voice's settings",
        Any("a path; without it the model's with .json behind it"),
    ),
    key(
        "engines.tts[*].voice",
        "`piper`, `kokoro`: who speaks where a client asks for a voice that is not there",
        Any("one of its own; without it a Piper voice's default, Kokoro's af_heart"),
    ),
    key(
        "engines.tts[*].noise_scale",
        "`piper`: how much the sound varies; the voice's own figure where not set",
        Between(0.0, 2.0),
    ),
    key(
        "engines.tts[*].length_scale",
        "`piper`: how slow it speaks; the voice's own figure where not set",
        Between(0.25, 4.0),
    ),
    key(
        "engines.tts[*].noise_w",
        "`piper`: how much phonemes vary in length; the voice's own figure where not set",
        Between(0.0, 2.0),
    ),
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
    key(
        "engines.turn.model",
        "A smart-turn v3 model (ONNX) that hears whether a turn is over; where the file is absent, silence and text decide",
        Text("a path, or `models:NAME` for what `antiphon models pull NAME` brought", check::not_empty),
    ),
    key("engines.turn.device", ON_DEVICE, DEVICE),
    key("engines.vad.kind", "Voice activity: what it runs on", OneOf(&["earshot", "silero", "scripted"])),
    key("engines.vad.model", "Silero VAD v5 or v6 for 16 kHz (ONNX)", Text("a path", check::not_empty)),
    key("engines.vad.device", ON_DEVICE, DEVICE),
    key(
        "models.dir",
        "Folder of the models that `antiphon models pull` brings; empty: ANTIPHON_MODELS, else antiphon/models in XDG_DATA_HOME or ~/.local/share",
        Any("a path, or nothing"),
    ),
    key(
        "models.catalogue",
        "A catalogue of your own, laid over the built-in one",
        Any("a TOML file, or nothing"),
    ),
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
    now(
        "telemetry.log",
        "Which log lines are written",
        Text("a filter like \"info\" or \"warn,antiphon::pool=debug\"", check::log_filter),
    ),
    key("telemetry.log_format", "How a log line looks", OneOf(&["text", "json"])),
];
