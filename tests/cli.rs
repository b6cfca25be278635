//! The program as people run it: messages and exit codes.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use antiphon::models::Catalogue;

const SCRIPTED: &str = "[[engines.stt]]\nkind = \"scripted\"\n[[engines.llm]]\nkind = \"scripted\"\n\
                        [[engines.tts]]\nkind = \"scripted\"\n[engines.vad]\nkind = \"scripted\"\n";

struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The program in `folder`, without variables of ours.
fn command(folder: &Path, args: &[&str]) -> Command {
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ANTIPHON_"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_antiphon"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    command.args(args).current_dir(folder);
    command
}

/// Runs the program in `folder` to its end, with no variables of ours but `env`.
fn antiphon(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Run {
    let output = command(folder, args).envs(env.iter().copied()).output();
    let Output { status, stdout, stderr } = output.expect("the program was built for this test");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
    Run { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn check_passes_the_defaults() {
    let run = antiphon(folder().path(), &["check"], &[]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    assert_eq!(run.stdout, "The configuration is valid. It listens on 127.0.0.1:8700.\n");
}

#[test]
fn the_printed_defaults_are_a_file_that_check_takes() {
    let folder = folder();
    let defaults = antiphon(folder.path(), &["check", "--print-defaults"], &[]).stdout;
    assert!(defaults.contains("\n#bind = \"127.0.0.1:8700\"\n"), "{defaults}");
    let set = defaults.replace("\n#bind = \"127.0.0.1:8700\"", "\nbind = \"127.0.0.1:8701\"");
    std::fs::write(folder.path().join("antiphon.toml"), set).expect("writable");
    let run = antiphon(folder.path(), &["check"], &[]);
    assert!(run.stdout.contains("127.0.0.1:8701"), "{}{}", run.stdout, run.stderr);
    let run = antiphon(folder.path(), &["check"], &[("ANTIPHON_SERVER__BIND", "127.0.0.1:8702")]);
    assert!(run.stdout.contains("127.0.0.1:8702"), "{}{}", run.stdout, run.stderr);
    let env = [("ANTIPHON_SERVER__BIND", "127.0.0.1:8702")];
    let run = antiphon(folder.path(), &["check", "--bind", "127.0.0.1:8703"], &env);
    assert!(run.stdout.contains("127.0.0.1:8703"), "{}{}", run.stdout, run.stderr);
}

#[test]
fn every_problem_is_printed_and_the_exit_code_is_2() {
    let folder = folder();
    let file = folder.path().join("voice.toml");
    std::fs::write(&file, "[server]\nmax_sesions = 5\nshutdown_grace_ms = -1\n").expect("writable");
    for command in ["check", "serve"] {
        let args =
            [command, "--config", "voice.toml", "--bind", "0.0.0.0:1", "--set", "pools.max_wait_ms=soon"];
        let run = antiphon(folder.path(), &args, &[]);
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.starts_with("antiphon: the configuration has 4 problems:\n"), "{}", run.stderr);
        for part in [
            "voice.toml:2: `server.max_sesions` = 5: no such key; did you mean `max_sessions`?",
            "voice.toml:3: `server.shutdown_grace_ms` = -1: wrong type",
            "--set: `pools.max_wait_ms` = \"soon\": wrong type",
            "--bind: `server.bind` = \"0.0.0.0:1\": other machines could talk here without an API key",
        ] {
            assert!(run.stderr.contains(part), "{part}\nis missing from\n{}", run.stderr);
        }
    }
}

#[test]
fn a_missing_file_and_bad_usage_say_what_to_do() {
    let run = antiphon(folder().path(), &["check"], &[("ANTIPHON_CONFIG", "nowhere.toml")]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("nowhere.toml"), "{}", run.stderr);
    let run = antiphon(folder().path(), &["sevre"], &[]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("serve"), "{}", run.stderr);
}

#[test]
fn a_port_in_use_is_told_with_what_to_do() {
    let folder = folder();
    std::fs::write(folder.path().join("antiphon.toml"), SCRIPTED).expect("writable");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let run = antiphon(folder.path(), &["serve", "--bind", &address], &[]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains(&address) && run.stderr.contains("--bind"), "{}", run.stderr);
}

#[test]
fn a_server_says_where_it_listens_and_ends_well_on_sigterm() {
    let folder = folder();
    std::fs::write(folder.path().join("antiphon.toml"), SCRIPTED).expect("writable");
    let mut server = command(folder.path(), &["serve", "--bind", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program was built for this test");
    let mut line = String::new();
    let stdout = server.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("it prints a line");
    assert!(line.starts_with("Antiphon is ready: http://127.0.0.1:"), "{line}");
    let kill = Command::new("kill").args(["-TERM", &server.id().to_string()]).status();
    assert!(kill.expect("kill is everywhere").success());
    assert_eq!(server.wait().expect("it was started").code(), Some(0));
}

#[test]
fn help_and_version_are_no_errors() {
    for args in [["--help"].as_slice(), &["serve", "--help"], &["check", "--help"]] {
        let run = antiphon(folder().path(), args, &[]);
        assert_eq!(run.code, Some(0));
        assert!(run.stdout.contains("antiphon serve --bind 127.0.0.1:9000"), "{}", run.stdout);
    }
    let run = antiphon(folder().path(), &["--version"], &[]);
    assert_eq!(run.stdout, format!("antiphon {}\n", env!("CARGO_PKG_VERSION")));
}

/// A language model of 100 GiB, and engines that take nothing.
const HUGE: &str = "[memory]\nram_mib = 8000\nvram_mib = 1000\n[server]\nmax_sessions = 30\n\
                    [[engines.stt]]\nkind = \"scripted\"\n\
                    [[engines.llm]]\nkind = \"scripted\"\nslots = 8\n\
                    cost = { ram_mib = 2000, slot_ram_mib = 1000, unit_cpu_us = 40000 }\n\
                    [[engines.tts]]\nkind = \"scripted\"\n[engines.vad]\nkind = \"scripted\"\n";

#[test]
fn what_takes_too_much_memory_is_refused_with_a_table() {
    let folder = folder();
    std::fs::write(folder.path().join("antiphon.toml"), HUGE).expect("writable");
    for (command, code) in [(["serve", "--bind", "127.0.0.1:0"], 1), (["check", "--bind", "127.0.0.1:0"], 2)]
    {
        let run = antiphon(folder.path(), &command, &[]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(code), ""), "{}", run.stderr);
        insta::assert_snapshot!("over_budget", run.stderr);
    }
    let fewer = HUGE.replace("slots = 8", "slots = 5");
    std::fs::write(folder.path().join("antiphon.toml"), fewer).expect("writable");
    let run = antiphon(folder.path(), &["check"], &[]);
    assert_eq!(run.code, Some(0), "what is advised is enough: {}", run.stderr);
}

#[test]
fn a_plan_is_a_table_that_names_what_limits_first() {
    let folder = folder();
    std::fs::write(folder.path().join("antiphon.toml"), HUGE).expect("writable");
    let machine = ["plan", "--users", "30", "--cores", "16", "--ram-gib", "32", "--vram-gib", "16"];
    let run = antiphon(folder.path(), &machine, &[]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!("plan", run.stdout);
    let run = antiphon(folder.path(), &[&machine[..], &["--json"]].concat(), &[]);
    let plan: serde_json::Value = serde_json::from_str(&run.stdout).expect("it is JSON");
    assert_eq!(plan["sizing"]["limits"][0]["what"], "ram");
    assert_eq!(plan["sizing"]["users"], 30);
}

#[test]
fn a_measured_plan_says_so_and_one_without_models_says_what_is_missing() {
    let folder = folder();
    std::fs::write(folder.path().join("antiphon.toml"), SCRIPTED).expect("writable");
    let run = antiphon(folder.path(), &["plan", "--measure", "--json"], &[]);
    let plan: serde_json::Value = serde_json::from_str(&run.stdout).expect(&run.stderr);
    let loads = plan["sizing"]["loads"].as_array().expect("engines");
    assert_eq!(loads.len(), 3);
    for load in loads {
        assert_eq!(load["engine"]["work"]["source"], "measured", "{load}");
        assert_eq!(load["engine"]["memory_source"], "measured", "{load}");
    }
    std::fs::remove_file(folder.path().join("antiphon.toml")).expect("it is there");
    let run = antiphon(folder.path(), &["plan"], &[]);
    assert!(run.stdout.contains("engines.stt[0]: its costs are not known"), "{}", run.stdout);
    let run = antiphon(folder.path(), &["plan", "--measure"], &[]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("models/starter"), "{}", run.stderr);
}

#[test]
fn a_gpu_that_is_not_there_is_told_by_check_and_plan() {
    let engines = "engines.llm=[{kind = \"onnx\", device = \"cuda:0\", cost = {vram_mib = 100}}]";
    for command in ["check", "plan"] {
        let run = antiphon(folder().path(), &[command, "--set", engines], &[]);
        let told = format!("{}{}", run.stdout, run.stderr);
        assert!(told.contains("engines.llm[0].device: it computes on the CPU"), "{command}: {told}");
    }
    let run = antiphon(folder().path(), &["plan", "--vram-gib", "16", "--set", engines], &[]);
    assert!(run.stdout.contains("llm onnx on cuda:0"), "another machine has it: {}", run.stdout);
    let run = antiphon(folder().path(), &["check", "--set", &engines.replace("cuda:0", "gpu")], &[]);
    assert_eq!(run.code, Some(2));
    for part in ["`engines.llm[0].device` = \"gpu\"", "there is no device", "write \"cpu\", or \"cuda:0\""] {
        assert!(run.stderr.contains(part), "{part} is missing in: {}", run.stderr);
    }
}

/// A store that holds a bundle of the catalogue: its settings of these contents, the other files of their lengths and
/// empty.
fn installed(store: &Path, bundle: &str, settings: &[(&str, &str)]) {
    let catalogue = Catalogue::built_in().expect("it is checked in");
    for model in catalogue.choose(&[bundle.to_owned()]).expect("a bundle") {
        let kind = format!("{:?}", model.kind).to_lowercase();
        let mut record = format!(
            "name = \"{0}\"\nkind = \"{1}\"\nmain = \"{2}\"\nlicence = \"\"\n",
            model.name, kind, model.main
        );
        for file in &model.files {
            let path = store.join(&model.name).join(&file.path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
            let settings = settings.iter().find(|(of, _)| *of == model.name && file.path == "config.json");
            let bytes = settings.map_or(file.bytes.expect("it is known"), |(_, text)| text.len() as u64);
            std::fs::write(&path, settings.map_or("", |(_, text)| text)).expect("writable");
            let whole =
                std::fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(bytes));
            whole.expect("a sparse file");
            let sum = "0".repeat(64);
            let name = &file.path;
            record += &format!(
                "[[files]]\npath = \"{name}\"\nbytes = {bytes}\nsha256 = \"{sum}\"\nsource = \"test\"\n"
            );
        }
        std::fs::write(store.join(&model.name).join(".model.toml"), record).expect("writable");
    }
}

/// As `config.json` of Qwen2.5-1.5B and of Moonshine base.
const QWEN: &str = r#"{"num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2, "hidden_size": 1536,
    "vocab_size": 151936, "max_position_embeddings": 32768}"#;
const MOONSHINE: &str = r#"{"hidden_size": 416, "encoder_num_attention_heads": 8, "decoder_num_attention_heads": 8,
    "encoder_num_hidden_layers": 8, "decoder_num_hidden_layers": 8, "vocab_size": 32768, "max_position_embeddings": 194}"#;

#[test]
fn the_preset_for_a_gpu_fits_its_memory() {
    let folder = folder();
    let settings = [("qwen2.5-1.5b-q4f16", QWEN), ("moonshine-base-f32", MOONSHINE)];
    installed(folder.path(), "gpu-16gb", &settings);
    let store = folder.path().display().to_string();
    let env = [("ANTIPHON_MODELS", store.as_str())];
    let args = ["plan", "--preset", "gpu-16gb", "--vram-gib", "16", "--ram-gib", "32", "--cores", "16"];
    let text = antiphon(folder.path(), &args, &env);
    let run = antiphon(folder.path(), &[&args[..], &["--json"]].concat(), &env);
    let plan: serde_json::Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr));
    let loads = plan["sizing"]["loads"].as_array().expect("engines");
    let mib = |value: &serde_json::Value| value.as_u64().expect("bytes") >> 20;
    let taken: u64 = loads.iter().map(|load| mib(&load["engine"]["memory"]["vram"])).sum();
    let taken = taken + mib(&plan["sizing"]["overhead"]["server"]["vram"]);
    assert!((4_000..14_745).contains(&taken), "{taken} MiB\n{}", text.stdout);
    for engine in ["stt moonshine on cuda:0", "llm onnx on cuda:0", "tts kokoro on cuda:0"] {
        assert!(text.stdout.contains(engine), "{engine} is missing in\n{}", text.stdout);
    }
    assert!(text.stdout.contains("30 users fit"), "{}", text.stdout);
}

#[test]
fn a_preset_without_its_models_says_what_to_pull() {
    let store = folder();
    let store = store.path().display().to_string();
    let run =
        antiphon(folder().path(), &["check", "--set", "preset=gpu-16gb"], &[("ANTIPHON_MODELS", &store)]);
    assert_eq!(run.code, Some(2), "{}", run.stdout);
    assert!(run.stderr.contains("run `antiphon models pull gpu-16gb`"), "{}", run.stderr);
    let run = antiphon(folder().path(), &["plan", "--preset", "gpu-16"], &[]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("--preset: `preset` = \"gpu-16\""), "{}", run.stderr);
}
