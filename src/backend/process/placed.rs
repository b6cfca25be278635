//! An engine that may run in a process of its own: its configuration, and what it is there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::backend::Placement;
use crate::backend::catalog::{EnginesConfig, LlmConfig, SttConfig, TtsConfig};
use crate::engine::llm::LlmEngine;
use crate::engine::stt::SttEngine;
use crate::engine::tts::TtsEngine;

/// The configuration of one engine, whatever its kind.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacedConfig {
    /// Speech-to-text.
    Stt(SttConfig),
    /// A language model.
    Llm(LlmConfig),
    /// Text-to-speech.
    Tts(TtsConfig),
}

/// What may be placed.
pub(in crate::backend) trait Placeable: Clone + Into<PlacedConfig> {
    /// The name that its errors bear.
    fn name(&self) -> &str;
    /// Where it is to run; `None` for what runs elsewhere anyway.
    fn placement(&mut self) -> Option<&mut Placement>;

    /// The environment variable that holds its key, where one does.
    fn secret(&self) -> Option<&str>;

    /// Whether it is to run in a process of its own.
    fn is_apart(&self) -> bool {
        self.clone().placement().is_some_and(|placement| *placement == Placement::Process)
    }
}

/// `elsewhere`: kinds that do not run on this machine.
macro_rules! placed {
    ($config:ident in $list:ident: $($kind:ident),+ $(; elsewhere $($other:ident),+)?) => {
        impl Placeable for $config {
            fn name(&self) -> &str {
                match self {
                    $(Self::$kind(config) => &config.name,)+
                    $($(Self::$other(config) => &config.name,)+)?
                }
            }
            fn placement(&mut self) -> Option<&mut Placement> {
                match self {
                    $(Self::$kind(config) => Some(&mut config.placement),)+
                    $($(Self::$other(_) => None,)+)?
                }
            }
            fn secret(&self) -> Option<&str> {
                match self {
                    $(Self::$kind(_) => None,)+
                    $($(Self::$other(config) => config.api_key_env.as_deref(),)+)?
                }
            }
        }

        impl From<$config> for PlacedConfig {
            fn from(config: $config) -> Self {
                Self::$list(config)
            }
        }
    };
}

placed!(SttConfig in Stt: Whisper, Moonshine, Scripted; elsewhere OpenAi);
placed!(LlmConfig in Llm: Onnx, Scripted; elsewhere OpenAi);
placed!(TtsConfig in Tts: Espeak, Piper, Kokoro, Scripted; elsewhere OpenAi);

impl PlacedConfig {
    /// The name that its errors bear.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Stt(config) => config.name(),
            Self::Llm(config) => config.name(),
            Self::Tts(config) => config.name(),
        }
    }
}

impl EnginesConfig {
    /// The same with every engine in this process, for who takes the time that it computes.
    #[must_use]
    pub fn in_this_process(mut self) -> Self {
        let stt = self.stt.iter_mut().filter_map(Placeable::placement);
        let llm = self.llm.iter_mut().filter_map(Placeable::placement);
        let tts = self.tts.iter_mut().filter_map(Placeable::placement);
        stt.chain(llm).chain(tts).for_each(|placement| *placement = Placement::Server);
        self
    }

    /// Environment variables that hold keys: no process of an engine needs them.
    pub(in crate::backend) fn secrets(&self) -> Vec<String> {
        let stt = self.stt.iter().filter_map(Placeable::secret);
        let llm = self.llm.iter().filter_map(Placeable::secret);
        stt.chain(llm).chain(self.tts.iter().filter_map(Placeable::secret)).map(str::to_owned).collect()
    }
}

/// An engine, whatever its kind.
#[derive(Clone, Debug)]
pub enum AnyEngine {
    /// Speech-to-text.
    Stt(Arc<dyn SttEngine>),
    /// A language model.
    Llm(Arc<dyn LlmEngine>),
    /// Text-to-speech.
    Tts(Arc<dyn TtsEngine>),
}
