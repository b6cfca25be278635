//! Who may come in and see what: API keys and their roles, the origin of a web page, and the error shape of
//! refusals.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::config::{KeyConfig, KeyRole, ServerConfig};
use super::convert;
use super::secrets::{ClientSecrets, Grant, SECRET_PREFIX};
use crate::protocol::{ProtocolError, SessionUpdate};
use crate::session::Owner;
use crate::session::quota::QuotaError;

/// How browsers, which cannot set headers, carry a key: as a subprotocol with this prefix.
const KEY_SUBPROTOCOL: &str = "openai-insecure-api-key.";

/// Who asks for what others did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Viewer {
    owner: Owner,
    admin: bool,
}

impl Viewer {
    /// Whether what belongs to `owner` is for this viewer. Nobody can tell one anonymous user from another, so
    /// that only an administrator sees what is theirs.
    pub(super) fn may_see(&self, owner: &Owner) -> bool {
        self.admin || (*owner == self.owner && !owner.is_anonymous())
    }
}

impl Viewer {
    /// Whose sessions this viewer may attach a second socket to: its own and nobody else's, administrators included.
    /// Where nobody has a key, all sessions are nobody's, and only who is administrator there may.
    pub(super) fn attaches_to(&self) -> Option<&Owner> {
        (self.admin || !self.owner.is_anonymous()).then_some(&self.owner)
    }
}

/// Who asks at `/api`: an administrator is a key of that role and, on a server without keys, everybody on its own
/// machine. There the host must be this machine's too, so that no page can come in under a name of its own that
/// leads here (DNS rebinding).
pub(super) fn viewer(
    headers: &HeaderMap,
    config: &ServerConfig,
    peer: SocketAddr,
) -> Result<Viewer, Box<Response>> {
    check_origin(headers, config)?;
    let Some(key) = known_key(headers, config)? else {
        let admin = peer.ip().to_canonical().is_loopback() && is_local_host(headers);
        return Ok(Viewer { owner: Owner::anonymous(), admin });
    };
    Ok(Viewer { owner: Owner(key.name.as_str().into()), admin: key.role == KeyRole::Admin })
}

/// Who asks, by the API key; a refusal says how to send one.
pub(super) fn authenticate(headers: &HeaderMap, config: &ServerConfig) -> Result<Owner, Box<Response>> {
    Ok(known_key(headers, config)?.map_or_else(Owner::anonymous, |key| Owner(key.name.as_str().into())))
}

/// Who calls an endpoint below `/v1`: by the API key, and from a page that may.
pub(super) fn caller(headers: &HeaderMap, config: &ServerConfig) -> Result<Owner, Box<Response>> {
    check_origin(headers, config)?;
    authenticate(headers, config)
}

fn check_origin(headers: &HeaderMap, config: &ServerConfig) -> Result<(), Box<Response>> {
    if origin_allowed(headers, config) {
        return Ok(());
    }
    let message = "Pages of this origin may not ask. Add it to server.allowed_origins.";
    Err(Box::new(api_error(StatusCode::FORBIDDEN, "origin_not_allowed", message)))
}

/// Who opens a session, and what a client secret gave it to start with.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) owner: Owner,
    pub(super) session: Option<Arc<SessionUpdate>>,
}

/// Who opens a session: the holder of an API key or of a client secret.
pub(super) fn authenticate_guest(
    headers: &HeaderMap,
    config: &ServerConfig,
    secrets: &ClientSecrets,
) -> Result<Guest, Box<Response>> {
    let secret = sent_key(headers).filter(|key| key.starts_with(SECRET_PREFIX));
    match secret.and_then(|secret| secrets.find(secret)) {
        Some(Grant { owner, session }) => Ok(Guest { owner, session: Some(session) }),
        None => Ok(Guest { owner: authenticate(headers, config)?, session: None }),
    }
}

/// The key that was sent; `None` on a server without keys.
fn known_key<'a>(
    headers: &HeaderMap,
    config: &'a ServerConfig,
) -> Result<Option<&'a KeyConfig>, Box<Response>> {
    let sent = sent_key(headers);
    if config.auth.keys.is_empty() && !sent.is_some_and(|key| key.starts_with(SECRET_PREFIX)) {
        return Ok(None);
    }
    let refuse =
        |message: &str| Err(Box::new(api_error(StatusCode::UNAUTHORIZED, "invalid_api_key", message)));
    let Some(key) = sent else {
        return refuse("No API key was given. Send it as 'Authorization: Bearer KEY'.");
    };
    let hash = Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // The hashes are compared, not the keys, so that the time it takes tells nothing of a key.
    match config.auth.keys.iter().find(|known| known.sha256.eq_ignore_ascii_case(&hash)) {
        Some(known) => Ok(Some(known)),
        None if key.starts_with(SECRET_PREFIX) => refuse(
            "This is a client secret that is unknown here or has expired, or it is used for something other than \
             opening a session at /v1/realtime. Make a new one with POST /v1/realtime/client_secrets, or send an \
             API key.",
        ),
        None => {
            refuse("The API key is not known here. Ask the operator, who lists keys in server.auth.keys.")
        }
    }
}

/// Who asks, if it may change the server: the holder of an admin key, or, on a server without keys, somebody on
/// this machine. There the host must be this machine's too, so that no page can come in under a name of its own
/// that leads here (DNS rebinding).
pub(super) fn authenticate_admin(
    headers: &HeaderMap,
    peer: SocketAddr,
    config: &ServerConfig,
) -> Result<Owner, Box<Response>> {
    let refuse = |code, message: &str| Err(Box::new(api_error(StatusCode::FORBIDDEN, code, message)));
    if !origin_allowed(headers, config) {
        return refuse("origin_not_allowed", "Pages of this origin may not change the server.");
    }
    let owner = authenticate(headers, config)?;
    if config.auth.keys.is_empty() {
        if peer.ip().to_canonical().is_loopback() && is_local_host(headers) {
            return Ok(owner);
        }
        return refuse("admin_required", "Without API keys, only this machine may do this.");
    }
    let is_admin = |key: &KeyConfig| key.name == *owner.0 && key.role == KeyRole::Admin;
    if config.auth.keys.iter().any(is_admin) {
        return Ok(owner);
    }
    refuse("admin_required", "This needs an API key with the role admin (server.auth.keys).")
}

/// Whether the request names this machine by address or as `localhost`.
fn is_local_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(name, _)| name);
    name == "localhost" || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn sent_key(headers: &HeaderMap) -> Option<&str> {
    bearer(headers).or_else(|| subprotocol_key(headers))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").map(str::trim)
}

fn subprotocol_key(headers: &HeaderMap) -> Option<&str> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names = offered.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    names.find_map(|name| name.trim().strip_prefix(KEY_SUBPROTOCOL))
}

/// Whether a request comes from where it may. Programs send no origin; a page is allowed from the server's own
/// address and from those configured, so that no foreign page in the same browser can open sessions.
pub(super) fn origin_allowed(headers: &HeaderMap, config: &ServerConfig) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    if config.allowed_origins.iter().any(|allowed| allowed == origin || allowed == "*") {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    origin.split_once("://").map(|(_, authority)| authority) == host
}

/// An error in the shape of OpenAI's HTTP APIs.
pub(super) fn api_error(status: StatusCode, code: &str, message: &str) -> Response {
    field_error(status, code, message, None)
}

/// The broad class of an error, whose fault it is.
pub(super) fn error_kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}

/// The same, about the field `param` of the request.
pub(super) fn field_error(status: StatusCode, code: &str, message: &str, param: Option<&str>) -> Response {
    let body =
        json!({"error": {"type": error_kind(status), "code": code, "message": message, "param": param}});
    (status, Json(body)).into_response()
}

/// A body that is longer than `limit` bytes, or that could not be read for another `reason`.
pub(super) fn unreadable(status: StatusCode, limit: usize, reason: &str) -> Response {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let message = format!("The body is longer than {limit} bytes, the most that is taken here.");
        return api_error(status, "request_too_large", &message);
    }
    api_error(status, "invalid_request", &format!("The body cannot be read: {reason}."))
}

/// What is wrong with a request's body.
pub(super) fn protocol_error(error: &ProtocolError) -> Response {
    field_error(StatusCode::BAD_REQUEST, error.code.as_str(), &error.message, error.param.as_deref())
}

/// 429 with `Retry-After`.
pub(super) fn over_quota(error: &QuotaError) -> Response {
    let code = convert::quota_code(error);
    let mut response = api_error(StatusCode::TOO_MANY_REQUESTS, code.as_str(), &error.to_string());
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(error.retry_after_s()));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::AuthConfig;

    #[test]
    fn keys_come_as_bearer_or_subprotocol() {
        // printf secret | sha256sum
        let sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b".to_owned();
        let key = KeyConfig { name: "anna".to_owned(), sha256, role: KeyRole::User };
        let config = ServerConfig { auth: AuthConfig { keys: vec![key] }, ..ServerConfig::default() };
        let bearer = header::AUTHORIZATION;
        let protocol = header::SEC_WEBSOCKET_PROTOCOL;
        for (name, value, known) in [
            (&bearer, "Bearer secret", true),
            (&bearer, "Bearer guess", false),
            (&bearer, "secret", false),
            (&protocol, "realtime, openai-insecure-api-key.secret", true),
            (&protocol, "realtime", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            let owner = authenticate(&headers, &config).ok().map(|owner| owner.0.to_string());
            assert_eq!(owner.as_deref(), known.then_some("anna"), "{name}: {value}");
        }
        assert!(authenticate(&HeaderMap::new(), &ServerConfig::default()).is_ok(), "no keys, no check");
    }

    #[test]
    fn only_admins_may_change_the_server() {
        // printf secret | sha256sum
        let sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let with_role = |role| {
            let key = KeyConfig { name: "anna".to_owned(), sha256: sha256.to_owned(), role };
            ServerConfig { auth: AuthConfig { keys: vec![key] }, ..ServerConfig::default() }
        };
        let (open, user, admin) =
            (ServerConfig::default(), with_role(KeyRole::User), with_role(KeyRole::Admin));
        for (config, peer, host, key, status) in [
            (&open, "127.0.0.1:5", "localhost:8700", "", None),
            (&open, "[::1]:5", "[::1]:8700", "", None),
            (&open, "[::ffff:127.0.0.1]:5", "127.0.0.1", "", None),
            (&open, "127.0.0.1:5", "evil.example:8700", "", Some(403)),
            (&open, "10.0.0.7:5", "127.0.0.1:8700", "", Some(403)),
            (&user, "127.0.0.1:5", "localhost", "Bearer secret", Some(403)),
            (&admin, "127.0.0.1:5", "localhost", "", Some(401)),
            (&admin, "10.0.0.7:5", "voice.example", "Bearer secret", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(key));
            let peer = peer.parse().expect("an address");
            let found = authenticate_admin(&headers, peer, config).err();
            assert_eq!(found.map(|response| response.status().as_u16()), status, "{peer} {host} {key}");
        }
    }

    #[test]
    fn without_keys_only_this_machine_is_administrator() {
        for (peer, host, admin) in [
            ("127.0.0.1:5", "localhost:8700", true),
            ("127.0.0.1:5", "127.0.0.1:8700", true),
            ("[::1]:5", "[::1]:8700", true),
            ("[::ffff:127.0.0.1]:5", "localhost", true),
            ("10.0.0.7:5", "localhost:8700", false),
            ("127.0.0.1:5", "evil.example:8700", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            let peer = peer.parse().expect("an address");
            let viewer = viewer(&headers, &ServerConfig::default(), peer).expect("no key is needed");
            assert_eq!(viewer.may_see(&Owner::anonymous()), admin, "{peer} {host}");
        }
        let (anna, ben) = (Owner("anna".into()), Owner("ben".into()));
        let user = Viewer { owner: anna.clone(), admin: false };
        assert_eq!((user.may_see(&anna), user.may_see(&ben)), (true, false));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let config = ServerConfig {
            allowed_origins: vec!["https://app.example".to_owned()],
            ..ServerConfig::default()
        };
        for (origin, allowed) in [
            (None, true),
            (Some("http://127.0.0.1:8700"), true),
            (Some("https://app.example"), true),
            (Some("https://evil.example"), false),
            (Some("http://127.0.0.1:9999"), false),
            (Some("null"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8700"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(origin_allowed(&headers, &config), allowed, "{origin:?}");
        }
    }
}
