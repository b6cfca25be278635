//! Makes samples of bytes that come in any pieces: bare PCM, or a WAV that tells its rate. Pure.

use crate::audio::wav::WavHeader;

/// Rates beyond these are a header that was misread.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;

/// The bytes of one call, as far as they were read.
#[derive(Debug)]
pub(super) struct Samples {
    /// Known at once for PCM; read from the header of a WAV.
    rate: Option<u32>,
    /// The beginning, until it is clear what it is.
    header: Option<Vec<u8>>,
    /// Bytes of samples that are still to come, where a WAV says.
    left: Option<usize>,
    half: Option<u8>,
    heard: u64,
}

impl Samples {
    /// Of PCM at `rate`, or of a WAV.
    pub(super) fn new(rate: Option<u32>) -> Self {
        Self { rate, header: Some(Vec::new()), left: None, half: None, heard: 0 }
    }

    /// Samples a second; 0 before it is known, when there are no samples either.
    pub(super) fn rate(&self) -> u32 {
        self.rate.unwrap_or_default()
    }

    /// Milliseconds of the audio so far.
    pub(super) fn heard_ms(&self) -> u32 {
        let rate = u64::from(self.rate().max(1));
        u32::try_from(self.heard * 1000 / rate).unwrap_or(u32::MAX)
    }

    /// The samples that are complete with `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<i16>, String> {
        let Some(header) = &mut self.header else { return Ok(self.data(bytes)) };
        header.extend_from_slice(bytes);
        let header = std::mem::take(header);
        match self.begin(&header)? {
            Some(begin) => {
                self.header = None;
                Ok(self.data(&header[begin..]))
            }
            None => {
                self.header = Some(header);
                Ok(Vec::new())
            }
        }
    }

    /// Where the samples begin; `None` where more bytes are needed to tell.
    fn begin(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        const RIFF: &[u8] = b"RIFF";
        let may_be_wav = RIFF.starts_with(&bytes[..bytes.len().min(RIFF.len())]);
        if !may_be_wav && self.rate.is_some() {
            return Ok(Some(0));
        }
        // Servers that know no PCM send a WAV when asked for it.
        let Some(header) = WavHeader::parse(bytes).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        if header.channels != 1 || !RATES.contains(&header.sample_rate) {
            let (channels, rate) = (header.channels, header.sample_rate);
            return Err(format!(
                "its WAV has {channels} channels at {rate} Hz, not one at 8,000 to 192,000 Hz"
            ));
        }
        (self.rate, self.left) = (Some(header.sample_rate), header.data_len);
        Ok(Some(header.data_offset))
    }

    fn data(&mut self, mut bytes: &[u8]) -> Vec<i16> {
        if let Some(left) = &mut self.left {
            // Chunks may stand behind the samples.
            bytes = &bytes[..bytes.len().min(*left)];
            *left -= bytes.len();
        }
        let mut samples = Vec::with_capacity(bytes.len() / 2 + 1);
        if let (Some(low), Some((high, rest))) = (self.half, bytes.split_first()) {
            samples.push(i16::from_le_bytes([low, *high]));
            (self.half, bytes) = (None, rest);
        }
        let (pairs, odd) = bytes.as_chunks::<2>();
        samples.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
        self.half = self.half.or(odd.first().copied());
        self.heard += samples.len() as u64;
        samples
    }

    /// Whether what came is whole.
    pub(super) fn end(&self) -> Result<(), String> {
        if self.heard == 0 {
            return Err("it sent no audio".to_owned());
        }
        match self.left {
            Some(left) if left > 0 => Err(format!("its WAV ends {left} bytes before its header says")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::wav::{encode_wav, stream_header};
    use proptest::prelude::*;

    fn read(rate: Option<u32>, bytes: &[u8]) -> Result<(Vec<i16>, u32), String> {
        let mut samples = Samples::new(rate);
        let heard = samples.push(bytes)?;
        samples.end()?;
        Ok((heard, samples.rate()))
    }

    #[test]
    fn a_wav_is_known_even_where_pcm_was_asked_for() {
        let mut file = encode_wav(&[1, -2, 3], 16_000);
        file.extend(b"LIST\x04\0\0\0abcd");
        for rate in [None, Some(24_000)] {
            assert_eq!(read(rate, &file), Ok((vec![1, -2, 3], 16_000)));
        }
        let mut stream = stream_header(22_050);
        stream.extend([5, 0]);
        assert_eq!(read(None, &stream), Ok((vec![5], 22_050)));
    }

    #[test]
    fn what_is_not_whole_or_not_audio_is_told() {
        let file = encode_wav(&[1, -2, 3], 16_000);
        for (rate, bytes, part) in [
            (Some(24_000), &[][..], "no audio"),
            (Some(24_000), &[7], "no audio"),
            (None, &file[..20], "no audio"),
            (None, &file[..file.len() - 2], "2 bytes before"),
            (None, b"ID3\x04 an mp3", "RIFF"),
        ] {
            let error = read(rate, bytes).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
        let mut stereo = file.clone();
        stereo[22] = 2;
        assert!(read(None, &stereo).expect_err("stereo").contains("2 channels"));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_samples(
            clip in prop::collection::vec(any::<i16>(), 1..200),
            cuts in prop::collection::vec(1usize..60, 0..40),
            as_wav: bool,
        ) {
            let plain: Vec<u8> = clip.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            let bytes = if as_wav { encode_wav(&clip, 24_000) } else { plain };
            prop_assume!(as_wav || !bytes.starts_with(b"R"));
            let (mut samples, mut heard, mut rest) = (Samples::new(Some(24_000)), Vec::new(), bytes.as_slice());
            for cut in cuts.iter().copied().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                heard.extend(samples.push(now).expect("samples"));
                rest = later;
            }
            prop_assert_eq!(&heard, &clip);
            prop_assert!(samples.end().is_ok());
            prop_assert_eq!(samples.heard_ms() as usize, clip.len() / 24);
        }
    }
}
