//! 16-bit samples to and from floats in [-1, 1], and little-endian bytes. Full scale is 32768, so -1.0 is exact and
//! +1.0 saturates.

use super::AudioError;

const FULL_SCALE: f32 = 32768.0;

/// One sample as a float in [-1, 1).
pub fn sample_to_f32(sample: i16) -> f32 {
    f32::from(sample) / FULL_SCALE
}

/// One float as a sample: rounded, saturated outside [-1, 1], NaN as 0.
pub fn sample_to_i16(sample: f32) -> i16 {
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, which is the clipping wanted here")]
    let rounded = (sample * FULL_SCALE).round() as i16;
    rounded
}

/// Samples as floats in [-1, 1).
pub fn to_f32(samples: &[i16]) -> Vec<f32> {
    samples.iter().copied().map(sample_to_f32).collect()
}

/// Floats as samples, see [`sample_to_i16`].
pub fn to_i16(samples: &[f32]) -> Vec<i16> {
    samples.iter().copied().map(sample_to_i16).collect()
}

/// Samples as little-endian bytes, two each.
pub fn to_le_bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// Samples of little-endian bytes, at whatever rate they are. Fails on half a sample.
pub fn from_le_bytes(bytes: &[u8]) -> Result<Vec<i16>, AudioError> {
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
    fn every_sample_survives_the_round_trip() {
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(sample_to_i16(sample_to_f32(sample)), sample);
        }
    }

    #[test]
    fn floats_outside_the_range_saturate() {
        assert_eq!(to_i16(&[1.0, 7.5, -1.0, -7.5, f32::NAN]), [32767, 32767, -32768, -32768, 0]);
        assert_eq!(to_f32(&[i16::MIN, 0]), [-1.0, 0.0]);
    }
}
