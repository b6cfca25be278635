//! The program as people run it: messages and exit codes.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

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
    let run = antiphon(folder.path(), &["plan", "--preset", "gpu-16gb"], &[]);
    for part in ["engines.stt[0]: its costs are not known", "starter models on the CPU"] {
        assert!(run.stdout.contains(part), "{part}\nis missing from\n{}", run.stdout);
    }
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

/// A file of that length that takes no room.
fn sparse(path: &Path, head: &[u8], bytes: u64) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
    std::fs::write(path, head).expect("writable");
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(bytes))
        .expect("writable");
}

/// What a ggml file of the shape of large-v3-turbo begins with: sizes, an empty vocabulary of its length, one tensor.
fn turbo(bytes: u64) -> Vec<u8> {
    let sizes = [51_866, 1_500, 1_280, 20, 32, 448, 1_280, 20, 4, 128];
    let mut numbers: Vec<u32> = [0x6767_6d6c].into_iter().chain(sizes).chain([1, 0, 0, 50_257]).collect();
    numbers.extend([0; 50_257]);
    let elements = (bytes - 4 * (numbers.len() as u64 + 4)) / 2;
    numbers.extend([1, 0, 1, u32::try_from(elements).expect("fits")]);
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The configuration of the manual, with files of the lengths that the catalogue states and nothing in them.
fn workstation(folder: &Path) -> String {
    let manual = include_str!("../docs/operations.md");
    let (_, rest) = manual.split_once("<!-- gpu-config:begin -->\n```toml\n").expect("it is there");
    let (text, _) = rest.split_once("```").expect("it ends");
    let length = 574_041_194; // the tensor is of whole 16-bit numbers
    sparse(&folder.join("whisper.bin"), &turbo(length), length);
    let shape = r#"{"num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2, "hidden_size": 1536,
        "vocab_size": 151936, "max_position_embeddings": 32768}"#;
    sparse(&folder.join("qwen/config.json"), shape.as_bytes(), shape.len() as u64);
    sparse(&folder.join("qwen/onnx/model_q4.onnx"), b"", 1_787_566_590);
    sparse(&folder.join("qwen/tokenizer.json"), b"", 7_031_673);
    sparse(&folder.join("kokoro/model.onnx"), b"", 325_532_232);
    sparse(&folder.join("turn.onnx"), b"", 8_679_182);
    let at = |name: &str| format!("\"{}\"", folder.join(name).display());
    text.replace("\"models:whisper-large-v3-turbo-q5_0\"", &at("whisper.bin"))
        .replace("\"models:qwen2.5-1.5b\"", &at("qwen"))
        .replace("\"models:kokoro-82m-f32\"", &at("kokoro/model.onnx"))
        .replace("\"models:kokoro-82m-f32/voices\"", &at("kokoro/voices"))
        .replace("\"models:smart-turn-v3\"", &at("turn.onnx"))
}

#[test]
fn the_workstation_of_the_manual_fits_its_gpu() {
    let folder = folder();
    let config = workstation(folder.path());
    assert!(!config.contains("models:"), "all files are made: {config}");
    std::fs::write(folder.path().join("antiphon.toml"), config).expect("writable");
    let args = ["plan", "--vram-gib", "16", "--ram-gib", "32", "--cores", "16"];
    let text = antiphon(folder.path(), &args, &[]);
    let run = antiphon(folder.path(), &[&args[..], &["--json"]].concat(), &[]);
    let plan: serde_json::Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr));
    let loads = plan["sizing"]["loads"].as_array().expect("engines");
    let mib = |value: &serde_json::Value| value.as_u64().expect("bytes") >> 20;
    // A build without CUDA for whisper.cpp plans it in RAM, with the same figures.
    let taken: u64 = loads.iter().map(|load| &load["engine"]["memory"]).map(|m| mib(&m["vram"])).sum();
    let whisper = &loads[0]["engine"]["memory"];
    let taken = taken + mib(&plan["sizing"]["overhead"]["server"]["vram"]);
    let with_whisper = if mib(&whisper["vram"]) > 0 { taken } else { taken + mib(&whisper["ram"]) };
    assert!((4_000..14_745).contains(&with_whisper), "{with_whisper} MiB\n{}", text.stdout);
    assert!(
        text.stdout.contains("llm onnx on cuda:0") && text.stdout.contains("tts kokoro on cuda:0"),
        "{}",
        text.stdout
    );
}

#[test]
fn a_preset_that_this_build_cannot_fill_is_told_by_check() {
    let run = antiphon(folder().path(), &["check", "--set", "preset=gpu-16gb"], &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stderr.contains("preset gpu-16gb: its engines are the starter models on the CPU"),
        "{}",
        run.stderr
    );
    let run = antiphon(folder().path(), &["plan", "--preset", "gpu-16"], &[]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("--preset: `preset` = \"gpu-16\""), "{}", run.stderr);
}
