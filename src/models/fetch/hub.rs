//! The hub and what it may be told: endpoint, token, cache, offline. Pure but for reading the token's file.

use std::path::PathBuf;

use reqwest::Url;
use secrecy::SecretString;

/// Where Hugging Face is.
const ENDPOINT: &str = "https://huggingface.co";

/// A hub as the environment describes it, with the variables of Hugging Face's own tools.
#[derive(Clone, Debug)]
pub struct Hub {
    /// `HF_ENDPOINT`.
    pub endpoint: Url,
    /// `HF_TOKEN`, else the file `HF_TOKEN_PATH` or `$HF_HOME/token`. Sent to the endpoint's own origin alone.
    pub token: Option<SecretString>,
    /// `HF_HUB_CACHE`, else `$HF_HOME/hub`, else `~/.cache/huggingface/hub`.
    pub cache: Option<PathBuf>,
    /// `HF_HUB_OFFLINE`: no network.
    pub offline: bool,
}

impl Hub {
    /// What these variables say. An error is a variable that cannot be what it says.
    pub fn of_env(env: &[(String, String)]) -> Result<Self, String> {
        let var = |name: &str| {
            env.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
        };
        let is_on = |name: &str| {
            var(name).is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&&*value.to_uppercase()))
        };
        let home = var("HF_HOME").map(PathBuf::from).or_else(|| {
            let cache = var("XDG_CACHE_HOME").map(PathBuf::from);
            let cache = cache.or_else(|| var("HOME").map(|home| PathBuf::from(home).join(".cache")));
            cache.map(|cache| cache.join("huggingface"))
        });
        let token_file = var("HF_TOKEN_PATH").map(PathBuf::from);
        let token_file = token_file.or_else(|| home.as_ref().map(|home| home.join("token")));
        let token_file = token_file.filter(|_| !is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN"));
        let token = var("HF_TOKEN").map(str::to_owned);
        let token = token.or_else(|| std::fs::read_to_string(token_file?).ok());
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        Ok(Self {
            endpoint: endpoint(var("HF_ENDPOINT").unwrap_or(ENDPOINT))?,
            token: token.map(SecretString::from),
            cache: var("HF_HUB_CACHE").map(PathBuf::from).or_else(|| home.map(|home| home.join("hub"))),
            offline: is_on("HF_HUB_OFFLINE"),
        })
    }

    /// Where a file of a repository is asked for.
    pub(super) fn address(&self, repo: &str, revision: &str, path: &str) -> String {
        let endpoint = self.endpoint.as_str().trim_end_matches('/');
        // A branch may have a slash in its name; in the address it is one part.
        format!("{endpoint}/{repo}/resolve/{}/{path}", revision.replace('/', "%2F"))
    }

    /// Whether the token may go there: to the endpoint's own scheme, host and port.
    pub(super) fn owns(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin()
    }
}

fn endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("HF_ENDPOINT = {text}: {error}"))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(url)
    } else {
        Err(format!("HF_ENDPOINT = {text}: write an address like {ENDPOINT}"))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn hub(pairs: &[(&str, &str)]) -> Result<Hub, String> {
        let env: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Hub::of_env(&env)
    }

    #[test]
    fn the_variables_of_hugging_face_are_heeded() {
        let plain = hub(&[("HOME", "/h")]).expect("valid");
        assert_eq!(plain.endpoint.as_str(), "https://huggingface.co/");
        assert_eq!(plain.cache.as_deref(), Some("/h/.cache/huggingface/hub".as_ref()));
        assert!(plain.token.is_none() && !plain.offline);
        let all = hub(&[
            ("HF_ENDPOINT", "http://mirror:8080/hub"),
            ("HF_HOME", "/c"),
            ("HF_TOKEN", " secret\n"),
            ("HF_HUB_OFFLINE", "true"),
        ]);
        let all = all.expect("valid");
        assert_eq!(
            all.address("o/r", "refs/pr/1", "a/b"),
            "http://mirror:8080/hub/o/r/resolve/refs%2Fpr%2F1/a/b"
        );
        assert_eq!(all.cache.as_deref(), Some("/c/hub".as_ref()));
        assert_eq!(all.token.expect("given").expose_secret(), "secret");
        assert!(all.offline);
        assert!(!format!("{:?}", hub(&[("HF_TOKEN", "secret")])).contains("secret"));
        assert!(hub(&[("HF_ENDPOINT", "mirror:8080")]).is_err());
    }

    #[test]
    fn a_token_may_lie_in_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("token"), "from-file\n").expect("writable");
        let home = folder.path().to_str().expect("UTF-8");
        let token = |hub: Hub| hub.token.map(|token| token.expose_secret().to_owned());
        assert_eq!(token(hub(&[("HF_HOME", home)]).expect("valid")).as_deref(), Some("from-file"));
        let off = [("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
        assert_eq!(token(hub(&off).expect("valid")), None);
    }

    #[test]
    fn the_token_is_for_the_endpoint_alone() {
        let hub = hub(&[("HF_ENDPOINT", "https://hub.example")]).expect("valid");
        for (url, owned) in [
            ("https://hub.example/o/r", true),
            ("https://hub.example:443/o/r", true),
            ("http://hub.example/o/r", false),
            ("https://hub.example:8443/o/r", false),
            ("https://cdn.hub.example/o/r", false),
        ] {
            assert_eq!(hub.owns(&Url::parse(url).expect("valid")), owned, "{url}");
        }
    }
}
