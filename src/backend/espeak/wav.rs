//! Reads the WAV stream that espeak-ng writes to a pipe. Pure.
//!
//! A program that writes to a pipe cannot go back to fill in the sizes, so they are placeholders
//! (`0x7ffff000`): only the format is taken from the header, and the data lasts until the pipe ends.

use thiserror::Error;

/// The longest header that is waited for: RIFF, format, and a few chunks that nobody asked for.
const MAX_HEADER: usize = 4096;

/// What comes out of a pipe that should hold a WAV.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum WavError {
    #[error("its output is not a WAV")]
    NotWav,
    #[error("its WAV is not 16-bit mono PCM")]
    Format,
    #[error("the header of its WAV does not end")]
    Endless,
}

/// Turns bytes into samples as they arrive.
#[derive(Debug, Default)]
pub(super) struct WavReader {
    header: Vec<u8>,
    sample_rate: Option<u32>,
    half: Option<u8>,
}

impl WavReader {
    /// Samples a second, once the header is complete.
    pub(super) fn sample_rate(&self) -> Option<u32> {
        self.sample_rate
    }

    /// Appends the samples of `bytes` to `samples`.
    pub(super) fn push(&mut self, bytes: &[u8], samples: &mut Vec<i16>) -> Result<(), WavError> {
        if self.sample_rate.is_some() {
            self.data(bytes, samples);
            return Ok(());
        }
        self.header.extend_from_slice(bytes);
        match parse_header(&self.header)? {
            Some((rate, begin)) => {
                self.sample_rate = Some(rate);
                let rest = std::mem::take(&mut self.header);
                self.data(&rest[begin..], samples);
                Ok(())
            }
            None if self.header.len() > MAX_HEADER => Err(WavError::Endless),
            None => Ok(()),
        }
    }

    fn data(&mut self, mut bytes: &[u8], samples: &mut Vec<i16>) {
        if let (Some(low), Some((high, rest))) = (self.half, bytes.split_first()) {
            samples.push(i16::from_le_bytes([low, *high]));
            self.half = None;
            bytes = rest;
        }
        let (pairs, odd) = bytes.as_chunks::<2>();
        samples.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
        self.half = self.half.or(odd.first().copied());
    }
}

/// Sample rate and where the data begins; `None` where more bytes are needed.
fn parse_header(bytes: &[u8]) -> Result<Option<(u32, usize)>, WavError> {
    let magic = |at: usize, expected: &[u8; 4]| match bytes.get(at..at + 4) {
        Some(found) if found != expected => Err(WavError::NotWav),
        found => Ok(found.is_some()),
    };
    if !(magic(0, b"RIFF")? && magic(8, b"WAVE")?) {
        return Ok(None);
    }
    let mut at = 12;
    let mut rate = None;
    while let Some(head) = bytes.get(at..at + 8) {
        let body = at + 8;
        let size = word(head, 4) as usize;
        match &head[..4] {
            b"data" => return rate.map(|rate| Some((rate, body))).ok_or(WavError::Format),
            b"fmt " => {
                let Some(format) = bytes.get(body..body + 16) else { return Ok(None) };
                rate = Some(format_rate(format)?);
            }
            _ => {}
        }
        // Chunks are padded to an even size.
        at = body.saturating_add(size).saturating_add(size & 1);
    }
    Ok(None)
}

fn format_rate(format: &[u8]) -> Result<u32, WavError> {
    let (coding, channels) = (word(format, 0) & 0xffff, word(format, 0) >> 16);
    let (rate, bits) = (word(format, 4), word(format, 12) >> 16);
    let is_usable = coding == 1 && channels == 1 && bits == 16 && (1000..=192_000).contains(&rate);
    if is_usable { Ok(rate) } else { Err(WavError::Format) }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As espeak-ng writes it, sizes included.
    fn stream(samples: &[i16]) -> Vec<u8> {
        let mut bytes = b"RIFF\x24\xf0\xff\x7fWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        bytes.extend(22_050u32.to_le_bytes());
        bytes.extend(44_100u32.to_le_bytes());
        bytes.extend(b"\x02\0\x10\0data\0\xf0\xff\x7f");
        bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        bytes
    }

    #[test]
    fn other_things_are_refused() {
        let mut stereo = stream(&[]);
        stereo[22] = 2;
        let table: [(&[u8], WavError); 4] = [
            (b"espeak-ng: no such voice", WavError::NotWav),
            (b"RIFF\0\0\0\0AVI ", WavError::NotWav),
            (&stereo, WavError::Format),
            (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", WavError::Format),
        ];
        for (bytes, expected) in table {
            assert_eq!(WavReader::default().push(bytes, &mut Vec::new()), Err(expected));
        }
        let mut endless = b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\x7f".to_vec();
        endless.resize(MAX_HEADER + 1, 0);
        assert_eq!(WavReader::default().push(&endless, &mut Vec::new()), Err(WavError::Endless));
    }

    #[test]
    fn chunks_before_the_data_are_skipped() {
        let mut bytes = stream(&[1, 2]);
        bytes.splice(36..36, *b"LIST\x03\0\0\0abc\0");
        let mut samples = Vec::new();
        WavReader::default().push(&bytes, &mut samples).expect("a WAV");
        assert_eq!(samples, [1, 2]);
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same_samples(
            samples in prop::collection::vec(any::<i16>(), 0..200),
            cuts in prop::collection::vec(1usize..60, 0..40),
        ) {
            let bytes = stream(&samples);
            let (mut reader, mut got, mut rest) = (WavReader::default(), Vec::new(), bytes.as_slice());
            for cut in cuts.iter().copied().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                reader.push(now, &mut got).expect("a WAV");
                rest = later;
            }
            prop_assert_eq!(got, samples);
            prop_assert_eq!(reader.sample_rate(), Some(22_050));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut framed = b"RIFF\0\0\0\0WAVE".to_vec();
            framed.extend(&bytes);
            drop(WavReader::default().push(&framed, &mut Vec::new()));
        }
    }
}
