//! The one place where the wire meets the session: client events become commands, session events become server
//! events. Nothing else knows both.
//!
//! [`inbound`] and [`outbound`] are the two directions; [`settings`] and [`items`] are the parts that both have.

mod errors;
mod inbound;
mod items;
mod outbound;
mod settings;
mod transcripts;

pub(super) use errors::{error_body, quota_code};
pub(super) use inbound::command;
pub(super) use outbound::{close_code, server_event};
pub(super) use settings::{patch, session};
