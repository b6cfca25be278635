//! What can be wrong with audio that came from outside.

/// Audio that cannot be read, or a conversion that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// PCM16 has two bytes a sample, and the count was odd: a frame was cut in the middle of a sample.
    #[error("{bytes} bytes are not whole 16-bit samples (the count is odd)")]
    OddByteCount {
        /// How many bytes came.
        bytes: usize,
    },
    /// An Opus packet has at least one byte.
    #[error("no bytes where one Opus packet is due")]
    EmptyPacket,
    /// These bytes are no Opus packet, or several in one.
    #[error(
        "{bytes} bytes are not one Opus packet. Send each packet by itself, without Ogg or WebM around it"
    )]
    BadPacket {
        /// How many bytes came.
        bytes: usize,
    },
    /// No resampler exists between these two rates.
    #[error("cannot resample from {from_hz} Hz to {to_hz} Hz")]
    SampleRate {
        /// Rate of the input.
        from_hz: u32,
        /// Rate of the output.
        to_hz: u32,
    },
    /// Not a WAV file, or a kind of WAV that is not read here.
    #[error("WAV: {0}")]
    Wav(String),
    /// An audio file that cannot be read.
    #[error("{0}")]
    Media(String),
    /// The file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}
