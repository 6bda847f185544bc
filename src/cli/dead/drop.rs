//! `gatherd dead drop`.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::selection::{ExplicitSelection, counted};
use crate::cli::access::Access;
use crate::cli::output;
use crate::model::Fault;

#[derive(Debug, Args)]
pub(super) struct DropArguments {
    #[command(flatten)]
    which: ExplicitSelection,
    /// Do not ask for confirmation, as is done on a terminal.
    #[arg(long)]
    yes: bool,
}

pub(super) fn drop(folder: &Path, arguments: DropArguments) -> Result<ExitCode, Fault> {
    let access = Access::to_write(folder)?;
    let ids = arguments.which.ids(&access)?;
    if ids.is_empty() {
        return Ok(output::print(b"no dead letters\n"));
    }
    if !arguments.yes && io::stdin().is_terminal() && !is_confirmed(ids.len()) {
        return Ok(output::print(b"nothing is dropped\n"));
    }
    access.drop(&ids)?;
    Ok(output::print(format!("dropped {}\n", counted(ids.len())).as_bytes()))
}

fn is_confirmed(count: usize) -> bool {
    let mut stderr = io::stderr().lock();
    // Who cannot be asked has not agreed.
    let asked = write!(stderr, "drop {} for good? [y/N] ", counted(count)).and_then(|()| stderr.flush());
    let mut answer = String::new();
    asked.and_then(|()| io::stdin().read_line(&mut answer)).is_ok()
        && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}
