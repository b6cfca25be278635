//! Who may open a session: the origin of a web page, and the error shape of refusals.

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::config::ServerConfig;

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
    let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
    let body = json!({"error": {"type": kind, "code": code, "message": message, "param": null}});
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

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
