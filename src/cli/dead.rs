//! `gatherd dead`: the items that were given up.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

use super::StateArgument;
use super::output::{self, Table};
use crate::daemon::state_folder;
use crate::model::{Fault, Object, Text, Value, parse_duration};
use crate::store::{DeadLetter, DeadLetterFilter, FaultRecord, Store};

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
    List(ListArguments),
    /// Show one dead letter whole: the item as it entered the component that gave it up, and every fault.
    Show {
        /// Its number in the list.
        id: i64,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Only those of this pipeline.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Only those that this component gave up, such as `get` or `sink.db`.
    #[arg(long, value_name = "ID")]
    component: Option<String>,
    /// Only those with this kind of fault, such as `status` or `timeout`.
    #[arg(long, value_name = "KIND")]
    fault: Option<String>,
    /// Only those given up within this time, such as `2h`.
    #[arg(long, value_name = "DURATION")]
    within: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: usize,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn dead(arguments: DeadArguments) -> ExitCode {
    let folder = state_folder(arguments.state.state, None);
    let printed = Store::open_to_read(&folder).and_then(|store| match arguments.command {
        DeadCommand::List(arguments) => list(&store, arguments),
        DeadCommand::Show { id, json } => show(&store, id, json),
    });
    match printed {
        Ok(text) => output::print(&text),
        Err(fault) => output::fail(&fault),
    }
}

fn list(store: &Store, arguments: ListArguments) -> Result<Vec<u8>, Fault> {
    let ListArguments { pipeline, component, fault, within, limit, json } = arguments;
    let since = within.map(|within| newest_of(&within)).transpose()?;
    let filter = DeadLetterFilter { pipeline, component, fault, since, limit: Some(limit), ..DeadLetterFilter::default() };
    let letters = store.dead_letters(&filter)?;
    let mut out = Vec::new();
    let written = if json { write_json_lines(&letters, &mut out) } else { write_table(&letters, &mut out) };
    written.expect("a Vec takes every write");
    Ok(out)
}

/// The time that lies `within` before now.
fn newest_of(within: &str) -> Result<Timestamp, Fault> {
    let wrong = |message: String| Fault::stop(crate::model::FaultKind::Request, format!("--within: {message}"));
    let duration = parse_duration(within).map_err(wrong)?;
    let duration = SignedDuration::try_from(duration).map_err(|error| wrong(error.to_string()))?;
    Ok(Timestamp::now().saturating_sub(duration).unwrap_or(Timestamp::MIN))
}

fn write_json_lines(letters: &[DeadLetter], out: &mut Vec<u8>) -> io::Result<()> {
    letters.iter().try_for_each(|letter| writeln!(out, "{}", to_value(letter)))
}

fn write_table(letters: &[DeadLetter], out: &mut Vec<u8>) -> io::Result<()> {
    if letters.is_empty() {
        return writeln!(out, "no dead letters");
    }
    let mut table = Table::new(["ID", "LAST", "PIPELINE", "COMPONENT", "FAULT", "TRIES", "MESSAGE"]);
    for letter in letters {
        table.row([
            letter.id.to_string(),
            format!("{:.0}", letter.last),
            letter.pipeline.to_string(),
            letter.component.to_string(),
            letter.fault.kind.clone(),
            letter.fault.attempts.to_string(),
            letter.fault.message.clone(),
        ]);
    }
    table.write(out)
}

fn show(store: &Store, id: i64, json: bool) -> Result<Vec<u8>, Fault> {
    let Some(letter) = store.dead_letter(id)? else {
        let message = format!("cannot show dead letter {id}: there is none of that number (see `gatherd dead list`)");
        return Err(Fault::stop(crate::model::FaultKind::Request, message));
    };
    let mut out = Vec::new();
    let written = if json { writeln!(out, "{}", to_value(&letter)) } else { write_letter(&letter, &mut out) };
    written.expect("a Vec takes every write");
    Ok(out)
}

fn write_letter(letter: &DeadLetter, out: &mut Vec<u8>) -> io::Result<()> {
    writeln!(out, "dead letter {} ({})", letter.id, letter.trace)?;
    writeln!(out, "  pipeline   {}", letter.pipeline)?;
    writeln!(out, "  component  {}", letter.component)?;
    if let Some(window) = letter.window {
        writeln!(out, "  window     {} to {}", window.start, window.end)?;
    }
    writeln!(out, "  given up   {} times, first {:.0}, last {:.0}", letter.count, letter.first, letter.last)?;
    writeln!(out, "  value      {}", letter.value)?;
    writeln!(out, "  labels     {}", letter.labels)?;
    writeln!(out, "  history")?;
    for FaultRecord { at, kind, message, attempts } in &letter.history {
        writeln!(out, "    {at:.3}  {kind} after {attempts} tries: {message}")?;
    }
    Ok(())
}

fn to_value(letter: &DeadLetter) -> Value {
    let fault = |fault: &FaultRecord| {
        object([
            ("at", Value::from(fault.at.to_string())),
            ("kind", Value::from(fault.kind.as_str())),
            ("message", Value::from(fault.message.as_str())),
            ("attempts", Value::from(i64::from(fault.attempts))),
        ])
    };
    let window = letter.window.map_or(Value::Null, |window| {
        object([("start", Value::from(window.start.to_string())), ("end", Value::from(window.end.to_string()))])
    });
    object([
        ("id", Value::from(letter.id)),
        ("pipeline", Value::Text(letter.pipeline.clone())),
        ("component", Value::Text(letter.component.clone())),
        ("trace", Value::from(letter.trace.as_str())),
        ("value", letter.value.clone()),
        ("labels", letter.labels.clone()),
        ("window", window),
        ("fault", fault(&letter.fault)),
        ("history", Value::array(letter.history.iter().map(fault).collect())),
        ("first", Value::from(letter.first.to_string())),
        ("last", Value::from(letter.last.to_string())),
        ("count", Value::from(i64::try_from(letter.count).unwrap_or(i64::MAX))),
    ])
}

fn object<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::object(entries.into_iter().map(|(key, value)| (Text::from(key), value)).collect::<Object>())
}
