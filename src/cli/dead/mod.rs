//! `gatherd dead`: the items that were given up. One file a subcommand.
//!
//! While a daemon runs, it is asked over its control socket; else the store is opened.

mod acts;
mod drop;
mod edit;
mod export;
mod list;
mod replay;
mod selection;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::StateArgument;
use super::output;
use crate::daemon::state_folder;

#[derive(Debug, Args)]
pub(super) struct DeadArguments {
    #[command(subcommand)]
    command: DeadCommand,
    #[command(flatten)]
    state: StateArgument,
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// List dead letters, the newest first.
    List(list::ListArguments),
    /// Show one dead letter whole: the item as it entered the component that gave it up, and every fault.
    Show(show::ShowArguments),
    /// Change the value of one dead letter, before it is replayed.
    Edit(edit::EditArguments),
    /// Send dead letters on their way again, each from the component that gave it up.
    Replay(replay::ReplayArguments),
    /// Remove dead letters for good.
    Drop(drop::DropArguments),
    /// Print dead letters whole, one JSON object a line.
    Export(export::ExportArguments),
}

pub(super) fn dead(arguments: DeadArguments) -> ExitCode {
    let folder = state_folder(arguments.state.state, None);
    let done = match arguments.command {
        DeadCommand::List(arguments) => list::list(&folder, arguments),
        DeadCommand::Show(arguments) => show::show(&folder, &arguments),
        DeadCommand::Edit(arguments) => edit::edit(&folder, &arguments),
        DeadCommand::Replay(arguments) => replay::replay(&folder, arguments),
        DeadCommand::Drop(arguments) => drop::drop(&folder, arguments),
        DeadCommand::Export(arguments) => export::export(&folder, arguments),
    };
    done.unwrap_or_else(|fault| output::fail(&fault))
}
