//! Samples to bytes and back, for each format. Read [`Encoder`] and [`Decoder`].
//!
//! A codec belongs to one stream in one direction: Opus remembers what came before.

mod opus;

use audio_codec_algorithms::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};

use super::pcm::{from_le_bytes, to_le_bytes};
use super::{AudioError, AudioFormat};

pub(super) use opus::samples_in_packet;

/// Samples of one stream to bytes, as they leave one after another.
#[derive(Debug)]
pub struct Encoder {
    format: AudioFormat,
    opus: Option<Box<opus::PacketEncoder>>,
}

impl Encoder {
    /// An encoder at the begin of a stream.
    pub const fn new(format: AudioFormat) -> Self {
        Self { format, opus: None }
    }

    /// Takes samples at the format's rate, and gives the pieces that they complete: all in one for formats of single
    /// samples, packets of 20 ms for Opus.
    pub fn encode(&mut self, samples: &[i16]) -> Vec<Vec<u8>> {
        let whole: Vec<u8> = match self.format {
            AudioFormat::Pcm16 => to_le_bytes(samples),
            AudioFormat::Pcmu => samples.iter().copied().map(encode_ulaw).collect(),
            AudioFormat::Pcma => samples.iter().copied().map(encode_alaw).collect(),
            AudioFormat::Opus => return self.opus.get_or_insert_default().push(samples),
        };
        if whole.is_empty() { Vec::new() } else { vec![whole] }
    }

    /// Bytes of what it remembers.
    pub fn bytes(&self) -> usize {
        self.opus.as_ref().map_or(0, |opus| opus.bytes())
    }

    /// Gives what is begun and not whole, with silence behind it. The stream may go on.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        self.opus.as_mut().and_then(|opus| opus.finish())
    }
}

/// Bytes of one stream to samples.
#[derive(Debug)]
pub struct Decoder {
    format: AudioFormat,
    opus: Option<Box<opus::PacketDecoder>>,
}

impl Decoder {
    /// A decoder at the begin of a stream.
    pub const fn new(format: AudioFormat) -> Self {
        Self { format, opus: None }
    }

    /// Bytes of what it remembers.
    pub fn bytes(&self) -> usize {
        self.opus.as_ref().map_or(0, |opus| opus.bytes())
    }

    /// What it reads.
    pub const fn format(&self) -> AudioFormat {
        self.format
    }

    /// Samples at the format's rate of whole samples, or of one packet. Fails on half a sample, and on what is no
    /// packet; the stream may go on after that.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Vec<i16>, AudioError> {
        match self.format {
            AudioFormat::Pcm16 => from_le_bytes(bytes),
            AudioFormat::Pcmu => Ok(bytes.iter().copied().map(decode_ulaw).collect()),
            AudioFormat::Pcma => Ok(bytes.iter().copied().map(decode_alaw).collect()),
            AudioFormat::Opus => self.opus.get_or_insert_default().decode(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(format: AudioFormat, samples: &[i16]) -> Vec<u8> {
        Encoder::new(format).encode(samples).concat()
    }

    fn decode(format: AudioFormat, bytes: &[u8]) -> Result<Vec<i16>, AudioError> {
        Decoder::new(format).decode(bytes)
    }

    #[test]
    fn opus_alone_remembers_and_only_once_it_is_used() {
        for format in AudioFormat::ALL {
            let (mut encoder, mut decoder) = (Encoder::new(format), Decoder::new(format));
            assert_eq!((encoder.bytes(), decoder.bytes()), (0, 0), "{format:?}");
            for piece in encoder.encode(&[0; 960]) {
                decoder.decode(&piece).expect("what was encoded");
            }
            let opus = format == AudioFormat::Opus;
            assert_eq!((encoder.bytes() > 30_000, decoder.bytes() > 18_000), (opus, opus), "{format:?}");
        }
    }

    #[test]
    fn pcm16_is_little_endian_and_refuses_half_a_sample() {
        let bytes = encode(AudioFormat::Pcm16, &[1, -2, i16::MIN]);
        assert_eq!(bytes, [1, 0, 0xfe, 0xff, 0, 0x80]);
        assert_eq!(decode(AudioFormat::Pcm16, &bytes).unwrap(), [1, -2, i16::MIN]);
        let error = decode(AudioFormat::Pcm16, &bytes[..3]).unwrap_err();
        assert!(error.to_string().starts_with("3 bytes"), "{error}");
    }

    /// Values of the ITU-T G.711 tables, scaled to 16 bits.
    #[test]
    fn g711_agrees_with_the_standard() {
        assert_eq!(decode(AudioFormat::Pcmu, &[0x00, 0x80, 0x7f, 0xff]).unwrap(), [-32124, 32124, 0, 0]);
        assert_eq!(decode(AudioFormat::Pcma, &[0x2a, 0xaa, 0x55, 0xd5]).unwrap(), [-32256, 32256, -8, 8]);
        assert_eq!(encode(AudioFormat::Pcmu, &[0, 32124, -32124, i16::MAX]), [0xff, 0x80, 0x00, 0x80]);
        assert_eq!(encode(AudioFormat::Pcma, &[8, -8, 32256, i16::MIN]), [0xd5, 0x55, 0xaa, 0x2a]);
    }

    #[test]
    fn g711_codes_survive_the_round_trip() {
        for format in [AudioFormat::Pcmu, AudioFormat::Pcma] {
            for code in 0..=u8::MAX {
                let sample = decode(format, &[code]).unwrap();
                // µ-law has two zeros, which are one sample value.
                let again = decode(format, &encode(format, &sample)).unwrap();
                assert_eq!(again, sample, "{format:?} {code:#x}");
            }
        }
    }

    #[test]
    fn nothing_in_gives_nothing_out() {
        for format in AudioFormat::ALL {
            let mut encoder = Encoder::new(format);
            assert!(encoder.encode(&[]).is_empty(), "{format:?}");
            assert_eq!(encoder.finish(), None, "{format:?}");
        }
    }
}
