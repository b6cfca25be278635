//! The command line.

use std::path::PathBuf;

use antiphon::audio::AudioFormat;
use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};

/// Talks to a realtime voice server as many users at once and reports what they heard.
///
/// Every user has a voice of its own (espeak-ng), speaks at real-time pace with a live microphone between the
/// sentences, listens to the whole answer and then goes on. Users tell facts that nobody else tells and ask them
/// back, so an answer shows whether the server understood, remembered, and kept the sessions apart.
#[derive(Clone, Debug, Parser)]
#[command(version, after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The server's realtime endpoint (ws:// only).
    #[arg(long, default_value = "ws://127.0.0.1:8700/v1/realtime")]
    pub(crate) url: String,
    /// How many users talk at once.
    #[arg(short = 'n', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) users: u32,
    /// Seconds that all users talk together; then each finishes its running turn.
    #[arg(short, long, default_value_t = 60.0)]
    pub(crate) duration: f64,
    /// Seconds over which the users arrive, before the duration begins.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) ramp: f64,
    /// API key, if the server wants one.
    #[arg(long, env = "ANTIPHON_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
    /// The model to ask for.
    #[arg(long, default_value = "antiphon")]
    pub(crate) model: String,
    /// System prompt of every session; the server's own without it.
    #[arg(long)]
    pub(crate) instructions: Option<String>,
    /// How the end of a turn is found.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) turn_detection: TurnDetection,
    /// Silence that ends a turn under server_vad, in milliseconds; the server's default without it.
    #[arg(long)]
    pub(crate) silence_ms: Option<u32>,
    /// Audio format of both directions.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// How audio travels, both ways.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) audio: Transport,
    /// Milliseconds of audio in one frame; opus takes 20.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..=1000))]
    pub(crate) frame_ms: u32,
    /// Type instead of speaking, and read instead of listening.
    #[arg(long, conflicts_with_all = ["wav_dir", "barge_in"])]
    pub(crate) text: bool,
    /// Speak the *.wav files of this folder instead of the scenario; a .txt beside each holds its words.
    #[arg(long, value_name = "DIR")]
    pub(crate) wav_dir: Option<PathBuf>,
    /// Fraction of the turns in which a long answer is interrupted, 0 to 1.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    pub(crate) barge_in: f64,
    /// Seconds to wait for an answer before the turn has failed.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) turn_timeout: f64,
    /// Seconds to wait for session.created; a full server may queue its callers.
    #[arg(long, default_value_t = 30.0)]
    pub(crate) connect_timeout: f64,
    /// Same seed, same users saying the same things.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Also write everything, turn by turn, to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Play the conversation test set instead: hesitation, pauses, noise, backchannels, interruptions, echo. Each
    /// scene is judged: answered too early, too late, wrongly or right. `--users` says how many at once.
    #[arg(long, value_enum, value_name = "SET", conflicts_with_all = ["text", "wav_dir", "barge_in"])]
    pub(crate) conversation: Option<ConversationSet>,
    /// Only scenes whose name holds one of these.
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "conversation")]
    pub(crate) only: Vec<String>,
    /// Print every turn as it ends.
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Process whose memory and CPU time are reported; found by the port if the server runs on this machine.
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// Where synthesised speech is kept between runs; a folder under the temporary one without it.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Threads of this program. One drives hundreds of users and leaves the other cores to the server.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
}

const AFTER_HELP: &str = "\
Response latency is the time from sending the frame with the last speech sample of an utterance to receiving the \
first audio of its answer: what a person experiences, endpointing included.

Barge-in is the time from sending the first speech sample of an interruption to receiving the last audio of the \
interrupted answer.

Cross-talk is: a fact that only another user told (and had told by then) in a transcript or an answer, an id that \
two sessions saw, or an event about a response or item that the session never had. A foreign value in a transcript \
that otherwise fits what was said is counted as misheard instead, unless its owner said the same words in those \
seconds.

Exit code: 0 if every turn was answered, 1 after a failed turn, a refused user, cross-talk or no turn at \
all, 2 for wrong usage.

Examples:
  antiphon-loadtest --users 30 --duration 120
  antiphon-loadtest --users 10 --barge-in 0.3 --verbose
  antiphon-loadtest --users 200 --ramp 20 --text --json result.json
  antiphon-loadtest --wav-dir recordings --turn-detection semantic-vad
  antiphon-loadtest --conversation full --json scenes.json";

/// How the end of a turn is found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum TurnDetection {
    /// By the server, from silence.
    #[default]
    #[value(name = "server_vad", alias = "server-vad")]
    ServerVad,
    /// By the server, from silence and meaning.
    #[value(name = "semantic_vad", alias = "semantic-vad")]
    SemanticVad,
    /// By the client: push to talk.
    #[value(name = "manual")]
    Manual,
}

/// How much of the conversation test set.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ConversationSet {
    /// A few scenes of each kind, one voice: a minute.
    Short,
    /// All scenes in three voices.
    Full,
}

/// Audio on the wire.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// 24 kHz, 16 bits.
    #[default]
    Pcm,
    /// 8 kHz, µ-law.
    Pcmu,
    /// 8 kHz, A-law.
    Pcma,
    /// Opus packets of 20 ms.
    Opus,
}

/// How audio travels.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Transport {
    /// As base64 within events, as in OpenAI's protocol.
    #[default]
    Json,
    /// As binary frames beside them: Antiphon's ?audio=binary.
    Binary,
}

impl From<Format> for AudioFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Pcm => Self::Pcm16,
            Format::Pcmu => Self::Pcmu,
            Format::Pcma => Self::Pcma,
            Format::Opus => Self::Opus,
        }
    }
}

impl Args {
    /// Checks what clap cannot.
    pub(crate) fn validated(self) -> anyhow::Result<Self> {
        ensure!(self.url.starts_with("ws://"), "--url: {} is not a ws:// address", self.url);
        ensure!(
            self.format != Format::Opus || self.frame_ms == 20,
            "--frame-ms: {} does not go with --format opus, whose packets have 20",
            self.frame_ms
        );
        ensure!((0.0..=1.0).contains(&self.barge_in), "--barge-in: {} is not in 0..1", self.barge_in);
        for (flag, seconds) in [
            ("--duration", self.duration),
            ("--ramp", self.ramp),
            ("--turn-timeout", self.turn_timeout),
            ("--connect-timeout", self.connect_timeout),
        ] {
            ensure!((0.0..=1e7).contains(&seconds), "{flag}: {seconds} s is out of range");
        }
        if let Some(dir) = &self.wav_dir {
            let entries = dir.read_dir().with_context(|| format!("--wav-dir: {}", dir.display()))?;
            drop(entries);
        }
        Ok(self)
    }

    /// The address with the model in its query.
    pub(crate) fn address(&self) -> String {
        let joint = if self.url.contains('?') { '&' } else { '?' };
        let audio = if self.audio == Transport::Binary { "&audio=binary" } else { "" };
        format!("{}{joint}model={}{audio}", self.url, self.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(line: &str) -> anyhow::Result<Args> {
        Ok(Args::try_parse_from(line.split(' '))?).and_then(Args::validated)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        let args = parse("loadtest -n 30 --turn-detection semantic_vad").unwrap();
        assert_eq!((args.users, args.turn_detection), (30, TurnDetection::SemanticVad));
        assert_eq!(args.address(), "ws://127.0.0.1:8700/v1/realtime?model=antiphon");
        let args = parse("loadtest --audio binary --format opus").unwrap();
        assert_eq!(args.address(), "ws://127.0.0.1:8700/v1/realtime?model=antiphon&audio=binary");
    }

    #[test]
    fn wrong_values_are_refused() {
        for line in [
            "loadtest --users 0",
            "loadtest --barge-in 1.5",
            "loadtest --url wss://host/v1/realtime",
            "loadtest --duration -1",
            "loadtest --wav-dir /nowhere",
            "loadtest --text --barge-in 0.5",
            "loadtest --format opus --frame-ms 40",
            "loadtest --audio ogg",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
