//! The keys of `server.tls` against each other. What is in the files is looked at when they are read.

use std::path::Path;

use serde_json::Value as Json;

use super::{Node, Problem, written};
use crate::config::Config;

/// One certificate, from one source, at an address of its own.
pub(super) fn check_tls(config: &Config, tree: &Node) -> Vec<Problem> {
    let tls = &config.server.tls;
    let set = |path: &Path| !path.as_os_str().is_empty();
    let problem = |key: &str, value: Json, what: &str, advice: &str| {
        Some(Problem::at(&written(tree, &format!("server.tls.{key}"), &value), what, advice))
    };
    let text = |path: &Path| Json::from(path.to_string_lossy());
    let (has_cert, has_key) = (set(&tls.cert), set(&tls.key));
    let pair = if has_cert && !has_key {
        problem("cert", text(&tls.cert), "its private key is missing", "set server.tls.key too")
    } else if has_key && !has_cert {
        problem("key", text(&tls.key), "its certificate is missing", "set server.tls.cert too")
    } else if has_cert && tls.self_signed {
        let what = "there is a certificate of files already";
        problem("self_signed", Json::from(true), what, "remove it, or server.tls.cert and server.tls.key")
    } else {
        None
    };
    let listens = !tls.listen.is_empty();
    let use_of_it = if listens && !has_cert && !has_key && !tls.self_signed {
        let advice = "set server.tls.cert and server.tls.key, or server.tls.self_signed = true";
        problem("listen", Json::from(&*tls.listen), "there is no certificate", advice)
    } else if !listens && (has_cert || has_key || tls.self_signed) {
        let advice = "set server.tls.listen, for example to \"127.0.0.1:8743\"";
        problem("listen", Json::from(""), "there is a certificate, and nothing listens with it", advice)
    } else {
        None
    };
    let taken = tls.address().filter(|address| address.port() != 0 && *address == config.server.bind);
    let address = taken.and_then(|_| {
        let advice = "give HTTPS a port of its own";
        problem("listen", Json::from(&*tls.listen), "this is server.bind too", advice)
    });
    pair.into_iter().chain(use_of_it).chain(address).collect()
}
