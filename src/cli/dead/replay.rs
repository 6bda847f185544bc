//! `gatherd dead replay`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::selection::{ExplicitSelection, counted};
use crate::cli::access::Access;
use crate::cli::output;
use crate::model::{Fault, Rate, Text};
use crate::store::Replay;

#[derive(Debug, Args)]
pub(super) struct ReplayArguments {
    #[command(flatten)]
    which: ExplicitSelection,
    /// At most so many in each pipeline, such as `10/s`.
    #[arg(long)]
    rate: Option<Rate>,
    /// Begin at this earlier step, or at `source`: the pipeline's first step.
    #[arg(long, value_name = "STEP")]
    from: Option<String>,
}

pub(super) fn replay(folder: &Path, arguments: ReplayArguments) -> Result<ExitCode, Fault> {
    let ReplayArguments { which, rate, from } = arguments;
    let access = Access::to_write(folder)?;
    let ids = which.ids(&access)?;
    if ids.is_empty() {
        return Ok(output::print(b"no dead letters\n"));
    }
    let from: Option<Text> = from.map(Text::from);
    let interval = rate.map_or(Duration::ZERO, Rate::interval);
    let replays = ids.iter().map(|letter| Replay { letter: *letter, from: from.clone(), interval }).collect();
    let warnings = access.replay(replays)?;
    for warning in &warnings {
        output::fail(warning);
    }
    let when = if access.is_daemon() { "asked to replay" } else { "the next start replays" };
    let printed = output::print(format!("{when} {}\n", counted(ids.len())).as_bytes());
    Ok(if warnings.is_empty() { printed } else { ExitCode::FAILURE })
}
