//! Changed settings while the session runs: the client's own, and the server's for all sessions.

use tokio::time::Instant;

use super::SessionActor;
use crate::session::config::SessionConfig;
use crate::session::error::SessionError;
use crate::session::event::SessionEvent;
use crate::session::live::LiveSettings;
use crate::session::settings::{SessionSettings, SettingsPatch, TurnDetection, TurnMode};
use crate::session::size;
use crate::session::turn::TurnPolicy;

impl SessionActor {
    pub(super) fn update(&mut self, patch: SettingsPatch) -> Result<(), SessionError> {
        let turns_change = patch.turn_detection.is_some();
        self.check_languages(&patch)?;
        self.settings.apply(patch, self.voice_locked)?;
        self.settings_bytes = size::settings(&self.settings);
        self.shares.keeping.settings_changed();
        self.components.input.set_format(self.settings.input_format)?;
        self.components.callbacks.set_wanted(self.settings.transcription.is_some());
        self.interpreting.set_languages(&self.settings.translate_to);
        if turns_change {
            self.turn.set_policy(policy(&self.settings, &self.config));
            self.follow_turn_detection();
        }
        self.outbox.send(SessionEvent::Updated(Box::new(self.view())));
        Ok(())
    }

    /// Goes on under changed settings. A turn under way keeps its audio and its attempt; what is longer than a
    /// new limit stays as it is.
    pub(super) fn follow_settings(&mut self) {
        let LiveSettings { config, features } = self.live.borrow_and_update().clone();
        if config.limits.idle_s != self.config.limits.idle_s {
            self.last_command = Instant::now(); // a shorter limit counts from now: no change ends a session
        }
        (self.config, self.features) = (config, features);
        self.turn.set_policy(policy(&self.settings, &self.config));
        self.conversation.set_max_items(self.config.limits.max_items);
        self.components.input.set_limit(self.config.limits.max_input_audio_ms);
    }
}

pub(super) fn policy(settings: &SessionSettings, config: &SessionConfig) -> TurnPolicy {
    let detection = settings.turn_detection.clone().unwrap_or_default();
    TurnPolicy::new(&detection, &config.endpointing, &config.limits)
}

/// Probability of speech that counts, by the client's setting.
pub(super) fn threshold(detection: Option<&TurnDetection>) -> f32 {
    match detection.map(|detection| &detection.mode) {
        Some(TurnMode::Server { threshold, .. }) => *threshold,
        _ => 0.5,
    }
}
