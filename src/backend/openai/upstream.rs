//! One endpoint: its address, its connections, its key, and what its failures mean. Tries nothing twice.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::config::Entrance;
use super::fault::{Private, Said, refusal};
use super::retry_after::retry_after_ms;
use super::wait::Patience;
use super::{address, client};
use crate::backend::LoadError;
use crate::engine::endpoint::EndpointTimeouts;
use crate::engine::{CancelFlag, EngineError, EngineFuture};
use crate::secret;

/// The longest body of a refusal that is read, in bytes.
const MAX_REFUSAL: usize = 64 * 1024;
/// The longest answer that comes in one piece, in bytes.
pub(super) const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// The longest list of models that is read, in bytes.
const MAX_MODELS: usize = 1024 * 1024;
/// How many of its models an error names.
const MODELS_NAMED: usize = 10;

/// One endpoint.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) engine: Arc<str>,
    pub(super) model: String,
    pub(super) base: Url,
    pub(super) timeouts: EndpointTimeouts,
    http: Client,
    key: Option<SecretString>,
}

impl Upstream {
    /// Reads the key and prepares connections. Connects to nothing: a server that is not there yet is no reason not
    /// to start.
    pub(super) fn open(entrance: Entrance<'_>) -> Result<Arc<Self>, LoadError> {
        let wrong = |key: &str, value: String, reason: String| LoadError::Config {
            key: format!("{}.{}.{key}", entrance.list, entrance.name),
            value,
            reason,
        };
        // The value of a wrong URL is not told: it may hold a password.
        let base = address::parse(entrance.url).map_err(|what| wrong("url", "..".to_owned(), what))?;
        if entrance.model.trim().is_empty() {
            let reason =
                format!("name the model as the server does: curl {}models lists them", base.as_str());
            return Err(wrong("model", "\"\"".to_owned(), reason));
        }
        let key = key(entrance).map_err(|(key, what)| wrong(key, "..".to_owned(), what))?;
        let connect = Duration::from_millis(entrance.timeouts.connect_ms);
        let http = client::build(&base, entrance.ca_file.map(PathBuf::as_path), connect);
        let http = http.map_err(|reason| LoadError::Start { engine: entrance.name.to_owned(), reason })?;
        Ok(Arc::new(Self {
            engine: Arc::from(entrance.name),
            model: entrance.model.to_owned(),
            base,
            timeouts: entrance.timeouts,
            http,
            key,
        }))
    }

    /// A request to `path` under the base URL, with the key.
    pub(super) fn post(&self, path: &str) -> RequestBuilder {
        self.with_key(self.http.post(self.url(path)))
    }

    fn with_key(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key.expose_secret()),
            None => request,
        }
    }

    fn url(&self, path: &str) -> Url {
        // The base ends with a slash and paths are constants: it cannot fail.
        self.base.join(path).unwrap_or_else(|_| self.base.clone())
    }

    /// Sends a request; an answer that is no success is an error. `texts` are what of the request no error may hold.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
        texts: &[&str],
    ) -> Result<Response, EngineError> {
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let again = retry_after_ms(response.headers(), SystemTime::now());
        // A refusal whose body does not come is a refusal all the same.
        let body = self.body(response, MAX_REFUSAL).await.unwrap_or_default();
        let error = refusal(&self.engine, status, &Said::read(&body), again, self.private(texts));
        Err(if status == StatusCode::NOT_FOUND { self.not_found(error).await } else { error })
    }

    /// What a failure means that is told within an answer, with the HTTP status that it gives, if any.
    pub(super) fn refused_within(&self, status: Option<u16>, said: &Said, texts: &[&str]) -> EngineError {
        if said.is_too_long() {
            let (tokens, limit) = said.tokens();
            return EngineError::ContextExceeded { engine: self.engine.to_string(), tokens, limit };
        }
        match status.and_then(|code| StatusCode::from_u16(code).ok()) {
            Some(status) => refusal(&self.engine, status, said, None, self.private(texts)),
            None => {
                self.failed(format!("it failed within its answer{}", said.fit_to_tell(self.private(texts))))
            }
        }
    }

    /// What of a request must not get into errors.
    pub(super) fn private<'a>(&'a self, texts: &'a [&'a str]) -> Private<'a> {
        Private { key: self.key.as_ref(), texts }
    }

    /// Asks whether the server is there and takes the key, at the cost of a list of models. Servers without such a
    /// list are there too. The connection stays open for the next call.
    pub(super) fn reach(self: &Arc<Self>, cancel: CancelFlag) -> EngineFuture<()> {
        let this = Arc::clone(self);
        let mut patience = Patience::new(&this.engine, this.timeouts, cancel);
        Box::pin(async move {
            let listed = async {
                let request = this.with_key(this.http.get(this.url("models")));
                let response = request.send().await.map_err(|error| this.broken(&error))?;
                let status = response.status();
                let body = this.body(response, MAX_MODELS).await?;
                let has_no_list = matches!(status.as_u16(), 404 | 405 | 501);
                if status.is_success() || has_no_list {
                    return Ok(());
                }
                Err(refusal(&this.engine, status, &Said::read(&body), None, this.private(&[])))
            };
            patience.wait(listed).await
        })
    }

    /// The whole body, which may have `most` bytes.
    pub(super) async fn body(&self, response: Response, most: usize) -> Result<Vec<u8>, EngineError> {
        let mut body = Vec::new();
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| self.broken(&error))?;
            if body.len() + piece.len() > most {
                return Err(self.failed(format!("its answer has more than {most} bytes")));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// What a connection that failed means.
    pub(super) fn broken(&self, error: &reqwest::Error) -> EngineError {
        let engine = self.engine.to_string();
        if error.is_connect() && error.is_timeout() {
            return EngineError::TimedOut {
                engine,
                phase: "a connection",
                waited_ms: self.timeouts.connect_ms,
            };
        }
        let cause = cause(error);
        if error.is_connect() {
            let place = self.base.host_str().unwrap_or_default();
            let port = self.base.port_or_known_default().unwrap_or_default();
            let reason = format!("no connection to {place}:{port}: {cause}");
            return EngineError::Unavailable { engine, reason };
        }
        self.failed(format!("the connection broke: {cause}"))
    }

    /// A failure of this call.
    pub(super) fn failed(&self, reason: String) -> EngineError {
        EngineError::Failed { engine: self.engine.to_string(), reason }
    }

    /// Says which models there are, where a model is not.
    async fn not_found(&self, error: EngineError) -> EngineError {
        let Ok(names) = self.models().await else { return error };
        if names.iter().any(|name| name == &self.model) {
            return error;
        }
        let named: Vec<String> =
            names.iter().take(MODELS_NAMED).map(|name| self.private(&[]).line(name)).collect();
        let more = if names.len() > MODELS_NAMED { ", .." } else { "" };
        let model = &self.model;
        self.failed(format!(
            "HTTP 404: the model \"{model}\" is not there; the server has: {}{more}",
            named.join(", ")
        ))
    }

    async fn models(&self) -> Result<Vec<String>, EngineError> {
        let request = self.with_key(self.http.get(self.url("models")));
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        if !response.status().is_success() {
            return Err(self.failed(format!("HTTP {}", response.status().as_u16())));
        }
        let body = self.body(response, MAX_MODELS).await?;
        let list: Value =
            serde_json::from_slice(&body).map_err(|_| self.failed("no list of models".to_owned()))?;
        let ids = list["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names: Vec<String> =
            ids.iter().filter_map(|model| model["id"].as_str().map(str::to_owned)).collect();
        if names.is_empty() { Err(self.failed("an empty list of models".to_owned())) } else { Ok(names) }
    }
}

/// The media type of an answer, without its parameters; empty where it does not say.
pub(super) fn media_type(response: &Response) -> String {
    let value =
        response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The key, if one is configured; else which setting is wrong and why.
fn key(entrance: Entrance<'_>) -> Result<Option<SecretString>, (&'static str, String)> {
    let told = |key| move |error: secret::SecretError| (key, error.to_string());
    match (entrance.api_key_env, entrance.api_key_file) {
        (Some(_), Some(_)) => {
            Err(("api_key_file", "api_key_env is set too; a key comes from one place".to_owned()))
        }
        (Some(name), None) => secret::from_env(name).map(Some).map_err(told("api_key_env")),
        (None, Some(path)) => secret::from_file(path).map(Some).map_err(told("api_key_file")),
        (None, None) => Ok(None),
    }
}

/// The innermost cause, which says what happened; those around it say where in the client.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    // The outermost error alone would name the URL.
    if cause.is::<reqwest::Error>() { "the request could not be sent".to_owned() } else { cause.to_string() }
}
