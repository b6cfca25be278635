//! The audio formats of the protocol: names, rates, durations. [`super::codec`] reads and writes them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::codec;

/// How audio is written on the wire. Always mono.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum AudioFormat {
    /// 24 kHz signed 16-bit little-endian: `audio/pcm`, the protocol's default.
    #[default]
    Pcm16,
    /// 8 kHz G.711 µ-law, one byte a sample: `audio/pcmu`.
    Pcmu,
    /// 8 kHz G.711 A-law, one byte a sample: `audio/pcma`.
    Pcma,
    /// Opus packets, one at a time: `audio/opus`, an extension. Coded and decoded at 24 kHz.
    Opus,
}

impl AudioFormat {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Pcm16, Self::Pcmu, Self::Pcma, Self::Opus];

    /// Samples a second, on the side of the samples.
    pub const fn sample_rate(self) -> u32 {
        match self {
            Self::Pcm16 | Self::Opus => 24_000,
            Self::Pcmu | Self::Pcma => 8_000,
        }
    }

    /// Samples in `bytes`, which are whole samples or one packet; 0 for a packet that cannot be read.
    pub fn samples_in(self, bytes: &[u8]) -> usize {
        match self {
            Self::Pcm16 => bytes.len() / 2,
            Self::Pcmu | Self::Pcma => bytes.len(),
            Self::Opus => codec::samples_in_packet(bytes, self.sample_rate()),
        }
    }

    /// How long `bytes` play, which are whole samples or one packet.
    pub fn duration(self, bytes: &[u8]) -> Duration {
        Duration::from_secs_f64(self.samples_in(bytes) as f64 / f64::from(self.sample_rate()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(AudioFormat::Pcm16.duration(&[0; 48_000]), Duration::from_secs(1));
        assert_eq!(AudioFormat::Pcma.duration(&[0; 400]), Duration::from_millis(50));
        let packet = codec::Encoder::new(AudioFormat::Opus).encode(&[0; 480]).remove(0);
        assert_eq!(AudioFormat::Opus.duration(&packet), Duration::from_millis(20));
        assert_eq!(AudioFormat::Opus.duration(&[]), Duration::ZERO);
    }
}
