//! Opus in packets, by libopus. Knows nothing of containers: packets come and go one at a time.
//!
//! Coded at 24 kHz, the rate of everything else on the wire, in mono. A decoder may choose any rate of its own, and
//! packets that come in may be of any rate, of one or two channels and of 2.5 to 120 ms.

use std::sync::{Mutex, PoisonError};

use opus::{Application, Bitrate, Channels, Decoder, Encoder, packet};

use crate::AudioError;

const RATE: u32 = 24_000;
/// Samples of a packet: 20 ms, what WebRTC and phones send.
const PACKET_SAMPLES: usize = 480;
/// Samples of the longest packet that there can be: 120 ms (RFC 6716, section 3.2.5).
const MAX_PACKET_SAMPLES: usize = 2_880;
/// Bytes of the longest packet of one frame (RFC 6716, section 3.2.1).
const MAX_PACKET_BYTES: usize = 1_275;
/// Bits a second, on average: clean speech at this bandwidth (RFC 7587, section 3.1.1, gives 28 to 40 kb/s for
/// full-band speech).
const BITRATE: i32 = 32_000;
/// Effort from 0 to 10. 5 takes about 0.5 % of a core a stream; 10 a quarter more for what nobody hears in speech.
const COMPLEXITY: i32 = 5;
/// States of libopus in bytes: `opus_encoder_get_size(1)` and `opus_decoder_get_size(1)` of libopus 1.6.1.
const ENCODER_BYTES: usize = 31_668;
const DECODER_BYTES: usize = 18_468;
const SETTINGS: &str = "libopus takes these settings";

/// Samples of a packet at `rate`; 0 for what is none.
pub(crate) fn samples_in_packet(bytes: &[u8], rate: u32) -> usize {
    if bytes.is_empty() { 0 } else { packet::get_nb_samples(bytes, rate).unwrap_or(0) }
}

/// Samples to packets.
#[derive(Debug)]
pub(super) struct PacketEncoder {
    /// Never locked, only borrowed: libopus' states may go from thread to thread, and this says so of references.
    encoder: Mutex<Encoder>,
    /// Less than a packet.
    begun: Vec<i16>,
}

impl Default for PacketEncoder {
    fn default() -> Self {
        let mut encoder = Encoder::new(RATE, Channels::Mono, Application::Voip).expect(SETTINGS);
        encoder.set_bitrate(Bitrate::Bits(BITRATE)).expect(SETTINGS);
        encoder.set_complexity(COMPLEXITY).expect(SETTINGS);
        Self { encoder: Mutex::new(encoder), begun: Vec::with_capacity(PACKET_SAMPLES) }
    }
}

impl PacketEncoder {
    /// What it holds, in bytes.
    pub(super) fn bytes(&self) -> usize {
        ENCODER_BYTES + self.begun.capacity() * size_of::<i16>()
    }

    pub(super) fn push(&mut self, samples: &[i16]) -> Vec<Vec<u8>> {
        self.begun.extend_from_slice(samples);
        let begun = std::mem::take(&mut self.begun);
        let (packets, rest) = begun.as_chunks::<PACKET_SAMPLES>();
        self.begun.extend_from_slice(rest);
        packets.iter().map(|samples| self.packet(samples)).collect()
    }

    pub(super) fn finish(&mut self) -> Option<Vec<u8>> {
        if self.begun.is_empty() {
            return None;
        }
        let mut samples = [0; PACKET_SAMPLES];
        samples[..self.begun.len()].copy_from_slice(&self.begun);
        self.begun.clear();
        Some(self.packet(&samples))
    }

    fn packet(&mut self, samples: &[i16; PACKET_SAMPLES]) -> Vec<u8> {
        let encoder = self.encoder.get_mut().unwrap_or_else(PoisonError::into_inner);
        let packet = encoder.encode_vec(samples, MAX_PACKET_BYTES);
        packet.expect("libopus codes whole frames into the largest packet")
    }
}

/// Packets to samples.
#[derive(Debug)]
pub(super) struct PacketDecoder {
    /// As the encoder.
    decoder: Mutex<Decoder>,
}

impl Default for PacketDecoder {
    fn default() -> Self {
        Self { decoder: Mutex::new(Decoder::new(RATE, Channels::Mono).expect(SETTINGS)) }
    }
}

impl PacketDecoder {
    /// What it holds, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        size_of::<Self>() + DECODER_BYTES
    }

    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<Vec<i16>, AudioError> {
        // To libopus, no bytes mean a lost packet; here none are lost.
        if bytes.is_empty() {
            return Err(AudioError::EmptyPacket);
        }
        let error = |_| AudioError::BadPacket { bytes: bytes.len() };
        let mut samples = vec![0; MAX_PACKET_SAMPLES];
        let decoder = self.decoder.get_mut().unwrap_or_else(PoisonError::into_inner);
        let count = decoder.decode(bytes, &mut samples, false).map_err(error)?;
        samples.truncate(count);
        Ok(samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tone(hz: f64, count: usize) -> Vec<i16> {
        let sample = |at| (f64::from(at) * hz * std::f64::consts::TAU / f64::from(RATE)).sin() * 8_000.0;
        #[expect(clippy::cast_possible_truncation, reason = "8000 at most")]
        (0..u32::try_from(count).expect("short")).map(|at| sample(at) as i16).collect()
    }

    fn decode(decoder: &mut PacketDecoder, packets: &[Vec<u8>]) -> Vec<i16> {
        packets.iter().flat_map(|packet| decoder.decode(packet).expect("it was just coded")).collect()
    }

    fn energy(samples: &[i16]) -> f64 {
        samples.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / samples.len() as f64
    }

    /// The share of what was sent that is not in what was heard, at the best delay of up to 20 ms.
    fn loss(sent: &[i16], heard: &[i16]) -> f64 {
        let at_delay = |delay: usize| {
            let count = sent.len().min(heard.len() - delay);
            let difference = |at: usize| f64::from(sent[at]) - f64::from(heard[at + delay]);
            (0..count).map(|at| difference(at).powi(2)).sum::<f64>() / count as f64
        };
        (0..PACKET_SAMPLES).map(at_delay).fold(f64::INFINITY, f64::min) / energy(sent)
    }

    #[test]
    fn packets_hold_20_ms_however_the_samples_come() {
        let samples = tone(440.0, 24_000 + 100);
        let mut whole = PacketEncoder::default();
        let expected = whole.push(&samples);
        assert_eq!(expected.len(), 50);
        assert!(expected.iter().all(|packet| samples_in_packet(packet, RATE) == PACKET_SAMPLES));
        let last = whole.finish().expect("100 samples were left");
        assert_eq!(samples_in_packet(&last, RATE), PACKET_SAMPLES, "silence fills it");
        assert_eq!(whole.finish(), None);
        let mut pieces = PacketEncoder::default();
        let found: Vec<_> = samples.chunks(77).flat_map(|piece| pieces.push(piece)).collect();
        assert!(found == expected, "the cut of the input changes nothing");
    }

    #[test]
    fn speech_survives_the_round_trip() {
        let samples = tone(440.0, 24_000);
        let packets = PacketEncoder::default().push(&samples);
        let heard = decode(&mut PacketDecoder::default(), &packets);
        assert_eq!(heard.len(), samples.len());
        let lost = loss(&samples[2_400..], &heard[2_400..]);
        assert!(lost < 0.02, "{lost}");
        let bytes: usize = packets.iter().map(Vec::len).sum();
        assert!(bytes * 8 < 48_000, "{bytes} bytes a second");
    }

    /// An interrupted answer ends in the middle of its stream and the next begins one of its own: a client may go
    /// on with the decoder that it has.
    #[test]
    fn a_new_stream_on_a_used_decoder_has_no_glitch() {
        let (first, second) = (tone(300.0, 7_200), tone(440.0, 12_000));
        let mut used = PacketDecoder::default();
        decode(&mut used, &PacketEncoder::default().push(&first));
        let packets = PacketEncoder::default().push(&second);
        let heard = decode(&mut used, &packets);
        let fresh = decode(&mut PacketDecoder::default(), &packets);
        let loudest = |samples: &[i16]| samples.iter().map(|sample| sample.unsigned_abs()).max();
        assert!(loudest(&heard) <= Some(12_000), "no click: {:?}", loudest(&heard));
        let (lost, best) = (loss(&second[480..], &heard[480..]), loss(&second[480..], &fresh[480..]));
        assert!(lost < best + 0.02, "{lost} and with a decoder of its own {best}");
    }

    #[test]
    fn what_is_no_packet_is_refused_and_the_stream_goes_on() {
        let mut decoder = PacketDecoder::default();
        assert!(matches!(decoder.decode(&[]), Err(AudioError::EmptyPacket)));
        // Two frames of 60 ms announced, and no length behind them; 63 frames of 20 ms.
        for bad in [&[0x1a_u8][..], &[0x4b, 0x3f, 0, 0][..]] {
            assert!(matches!(decoder.decode(bad), Err(AudioError::BadPacket { .. })), "{bad:?}");
        }
        let packets = PacketEncoder::default().push(&tone(440.0, 4_800));
        assert_eq!(decode(&mut decoder, &packets).len(), 4_800);
    }

    #[test]
    fn packets_of_other_encoders_are_read() {
        for (rate, channels, ms) in
            [(48_000, Channels::Stereo, 20), (16_000, Channels::Mono, 60), (8_000, Channels::Mono, 10)]
        {
            let count = rate as usize / 1_000 * ms * (if channels == Channels::Stereo { 2 } else { 1 });
            let mut encoder = Encoder::new(rate, channels, Application::Audio).expect("an encoder");
            let packet = encoder.encode_vec(&vec![0; count], 4_000).expect("a packet");
            let samples = PacketDecoder::default().decode(&packet).expect("it is read");
            assert_eq!(samples.len(), 24 * ms, "{rate} {channels:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn random_packets_never_panic_and_last_120_ms_at_most(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8)
        ) {
            let mut decoder = PacketDecoder::default();
            for packet in packets {
                let expected = samples_in_packet(&packet, RATE);
                if let Ok(samples) = decoder.decode(&packet) {
                    prop_assert!(samples.len() <= MAX_PACKET_SAMPLES);
                    prop_assert_eq!(samples.len(), expected);
                }
            }
        }

        #[test]
        fn random_samples_are_coded(pieces in prop::collection::vec(prop::collection::vec(any::<i16>(), 0..700), 1..6)) {
            let mut encoder = PacketEncoder::default();
            let count: usize = pieces.iter().map(Vec::len).sum();
            let mut packets: Vec<_> = pieces.iter().flat_map(|piece| encoder.push(piece)).collect();
            packets.extend(encoder.finish());
            prop_assert_eq!(packets.len(), count.div_ceil(PACKET_SAMPLES));
            prop_assert!(packets.iter().all(|packet| packet.len() <= MAX_PACKET_BYTES && !packet.is_empty()));
        }
    }
}
