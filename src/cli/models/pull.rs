//! `antiphon models pull`: one model after the other, each with its files side by side, until all are there or
//! Ctrl-C.

use std::process::ExitCode;

use super::bars::Bars;
use super::{Context, output, table};
use crate::cli::BAD_USAGE;
use crate::models::{Fetcher, Hub, Model, Retries};

pub(super) fn run(context: &Context, names: &[String], offline: bool) -> ExitCode {
    let models = match context.catalogue.choose(names) {
        Ok(models) => models,
        Err(error) => return output::complain(error, BAD_USAGE),
    };
    let hub = match Hub::of_env(&context.env) {
        Ok(hub) => Hub { offline: hub.offline || offline, ..hub },
        Err(problem) => return output::complain(problem, BAD_USAGE),
    };
    let pulled = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))
        .and_then(|runtime| runtime.block_on(until_interrupted(context, &models, hub)));
    if let Err(message) = pulled {
        return output::failed(message);
    }
    output::show(&format!("\nTo use them, write into antiphon.toml:\n\n{}", table::settings(&models)));
    ExitCode::SUCCESS
}

async fn until_interrupted(context: &Context, models: &[&Model], hub: Hub) -> Result<(), String> {
    tokio::select! {
        pulled = pull_all(context, models, hub) => pulled,
        _ = tokio::signal::ctrl_c() => {
            Err("stopped; what was downloaded is kept: the same command goes on with it".to_owned())
        }
    }
}

async fn pull_all(context: &Context, models: &[&Model], hub: Hub) -> Result<(), String> {
    let fetcher = Fetcher::new(hub, Retries::default()).map_err(|error| error.to_string())?;
    for model in models {
        let bars = Bars::new();
        let pulled = fetcher.pull(&context.store, model, &bars).await;
        bars.clear();
        let pulled = pulled.map_err(|error| error.to_string())?;
        let place = context.store.folder(&model.name);
        let what = if pulled.was_there { "was installed already" } else { "is installed" };
        output::show(&format!("{} {what}: {} ({})\n", model.name, place.display(), model.licence));
        for path in pulled.pinned {
            output::show(&format!(
                "  {path}: the catalogue knows no checksum of it; the one that it has now is pinned, and what \
                 differs later is refused\n"
            ));
        }
    }
    Ok(())
}
