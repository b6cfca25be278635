//! One GET, redirects followed by hand: the token goes to the hub's own origin, and what the hub says of a file on
//! the way is kept.

use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode, Url};
use secrecy::ExposeSecret;

use super::FetchError;
use super::error::classify;
use super::hub::Hub;

/// Redirects in a row.
const MAX_REDIRECTS: usize = 10;

/// Why a try brought nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Trying again changes nothing.
    Lasting(FetchError),
    /// It may pass; the server may have said when, in seconds.
    Passing(FetchError, Option<u64>),
}

/// What is asked for: a file from a byte on, if it is still the one that bears this tag.
#[derive(Debug, Default)]
pub(super) struct Offset {
    pub(super) byte: u64,
    pub(super) tag: Option<String>,
}

/// An answer that has a file, or says that there is nothing beyond the byte.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response,
    /// What the hub says that the file's tag is, where it redirects to another server.
    pub(super) linked_tag: Option<String>,
}

impl Answer {
    /// The tag of the bytes as their server knows it, where it is a strong one: fit for `If-Range`.
    pub(super) fn tag(&self) -> Option<String> {
        text(self.response.headers(), &ETAG).filter(|tag| tag.starts_with('"'))
    }

    /// Bytes that are to come.
    pub(super) fn length(&self) -> Option<u64> {
        text(self.response.headers(), &CONTENT_LENGTH)?.parse().ok()
    }

    /// `Content-Range`: the first byte, and how many the whole file has.
    pub(super) fn range(&self) -> Option<(u64, Option<u64>)> {
        let range = text(self.response.headers(), &CONTENT_RANGE)?;
        let (part, whole) = range.strip_prefix("bytes ")?.split_once('/')?;
        let (first, _) = part.split_once('-')?;
        Some((first.parse().ok()?, whole.parse().ok()))
    }
}

/// Asks for a file. `page` is where people read about it.
pub(super) async fn get(
    (client, hub): (&Client, &Hub),
    url: &str,
    page: Option<&str>,
    from: &Offset,
) -> Result<Answer, Trouble> {
    let lasting = |reason: &str| {
        Trouble::Lasting(FetchError::Address { url: url.to_owned(), reason: reason.to_owned() })
    };
    let mut at = Url::parse(url).map_err(|error| lasting(&format!("no address: {error}")))?;
    let mut linked_tag = None;
    for _ in 0..=MAX_REDIRECTS {
        let response = send(client, hub, &at, from).await?;
        if hub.owns(&at) {
            linked_tag = linked_tag.or_else(|| text(response.headers(), "x-linked-etag"));
        }
        let status = response.status();
        if status.is_redirection() {
            let next = text(response.headers(), &LOCATION).and_then(|location| at.join(&location).ok());
            let next = next.ok_or_else(|| lasting("a redirect that leads nowhere"))?;
            if at.scheme() == "https" && next.scheme() != "https" {
                return Err(lasting("a redirect that leads from HTTPS to plain HTTP"));
            }
            at = next;
        } else if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(Answer { response, linked_tag });
        } else {
            return Err(refused(hub, &at, page, &response));
        }
    }
    Err(lasting("too many redirects"))
}

async fn send(client: &Client, hub: &Hub, at: &Url, from: &Offset) -> Result<Response, Trouble> {
    let mut request = client.get(at.clone());
    if let Some(token) = hub.token.as_ref().filter(|_| hub.owns(at)) {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
    }
    if from.byte > 0 {
        request = request.header(RANGE, format!("bytes={}-", from.byte));
        if let Some(tag) = &from.tag {
            request = request.header(IF_RANGE, tag);
        }
    }
    request.send().await.map_err(|error| match classify(at.as_str(), &error) {
        error @ FetchError::Tls { .. } => Trouble::Lasting(error),
        error => Trouble::Passing(error, None),
    })
}

fn refused(hub: &Hub, at: &Url, page: Option<&str>, response: &Response) -> Trouble {
    let (url, status) = (public(at), response.status().as_u16());
    let retry_after_s = text(response.headers(), &RETRY_AFTER).and_then(|value| seconds(&value));
    match status {
        401 => {
            let with_token = hub.token.is_some() && hub.owns(at);
            Trouble::Lasting(FetchError::Unauthorized { url, with_token })
        }
        403 => Trouble::Lasting(FetchError::Forbidden { url, page: page.map(str::to_owned) }),
        404 | 410 => Trouble::Lasting(FetchError::NotFound { url, status }),
        429 => Trouble::Passing(FetchError::RateLimited { url, retry_after_s }, retry_after_s),
        408 | 500.. => Trouble::Passing(FetchError::Status { url, status }, retry_after_s),
        _ => Trouble::Lasting(FetchError::Status { url, status }),
    }
}

/// An address without its query: that of a content server holds a signature.
fn public(at: &Url) -> String {
    let mut at = at.clone();
    at.set_query(None);
    at.to_string()
}

/// `Retry-After`: seconds, or a date.
fn seconds(value: &str) -> Option<u64> {
    let until = || httpdate::parse_http_date(value).ok()?.duration_since(std::time::SystemTime::now()).ok();
    value.trim().parse().ok().or_else(|| until().map(|wait| wait.as_secs() + 1))
}

fn text(headers: &HeaderMap, name: impl reqwest::header::AsHeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn both_forms_of_retry_after_are_read() {
        assert_eq!(seconds(" 7 "), Some(7));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!(seconds(&soon).is_some_and(|wait| (90..=101).contains(&wait)), "{soon}");
        assert_eq!(seconds("Wed, 21 Oct 2015 07:28:00 GMT"), None, "it is over");
        assert_eq!(seconds("soon"), None);
    }
}
