//! `antiphon serve`: the server, until Ctrl-C or SIGTERM. SIGHUP reads the configuration anew.

use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{ConfigArgs, output};
use crate::app::Server;
use crate::config::Config;
use crate::telemetry::{self, LogFilter};

pub(super) fn run(args: &ConfigArgs) -> ExitCode {
    let config = match args.load() {
        Ok(config) => config,
        Err(problems) => return output::bad_config(&problems),
    };
    let logs = match telemetry::init(&config.telemetry) {
        Ok(logs) => logs,
        Err(error) => return output::failed(error),
    };
    let served = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}"))
        .and_then(|workers| workers.block_on(serve(config, logs, args)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => output::failed(message),
    }
}

/// Serves until a signal comes. The answer is a message for the person at the terminal.
async fn serve(config: Config, logs: LogFilter, args: &ConfigArgs) -> Result<(), String> {
    let mut signals = Signals::listen().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let serves_engines = config.serves_engines_alone();
    let server = Server::start_with_logs(config, logs).await.map_err(|error| error.to_string())?;
    let https = server.https_address().map(|address| format!(" and https://{address}")).unwrap_or_default();
    let role = if serves_engines { "engines only; " } else { "" };
    let address = server.address();
    output::show(&format!("Antiphon is ready: http://{address}{https}  ({role}Ctrl-C stops it)\n"));
    while signals.next().await == Wish::Reload {
        server.reload(args.load());
    }
    output::show("Stopping; running turns may finish. Once more stops at once.\n");
    tokio::select! {
        stopped = server.stop() => stopped.map_err(|error| error.to_string()),
        () = signals.stop() => Err("stopped at once; running turns were cut off".to_owned()),
    }
}

/// What asks the process to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(PartialEq, Eq)]
enum Wish {
    Stop,
    Reload,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.hangup.recv() => Wish::Reload,
        }
    }

    async fn stop(&mut self) {
        while self.next().await != Wish::Stop {}
    }
}
