//! Which session a client asks for: a new one, or one that it resumes.

use axum::response::Response;

use super::access::{Guest, protocol_error};
use super::client_secrets;
use super::realtime::{RealtimeQuery, refused};
use super::router::ServerState;
use crate::protocol::{ErrorCode, ProtocolError, SessionType, SessionUpdate};
use crate::session::admission::Permit;
use crate::session::router::{OpenError, OpenSession, Resumable};
use crate::session::settings::SessionSettings;
use crate::session::snapshot::ResumeToken;
use crate::session::{Owner, SessionRouter};

/// The session that is to be opened once there is a place.
pub(super) enum Opening {
    /// One that begins.
    New(Owner, Box<SessionSettings>),
    /// One whose connection was cut.
    Resumed(Resumable),
}

impl Opening {
    /// What the client asks for. A session that is to be resumed has left its old socket then.
    pub(super) async fn of(
        state: &ServerState,
        guest: Guest,
        query: &RealtimeQuery,
    ) -> Result<Self, Box<Response>> {
        let Guest { owner, session } = guest;
        let Some(token) = &query.resume else {
            let settings = session_settings(state, query, session.as_deref());
            let settings = settings.map_err(|error| Box::new(protocol_error(&error)))?;
            return Ok(Self::New(owner, Box::new(settings)));
        };
        let found = state.sessions.resumable(ResumeToken::of_client(token), &owner).await;
        let resumable = found.map_err(|error| Box::new(refused(&error)))?;
        state.sessions.take_over(&resumable).await;
        Ok(Self::Resumed(resumable))
    }

    /// Opens it.
    pub(super) async fn open(
        self,
        sessions: &SessionRouter,
        permit: Permit,
    ) -> Result<OpenSession, OpenError> {
        match self {
            Self::New(owner, settings) => sessions.open(&owner, *settings, permit),
            Self::Resumed(resumable) => sessions.resume(&resumable, permit).await,
        }
    }
}

/// What the session starts with: as configured, or as the client's secret says.
fn session_settings(
    state: &ServerState,
    query: &RealtimeQuery,
    secret: Option<&SessionUpdate>,
) -> Result<SessionSettings, ProtocolError> {
    let (model, transcribes) = (query.model.clone(), query.intent.is_some());
    match secret {
        None if transcribes => Ok(state.session_settings(model).for_transcription()),
        None => Ok(state.session_settings(model)),
        Some(session) if transcribes && session.kind != SessionType::Transcription => {
            let message = "The client secret is for a session of type 'realtime': connect without 'intent'.";
            Err(ProtocolError::at("intent", ErrorCode::INVALID_VALUE, message))
        }
        Some(session) => client_secrets::settings(state, model, session.clone()),
    }
}
