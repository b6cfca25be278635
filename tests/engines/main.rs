//! The engines of this machine on models of their real interfaces.

#[path = "../socket/mod.rs"]
#[expect(dead_code, reason = "a part of it is used here")]
mod socket;

mod llm_families;
mod vad;
mod voices;
mod whisper_shapes;
