//! `gatherd dead list`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::selection::FilterArguments;
use crate::cli::access::Access;
use crate::cli::output::{self, Table};
use crate::model::Fault;
use crate::store::{DeadLetter, DeadLetterFilter};

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// At most so many.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: usize,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn list(folder: &Path, arguments: ListArguments) -> Result<ExitCode, Fault> {
    let ListArguments { filter, limit, json } = arguments;
    let filter = DeadLetterFilter { limit: Some(limit), ..filter.into_filter() };
    let access = Access::to_read(folder)?;
    if json {
        return super::export::print(&access, &filter);
    }
    let mut letters = Vec::new();
    access.each(&filter, |letter| {
        letters.push(letter);
        Ok(())
    })?;
    let mut out = Vec::new();
    write_table(&letters, &mut out).expect("a Vec takes every write");
    Ok(output::print(&out))
}

fn write_table(letters: &[DeadLetter], out: &mut Vec<u8>) -> io::Result<()> {
    if letters.is_empty() {
        return writeln!(out, "no dead letters");
    }
    let mut table = Table::new(["ID", "LAST", "PIPELINE", "COMPONENT", "FAULT", "TRIES", "REPLAY", "MESSAGE"]);
    for letter in letters {
        table.row([
            letter.id.to_string(),
            format!("{:.0}", letter.last),
            letter.pipeline.to_string(),
            letter.component.to_string(),
            letter.fault.kind.clone(),
            letter.fault.attempts.to_string(),
            if letter.is_replay_asked { "asked" } else { "-" }.to_owned(),
            letter.fault.message.clone(),
        ]);
    }
    table.write(out)
}
