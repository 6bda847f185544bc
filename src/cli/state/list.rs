//! `gatherd state list`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::cli::access::Access;
use crate::cli::output::{self, Table};
use crate::model::{Fault, Value};
use crate::store::{Kept, KeptAt};

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// Of this pipeline only.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn list(folder: &Path, arguments: &ListArguments) -> Result<ExitCode, Fault> {
    let mut kept = Access::to_read(folder)?.kept()?;
    kept.retain(|kept| arguments.pipeline.as_ref().is_none_or(|pipeline| *pipeline == *kept.pipeline));
    if arguments.json {
        let lines: String = kept.iter().map(|kept| format!("{}\n", kept.to_json())).collect();
        return Ok(output::print(lines.as_bytes()));
    }
    let mut out = Vec::new();
    write_table(&kept, &mut out).expect("a Vec takes every write");
    Ok(output::print(&out))
}

fn write_table(kept: &[Kept], out: &mut Vec<u8>) -> io::Result<()> {
    if kept.is_empty() {
        return writeln!(out, "nothing is kept yet");
    }
    let mut table = Table::new(["PIPELINE", "COMPONENT", "PARTITION", "AT", "RUN"]);
    for Kept { pipeline, component, at } in kept {
        let (partition, at, run) = match at {
            KeptAt::Position(position) => (String::new(), position.to_string(), String::new()),
            KeptAt::Cursor { partition, value, run } => {
                let value = value.as_ref().map_or("-".to_owned(), Value::to_string);
                (partition.to_string(), value, run.as_ref().map(progress).unwrap_or_default())
            }
        };
        table.row([pipeline.to_string(), component.to_string(), partition, at, run]);
    }
    table.write(out)
}

/// `3 pages, 300 items, up to "2026-01-31T00:00:00Z"`
fn progress(run: &Value) -> String {
    let count = |key, one, many| {
        let count = run.get(key).and_then(Value::as_i64).and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
        output::counted(count, one, many)
    };
    let maximum = match run.get("maximum") {
        None | Some(Value::Null) => String::new(),
        Some(maximum) => format!(", up to {maximum}"),
    };
    format!("{}, {}{maximum}", count("pages", "page", "pages"), count("items", "item", "items"))
}
