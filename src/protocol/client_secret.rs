//! `POST /v1/realtime/client_secrets`: what is asked and what is answered.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client_event::parse_session_update;
use super::decode::{from_value, optional_object};
use super::error::{ErrorCode, ProtocolError};
use super::session::{Session, SessionType, SessionUpdate};

/// Shortest and longest life of a secret, in seconds; OpenAI's limits.
pub const SECRET_LIFE_S: (u64, u64) = (10, 7_200);
/// Life of a secret whose request names none, in seconds; OpenAI's default.
pub const DEFAULT_SECRET_LIFE_S: u64 = 600;

/// What is asked, read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientSecretRequest {
    /// Life of the secret in seconds.
    pub life_s: u64,
    /// What its sessions start with.
    pub session: SessionUpdate,
}

/// A secret that was made.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ClientSecret {
    /// The secret, `ek_...`. It is told once.
    pub value: String,
    /// Until when it opens sessions, in unix seconds.
    pub expires_at: u64,
    /// The session that it would open now.
    pub session: Session,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default, deserialize_with = "optional_object")]
    expires_after: Option<ExpiresAfter>,
    session: Option<Value>,
}

#[derive(Deserialize)]
struct ExpiresAfter {
    #[serde(default)]
    #[expect(dead_code, reason = "there is one anchor; others are refused by its type")]
    anchor: Anchor,
    seconds: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Anchor {
    #[default]
    CreatedAt,
}

/// Reads and checks the body of a request; an empty object is one.
///
/// # Errors
/// Names the field at fault, like `expires_after.seconds` or `session.audio.output.speed`.
pub fn parse_client_secret_request(body: &Value) -> Result<ClientSecretRequest, ProtocolError> {
    if !body.is_object() {
        let message = "The body must be a JSON object: {\"session\": {\"type\": \"realtime\"}}.";
        return Err(ProtocolError::new(ErrorCode::INVALID_TYPE, message));
    }
    let body: Body = from_value(body, "")?;
    let seconds = body.expires_after.and_then(|expires| expires.seconds);
    let session = match &body.session {
        None | Some(Value::Null) => SessionUpdate::new(SessionType::Realtime),
        Some(session) => parse_session_update(session)?,
    };
    Ok(ClientSecretRequest { life_s: seconds.map_or(Ok(DEFAULT_SECRET_LIFE_S), life)?, session })
}

fn life(seconds: i64) -> Result<u64, ProtocolError> {
    let (least, most) = SECRET_LIFE_S;
    let found = u64::try_from(seconds).ok().filter(|seconds| (least..=most).contains(seconds));
    found.ok_or_else(|| {
        let param = "expires_after.seconds";
        let message = format!("Invalid '{param}': {seconds} is out of range; allowed are {least} to {most}.");
        let below = seconds < i64::try_from(least).unwrap_or(i64::MAX);
        let code =
            if below { ErrorCode::INTEGER_BELOW_MIN_VALUE } else { ErrorCode::INTEGER_ABOVE_MAX_VALUE };
        ProtocolError::at(param, code, message)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_has_openais_defaults() {
        for body in [json!({}), json!({"session": null, "expires_after": null}), json!({"expires_after": {}})]
        {
            let request = parse_client_secret_request(&body).expect("all is optional");
            assert_eq!(request.life_s, 600, "{body}");
            assert_eq!(request.session, SessionUpdate::new(SessionType::Realtime));
        }
        let body = json!({
            "expires_after": {"anchor": "created_at", "seconds": 10},
            "session": {"type": "realtime", "instructions": "Rhyme."},
        });
        let request = parse_client_secret_request(&body).expect("well formed");
        assert_eq!((request.life_s, request.session.instructions.as_deref()), (10, Some("Rhyme.")));
    }

    #[test]
    fn errors_name_the_field() {
        let session = |session: Value| json!({"session": session});
        for (body, param, code) in [
            (json!({"expires_after": {"seconds": 9}}), "expires_after.seconds", "integer_below_min_value"),
            (
                json!({"expires_after": {"seconds": 7_201}}),
                "expires_after.seconds",
                "integer_above_max_value",
            ),
            (json!({"expires_after": {"seconds": "x"}}), "expires_after.seconds", "invalid_type"),
            (json!({"expires_after": {"anchor": "now"}}), "expires_after.anchor", "invalid_value"),
            (json!({"expires_after": 5}), "expires_after", "invalid_type"),
            (session(json!({})), "session.type", "missing_required_parameter"),
            (
                session(json!({"type": "realtime", "audio": {"output": {"speed": 9}}})),
                "session.audio.output.speed",
                "decimal_above_max_value",
            ),
        ] {
            let error = parse_client_secret_request(&body).expect_err("it is wrong");
            assert_eq!((error.param.as_deref(), error.code.as_str()), (Some(param), code), "{body}: {error}");
        }
        assert!(parse_client_secret_request(&json!([])).is_err());
    }
}
