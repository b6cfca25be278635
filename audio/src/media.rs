//! Audio files of any kind that people bring: WAV by [`super::wav`], and FLAC, MP3, Ogg Vorbis and MP4 (AAC) by
//! the `symphonia` crate. The kind is told from the content, never from a name.
//!
//! A file is read piece by piece, for a small one can hold hours. Read [`MediaReader`] first.

use std::io::Cursor;

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

use super::AudioError;
use super::wav::{WavAudio, decode_wav};

/// The kinds of files that are read.
pub const KINDS: &str = "wav, flac, mp3, ogg (Vorbis) and m4a/mp4 (AAC-LC)";
/// Packets in a row that may be broken before the file counts as broken.
const BROKEN_IN_A_ROW: usize = 16;
/// Samples of a piece of a WAV file.
const WAV_PIECE: usize = 16_384;

/// Reads the first audio track of a file, mixed to one channel.
pub struct MediaReader(Source);

enum Source {
    Wav { audio: WavAudio, at: usize },
    Packets(Box<Packets>),
}

struct Packets {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    interleaved: Vec<f32>,
    broken: usize,
    found: bool,
}

/// Samples in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaPiece {
    /// Mono, in [-1, 1].
    pub samples: Vec<f32>,
    /// Samples a second; a file may change it.
    pub sample_rate: u32,
}

impl std::fmt::Debug for MediaReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaReader").finish_non_exhaustive()
    }
}

impl MediaReader {
    /// Finds out what kind of file it is.
    pub fn open(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self, AudioError> {
        if bytes.as_ref().starts_with(b"RIFF") {
            return Ok(Self(Source::Wav { audio: decode_wav(bytes.as_ref())?, at: 0 }));
        }
        Packets::open(bytes).map(|packets| Self(Source::Packets(Box::new(packets))))
    }

    /// The next samples; `None` at the end.
    pub fn next_piece(&mut self) -> Result<Option<MediaPiece>, AudioError> {
        match &mut self.0 {
            Source::Packets(packets) => packets.next_piece(),
            Source::Wav { audio, at } => {
                let rest = &audio.samples[*at..];
                let samples = super::pcm::to_f32(&rest[..rest.len().min(WAV_PIECE)]);
                *at += samples.len();
                let piece = MediaPiece { samples, sample_rate: audio.sample_rate };
                Ok((!piece.samples.is_empty()).then_some(piece))
            }
        }
    }
}

impl Packets {
    fn open(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self, AudioError> {
        let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
        let (options, metadata) = (FormatOptions::default(), MetadataOptions::default());
        let format = symphonia::default::get_probe().probe(&Hint::new(), stream, options, metadata).map_err(
            |_unknown| AudioError::Media(format!("this is no audio file of a known kind: {KINDS}")),
        )?;
        let track = format.first_track_known_codec(TrackType::Audio);
        let params = track.and_then(|track| Some((track.id, track.codec_params.as_ref()?.audio()?)));
        let (id, params) =
            params.ok_or_else(|| AudioError::Media(format!("no audio that is known: {KINDS}")))?;
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(params, &AudioDecoderOptions::default())
            .map_err(|error| {
                AudioError::Media(format!("its audio is of an unknown kind ({error}): {KINDS}"))
            })?;
        Ok(Self { track: id, format, decoder, interleaved: Vec::new(), broken: 0, found: false })
    }

    fn next_piece(&mut self) -> Result<Option<MediaPiece>, AudioError> {
        loop {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) => packet,
                // Many files end in the middle of something: what came before is good.
                Ok(None) | Err(Error::IoError(_) | Error::ResetRequired) => return self.end(),
                Err(error) => return Err(AudioError::Media(error.to_string())),
            };
            if packet.track_id != self.track {
                continue;
            }
            match self.decoder.decode(&packet) {
                Ok(buffer) => {
                    let (rate, channels) = (buffer.spec().rate(), buffer.num_planes().max(1));
                    buffer.copy_to_vec_interleaved(&mut self.interleaved);
                    let samples = mix(&self.interleaved, channels);
                    self.broken = 0;
                    self.found |= !samples.is_empty();
                    if !samples.is_empty() {
                        return Ok(Some(MediaPiece { samples, sample_rate: rate }));
                    }
                }
                Err(error @ (Error::DecodeError(_) | Error::IoError(_))) => self.skip(&error)?,
                Err(error) => return Err(AudioError::Media(error.to_string())),
            }
        }
    }

    /// A packet that cannot be decoded is left out, as players do.
    fn skip(&mut self, error: &Error) -> Result<(), AudioError> {
        self.broken += 1;
        if self.broken > BROKEN_IN_A_ROW { Err(AudioError::Media(error.to_string())) } else { Ok(()) }
    }

    fn end(&self) -> Result<Option<MediaPiece>, AudioError> {
        if self.found { Ok(None) } else { Err(AudioError::Media("it holds no samples".to_owned())) }
    }
}

/// The mean of the channels.
fn mix(interleaved: &[f32], channels: usize) -> Vec<f32> {
    #[expect(clippy::cast_precision_loss, reason = "a file has a handful of channels")]
    let share = 1.0 / channels as f32;
    let sample = |frame: &[f32]| {
        let mean = frame.iter().sum::<f32>() * share;
        if mean.is_finite() { mean.clamp(-1.0, 1.0) } else { 0.0 }
    };
    interleaved.chunks_exact(channels).map(sample).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wav::encode_wav;

    fn read(bytes: &[u8]) -> Result<(Vec<f32>, u32), AudioError> {
        let (mut reader, mut all, mut rate) = (MediaReader::open(bytes.to_vec())?, Vec::new(), 0);
        while let Some(piece) = reader.next_piece()? {
            all.extend(piece.samples);
            rate = piece.sample_rate;
        }
        Ok((all, rate))
    }

    /// Frequency by zero crossings.
    fn hertz(samples: &[f32], rate: u32) -> f64 {
        let crossings = samples.windows(2).filter(|pair| (pair[0] < 0.0) != (pair[1] < 0.0)).count();
        crossings as f64 / 2.0 * f64::from(rate) / samples.len() as f64
    }

    #[test]
    fn every_kind_gives_the_same_tone() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/audio");
        for name in ["tone.flac", "tone.mp3", "tone.ogg", "tone.m4a"] {
            let bytes = std::fs::read(folder.join(name)).expect("made by make.py beside it");
            let (samples, rate) = read(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            let seconds = samples.len() as f64 / f64::from(rate);
            assert!((0.95..1.15).contains(&seconds), "{name}: {seconds} s at {rate} Hz");
            let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
            let tone = hertz(middle, rate);
            assert!((tone - 440.0).abs() < 5.0, "{name}: {tone} Hz");
            // 0.5 on the left, silence on the right.
            let peak = middle.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
            assert!((0.2..0.3).contains(&peak), "{name}: channels are mixed, peak {peak}");
            let (cut, _) = read(&bytes[..bytes.len() * 2 / 3]).unwrap_or_default();
            assert!(cut.len() < samples.len(), "{name}: a cut file is shorter, or an error");
        }
    }

    #[test]
    fn a_wav_file_comes_in_pieces() {
        let clip: Vec<i16> = (0..40_000).map(|n| (n % 1_000) as i16).collect();
        let (samples, rate) = read(&encode_wav(&clip, 8_000)).expect("a file");
        assert_eq!((crate::pcm::to_i16(&samples), rate), (clip, 8_000));
    }

    #[test]
    fn what_is_no_audio_is_told_what_is_read() {
        for bytes in [b"".as_slice(), b"hello", b"RIFF\0\0\0\0AVI LIST", &[0xff; 1_000], b"fLaC and nothing"]
        {
            let error = read(bytes).expect_err("no audio").to_string();
            assert!(!error.is_empty());
        }
        let error = read(b"hello, this is no audio at all").expect_err("no audio").to_string();
        assert!(error.contains(KINDS), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            kind in prop::sample::select(vec![b"fLaC".to_vec(), b"OggS\0\x02".to_vec(), b"ID3\x04\0\0\0\0\0\0\xff\xfb\x90\0".to_vec(), b"\0\0\0\x18ftypM4A ".to_vec(), vec![]]),
            tail in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut bytes = kind;
            bytes.extend(tail);
            drop(read(&bytes));
        }
    }
}
