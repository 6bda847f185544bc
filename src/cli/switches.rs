//! `gatherd pause`, `gatherd resume` and `gatherd trigger`.

use std::process::ExitCode;

use clap::Args;

use super::access::{Access, nobody_in};
use super::{StateArgument, output};
use crate::daemon::{ControlClient, state_folder};
use crate::model::Fault;
use crate::runtime;

#[derive(Debug, Args)]
pub(super) struct SwitchArguments {
    /// The pipelines.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    state: StateArgument,
}

/// Pauses or resumes pipelines: in the daemon that runs, else for the next one.
pub(super) fn pause(arguments: SwitchArguments, is_paused: bool) -> ExitCode {
    let folder = state_folder(arguments.state.state, None);
    let switch = || -> Result<(), Fault> {
        let access = Access::to_write(&folder)?;
        arguments.names.iter().try_for_each(|name| match &access {
            Access::Daemon(daemon) => daemon.pause(name, is_paused),
            Access::Store(store) => runtime::block_on(store.pause(name.as_str().into(), is_paused)),
        })
    };
    told(switch(), if is_paused { "paused" } else { "resumed" }, &arguments.names)
}

/// Has schedules tick at once.
pub(super) fn trigger(arguments: SwitchArguments) -> ExitCode {
    let folder = state_folder(arguments.state.state, None);
    let Some(daemon) = ControlClient::find(&folder) else { return output::fail(&no_daemon("trigger", &folder)) };
    let triggered = arguments.names.iter().try_for_each(|name| daemon.trigger(name));
    told(triggered, "triggered", &arguments.names)
}

/// Why a command that needs a daemon fails without one.
pub(super) fn no_daemon(attempted: &str, folder: &std::path::Path) -> String {
    format!("cannot {attempted}: {}", nobody_in(folder))
}

fn told(done: Result<(), Fault>, what: &str, names: &[String]) -> ExitCode {
    match done {
        Ok(()) => output::print(names.iter().map(|name| format!("{what}  {name}\n")).collect::<String>().as_bytes()),
        Err(fault) => output::fail(&fault),
    }
}
