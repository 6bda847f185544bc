//! `gatherd store`: the store as a whole. One file a subcommand.

mod check;
mod compact;
mod stats;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::StateArgument;
use super::output;
use crate::daemon::state_folder;

#[derive(Debug, Args)]
pub(super) struct StoreArguments {
    #[command(subcommand)]
    command: StoreCommand,
    #[command(flatten)]
    state: StateArgument,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Check the file and every checksum in it. Changes nothing; exits with 1 if something is damaged.
    Check,
    /// Show how much there is of what, and since when.
    Stats(stats::StatsArguments),
    /// Give back the space that is not needed any more. Takes as much space again while it works.
    Compact,
}

pub(super) fn store(arguments: StoreArguments) -> ExitCode {
    let folder = state_folder(arguments.state.state, None);
    let done = match arguments.command {
        StoreCommand::Check => check::check(&folder),
        StoreCommand::Stats(arguments) => stats::stats(&folder, &arguments),
        StoreCommand::Compact => compact::compact(&folder),
    };
    done.unwrap_or_else(|fault| output::fail(&fault))
}
