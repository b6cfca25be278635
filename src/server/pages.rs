//! The browser client: files of `assets/`, embedded in the binary.

use axum::extract::Path;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use super::access::api_error;

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Assets;

/// `/`.
pub(super) async fn index() -> Response {
    file("index.html")
}

/// `/assets/...`.
pub(super) async fn asset(Path(path): Path<String>) -> Response {
    file(&path)
}

/// Any other path.
pub(super) async fn not_found(uri: Uri) -> Response {
    api_error(StatusCode::NOT_FOUND, "not_found", &format!("There is nothing at {}.", uri.path()))
}

/// Any path that a server of engines does not have.
pub(super) async fn not_of_engines(uri: Uri) -> Response {
    let message = format!(
        "There is nothing at {} here: this server has the role 'engines' (server.role) and serves \
         /v1/audio/transcriptions, /v1/audio/speech, /v1/chat/completions and /v1/models to other servers. Talk with \
         the server that uses it, or start this one with --role all.",
        uri.path()
    );
    api_error(StatusCode::NOT_FOUND, "not_found_in_role_engines", &message)
}

fn file(path: &str) -> Response {
    let Some(file) = Assets::get(path) else {
        return api_error(StatusCode::NOT_FOUND, "not_found", &format!("There is no page '{path}'."));
    };
    let kind = file.metadata.mimetype().to_owned();
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache".to_owned())];
    (headers, file.data).into_response()
}
