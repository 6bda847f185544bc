//! `gatherd reload`.

use std::process::ExitCode;

use super::switches::no_daemon;
use super::{EXIT_CONFIG, StateArgument, output};
use crate::daemon::{ControlClient, ReloadReport, state_folder};
use crate::model::{Fault, FaultKind};

/// Has the daemon read its config again, and says what that has changed.
pub(super) fn reload(state: StateArgument) -> ExitCode {
    let folder = state_folder(state.state, None);
    let Some(daemon) = ControlClient::find(&folder) else {
        return output::fail(&no_daemon("reload", &folder));
    };
    match daemon.reload() {
        Ok(report) => {
            let printed = output::print(told(&report).as_bytes());
            if report.failed.is_empty() { printed } else { ExitCode::FAILURE }
        }
        Err(Fault { kind: FaultKind::Config, message, .. }) => {
            output::fail(&format!("the config cannot be used, and nothing has changed\n\n{message}"));
            ExitCode::from(EXIT_CONFIG)
        }
        Err(fault) => output::fail(&fault),
    }
}

fn told(report: &ReloadReport) -> String {
    let ReloadReport { started, restarted, stopped, unchanged, failed, need_restart } = report;
    let mut text = String::new();
    for (what, names) in [("started", started), ("restarted", restarted), ("stopped", stopped)] {
        for name in names {
            text.push_str(&format!("{what:9}  {name}\n"));
        }
    }
    for (name, why) in failed {
        text.push_str(&format!("cannot start {name}: {why}\n"));
    }
    text.push_str(&format!("{} as before\n", output::counted(*unchanged, "pipeline goes on", "pipelines go on")));
    if !need_restart.is_empty() {
        text.push_str(&format!("`[service]` is read at the next start: {} changed\n", need_restart.join(", ")));
    }
    text
}
