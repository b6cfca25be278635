//! What a role sets, below everything that is set explicitly and above the preset. Like presets, a piece of TOML that
//! is read like a file.

use std::path::PathBuf;
use std::sync::Arc;

use super::problem::Problem;
use super::source;
use super::tree::{Node, Value};

/// Who asks a server of engines is another server, with many people behind one key: limits that are meant for one
/// person, and half of the slots at most, would stop it.
const ENGINES: &str = r"
[session.per_user]
max_concurrent_requests = 256
max_responses_per_minute = 100000

[pools]
max_share = 1.0
";

/// `tree` over the values of the role that it names.
pub(super) fn under(tree: Node, problems: &mut Vec<Problem>) -> Node {
    let is_engines =
        |value: &Value| matches!(value, Value::Text(name) | Value::Raw(name) if name == "engines");
    if !tree.get("server.role").is_some_and(|node| is_engines(&node.value)) {
        return tree;
    }
    let mut values = source::read_file(&Arc::new(PathBuf::from("role engines")), ENGINES, problems);
    values.merge(tree);
    values
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, FlagValue, Sources};

    fn load(flags: &[(&str, &str)]) -> Config {
        let flag = |(key, value): &(&str, &str)| FlagValue {
            flag: "--set".to_owned(),
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        let sources = Sources { flags: flags.iter().map(flag).collect(), ..Sources::default() };
        Config::load(&sources).unwrap_or_else(|told| panic!("{told}"))
    }

    #[test]
    fn a_server_of_engines_takes_a_key_for_many_people() {
        let (all, engines) = (load(&[]), load(&[("server.role", "engines")]));
        let limit = |config: &Config| config.session.per_user.max_concurrent_requests;
        assert_eq!((limit(&all), limit(&engines)), (3, 256));
        assert_eq!((all.pools.max_share, engines.pools.max_share), (0.5, 1.0));
        assert!(engines.serves_engines_alone() && !all.serves_engines_alone());
        let set = load(&[("server.role", "engines"), ("session.per_user.max_concurrent_requests", "7")]);
        assert_eq!((limit(&set), set.pools.max_share), (7, 1.0), "what is set goes over the role");
        let both = load(&[
            ("server.role", "engines"),
            ("preset", "gpu-16gb"),
            ("engines.stt", "[{kind = \"scripted\"}]"),
            ("engines.llm", "[{kind = \"scripted\"}]"),
            ("engines.tts", "[{kind = \"scripted\"}]"),
            ("engines.turn.model", "turn.onnx"),
        ]);
        assert_eq!((limit(&both), both.server.max_sessions), (256, 30));
    }
}
