//! What sessions follow while they run: their configuration and the feature switches, as they are now.
//!
//! One value for all sessions, set by the composition root alone; a session reads it and can change nothing of
//! it. Knows nothing of files, variables or requests. Read [`LiveConfig`] first.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::config::SessionConfig;

/// Switches of whole features, for operators who want to rule one out. All may change while the server runs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct FeaturesConfig {
    /// Whether answers are begun before the turn has ended. On: it hides the engines' time behind the silence
    /// that ends a turn, and costs the answers that are thrown away when the person goes on.
    pub speculation: bool,
    /// Whether speech is transcribed while the person still speaks, for clients that want to read along.
    pub partials: bool,
    /// Whether engines compute several calls at once. Off is a fallback, for telling faults of engines from
    /// faults of their company: one call, or one step of the language model, at a time in the whole server.
    pub concurrent_processing: bool,
    /// Whether quality may be lowered in steps before sessions are refused.
    pub adaptive_quality: bool,
    /// Whether sockets are compressed (permessage-deflate) where their clients offer it. Sessions know nothing of
    /// it: the server reads it when a socket opens.
    pub compression: bool,
}

impl Default for FeaturesConfig {
    fn default() -> Self {
        Self {
            speculation: true,
            partials: true,
            concurrent_processing: true,
            adaptive_quality: true,
            compression: true,
        }
    }
}

/// The settings of all sessions at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveSettings {
    /// How sessions behave.
    pub config: Arc<SessionConfig>,
    /// Which features are on.
    pub features: FeaturesConfig,
}

impl LiveSettings {
    /// These settings.
    pub fn new(config: SessionConfig, features: FeaturesConfig) -> Self {
        Self { config: Arc::new(config), features }
    }
}

/// The settings of all sessions, now and later. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct LiveConfig(Arc<watch::Sender<LiveSettings>>);

impl LiveConfig {
    /// Settings to begin with.
    pub fn new(settings: LiveSettings) -> Self {
        Self(Arc::new(watch::Sender::new(settings)))
    }

    /// The settings as they are now.
    pub fn now(&self) -> LiveSettings {
        self.0.borrow().clone()
    }

    /// Tells of each later change.
    pub fn follow(&self) -> watch::Receiver<LiveSettings> {
        self.0.subscribe()
    }

    /// From now on, these. Sessions that run are told.
    pub fn reconfigure(&self, settings: LiveSettings) {
        self.0.send_replace(settings);
    }
}

impl From<SessionConfig> for LiveConfig {
    fn from(config: SessionConfig) -> Self {
        Self::new(LiveSettings::new(config, FeaturesConfig::default()))
    }
}
