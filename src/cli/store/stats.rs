//! `gatherd store stats`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::output::{self, Table, about};
use crate::model::Fault;
use crate::store::{PipelineStatistics, QueueStatistics, Statistics, Store, TableStatistics};

#[derive(Debug, Args)]
pub(super) struct StatsArguments {
    /// One JSON object, sizes in bytes.
    #[arg(long)]
    json: bool,
}

pub(super) fn stats(folder: &Path, arguments: &StatsArguments) -> Result<ExitCode, Fault> {
    let statistics = Store::open_to_read(folder)?.statistics()?;
    let mut out = Vec::new();
    if arguments.json {
        writeln!(out, "{}", to_json(&statistics)).expect("a Vec takes every write");
    } else {
        write_tables(&statistics, &mut out).expect("a Vec takes every write");
    }
    Ok(output::print(&out))
}

fn write_tables(statistics: &Statistics, out: &mut Vec<u8>) -> io::Result<()> {
    let Statistics { files, free_bytes, tables, queues, pipelines } = statistics;
    let mut table = Table::new(["FILE", "SIZE"]);
    for (name, bytes) in files {
        table.row([name.clone(), about(*bytes)]);
    }
    table.write(out)?;
    writeln!(out, "`gatherd store compact` gives back {} or more", about(*free_bytes))?;
    let mut table = Table::new(["TABLE", "ROWS", "SIZE"]);
    for TableStatistics { name, rows, bytes } in tables {
        table.row([(*name).to_owned(), rows.to_string(), about(*bytes)]);
    }
    writeln!(out)?;
    table.write(out)?;
    if !queues.is_empty() {
        let mut table = Table::new(["QUEUE", "ITEMS", "SIZE", "IN FLIGHT", "HELD BACK", "SUSPECTS", "KEYS", "OLDEST"]);
        for QueueStatistics { name, counts, keys, oldest } in queues {
            table.row([
                name.to_string(),
                counts.size.items.to_string(),
                about(counts.size.bytes),
                counts.in_flight.to_string(),
                counts.held_back.to_string(),
                counts.suspects.to_string(),
                keys.to_string(),
                show_time(*oldest),
            ]);
        }
        writeln!(out)?;
        table.write(out)?;
    }
    if !pipelines.is_empty() {
        let mut table = Table::new(["PIPELINE", "SEEN KEYS", "LAST VALUES", "DEAD LETTERS", "SIZE", "OLDEST"]);
        for PipelineStatistics { name, seen, last, dead_letters, dead_bytes, oldest_dead } in pipelines {
            table.row([
                name.clone(),
                seen.to_string(),
                last.to_string(),
                dead_letters.to_string(),
                about(*dead_bytes),
                show_time(*oldest_dead),
            ]);
        }
        writeln!(out)?;
        table.write(out)?;
    }
    Ok(())
}

fn show_time(time: Option<Timestamp>) -> String {
    time.map_or("-".to_owned(), |time| format!("{time:.0}"))
}

fn to_json(statistics: &Statistics) -> Value {
    let Statistics { files, free_bytes, tables, queues, pipelines } = statistics;
    let time = |time: &Option<Timestamp>| time.map(|time| time.to_string());
    let queue = |queue: &QueueStatistics| {
        let QueueStatistics { name, counts, keys, oldest } = queue;
        json!({
            "name": **name, "items": counts.size.items, "bytes": counts.size.bytes, "in_flight": counts.in_flight,
            "held_back": counts.held_back, "suspects": counts.suspects, "keys": keys, "oldest": time(oldest),
        })
    };
    let pipeline = |pipeline: &PipelineStatistics| {
        let PipelineStatistics { name, seen, last, dead_letters, dead_bytes, oldest_dead } = pipeline;
        json!({
            "name": name, "seen": seen, "last": last, "dead_letters": dead_letters, "dead_bytes": dead_bytes,
            "oldest_dead": time(oldest_dead),
        })
    };
    let table = |table: &TableStatistics| json!({ "name": table.name, "rows": table.rows, "bytes": table.bytes });
    let file = |(name, bytes): &(String, u64)| json!({ "name": name, "bytes": bytes });
    json!({
        "files": files.iter().map(file).collect::<Vec<_>>(),
        "free_bytes": free_bytes,
        "tables": tables.iter().map(table).collect::<Vec<_>>(),
        "queues": queues.iter().map(queue).collect::<Vec<_>>(),
        "pipelines": pipelines.iter().map(pipeline).collect::<Vec<_>>(),
    })
}
