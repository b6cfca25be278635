//! `SessionComponentFactory`: builds what one session is made of. Cheap, no I/O; each part is new, and none
//! holds more of the engines than the way to ask for a lease.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::mpsc;

use super::audio_input::AudioInputProcessor;
use super::callbacks::{Outbox, TranscriptionCallbacks};
use super::event::SessionEvent;
use super::id::SessionId;
use super::live::LiveConfig;
use super::metered;
use super::settings::SessionSettings;
use super::speech_pipeline::{SpeechPipelineManager, TranscriptEvent};
use super::translation::{TranslationDesk, TranslationEvent, Translator};
use crate::audio::AudioError;
use crate::engine::turn::TurnDetector;
use crate::engine::vad::VadEngine;
use crate::pool::{HolderId, ResourcePoolManager};
use crate::runtime::Runtime;

/// Who a session is and how it starts.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    /// Its id.
    pub id: SessionId,
    /// The same towards the pools.
    pub holder: HolderId,
    /// What it starts with.
    pub settings: SessionSettings,
}

/// What one session is made of. All of it belongs to that session alone.
#[derive(Debug)]
pub struct SessionComponents {
    /// Its audio input.
    pub input: AudioInputProcessor,
    /// Tells its client what was heard.
    pub callbacks: TranscriptionCallbacks,
    /// Runs the engines for it.
    pub pipeline: SpeechPipelineManager,
    /// Where its transcripts arrive.
    pub transcripts: mpsc::Receiver<TranscriptEvent>,
    /// Has texts translated for it.
    pub translator: Translator,
    /// Where its translations arrive.
    pub translations: mpsc::Receiver<TranslationEvent>,
    /// Where its events leave.
    pub outbox: Outbox,
}

/// Why no session can be built.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BuildError {
    /// A pool without an engine.
    #[error("no {pool} engine is configured; see [engines.{pool}] in the configuration")]
    NoEngine {
        /// The pool's name.
        pool: &'static str,
    },
    /// The audio format cannot be converted.
    #[error("{reason}")]
    Audio {
        /// Why.
        reason: String,
    },
}

impl From<AudioError> for BuildError {
    fn from(error: AudioError) -> Self {
        Self::Audio { reason: error.to_string() }
    }
}

/// Builds the components of sessions.
#[derive(Clone, Debug)]
pub struct SessionComponentFactory {
    /// The shared engines.
    pub pools: ResourcePoolManager,
    /// Makes a voice detector for each session.
    pub vad: Arc<dyn VadEngine>,
    /// Judges by the voice whether a turn is over, where there is a model for it.
    pub turn: Option<Arc<dyn TurnDetector>>,
    /// Where the sessions' work runs.
    pub runtime: Runtime,
    /// Translates for all sessions.
    pub translations: TranslationDesk,
    /// How sessions behave.
    pub live: LiveConfig,
}

impl SessionComponentFactory {
    /// The components of a new session, and where its events arrive.
    pub fn build(
        &self,
        spec: &SessionSpec,
    ) -> Result<(SessionComponents, metered::Receiver<SessionEvent>), BuildError> {
        // Engines that are not well at the moment are no reason: calls wait for them, or say so.
        if let Some(empty) = self.pools.stats().into_iter().find(|pool| pool.instances.is_empty()) {
            return Err(BuildError::NoEngine { pool: empty.name });
        }
        let (outbox, events) = Outbox::new();
        let (pipeline, transcripts) =
            SpeechPipelineManager::new(self.pools.clone(), self.runtime.clone(), spec.holder);
        let (translator, translations) =
            Translator::new(self.translations.clone(), self.runtime.clone(), spec.holder);
        let components = SessionComponents {
            input: AudioInputProcessor::new(
                spec.settings.input_format,
                self.vad.detector(),
                self.live.now().config.limits.max_input_audio_ms,
            )?,
            callbacks: TranscriptionCallbacks::new(outbox.clone(), spec.settings.transcription.is_some()),
            pipeline: pipeline.judging_turns_by(self.turn.clone()),
            transcripts,
            translator,
            translations,
            outbox,
        };
        Ok((components, events))
    }
}
