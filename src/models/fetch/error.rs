//! Why a pull failed, and what to do about it.

use std::path::PathBuf;

use super::super::digest::Sha256Hex;
use super::super::store::StoreError;

/// Why a file could not be fetched, with the next step.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// 401.
    #[error(
        "{url}: 401, the hub wants to know who asks{}. Put a token with read access into HF_TOKEN \
         (https://huggingface.co/settings/tokens); the hub says this of repositories that are not there, too",
        if *with_token { ", and does not take the token of HF_TOKEN" } else { "" }
    )]
    Unauthorized {
        /// What was asked for.
        url: String,
        /// A token was sent.
        with_token: bool,
    },
    /// 403.
    #[error(
        "{url}: 403, the hub does not let you have it. Open the model's page{}, accept its licence there if it \
         asks for that, and set HF_TOKEN to a token of that account",
        page.as_ref().map(|page| format!(" ({page})")).unwrap_or_default()
    )]
    Forbidden {
        /// What was asked for.
        url: String,
        /// The model's page.
        page: Option<String>,
    },
    /// 404 or 410.
    #[error(
        "{url}: {status}, it is not there. Its publisher may have moved it: look for a newer Antiphon, or name its \
         new place in a catalogue of your own (`models.catalogue`)"
    )]
    NotFound {
        /// What was asked for.
        url: String,
        /// The answer.
        status: u16,
    },
    /// 429, again and again or for long.
    #[error("{url}: 429, the hub wants fewer requests{}. Run the same command again then; what is downloaded is kept", after(*retry_after_s))]
    RateLimited {
        /// What was asked for.
        url: String,
        /// Seconds to wait, where it said so.
        retry_after_s: Option<u64>,
    },
    /// Another answer that is no file.
    #[error("{url}: {status}. Run the same command again later; what is downloaded is kept")]
    Status {
        /// What was asked for.
        url: String,
        /// The answer.
        status: u16,
    },
    /// The other side could not prove who it is, or speaks no TLS.
    #[error(
        "{url}: no secure connection: {reason}. Check this machine's clock; where a proxy looks into connections, \
         name its certificate in SSL_CERT_FILE"
    )]
    Tls {
        /// What was asked for.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// No connection.
    #[error(
        "{url}: cannot connect: {reason}. Check the network and HTTPS_PROXY; HF_ENDPOINT names another hub, \
         `--offline` uses what is on this machine"
    )]
    Connect {
        /// What was asked for.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The connection broke, again and again.
    #[error("{url}: the connection broke: {reason}. Run the same command again; what is downloaded is kept")]
    Broken {
        /// What was asked for.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// An address that is none, or leads from HTTPS to HTTP, or in circles.
    #[error("{url}: {reason}")]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The network may not be used.
    #[error(
        "{what} is not on this machine, and the network may not be used (--offline or HF_HUB_OFFLINE). Run it once \
         with the network, or put the file into the Hugging Face cache"
    )]
    Offline {
        /// The file.
        what: String,
    },
    /// The file system has too little room.
    #[error(
        "{} has {} free, and {} are needed. Make room, or set `models.dir` (ANTIPHON_MODELS) to a larger disk; what \
         is downloaded is kept",
        dir.display(), megabytes(*free), megabytes(*needed)
    )]
    DiskFull {
        /// The store.
        dir: PathBuf,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// What came is not what the catalogue names.
    #[error(
        "{what} has the SHA-256 {found} and should have {expected}; what was downloaded is removed. Run the same \
         command again; if it says this again, the file at the source was changed: do not use it"
    )]
    Checksum {
        /// The file.
        what: String,
        /// What came.
        found: Sha256Hex,
        /// What should have come.
        expected: Sha256Hex,
    },
    /// The wheel has no such file.
    #[error("{url}: {reason}. The catalogue and the wheel do not fit together: look for a newer Antiphon")]
    Wheel {
        /// The wheel.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// This machine's file cannot be read.
    #[error("{}: {reason}. `source` of the catalogue names it", path.display())]
    Local {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client could not be made.
    #[error("cannot set up HTTPS: {0}")]
    Client(String),
}

impl FetchError {
    /// What went wrong, without the next step.
    pub(super) fn what(&self) -> String {
        let text = self.to_string();
        text.split_once(". ").map_or(text.as_str(), |(what, _)| what).to_owned()
    }
}

fn after(seconds: Option<u64>) -> String {
    seconds.map(|seconds| format!(" for {seconds} s")).unwrap_or_default()
}

/// Bytes for people.
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// What went wrong with a request, in the words of the innermost cause, which names the thing.
pub(super) fn classify(url: &str, error: &reqwest::Error) -> FetchError {
    let mut innermost: &dyn std::error::Error = error;
    let mut is_tls = false;
    while let Some(cause) = innermost.source() {
        innermost = cause;
        is_tls |= is_tls_error(innermost);
    }
    let (url, reason) = (url.to_owned(), innermost.to_string());
    if is_tls {
        FetchError::Tls { url, reason }
    } else if error.is_connect() {
        FetchError::Connect { url, reason }
    } else if error.is_timeout() {
        FetchError::Broken { url, reason: "nothing came for a long time".to_owned() }
    } else {
        FetchError::Broken { url, reason }
    }
}

/// An I/O error of a TLS stream holds the TLS error inside, not as its cause, and maybe in another I/O error.
fn is_tls_error(error: &(dyn std::error::Error + 'static)) -> bool {
    let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inside.is_some_and(|inside| is_tls_error(inside))
}
