use super::*;
use crate::backend::catalog::LlmConfig;

const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn from_file(text: &str) -> Sources {
    Sources { file: Some(("antiphon.toml".into(), text.to_owned())), ..Sources::default() }
}

fn with_env(mut sources: Sources, name: &str, value: &str) -> Sources {
    sources.env.push((name.to_owned(), value.to_owned()));
    sources
}

fn with_flag(mut sources: Sources, key: &str, value: &str) -> Sources {
    sources.flags.push(FlagValue { flag: "--set".to_owned(), key: key.to_owned(), value: value.to_owned() });
    sources
}

/// The problems as the user reads them.
fn problems(sources: &Sources) -> Vec<String> {
    match Config::load(sources) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(Config::load(&Sources::default()), Ok(Config::default()));
}

#[test]
fn flags_go_over_the_environment_and_that_over_the_file() {
    let mut sources =
        from_file("[server]\nmax_sessions = 1\nshutdown_grace_ms = 1\n[pools]\nmax_waiting = 1\n");
    sources = with_env(sources, "ANTIPHON_SERVER__MAX_SESSIONS", "2");
    sources = with_env(sources, "ANTIPHON_POOLS__MAX_WAITING", "2");
    sources = with_flag(sources, "server.max_sessions", "3");
    let config = Config::load(&sources).expect("all valid");
    assert_eq!(config.server.max_sessions, 3);
    assert_eq!(config.pools.max_waiting, 2);
    assert_eq!(config.server.shutdown_grace_ms, 1);
    assert_eq!(config.pools.max_wait_ms, Config::default().pools.max_wait_ms);
}

#[test]
fn text_of_variables_takes_the_type_that_the_key_wants() {
    let mut sources = Sources::default();
    for (name, value) in [
        ("ANTIPHON_SERVER__BIND", "127.0.0.1:0"),
        ("ANTIPHON_SERVER__ALLOWED_ORIGINS", "https://a.example, https://b.example"),
        ("ANTIPHON_FEATURES__SPECULATION", "false"),
        ("ANTIPHON_SESSION__DEFAULTS__VOICE", "7"),
        ("ANTIPHON_SESSION__DEFAULTS__INSTRUCTIONS", "true"),
        ("ANTIPHON_SERVER__MAX_FRAME_BYTES", "1_000_000"),
        ("ANTIPHON_TELEMETRY__LOG_FORMAT", "json"),
        (
            "ANTIPHON_SERVER__AUTH__KEYS",
            &format!("[{{name = \"me\", sha256 = \"{HASH}\", role = \"admin\"}}]"),
        ),
    ] {
        sources = with_env(sources, name, value);
    }
    let config = Config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.server.bind.port(), 0);
    assert_eq!(config.server.allowed_origins, ["https://a.example", "https://b.example"]);
    assert!(!config.features.speculation);
    assert_eq!(config.session.defaults.voice, "7");
    assert_eq!(config.session.defaults.instructions, "true");
    assert_eq!(config.server.max_frame_bytes, 1_000_000);
    assert_eq!(config.telemetry.log_format, crate::telemetry::LogFormat::Json);
    assert_eq!(config.server.auth.keys[0].role, crate::server::KeyRole::Admin);
}

/// A file, and the one problem that is told of it.
const CASES: &[(&str, &str)] = &[
    (
        "[server]\nmax_sesions = 5",
        "antiphon.toml:2: `server.max_sesions` = 5: no such key; did you mean `max_sessions`?",
    ),
    ("[servre]\nbind = \"x\"", "antiphon.toml:1: `servre`: no such key; did you mean `server`?"),
    (
        "max_sessions = 5",
        "antiphon.toml:1: `max_sessions` = 5: no such key; did you mean `server.max_sessions`?",
    ),
    ("preset = \"cqu\"", "antiphon.toml:1: `preset` = \"cqu\": `cqu` is not a choice; did you mean `cpu`?"),
    (
        "[server]\nmax_sessions = \"many\"",
        "antiphon.toml:2: `server.max_sessions` = \"many\": wrong type; write a whole number, 0 or more",
    ),
    (
        "[server]\nmax_sessions = -3",
        "antiphon.toml:2: `server.max_sessions` = -3: wrong type; write a whole number, 0 or more",
    ),
    (
        "[server]\nmax_sessions = 0",
        "antiphon.toml:2: `server.max_sessions` = 0: out of range; allowed are 1 to 100000, the nearest is 1",
    ),
    (
        "[server]\nbind = \"localhost\"",
        "antiphon.toml:2: `server.bind` = \"localhost\": invalid socket address syntax; \
             write address:port; beyond loopback only with API keys",
    ),
    ("server = 5", "antiphon.toml:1: `server` = 5: wrong type; write a section with keys"),
    (
        "[features]\nspeculation = 1",
        "antiphon.toml:2: `features.speculation` = 1: wrong type; write true or false",
    ),
    (
        "[session.endpointing]\nincomplete_ms = 300",
        "antiphon.toml:2: `session.endpointing.incomplete_ms` = 300: less than unsure_ms; write 500 or more",
    ),
    (
        "[[server.auth.keys]]\nname = \"a\"\nsha256 = \"sk-secret\"",
        "antiphon.toml:3: `server.auth.keys[0].sha256`: is no SHA-256: it has 9 characters; \
             put the hash there, not the key; write 64 hexadecimal digits",
    ),
    (
        "[[engines.tts]]\nkind = \"espeak\"\nlangauge = \"de\"",
        "antiphon.toml:3: `engines.tts[0].langauge` = \"de\": no such key; did you mean `language`?",
    ),
    (
        "[[engines.stt]]\nkind = \"whispr\"\nslots = \"two\"",
        "antiphon.toml:2: `engines.stt[0].kind` = \"whispr\": `whispr` is not a choice; did you mean `whisper`?",
    ),
    (
        "[[engines.stt]]\nslots = 2",
        "antiphon.toml:1: `engines.stt[0]`: `kind` is missing; add `kind = ...` here",
    ),
    (
        "[[engines.llm]]\nkind = \"onnx\"\nslots = 0",
        "antiphon.toml:3: `engines.llm[0].slots` = 0: out of range; allowed are 1 to 256, the nearest is 1",
    ),
    (
        "[[server.auth.keys]]\nname = \"a\"",
        "antiphon.toml:1: `server.auth.keys[0]`: `sha256` is missing; add `sha256 = ...` here",
    ),
];

#[test]
fn each_problem_says_where_what_and_what_to_write() {
    for (text, expected) in CASES {
        assert_eq!(problems(&from_file(text)), [*expected], "{text}");
    }
}

#[test]
fn problems_of_all_sources_and_kinds_are_told_at_once() {
    let mut sources = from_file(
        "[server]\nmax_sessions = \"many\"\nshutdown_grace_ms = true\nbnid = \"x\"\n\n[pools]\nmax_wait_ms = 1\n\n\
         [telemetry]\nlog_format = \"yaml\"\nlog = \"antiphon=loud\"\n",
    );
    sources = with_env(sources, "ANTIPHON_SESSION__LIMITS__MAX_ITEMS", "lots");
    sources = with_env(sources, "ANTIPHON_SERVER_BIND", "127.0.0.1:1");
    sources = with_flag(sources, "session.limits.idle", "5");
    let found = problems(&sources).join("\n");
    for part in [
        "ANTIPHON_SERVER_BIND: the parts of a key are joined by two underscores; did you mean `ANTIPHON_SERVER__BIND`?",
        "antiphon.toml:2: `server.max_sessions`",
        "antiphon.toml:3: `server.shutdown_grace_ms`",
        "antiphon.toml:4: `server.bnid`",
        "antiphon.toml:7: `pools.max_wait_ms`",
        "antiphon.toml:10: `telemetry.log_format` = \"yaml\": `yaml` is not a choice; choose from text, json",
        "antiphon.toml:11: `telemetry.log`",
        "ANTIPHON_SESSION__LIMITS__MAX_ITEMS: `session.limits.max_items` = \"lots\"",
        "--set: `session.limits.idle` = \"5\": no such key; did you mean `idle_s`?",
    ] {
        assert!(found.contains(part), "{part}\nis missing from\n{found}");
    }
    assert_eq!(found.lines().count(), 9, "{found}");
}

#[test]
fn a_broken_entry_of_a_list_does_not_shift_blame_to_its_neighbours() {
    let text = format!(
        "[[server.auth.keys]]\nname = 5\nsha256 = \"{HASH}\"\n\n[[server.auth.keys]]\nname = \"b\"\nsha256 = \"short\"\n"
    );
    let found = problems(&from_file(&text)).join("\n");
    assert!(found.contains("antiphon.toml:2: `server.auth.keys[0].name` = 5: wrong type"), "{found}");
    assert!(found.contains("antiphon.toml:7: `server.auth.keys[1].sha256`"), "{found}");
    assert_eq!(found.lines().count(), 2, "what is missing because it was taken out is not told: {found}");
}

#[test]
fn every_wrong_value_of_an_engine_is_told() {
    let text = "[[engines.stt]]\nkind = \"whisper\"\nslots = \"two\"\nmodle = \"x\"\nname = 5\n\n\
                [[engines.llm]]\nkind = \"onnx\"\nslots = -1\n[engines.llm.sampling]\ntop_p = true\n";
    let found = problems(&from_file(text));
    let expected = [
        "antiphon.toml:3: `engines.stt[0].slots` = \"two\": wrong type; write a whole number, 0 or more",
        "antiphon.toml:4: `engines.stt[0].modle` = \"x\": no such key; did you mean `model`?",
        "antiphon.toml:5: `engines.stt[0].name` = 5: wrong type; write text in quotes",
        "antiphon.toml:9: `engines.llm[0].slots` = -1: wrong type; write a whole number, 0 or more",
        "antiphon.toml:11: `engines.llm[0].sampling.top_p` = true: wrong type; write a number",
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_open_door_needs_a_key() {
    for bind in ["0.0.0.0:8700", "192.168.1.5:8700", "[::]:8700"] {
        let sources = with_flag(Sources::default(), "server.bind", bind);
        let found = problems(&sources);
        assert_eq!(found.len(), 1, "{bind}: {found:?}");
        assert!(found[0].contains("other machines could talk here without an API key"), "{found:?}");
        assert!(found[0].contains("bind 127.0.0.1:8700, or add a key"), "{found:?}");
        let key = format!("[{{name = \"me\", sha256 = \"{HASH}\"}}]");
        assert_eq!(problems(&with_flag(sources, "server.auth.keys", &key)), [""; 0], "{bind}");
    }
    for bind in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(problems(&with_flag(Sources::default(), "server.bind", bind)), [""; 0], "{bind}");
    }
}

#[test]
fn https_has_one_certificate_and_an_address_of_its_own() {
    for (text, told) in [
        ("listen = \"127.0.0.1:1\"", "`server.tls.listen` = \"127.0.0.1:1\": there is no certificate; set"),
        (
            "self_signed = true",
            "`server.tls.listen` = \"\": there is a certificate, and nothing listens with it",
        ),
        ("listen = \"127.0.0.1:1\"\ncert = \"a\"", "`server.tls.cert` = \"a\": its private key is missing"),
        ("listen = \"127.0.0.1:1\"\nkey = \"a\"", "`server.tls.key` = \"a\": its certificate is missing"),
        (
            "listen = \"127.0.0.1:1\"\nself_signed = true\ncert = \"a\"\nkey = \"b\"",
            "`server.tls.self_signed` = true: there is a certificate of files already",
        ),
        (
            "listen = \"127.0.0.1:8700\"\nself_signed = true",
            "this is server.bind too; give HTTPS a port of its own",
        ),
        ("listen = \"0.0.0.0:1\"\nself_signed = true", "other machines could talk here without an API key"),
        (
            "listen = \"here\"\nself_signed = true",
            "is no address with a port; write address:port, or nothing",
        ),
    ] {
        let found = problems(&from_file(&format!("[server.tls]\n{text}\n")));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains(told), "{text}: {found:?}");
    }
    for text in
        ["listen = \"127.0.0.1:0\"\nself_signed = true", "listen = \"[::1]:1\"\ncert = \"a\"\nkey = \"b\""]
    {
        assert_eq!(problems(&from_file(&format!("[server.tls]\n{text}\n"))), [""; 0], "{text}");
    }
}

#[test]
fn two_keys_of_one_name_are_refused() {
    let key = format!("{{name = \"me\", sha256 = \"{HASH}\"}}");
    let sources = with_flag(Sources::default(), "server.auth.keys", &format!("[{key}, {key}]"));
    assert_eq!(
        problems(&sources),
        ["--set: `server.auth.keys[1].name` = \"me\": key 1 has this name too; give each key its own name"]
    );
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("nowhere.toml");
    let error =
        Sources::of_process(Some(&missing), Vec::new()).expect_err("there is no such file").to_string();
    assert!(error.contains("nowhere.toml:1: the file cannot be read"), "{error}");
    assert!(error.contains("--print-defaults"), "{error}");
}

#[test]
fn addresses_and_keys_of_engines_are_judged_without_being_repeated() {
    let text = "[[engines.llm]]\nkind = \"openai\"\nmodel = \"m\"\n\
                url = \"http://me:hunter2@host/v1\"\napi_key_env = \"sk-hunter2\"\n\
                [engines.llm.timeouts]\nconnect_ms = 1\n";
    let told = problems(&from_file(text));
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told.iter().any(|problem| problem.contains("engines.llm[0].url") && problem.contains("password"))
    );
    assert!(
        told.iter()
            .any(|problem| problem.contains("api_key_env") && problem.contains("does not belong here"))
    );
    assert!(
        told.iter().any(|problem| problem.contains("timeouts.connect_ms` = 1: out of range")),
        "{told:?}"
    );
    assert!(told.iter().all(|problem| !problem.contains("hunter2")), "{told:?}");
}

#[test]
fn more_for_the_body_of_requests_is_read_as_it_is_written() {
    let text = "[[engines.llm]]\nkind = \"openai\"\nmodel = \"m\"\nurl = \"http://host/v1\"\n\
                api_key_env = \"OPENAI_API_KEY\"\n[engines.llm.extra]\ntop_k = 20\nstop = [\"END\"]\n\
                chat_template_kwargs = { enable_thinking = false }\n";
    let config = Config::load(&from_file(text)).expect("all valid");
    let LlmConfig::OpenAi(llm) = &config.engines.llm[0] else { panic!("{:?}", config.engines.llm) };
    let expected = serde_json::json!({
        "top_k": 20, "stop": ["END"], "chat_template_kwargs": { "enable_thinking": false },
    });
    assert_eq!(serde_json::to_value(&llm.extra).expect("JSON"), expected);
    let shown = config.shown();
    assert_eq!(shown["engines"]["llm"][0]["url"], "http://host/v1");
    assert_eq!(shown["engines"]["llm"][0]["api_key_env"], "OPENAI_API_KEY");
}
