//! The `audio` part of a session: formats, transcription, noise reduction, voice.
//!
//! Types named `...Update` are patches: an absent field changes nothing, and where null has a meaning of its
//! own (`turn_detection: null` is push-to-talk) the field is an `Option<Option<T>>`.

use serde::{Deserialize, Deserializer, Serialize};

use super::decode::{Tagged, double_option, double_option_object, optional_object};
use super::turn_detection::{ServerVad, TurnDetection, TurnDetectionUpdate};

/// The only rate at which the protocol carries `audio/pcm`, in Hz.
pub const PCM_RATE_HZ: u32 = 24_000;

/// How audio is encoded on the wire.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(tag = "type")]
pub enum AudioFormat {
    /// Signed 16-bit little-endian mono samples.
    #[serde(rename = "audio/pcm")]
    Pcm {
        /// Samples a second; 24000 in every valid event.
        rate: u32,
    },
    /// G.711 µ-law at 8 kHz, one byte a sample.
    #[serde(rename = "audio/pcmu")]
    Pcmu,
    /// G.711 A-law at 8 kHz, one byte a sample.
    #[serde(rename = "audio/pcma")]
    Pcma,
    /// Opus packets: an extension of ours, never sent unless asked for.
    #[serde(rename = "audio/opus")]
    Opus,
}

impl AudioFormat {
    /// PCM as the protocol wants it: 24 kHz, 16 bit, mono.
    pub const PCM: Self = Self::Pcm { rate: PCM_RATE_HZ };
}

impl Default for AudioFormat {
    fn default() -> Self {
        Self::PCM
    }
}

#[derive(Deserialize)]
struct PcmFields {
    rate: Option<u32>,
}

impl<'de> Deserialize<'de> for AudioFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let format = Tagged::read(deserializer, "type")?;
        match format.name.as_str() {
            "audio/pcm" => {
                format.body().map(|pcm: PcmFields| Self::Pcm { rate: pcm.rate.unwrap_or(PCM_RATE_HZ) })
            }
            "audio/pcmu" => Ok(Self::Pcmu),
            "audio/pcma" => Ok(Self::Pcma),
            "audio/opus" => Ok(Self::Opus),
            _ => Err(format.unknown(&["audio/pcm", "audio/pcmu", "audio/pcma", "audio/opus"])),
        }
    }
}

/// How the user's speech is transcribed. Clients send names of OpenAI's models: any name is accepted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Transcription {
    /// The transcription model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The language spoken, ISO 639-1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The languages that may be spoken, ISO 639-1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub languages: Option<Vec<String>>,
    /// Words to expect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keywords: Option<Vec<String>>,
    /// Text that guides the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// How long partial transcripts may wait for more context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<TranscriptionDelay>,
}

/// The trade of partial transcripts between soon and right.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "an ordered scale whose steps are only named")]
pub enum TranscriptionDelay {
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
}

/// Which microphone the noise reduction expects.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct NoiseReduction {
    /// The kind of microphone.
    #[serde(rename = "type")]
    pub kind: NoiseReductionType,
}

/// The kind of microphone.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum NoiseReductionType {
    /// A headset.
    NearField,
    /// A laptop or a conference room.
    FarField,
}

/// A voice: its name, or an object that holds its id.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(untagged, expecting = "expected the name of a voice or an object with its 'id'")]
pub enum Voice {
    /// A voice by name.
    Name(String),
    /// A voice by id.
    Id {
        /// The id.
        id: String,
    },
}

impl Voice {
    /// The name or the id.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Id { id } => id,
        }
    }
}

/// What comes from the user, as in effect.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct AudioInput {
    /// The encoding of appended audio.
    pub format: AudioFormat,
    /// Whether and how transcripts are sent.
    pub transcription: Option<Transcription>,
    /// Noise reduction, null for none.
    pub noise_reduction: Option<NoiseReduction>,
    /// Turn detection, null for push-to-talk.
    pub turn_detection: Option<TurnDetection>,
}

/// A change of [`AudioInput`].
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct AudioInputUpdate {
    /// See [`AudioInput::format`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<AudioFormat>,
    /// See [`AudioInput::transcription`].
    #[serde(default, deserialize_with = "double_option_object", skip_serializing_if = "Option::is_none")]
    pub transcription: Option<Option<Transcription>>,
    /// See [`AudioInput::noise_reduction`].
    #[serde(default, deserialize_with = "double_option_object", skip_serializing_if = "Option::is_none")]
    pub noise_reduction: Option<Option<NoiseReduction>>,
    /// See [`AudioInput::turn_detection`].
    #[serde(default, deserialize_with = "double_option", skip_serializing_if = "Option::is_none")]
    pub turn_detection: Option<Option<TurnDetectionUpdate>>,
}

/// What the user hears, as in effect.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct AudioOutput {
    /// The encoding of audio deltas.
    pub format: AudioFormat,
    /// The voice.
    pub voice: Voice,
    /// Speed of speech, 0.25 to 1.5.
    pub speed: f64,
}

/// A change of [`AudioOutput`]; in `response.create`, without `speed`, for one response.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct AudioOutputUpdate {
    /// See [`AudioOutput::format`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<AudioFormat>,
    /// See [`AudioOutput::voice`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice: Option<Voice>,
    /// See [`AudioOutput::speed`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
}

/// A change of both directions.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct AudioUpdate {
    /// What comes from the user.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub input: Option<AudioInputUpdate>,
    /// What the user hears.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub output: Option<AudioOutputUpdate>,
}

impl AudioUpdate {
    /// Applies the part about input; `vad` is what `server_vad` starts from.
    pub fn apply_input(&self, input: &mut AudioInput, vad: &ServerVad) {
        let Some(update) = &self.input else { return };
        input.format = update.format.unwrap_or(input.format);
        if let Some(transcription) = &update.transcription {
            input.transcription.clone_from(transcription);
        }
        input.noise_reduction = update.noise_reduction.unwrap_or(input.noise_reduction);
        if let Some(detection) = &update.turn_detection {
            let current = input.turn_detection.as_ref();
            input.turn_detection = detection.as_ref().map(|update| update.apply(current, vad));
        }
    }

    /// Applies the part about output.
    pub fn apply_output(&self, output: &mut AudioOutput) {
        let Some(update) = &self.output else { return };
        output.format = update.format.unwrap_or(output.format);
        output.speed = update.speed.unwrap_or(output.speed);
        if let Some(voice) = &update.voice {
            output.voice.clone_from(voice);
        }
    }
}
