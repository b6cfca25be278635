//! The audio formats of the protocol, as samples and bytes. Read [`AudioFormat`] first.

use std::time::Duration;

use audio_codec_algorithms::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};

use super::AudioError;

/// How audio is written on the wire. Always mono.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum AudioFormat {
    /// 24 kHz signed 16-bit little-endian: `audio/pcm`, the protocol's default.
    #[default]
    Pcm16,
    /// 8 kHz G.711 µ-law, one byte a sample: `audio/pcmu`.
    Pcmu,
    /// 8 kHz G.711 A-law, one byte a sample: `audio/pcma`.
    Pcma,
}

impl AudioFormat {
    /// Samples a second.
    pub const fn sample_rate(self) -> u32 {
        match self {
            Self::Pcm16 => 24_000,
            Self::Pcmu | Self::Pcma => 8_000,
        }
    }

    /// Bytes of one sample.
    pub const fn bytes_per_sample(self) -> usize {
        match self {
            Self::Pcm16 => 2,
            Self::Pcmu | Self::Pcma => 1,
        }
    }

    /// How long `bytes` bytes of this format play.
    pub fn duration(self, bytes: usize) -> Duration {
        let samples = bytes / self.bytes_per_sample();
        Duration::from_secs_f64(samples as f64 / f64::from(self.sample_rate()))
    }

    /// Bytes to samples at [`sample_rate`](Self::sample_rate). Fails on half a PCM16 sample.
    pub fn decode(self, bytes: &[u8]) -> Result<Vec<i16>, AudioError> {
        match self {
            Self::Pcm16 => decode_pcm16(bytes),
            Self::Pcmu => Ok(bytes.iter().copied().map(decode_ulaw).collect()),
            Self::Pcma => Ok(bytes.iter().copied().map(decode_alaw).collect()),
        }
    }

    /// Samples at [`sample_rate`](Self::sample_rate) to bytes.
    pub fn encode(self, samples: &[i16]) -> Vec<u8> {
        match self {
            Self::Pcm16 => samples.iter().flat_map(|sample| sample.to_le_bytes()).collect(),
            Self::Pcmu => samples.iter().copied().map(encode_ulaw).collect(),
            Self::Pcma => samples.iter().copied().map(encode_alaw).collect(),
        }
    }
}

/// Little-endian 16-bit bytes to samples, at whatever rate they are.
pub(crate) fn decode_pcm16(bytes: &[u8]) -> Result<Vec<i16>, AudioError> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect())
    } else {
        Err(AudioError::OddByteCount { bytes: bytes.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pcm16_is_little_endian_and_refuses_half_a_sample() {
        let bytes = AudioFormat::Pcm16.encode(&[1, -2, i16::MIN]);
        assert_eq!(bytes, [1, 0, 0xfe, 0xff, 0, 0x80]);
        assert_eq!(AudioFormat::Pcm16.decode(&bytes).unwrap(), [1, -2, i16::MIN]);
        let error = AudioFormat::Pcm16.decode(&bytes[..3]).unwrap_err();
        assert!(error.to_string().starts_with("3 bytes"), "{error}");
    }

    /// Values of the ITU-T G.711 tables, scaled to 16 bits.
    #[test]
    fn g711_agrees_with_the_standard() {
        assert_eq!(AudioFormat::Pcmu.decode(&[0x00, 0x80, 0x7f, 0xff]).unwrap(), [-32124, 32124, 0, 0]);
        assert_eq!(AudioFormat::Pcma.decode(&[0x2a, 0xaa, 0x55, 0xd5]).unwrap(), [-32256, 32256, -8, 8]);
        assert_eq!(AudioFormat::Pcmu.encode(&[0, 32124, -32124, i16::MAX]), [0xff, 0x80, 0x00, 0x80]);
        assert_eq!(AudioFormat::Pcma.encode(&[8, -8, 32256, i16::MIN]), [0xd5, 0x55, 0xaa, 0x2a]);
    }

    #[test]
    fn g711_codes_survive_the_round_trip() {
        for format in [AudioFormat::Pcmu, AudioFormat::Pcma] {
            for code in 0..=u8::MAX {
                let sample = format.decode(&[code]).unwrap();
                // µ-law has two zeros, which are one sample value.
                let again = format.decode(&format.encode(&sample)).unwrap();
                assert_eq!(again, sample, "{format:?} {code:#x}");
            }
        }
    }

    #[test]
    fn durations() {
        assert_eq!(AudioFormat::Pcm16.duration(48_000), Duration::from_secs(1));
        assert_eq!(AudioFormat::Pcma.duration(400), Duration::from_millis(50));
    }
}
