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
