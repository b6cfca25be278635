//! `antiphon models`: list, pull, verify, remove, path, settings. Thin: what it prints is here, what it does is in
//! `models`.

mod bars;
mod pull;
mod table;

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{BAD_USAGE, FAILED, output};
use crate::config::{Config, FlagValue, Sources};
use crate::models::{Catalogue, Installed, State, Store};

pub(super) const EXAMPLES: &str = "\
Examples:
  antiphon models list                       what there is, what it takes
  antiphon models pull cpu-en                a bundle: all for English on a CPU
  antiphon models pull whisper-base.en       one model; again goes on after a break
  antiphon models settings whisper-base.en   what to write into antiphon.toml
  antiphon models path whisper-base.en       where it lies
  antiphon models verify                     compare the checksums of all files
  antiphon models remove whisper-base.en     free its disk space

In antiphon.toml, `model = \"models:NAME\"` is the path of a model that was pulled.

Variables:
  ANTIPHON_MODELS                            the store's folder
  HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE
                                             as for Hugging Face's own tools
  HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE       proxies and their certificates";

/// Flags of `antiphon models`.
#[derive(Args, Debug)]
pub(super) struct ModelsArgs {
    #[command(subcommand)]
    action: Action,
    /// Configuration file [default: antiphon.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "ANTIPHON_CONFIG", hide_env = true)]
    config: Option<PathBuf>,
    /// Folder of the store; short for models.dir
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show every model and bundle: size, memory, licence, whether it is installed
    List,
    /// Download models or bundles; goes on where an earlier pull stopped
    Pull {
        /// Models or bundles, as `list` names them
        #[arg(required = true)]
        names: Vec<String>,
        /// Use no network: only the Hugging Face cache and folders of this machine
        #[arg(long)]
        offline: bool,
    },
    /// Read all files of installed models and compare their checksums
    Verify {
        /// Models or bundles [default: all that are installed]
        names: Vec<String>,
    },
    /// Remove models and what was downloaded of them
    Remove {
        /// Models
        #[arg(required = true)]
        names: Vec<String>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Print where a model lies: what an engine's `model` takes
    Path {
        /// A model
        name: String,
    },
    /// Print the sections of antiphon.toml that load models or a bundle
    Settings {
        /// Models or bundles
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// What every action needs.
struct Context {
    catalogue: Catalogue,
    store: Store,
    env: Vec<(String, String)>,
}

pub(super) fn run(args: &ModelsArgs) -> ExitCode {
    let context = match context(args) {
        Ok(context) => context,
        Err(code) => return code,
    };
    match &args.action {
        Action::List => output::show(&table::list(&context.catalogue, &context.store)),
        Action::Pull { names, offline } => return pull::run(&context, names, *offline),
        Action::Verify { names } => return verify(&context, names),
        Action::Remove { names, yes } => return remove(&context, names, *yes),
        Action::Path { name } => return path(&context, name),
        Action::Settings { names } => match context.catalogue.choose(names) {
            Ok(models) => output::show(&table::settings(&models)),
            Err(error) => return output::complain(error, BAD_USAGE),
        },
    }
    ExitCode::SUCCESS
}

fn context(args: &ModelsArgs) -> Result<Context, ExitCode> {
    let dir =
        args.dir.clone().map(|value| FlagValue { flag: "--dir".into(), key: "models.dir".into(), value });
    let sources = Sources::of_process(args.config.as_deref(), dir.into_iter().collect());
    let sources = sources.map_err(|problems| output::bad_config(&problems))?;
    let config = Config::load_models(&sources).map_err(|problems| output::bad_config(&problems))?;
    let catalogue = config.read_catalogue().map_err(|error| output::complain(error, BAD_USAGE))?;
    Ok(Context { catalogue, store: config.store(&sources.env), env: sources.env })
}

fn path(context: &Context, name: &str) -> ExitCode {
    match context.store.installed(name) {
        State::Whole(installed) => {
            let path = context.store.folder(name).join(&installed.main);
            output::show(&format!("{}\n", path.display()));
            ExitCode::SUCCESS
        }
        State::Broken(path) => {
            let path = path.display();
            output::failed(format!("{path} is missing or changed; run `antiphon models pull {name}`"))
        }
        State::Absent if context.catalogue.model(name).is_none() => {
            output::complain(context.catalogue.unknown(name), BAD_USAGE)
        }
        State::Absent => {
            output::failed(format!("{name} is not installed; run `antiphon models pull {name}`"))
        }
    }
}

fn verify(context: &Context, names: &[String]) -> ExitCode {
    let installed = match chosen(context, names) {
        Ok(installed) => installed,
        Err(code) => return code,
    };
    let bar = bars::Bytes::new(installed.iter().flat_map(|model| &model.files).map(|file| file.bytes).sum());
    let mut damaged = 0;
    for model in &installed {
        bar.say(&model.name);
        let damages = context.store.verify(model, |bytes| bar.advance(bytes));
        damaged += usize::from(!damages.is_empty());
        let lines: String = damages.iter().map(|damage| format!("  {damage}\n")).collect();
        let verdict = if damages.is_empty() { "whole" } else { "damaged" };
        bar.hidden(|| output::show(&format!("{}: {verdict}\n{lines}", model.name)));
    }
    bar.end();
    if installed.is_empty() {
        output::note(Some("nothing is installed; `antiphon models list` shows what there is"));
    }
    if damaged == 0 {
        return ExitCode::SUCCESS;
    }
    output::failed(format!("{damaged} damaged; `antiphon models pull NAME` brings what is damaged anew"))
}

/// The installed models of these names; all for none.
fn chosen(context: &Context, names: &[String]) -> Result<Vec<Installed>, ExitCode> {
    if names.is_empty() {
        return Ok(context.store.all());
    }
    let mut found = Vec::new();
    for name in names {
        let own = context.store.record(name);
        let models = match own {
            Some(_) => vec![name.as_str()],
            None => match context.catalogue.choose(std::slice::from_ref(name)) {
                Ok(models) => models.into_iter().map(|model| model.name.as_str()).collect(),
                Err(error) => return Err(output::complain(error, BAD_USAGE)),
            },
        };
        for name in models {
            let record = context.store.record(name);
            found.push(record.ok_or_else(|| output::failed(format!("{name} is not installed")))?);
        }
    }
    Ok(found)
}

fn remove(context: &Context, names: &[String], yes: bool) -> ExitCode {
    for name in names {
        let known = context.catalogue.model(name).is_some() || context.store.record(name).is_some();
        if !known {
            return output::complain(context.catalogue.unknown(name), BAD_USAGE);
        }
    }
    if !yes && !confirmed(context, names) {
        return output::complain("nothing was removed; `--yes` removes without asking", FAILED);
    }
    for name in names {
        match context.store.remove(name) {
            Ok(true) => output::show(&format!("{name} is removed\n")),
            Ok(false) => output::show(&format!("{name} was not installed\n")),
            Err(error) => return output::failed(error),
        }
    }
    ExitCode::SUCCESS
}

/// Asks whoever sits at the terminal.
fn confirmed(context: &Context, names: &[String]) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    let dir = context.store.dir().display();
    write!(std::io::stderr(), "Remove {} from {dir}? [y/N] ", names.join(", ")).ok();
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).is_ok()
        && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}
