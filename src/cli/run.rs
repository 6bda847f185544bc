//! `gatherd run`: the daemon, or one run of it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::progress::{Progress, summarize};
use super::{ConfiguredStateArgument, EXIT_CONFIG, mistakes, output};
use crate::assemble::{self, Service};
use crate::daemon::{self, Ending, Order, state_folder};
use crate::http::inherit_sockets;
use crate::model::{Fault, parse_duration};
use crate::runtime::{self, Clock};
use crate::settings::Fill;

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// Config files, or folders whose `*.toml` are read in the order of their names.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Run every source to its end (one tick a schedule, a list once), deliver everything, and exit: with 0, or with 1
    /// if anything was given up or abandoned.
    #[arg(long)]
    once: bool,
    /// With --once: how long a sink may fail before its items are abandoned.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    give_up: Duration,
    #[command(flatten)]
    state: ConfiguredStateArgument,
}

pub(super) fn run(arguments: RunArguments) -> ExitCode {
    inherit_sockets();
    runtime::use_small_pages();
    let loaded = assemble::load(&arguments.paths, Fill::of_process(), false);
    mistakes::report(&loaded.mistakes);
    let Some(assembled) = loaded.assembled else { return ExitCode::from(EXIT_CONFIG) };
    let RunArguments { paths, once, give_up, state } = arguments;
    let Service { state: configured, threads, admin, .. } = assembled.service.clone();
    runtime::set_threads(threads);
    let folder = state_folder(state.state, configured);
    let run = || -> Result<Ending, Fault> {
        let (service, outline) = (assembled.service.clone(), assembled.outline());
        let plan = assembled.into_plan(&Clock::system())?;
        let state = folder.clone();
        let order = Order {
            plan,
            paths,
            service,
            outline,
            state,
            once,
            give_up: once.then_some(give_up),
            admin: admin.filter(|_| !once),
        };
        daemon::run(&order, |engine| once.then(|| Progress::show(engine)))
    };
    match run() {
        Ok(ending) => {
            if once {
                summarize(&ending, &folder);
            }
            if let Some(fault) = &ending.fault {
                return output::fail(fault);
            }
            let failed = if once { !ending.is_clean() } else { ending.stopped_by_itself() };
            if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(fault) => output::fail(&fault),
    }
}
