//! `gatherd check`: whether a config can be used.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output::counted;
use super::{EXIT_CONFIG, mistakes, output};
use crate::assemble;
use crate::settings::Fill;

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// Config files, or folders whose `*.toml` are read in the order of their names.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Let ${NAME} and ${secret:NAME} pass that are not set here, with a warning.
    #[arg(long)]
    unset_ok: bool,
}

pub(super) fn check(arguments: &CheckArguments) -> ExitCode {
    let loaded = assemble::load(&arguments.paths, Fill::of_process(), arguments.unset_ok);
    mistakes::report(&loaded.mistakes);
    let Some(assembled) = loaded.assembled else { return ExitCode::from(EXIT_CONFIG) };
    let pipelines = counted(assembled.pipelines.len() as u64, "pipeline", "pipelines");
    let sinks = counted(assembled.sinks.len() as u64, "sink", "sinks");
    output::print(format!("ok: {pipelines}, {sinks}\n").as_bytes())
}
