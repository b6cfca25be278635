//! WAV, as files and as a stream whose header may lie about the length. Read [`WavHeader`] first.

use std::io::Cursor;
use std::path::Path;

use super::AudioError;
use super::pcm::from_le_bytes;

/// A header that is longer than this is not a header. Real ones have 44 to a few hundred bytes.
const HEADER_LIMIT: usize = 64 * 1024;
/// From here up a data size is a placeholder: espeak-ng writes 0x7ffff000, ffmpeg 0xffffffff, others 0.
const PLACEHOLDER: u32 = 0x7fff_0000;

/// What the header of a 16-bit PCM WAV stream says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WavHeader {
    /// Samples a second and channel.
    pub sample_rate: u32,
    /// Channels, interleaved.
    pub channels: u16,
    /// Where the samples begin, in bytes from the start of the stream.
    pub data_offset: usize,
    /// Bytes of samples; `None` if the writer did not know and they go on to the end of the stream.
    pub data_len: Option<usize>,
}

impl WavHeader {
    /// Reads the header at the start of `bytes`. `Ok(None)`: more bytes are needed to tell.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, AudioError> {
        if !b"RIFF".starts_with(&bytes[..bytes.len().min(4)]) {
            return Err(AudioError::Wav("does not begin with RIFF".into()));
        }
        let Some(form) = bytes.get(8..12) else { return Ok(None) };
        if form != b"WAVE" {
            return Err(AudioError::Wav("a RIFF file, but not WAVE".into()));
        }
        Self::parse_chunks(bytes)
    }

    fn parse_chunks(bytes: &[u8]) -> Result<Option<Self>, AudioError> {
        let mut format = None;
        let mut offset = 12;
        while offset <= HEADER_LIMIT {
            let (Some(id), Some(size)) = (bytes.get(offset..offset + 4), read_u32(bytes, offset + 4)) else {
                return Ok(None);
            };
            offset += 8;
            if id == b"data" {
                let (sample_rate, channels) =
                    format.ok_or_else(|| AudioError::Wav("data before the format".into()))?;
                return Ok(Some(Self {
                    sample_rate,
                    channels,
                    data_offset: offset,
                    data_len: data_len(size),
                }));
            }
            // Chunks are padded to an even length.
            let length = usize::try_from(size).unwrap_or(usize::MAX);
            if length > HEADER_LIMIT {
                return Err(too_long());
            }
            let length = length.next_multiple_of(2);
            if id == b"fmt " {
                let Some(chunk) = bytes.get(offset..offset + length) else { return Ok(None) };
                format = Some(parse_format(chunk)?);
            }
            offset += length;
        }
        Err(too_long())
    }
}

fn too_long() -> AudioError {
    AudioError::Wav(format!("no samples within the first {HEADER_LIMIT} bytes"))
}

fn data_len(size: u32) -> Option<usize> {
    if size == 0 || size >= PLACEHOLDER { None } else { usize::try_from(size).ok() }
}

/// Sample rate and channels of a `fmt ` chunk, if it is 16-bit PCM.
fn parse_format(chunk: &[u8]) -> Result<(u32, u16), AudioError> {
    const PCM: u16 = 1;
    const EXTENSIBLE: u16 = 0xfffe;
    let short = || AudioError::Wav("the format chunk is too short".into());
    let tag = read_u16(chunk, 0).ok_or_else(short)?;
    let channels = read_u16(chunk, 2).ok_or_else(short)?;
    let sample_rate = read_u32(chunk, 4).ok_or_else(short)?;
    let bits = read_u16(chunk, 14).ok_or_else(short)?;
    let encoding = if tag == EXTENSIBLE { read_u16(chunk, 24).ok_or_else(short)? } else { tag };
    if encoding != PCM || bits != 16 {
        return Err(AudioError::Wav(format!("encoding {encoding} with {bits} bits, not 16-bit PCM")));
    }
    if channels == 0 || sample_rate == 0 {
        return Err(AudioError::Wav(format!("{channels} channels at {sample_rate} Hz")));
    }
    Ok((sample_rate, channels))
}

fn read_u16(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|raw| u16::from_le_bytes(*raw))
}

fn read_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|raw| u32::from_le_bytes(*raw))
}

/// A whole clip, mono.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WavAudio {
    /// Samples, channels mixed to one.
    pub samples: Vec<i16>,
    /// Samples a second.
    pub sample_rate: u32,
}

/// Reads a WAV file in memory: 16-bit PCM with any header, and the other integer and float kinds if well formed.
pub fn decode_wav(bytes: &[u8]) -> Result<WavAudio, AudioError> {
    match WavHeader::parse(bytes) {
        Ok(Some(header)) => decode_body(bytes, header),
        Ok(None) => Err(AudioError::Wav("ends within the header".into())),
        Err(error) => decode_other(bytes).ok_or(error),
    }
}

/// Reads a WAV file, see [`decode_wav`].
pub fn read_wav(path: &Path) -> Result<WavAudio, AudioError> {
    decode_wav(&std::fs::read(path).map_err(|source| io_error(path, source))?)
}

/// The header of a mono 16-bit WAV stream whose length nobody knows yet; samples follow until its end.
pub fn stream_header(sample_rate: u32) -> Vec<u8> {
    spec(sample_rate).into_header_for_infinite_file()
}

/// A mono 16-bit WAV file in memory.
pub fn encode_wav(samples: &[i16], sample_rate: u32) -> Vec<u8> {
    let mut file = stream_header(sample_rate);
    let data = samples.iter().flat_map(|sample| sample.to_le_bytes());
    file.extend(data);
    // The header was written for an unknown length; both sizes are known by now.
    let header = file.len() - samples.len() * 2;
    patch_size(&mut file, 4, 8);
    patch_size(&mut file, header - 4, header);
    file
}

fn spec(sample_rate: u32) -> hound::WavSpec {
    hound::WavSpec { channels: 1, sample_rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int }
}

/// Writes a mono 16-bit WAV file.
pub fn write_wav(path: &Path, samples: &[i16], sample_rate: u32) -> Result<(), AudioError> {
    std::fs::write(path, encode_wav(samples, sample_rate)).map_err(|source| io_error(path, source))
}

fn io_error(path: &Path, source: std::io::Error) -> AudioError {
    AudioError::Io { path: path.display().to_string(), source }
}

/// Writes how many bytes follow `from` at `position`.
fn patch_size(file: &mut [u8], position: usize, from: usize) {
    let size = u32::try_from(file.len() - from).unwrap_or(u32::MAX);
    file[position..position + 4].copy_from_slice(&size.to_le_bytes());
}

fn decode_body(bytes: &[u8], header: WavHeader) -> Result<WavAudio, AudioError> {
    let body = &bytes[header.data_offset..];
    let body = &body[..header.data_len.unwrap_or(body.len()).min(body.len())];
    let samples = from_le_bytes(&body[..body.len() / 2 * 2])?;
    Ok(WavAudio { samples: mix(&samples, header.channels), sample_rate: header.sample_rate })
}

/// 8, 24 and 32-bit integers and floats, which only files that people bring have.
fn decode_other(bytes: &[u8]) -> Option<WavAudio> {
    let mut reader = hound::WavReader::new(Cursor::new(bytes)).ok()?;
    let spec = reader.spec();
    let samples: Vec<i16> = match spec.sample_format {
        hound::SampleFormat::Float => {
            reader.samples::<f32>().map(|s| s.map(super::pcm::sample_to_i16)).collect::<Result<_, _>>()
        }
        hound::SampleFormat::Int => {
            let shift = spec.bits_per_sample;
            reader.samples::<i32>().map(|s| s.map(|s| scale(s, shift))).collect::<Result<_, _>>()
        }
    }
    .ok()?;
    Some(WavAudio { samples: mix(&samples, spec.channels), sample_rate: spec.sample_rate })
}

/// A sample of `bits` bits as 16 bits.
fn scale(sample: i32, bits: u16) -> i16 {
    let wide = if bits >= 16 { sample >> (bits - 16) } else { sample << (16 - bits) };
    i16::try_from(wide).unwrap_or(if wide < 0 { i16::MIN } else { i16::MAX })
}

/// The mean of the channels.
fn mix(samples: &[i16], channels: u16) -> Vec<i16> {
    if channels == 1 {
        return samples.to_vec();
    }
    let mean = |frame: &[i16]| {
        let sum: i32 = frame.iter().copied().map(i32::from).sum();
        i16::try_from(sum / i32::from(channels)).unwrap_or_default()
    };
    samples.chunks_exact(usize::from(channels)).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLIP: [i16; 4] = [0, 1_000, -1_000, i16::MIN];

    #[test]
    fn what_is_written_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write_wav(file.path(), &CLIP, 22_050).unwrap();
        let audio = read_wav(file.path()).unwrap();
        assert_eq!(audio, WavAudio { samples: CLIP.to_vec(), sample_rate: 22_050 });
        let by_hound: Vec<i16> =
            hound::WavReader::open(file.path()).unwrap().samples().map(Result::unwrap).collect();
        assert_eq!(by_hound, CLIP);
    }

    #[test]
    fn placeholder_sizes_mean_up_to_the_end() {
        for placeholder in [0, 0x7fff_f000, 0x7fff_ffff, u32::MAX] {
            let mut bytes = encode_wav(&CLIP, 22_050);
            let header = WavHeader::parse(&bytes).unwrap().unwrap();
            bytes[header.data_offset - 4..header.data_offset].copy_from_slice(&placeholder.to_le_bytes());
            assert_eq!(WavHeader::parse(&bytes).unwrap().unwrap().data_len, None);
            assert_eq!(decode_wav(&bytes).unwrap().samples, CLIP, "{placeholder:#x}");
        }
    }

    #[test]
    fn a_header_may_come_in_pieces() {
        let bytes = encode_wav(&CLIP, 16_000);
        let header = WavHeader::parse(&bytes).unwrap().unwrap();
        assert_eq!(header.data_len, Some(8));
        for length in 0..header.data_offset {
            assert_eq!(WavHeader::parse(&bytes[..length]).unwrap(), None, "{length} bytes");
        }
        assert_eq!(WavHeader::parse(&bytes[..header.data_offset]).unwrap(), Some(header));
    }

    #[test]
    fn chunks_before_the_samples_are_skipped() {
        let plain = encode_wav(&CLIP, 8_000);
        let data = WavHeader::parse(&plain).unwrap().unwrap().data_offset - 8;
        let mut bytes = plain[..data].to_vec();
        bytes.extend(b"LIST\x03\0\0\0abc\0");
        bytes.extend(&plain[data..]);
        assert_eq!(decode_wav(&bytes).unwrap().samples, CLIP);
    }

    #[test]
    fn stereo_floats_become_mono_integers() {
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 48_000,
            bits_per_sample: 32,
            sample_format: hound::SampleFormat::Float,
        };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
        for sample in [0.5_f32, 0.25, -1.0, 1.0] {
            writer.write_sample(sample).unwrap();
        }
        writer.finalize().unwrap();
        assert_eq!(decode_wav(bytes.get_ref()).unwrap().samples, [12_288, 0]);
    }

    #[test]
    fn what_is_no_wav_says_so() {
        for (bytes, words) in [
            (b"ID3\x04 an mp3 file".as_slice(), "RIFF"),
            (b"RIFF\0\0\0\0AVI LIST", "not WAVE"),
            (b"RIFF\0\0\0\0WAVEdata\x04\0\0\0\0\0\0\0", "before the format"),
            (b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\xff", "no samples"),
            (b"RIFF\0\0\0\0WAVE", "within the header"),
        ] {
            let error = decode_wav(bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..64) {
            let mut bytes = encode_wav(&CLIP, 16_000);
            bytes.truncate(cut);
            bytes.extend(tail);
            drop(decode_wav(&bytes));
        }
    }
}
