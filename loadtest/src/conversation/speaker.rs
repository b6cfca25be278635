//! The loudspeaker of the person: plays what came, in step with the microphone's frames, and can be heard by the
//! microphone. Pure.

use std::collections::VecDeque;

/// A loudspeaker.
#[derive(Debug)]
pub(crate) struct Loudspeaker {
    waiting: VecDeque<i16>,
    /// What was played lately and is still on its way to the microphone.
    on_its_way: VecDeque<i16>,
    /// Whether the last frame held sound.
    pub(crate) is_sounding: bool,
}

/// How much quieter the microphone hears the loudspeaker: 20 dB.
const ECHO_GAIN: f32 = 0.1;

impl Loudspeaker {
    /// A loudspeaker that the microphone hears `echo_delay` samples later.
    pub(crate) fn new(echo_delay: usize) -> Self {
        Self { waiting: VecDeque::new(), on_its_way: vec![0; echo_delay].into(), is_sounding: false }
    }

    /// Has these played behind what waits.
    pub(crate) fn queue(&mut self, samples: &[i16]) {
        self.waiting.extend(samples);
    }

    /// Forgets what waits, as clients do when the server hears the person.
    pub(crate) fn flush(&mut self) {
        self.waiting.clear();
    }

    /// Whether something is played or waits.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_sounding || !self.waiting.is_empty()
    }

    /// Plays one frame; gives what the microphone hears of it.
    pub(crate) fn play(&mut self, frame: usize) -> Vec<i16> {
        self.is_sounding = !self.waiting.is_empty();
        let missing = frame.saturating_sub(self.waiting.len());
        self.on_its_way.extend(self.waiting.drain(..frame - missing));
        self.on_its_way.extend(std::iter::repeat_n(0, missing));
        #[expect(clippy::cast_possible_truncation, reason = "quieter than an i16")]
        self.on_its_way.drain(..frame).map(|sample| (f32::from(sample) * ECHO_GAIN) as i16).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_plays_in_step_and_is_heard_later() {
        let mut speaker = Loudspeaker::new(2);
        speaker.queue(&[100, 200, 300]);
        assert_eq!(speaker.play(2), [0, 0]);
        assert!(speaker.is_sounding && speaker.is_busy());
        assert_eq!(speaker.play(2), [10, 20]);
        assert!(!speaker.waiting.is_empty() || speaker.is_sounding);
        assert_eq!(speaker.play(2), [30, 0]);
        assert!(!speaker.is_busy());
        speaker.queue(&[1; 10]);
        speaker.flush();
        assert!(!speaker.is_busy());
    }
}
