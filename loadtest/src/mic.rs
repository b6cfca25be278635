//! The microphone of one user: speech when there is some, low noise otherwise, frame by frame. Pure: the caller
//! keeps the clock.

use std::sync::Arc;

use antiphon::audio::{AudioFormat, Encoder};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_tungstenite::tungstenite::Message;

use crate::args::Transport;
use crate::wire;

/// Loudest sample of the noise between utterances: -70 dB, a quiet room.
const NOISE: i16 = 10;
/// Frames of noise that are made once and sent in turn: encoding them anew would be most of this program's work.
const NOISE_FRAMES: usize = 64;

/// Frames of a quiet room, ready to send; all users share them.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    format: AudioFormat,
    transport: Transport,
    frame: usize,
    noise: Arc<[Message]>,
}

impl Room {
    /// Frames of `frame_ms` in `format`.
    pub(crate) fn new(format: AudioFormat, transport: Transport, frame_ms: u32) -> Self {
        let frame = (format.sample_rate() * frame_ms / 1_000) as usize;
        let mut rng = StdRng::seed_from_u64(0);
        let mut noise = || (0..frame).map(|_| rng.random_range(-NOISE..=NOISE)).collect::<Vec<i16>>();
        let mut encoder = Encoder::new(format);
        let noise =
            (0..NOISE_FRAMES).map(|_| wire::append(transport, encoder.encode(&noise()).concat())).collect();
        Self { format, transport, frame, noise }
    }
}

/// One frame, as the message that carries it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) message: Message,
    pub(crate) part: Part,
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    Noise,
    /// Speech; `first` and `last` of its utterance may be one frame.
    Speech {
        first: bool,
        last: bool,
    },
}

/// A microphone.
#[derive(Debug)]
pub(crate) struct Microphone {
    room: Room,
    encoder: Encoder,
    speech: Arc<[i16]>,
    position: usize,
    next_noise: usize,
}

impl Microphone {
    /// A microphone in `room`; `offset` says where in the noise it begins.
    pub(crate) fn new(room: Room, offset: usize) -> Self {
        Self {
            encoder: Encoder::new(room.format),
            room,
            speech: Arc::new([]),
            position: 0,
            next_noise: offset,
        }
    }

    /// Begins an utterance with the next frame.
    pub(crate) fn say(&mut self, speech: Arc<[i16]>) {
        self.speech = speech;
        self.position = 0;
    }

    /// Whether an utterance has frames left.
    pub(crate) fn is_speaking(&self) -> bool {
        self.position < self.speech.len()
    }

    /// The next frame.
    pub(crate) fn next_frame(&mut self) -> Frame {
        if !self.is_speaking() {
            self.next_noise = (self.next_noise + 1) % NOISE_FRAMES;
            return Frame { message: self.room.noise[self.next_noise].clone(), part: Part::Noise };
        }
        let end = (self.position + self.room.frame).min(self.speech.len());
        let mut samples = self.speech[self.position..end].to_vec();
        samples.resize(self.room.frame, 0);
        let part = Part::Speech { first: self.position == 0, last: end == self.speech.len() };
        self.position = end;
        if !self.is_speaking() {
            self.say(Arc::new([]));
        }
        Frame { message: wire::append(self.room.transport, self.encoder.encode(&samples).concat()), part }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_utterance_is_framed_and_noise_surrounds_it() {
        let mut mic = Microphone::new(Room::new(AudioFormat::Pcm16, Transport::Json, 20), 3);
        assert_eq!(mic.next_frame().part, Part::Noise);
        mic.say(vec![1_000; 481].into());
        assert!(mic.is_speaking());
        let parts: Vec<_> = (0..3).map(|_| mic.next_frame().part).collect();
        let expected = [
            Part::Speech { first: true, last: false },
            Part::Speech { first: false, last: true },
            Part::Noise,
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn all_frames_have_one_length() {
        let mut mic = Microphone::new(Room::new(AudioFormat::Pcmu, Transport::Json, 20), 0);
        let noise = mic.next_frame().message.len();
        mic.say(vec![1_000; 7].into());
        let frame = mic.next_frame();
        assert_eq!(frame.part, Part::Speech { first: true, last: true });
        assert_eq!(frame.message.len(), noise);
    }

    #[test]
    fn opus_is_one_packet_a_frame() {
        let mut mic = Microphone::new(Room::new(AudioFormat::Opus, Transport::Binary, 20), 0);
        mic.say(vec![1_000; 1_000].into());
        for _ in 0..5 {
            let Message::Binary(packet) = mic.next_frame().message else { panic!("not binary") };
            assert_eq!(AudioFormat::Opus.samples_in(&packet), 480);
        }
    }
}
