//! `gatherd dead export`.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::selection::{Selection, SelectionArguments};
use crate::cli::access::Access;
use crate::cli::output;
use crate::model::{Fault, FaultKind};
use crate::store::{DeadLetter, DeadLetterFilter};

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    #[command(flatten)]
    selection: SelectionArguments,
}

pub(super) fn export(folder: &Path, arguments: ExportArguments) -> Result<ExitCode, Fault> {
    let access = Access::to_read(folder)?;
    match arguments.selection.into_selection() {
        Selection::Filter(filter) => print(&access, &filter),
        Selection::Ids(ids) => print_with(|print| ids.iter().try_for_each(|id| print(access.letter(*id, "export")?))),
    }
}

/// Prints dead letters, one JSON object a line, as they are read.
pub(super) fn print(access: &Access, filter: &DeadLetterFilter) -> Result<ExitCode, Fault> {
    print_with(|print| access.each(filter, print))
}

/// Lets `read` hand over what is to be printed.
fn print_with(
    read: impl FnOnce(&mut dyn FnMut(DeadLetter) -> Result<(), Fault>) -> Result<(), Fault>,
) -> Result<ExitCode, Fault> {
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    let mut failed = None;
    let mut print = |letter: DeadLetter| {
        writeln!(stdout, "{}", letter.to_json()).map_err(|error| {
            failed = Some(error);
            Fault::stop(FaultKind::Write, "cannot write to standard output")
        })
    };
    let done = read(&mut print);
    match failed.or_else(|| done.is_ok().then(|| stdout.flush().err()).flatten()) {
        None => done.map(|()| ExitCode::SUCCESS),
        // A reader that closed the pipe had enough.
        Some(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Some(error) => Ok(output::fail(&format!("cannot write to standard output: {error}"))),
    }
}
