//! L3: one person's conversation: audio in, turns, history, audio out.
//!
//! Nothing here knows the wire, the server, how engines are made or where configuration comes from; and nothing
//! mutable is shared between two sessions. Read [`SessionComponentFactory`] for what a session is made of, then
//! `actor` for how it lives; [`turn`], [`conversation`], [`clause`], [`completeness`] and [`playback`] are pure.
//! What it may take is in [`quota`], what its requests went through in [`lifecycle`], how it is in [`health`].

mod actor;
pub mod admission;
pub mod audio_input;
pub mod callbacks;
pub mod clause;
pub mod clock;
pub mod command;
pub mod completeness;
pub mod config;
pub mod conversation;
pub mod error;
pub mod event;
pub mod expectation;
pub mod factory;
pub mod health;
pub mod id;
pub mod interruption;
pub mod lifecycle;
mod listening;
pub mod live;
pub mod metered;
pub mod partials;
pub mod playback;
pub mod quota;
mod response;
pub mod router;
pub mod settings;
pub mod sideband;
mod size;
pub mod snapshot;
pub mod speech_pipeline;
pub mod translation;
pub mod turn;

pub use actor::COMMANDS_CAPACITY;
pub use admission::{AdmissionConfig, AdmissionGate};
pub use audio_input::AudioInputProcessor;
pub use callbacks::TranscriptionCallbacks;
pub use command::{Action, SessionCommand};
pub use config::SessionConfig;
pub use error::SessionError;
pub use event::SessionEvent;
pub use factory::{SessionComponentFactory, SessionComponents, SessionSpec};
pub use live::{FeaturesConfig, LiveConfig, LiveSettings};
pub use quota::SessionQuotaManager;
pub use router::{Owner, SessionRouter};
pub use speech_pipeline::SpeechPipelineManager;
