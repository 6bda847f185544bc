//! `gatherd state`: how far everything has come. One file a subcommand.
//!
//! While a daemon runs, it is asked over its control socket; else the store is opened.

mod acts;
mod list;
mod reset;
mod set;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::StateArgument;
use super::output;
use crate::daemon::state_folder;
use crate::store::KeptPlace;

#[derive(Debug, Args)]
pub(super) struct StateArguments {
    #[command(subcommand)]
    command: StateCommand,
    #[command(flatten)]
    state: StateArgument,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// List the positions of sources, and the cursors of steps with their unfinished runs.
    List(list::ListArguments),
    /// Show one of them whole.
    Show(PlaceArguments),
    /// Set a cursor, or the position of a source while gatherd is stopped.
    Set(set::SetArguments),
    /// Forget a cursor, or the position of a source while gatherd is stopped: it begins as it did the first time.
    Reset(PlaceArguments),
}

/// What is looked at or changed.
#[derive(Debug, Args)]
struct PlaceArguments {
    pipeline: String,
    /// The source or the step.
    component: String,
    /// What `per` gives, for a step that has a cursor for each [default: all of them].
    #[arg(long)]
    partition: Option<String>,
}

impl PlaceArguments {
    fn into_place(self) -> KeptPlace {
        let Self { pipeline, component, partition } = self;
        KeptPlace { pipeline: pipeline.into(), component: component.into(), partition: partition.map(Into::into) }
    }
}

pub(super) fn state(arguments: StateArguments) -> ExitCode {
    let folder = state_folder(arguments.state.state, None);
    let done = match arguments.command {
        StateCommand::List(arguments) => list::list(&folder, &arguments),
        StateCommand::Show(arguments) => show::show(&folder, &arguments.into_place()),
        StateCommand::Set(arguments) => set::set(&folder, arguments),
        StateCommand::Reset(arguments) => reset::reset(&folder, &arguments.into_place()),
    };
    done.unwrap_or_else(|fault| output::fail(&fault))
}
