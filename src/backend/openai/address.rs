//! The base URL of an endpoint. Pure.

use reqwest::Url;

/// Whether engines can be asked there; answers with what is wrong. Never repeats the URL, which may hold a password.
pub fn check_url(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

/// The base URL, with a slash at its end.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    if text.trim().is_empty() {
        return Err(
            "is empty: the engine's base URL belongs here, like \"http://127.0.0.1:11434/v1\"".to_owned()
        );
    }
    let mut url = Url::parse(text.trim()).map_err(|error| format!("is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("is no http:// or https:// URL".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or a password: use api_key_env or api_key_file".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has something behind its path: the base URL ends with it".to_owned());
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// Whether it is this machine: proxies are passed over then.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether it is OpenAI's own service.
pub(super) fn is_openai(url: &Url) -> bool {
    url.host_str().is_some_and(|host| host == "openai.com" || host.ends_with(".openai.com"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_ends_with_a_slash() {
        for (text, expected) in [
            ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1/"),
            (" https://api.openai.com/v1/ ", "https://api.openai.com/v1/"),
            ("http://[::1]:1", "http://[::1]:1/"),
        ] {
            let url = parse(text).expect(text);
            assert_eq!(url.as_str(), expected);
            assert!(url.join("chat/completions").expect("a path").as_str().starts_with(expected));
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_without_its_password() {
        for (text, part) in [
            ("", "is empty"),
            ("127.0.0.1:8000/v1", "is no"),
            ("ftp://host/v1", "http://"),
            ("http://me:hunter2@host/v1", "api_key_env"),
            ("http://hunter2@host/v1", "api_key_env"),
            ("http://host/v1?key=hunter2", "behind its path"),
            ("http://host/v1#hunter2", "behind its path"),
        ] {
            let what = check_url(text).expect_err(text);
            assert!(what.contains(part) && !what.contains("hunter2"), "{text}: {what}");
        }
    }

    #[test]
    fn this_machine_and_openai_are_known() {
        let url = |text| parse(text).expect(text);
        for here in ["http://localhost:1", "http://127.0.0.2", "http://[::1]/v1", "http://[::ffff:127.0.0.1]"]
        {
            assert!(is_loopback(&url(here)), "{here}");
        }
        assert!(!is_loopback(&url("http://localhost.example")) && !is_loopback(&url("http://10.0.0.1")));
        assert!(is_openai(&url("https://eu.api.openai.com/v1")) && !is_openai(&url("https://notopenai.com")));
    }
}
