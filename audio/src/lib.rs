//! L0: samples: formats and codecs, resampling, buffers, WAV, spectrograms.
//!
//! Everything here is mono and free of I/O except [`wav::read_wav`] and [`wav::write_wav`]. Knows nothing of
//! sessions, engines or the wire; the load tester uses it too. A crate of its own, so that Fourier transforms are
//! compiled once and not with every change of the server. Start with [`AudioFormat`].

pub mod codec;
pub mod error;
pub mod format;
pub mod log_mel;
pub mod media;
pub mod pcm;
pub mod resample;
pub mod ring;
pub mod wav;

pub use codec::{Decoder, Encoder};
pub use error::AudioError;
pub use format::AudioFormat;
pub use media::MediaReader;
pub use resample::Resampler;
pub use ring::{Full, SampleRing};
pub use wav::{WavAudio, WavHeader};
