//! `gatherd status` and `gatherd top`: how the gatherd that runs is doing.

mod table;
mod top;

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::access::nobody_in;
use super::{StateArgument, output};
use crate::daemon::{ControlClient, Status, state_folder};
use crate::model::{Fault, FaultKind};

pub(super) use top::{TopArguments, top};

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// As one JSON object: what `/status` of the admin address answers.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: StateArgument,
}

pub(super) fn status(arguments: StatusArguments) -> ExitCode {
    match ask(&state_folder(arguments.state.state, None)) {
        Ok(status) if arguments.json => {
            let json = serde_json::to_string(&status).expect("a status has no keys but text");
            output::print(format!("{json}\n").as_bytes())
        }
        Ok(status) => output::print(table::table(&status, None).as_bytes()),
        Err(fault) => output::fail(&fault),
    }
}

/// What the gatherd of a state folder says of itself.
pub(super) fn ask(folder: &Path) -> Result<Status, Fault> {
    let daemon = ControlClient::find(folder).ok_or_else(|| Fault::stop(FaultKind::Request, nobody_in(folder)))?;
    daemon.status()
}
