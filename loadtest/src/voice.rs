//! Speech: synthesised by espeak-ng with a voice for every user and kept on disk, or read from recordings.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use antiphon::audio::AudioFormat;
use antiphon::audio::resample::resample;
use antiphon::audio::wav::{decode_wav, read_wav, write_wav};
use anyhow::{Context as _, bail, ensure};
use tokio::process::Command;

/// Rate of the files in the cache.
const CACHE_HZ: u32 = 24_000;
/// Below this a sample is silence, so that the ends of an utterance are those of its speech. 1 % of full scale.
const SILENCE: u16 = 330;
const SYNTHESIS_TIMEOUT: Duration = Duration::from_secs(30);

/// How one user sounds. Few enough combinations that runs with many users share cached speech.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Voice {
    name: &'static str,
    pitch: u32,
    words_a_minute: u32,
}

impl Voice {
    /// The voice of the user with this number.
    pub(crate) fn of(user: usize) -> Self {
        const NAMES: [&str; 5] = ["en-us", "en-us+f2", "en-gb", "en-us+m3", "en-us+f3"];
        const PITCHES: [u32; 3] = [50, 40, 60];
        const SPEEDS: [u32; 3] = [165, 180, 155];
        Self { name: NAMES[user % 5], pitch: PITCHES[user / 5 % 3], words_a_minute: SPEEDS[user / 15 % 3] }
    }
}

/// Makes speech, and remembers it on disk.
#[derive(Clone, Debug)]
pub(crate) struct Synthesiser {
    cache: PathBuf,
    format: AudioFormat,
}

impl Synthesiser {
    /// Speech in `format`'s rate, kept in `cache` (or under the temporary folder).
    pub(crate) fn new(cache: Option<PathBuf>, format: AudioFormat) -> anyhow::Result<Self> {
        let cache = cache.unwrap_or_else(|| std::env::temp_dir().join("antiphon-loadtest-speech"));
        std::fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
        Ok(Self { cache, format })
    }

    /// `text` in `voice`, without silence around it.
    pub(crate) async fn speak(&self, voice: Voice, text: &str) -> anyhow::Result<Arc<[i16]>> {
        let path = self.prepare(voice, text).await?;
        let audio = read_wav(&path)?;
        Ok(resample(&audio.samples, audio.sample_rate, self.format.sample_rate())?.into())
    }

    /// Sees to it that the cache holds `text` in `voice`.
    pub(crate) async fn prepare(&self, voice: Voice, text: &str) -> anyhow::Result<PathBuf> {
        let mut hasher = DefaultHasher::new();
        (voice, text).hash(&mut hasher);
        let path = self.cache.join(format!("{:016x}.wav", hasher.finish()));
        if !path.exists() {
            let speech = synthesise(voice, text).await?;
            // Written aside and renamed, so that a run beside this one never reads half a file.
            let aside = path.with_extension(format!("{}.part", std::process::id()));
            write_wav(&aside, &speech, CACHE_HZ)?;
            std::fs::rename(&aside, &path).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(path)
    }
}

async fn synthesise(voice: Voice, text: &str) -> anyhow::Result<Vec<i16>> {
    let child = Command::new("espeak-ng")
        .args(["-v", voice.name, "-p", &voice.pitch.to_string(), "-s", &voice.words_a_minute.to_string()])
        .args(["--stdout", "--", text])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SYNTHESIS_TIMEOUT, child)
        .await
        .context("espeak-ng hangs")?
        .context("cannot run espeak-ng; install it (apt install espeak-ng), or use --wav-dir or --text")?;
    if !output.status.success() {
        bail!("espeak-ng: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let audio = decode_wav(&output.stdout).context("espeak-ng's output")?;
    let speech = trim(&audio.samples);
    ensure!(!speech.is_empty(), "espeak-ng said nothing for {text:?}");
    Ok(resample(speech, audio.sample_rate, CACHE_HZ)?)
}

/// What lies between the first and the last sample that is not silence.
fn trim(samples: &[i16]) -> &[i16] {
    let loud = |sample: &i16| sample.unsigned_abs() >= SILENCE;
    let first = samples.iter().position(loud).unwrap_or(samples.len());
    let last = samples.iter().rposition(loud).map_or(first, |last| last + 1);
    &samples[first..last]
}

/// A sentence that somebody recorded.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(crate) text: String,
    pub(crate) speech: Arc<[i16]>,
}

/// Reads every `*.wav` of `dir` with the `.txt` beside it.
pub(crate) fn read_recordings(dir: &Path, format: AudioFormat) -> anyhow::Result<Vec<Recording>> {
    let mut paths = Vec::new();
    for entry in dir.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wav")) {
            paths.push(path);
        }
    }
    paths.sort();
    ensure!(!paths.is_empty(), "{} holds no .wav file", dir.display());
    paths.iter().map(|path| read_recording(path, format)).collect()
}

fn read_recording(path: &Path, format: AudioFormat) -> anyhow::Result<Recording> {
    let transcript = path.with_extension("txt");
    let text = std::fs::read_to_string(&transcript)
        .with_context(|| format!("the transcript {}", transcript.display()))?;
    let audio = read_wav(path)?;
    let speech = trim(&audio.samples);
    ensure!(!speech.is_empty(), "{} is silent", path.display());
    let speech = resample(speech, audio.sample_rate, format.sample_rate())?;
    Ok(Recording { text: text.trim().to_owned(), speech: speech.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn silence_around_speech_is_cut_off() {
        assert_eq!(trim(&[0, 20, 900, 0, -900, 3]), [900, 0, -900]);
        assert!(trim(&[1, -1, 5]).is_empty());
    }

    #[test]
    fn neighbours_sound_different() {
        let voices: HashSet<_> = (0..45).map(Voice::of).collect();
        assert_eq!(voices.len(), 45);
    }

    #[test]
    fn recordings_need_their_words() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_recordings(dir.path(), AudioFormat::Pcm16).is_err(), "an empty folder");
        let path = dir.path().join("one.wav");
        write_wav(&path, &[0, 5_000, 5_000, 0], 24_000).unwrap();
        let error = read_recordings(dir.path(), AudioFormat::Pcm16).unwrap_err().to_string();
        assert!(error.contains("one.txt"), "{error}");
        std::fs::write(path.with_extension("txt"), "Hello there.\n").unwrap();
        let recordings = read_recordings(dir.path(), AudioFormat::Pcm16).unwrap();
        assert_eq!((recordings[0].text.as_str(), recordings[0].speech.len()), ("Hello there.", 2));
    }
}
