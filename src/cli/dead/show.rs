//! `gatherd dead show`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::cli::access::Access;
use crate::cli::output::{self, counted};
use crate::model::Fault;
use crate::store::{DeadLetter, FaultRecord};

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// Its number in the list.
    id: i64,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn show(folder: &Path, arguments: &ShowArguments) -> Result<ExitCode, Fault> {
    let letter = Access::to_read(folder)?.letter(arguments.id, "show")?;
    let mut out = Vec::new();
    let written = if arguments.json { writeln!(out, "{}", letter.to_json()) } else { write_letter(&letter, &mut out) };
    written.expect("a Vec takes every write");
    Ok(output::print(&out))
}

fn write_letter(letter: &DeadLetter, out: &mut Vec<u8>) -> io::Result<()> {
    writeln!(out, "dead letter {} ({})", letter.id, letter.trace)?;
    writeln!(out, "  pipeline   {}", letter.pipeline)?;
    writeln!(out, "  component  {}", letter.component)?;
    if let Some(window) = letter.window {
        writeln!(out, "  window     {} to {}", window.start, window.end)?;
    }
    let times = counted(letter.count, "time", "times");
    writeln!(out, "  given up   {times}, first {:.0}, last {:.0}", letter.first, letter.last)?;
    if letter.is_replay_asked {
        writeln!(out, "  replay     asked for")?;
    }
    writeln!(out, "  value      {}", letter.value)?;
    writeln!(out, "  labels     {}", letter.labels)?;
    writeln!(out, "  history")?;
    for FaultRecord { at, kind, message, attempts } in &letter.history {
        let tries = counted(u64::from(*attempts), "try", "tries");
        writeln!(out, "    {at:.3}  {kind} after {tries}: {message}")?;
    }
    Ok(())
}
