//! A status as tables.

use std::io::{self, Write};
use std::time::Duration;

use jiff::Timestamp;

use crate::cli::output::{Table, about};
use crate::daemon::{AlertShown, PipelineShown, QueueShown, SinkShown, Status};
use crate::model::show_duration;

/// How many of the newest faults are shown.
const FAULTS: usize = 5;

/// How many characters of a fault's message are shown.
const MESSAGE: usize = 100;

/// A status as text. With an earlier one it shows rates too.
pub(super) fn table(status: &Status, before: Option<&Status>) -> String {
    let mut text = Vec::new();
    write(&mut text, status, before).expect("a Vec takes every write");
    String::from_utf8_lossy(&text).into_owned()
}

fn write(out: &mut Vec<u8>, status: &Status, before: Option<&Status>) -> io::Result<()> {
    let Status { version, started, now, state, memory, process, .. } = status;
    let resident = process.resident_bytes.map_or_else(String::new, |bytes| format!(", {} resident", about(bytes)));
    writeln!(
        out,
        "gatherd {version}, {state} for {}; items take {} of {}{resident}",
        seconds_between(started, now).map_or_else(|| "?".to_owned(), age),
        about(memory.used_bytes as u64),
        about(memory.limit_bytes as u64),
    )?;
    if let Some(fault) = &status.fault {
        writeln!(out, "cannot go on: {fault}")?;
    }
    if status.waits_for_space {
        writeln!(out, "the disk is full: nothing is committed until there is space")?;
    }
    if status.damaged_rows > 0 {
        writeln!(out, "{} damaged rows of the store were passed over", status.damaged_rows)?;
    }
    for AlertShown { pipeline, message, since, .. } in &status.alerts {
        let since = seconds_between(since, now).map_or_else(|| "?".to_owned(), age);
        writeln!(out, "alert: {pipeline}: {message} (for {since})")?;
    }
    for condition in status.clients.iter().filter_map(|client| client.condition.as_ref()) {
        writeln!(out, "{condition}")?;
    }
    writeln!(out)?;
    write_pipelines(out, status, before)?;
    write_sinks(out, status)?;
    write_queues(out, status)?;
    write_faults(out, status)
}

fn write_pipelines(out: &mut Vec<u8>, status: &Status, before: Option<&Status>) -> io::Result<()> {
    let mut table = Table::new([
        "PIPELINE",
        "STATE",
        "ITEMS",
        "PER SECOND",
        "DELIVERED",
        "FILTERED",
        "DEAD",
        "RETRIED",
        "IN FLIGHT",
        "NEWEST",
    ]);
    for pipeline in &status.pipelines {
        let filtered: u64 = pipeline.filtered.values().sum();
        table.row([
            pipeline.name.clone(),
            pipeline.state.clone(),
            pipeline.produced.to_string(),
            rate(status, before, pipeline).map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
            pipeline.delivered.to_string(),
            filtered.to_string(),
            pipeline.dead_letters.to_string(),
            pipeline.retried.to_string(),
            pipeline.in_flight.to_string(),
            pipeline.newest_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{} ago", age(seconds))),
        ]);
    }
    table.write(out)?;
    for pipeline in &status.pipelines {
        if let Some(fault) = &pipeline.fault {
            writeln!(out, "{} stopped: {fault}", pipeline.name)?;
        }
    }
    Ok(())
}

/// Items of the source that have settled each second: since the earlier status, else since the start.
fn rate(status: &Status, before: Option<&Status>, pipeline: &PipelineShown) -> Option<f64> {
    let earlier = before.and_then(|before| {
        let same = before.pipelines.iter().find(|other| other.name == pipeline.name)?;
        Some((same.settled, before.now.as_str()))
    });
    let (settled, since) = earlier.unwrap_or((0, &status.started));
    let seconds = seconds_between(since, &status.now).filter(|seconds| *seconds > 0.0)?;
    Some(pipeline.settled.saturating_sub(settled) as f64 / seconds)
}

fn write_sinks(out: &mut Vec<u8>, status: &Status) -> io::Result<()> {
    if status.sinks.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut table = Table::new(["SINK", "HEALTH", "WAITING", "BUFFER", "WRITES", "MEDIAN", "95 %"]);
    for sink in &status.sinks {
        let SinkShown { name, health, since, waiting, room, writes, buffer } = sink;
        let since = since.as_deref().and_then(|since| seconds_between(since, &status.now));
        let buffered =
            |items: u64, bytes| if items == 0 { "0".to_owned() } else { format!("{items} ({})", about(bytes)) };
        table.row([
            name.clone(),
            since.map_or_else(|| health.clone(), |since| format!("{health} for {}", age(since))),
            format!("{waiting} of {room}"),
            buffer.as_ref().map_or_else(|| "-".to_owned(), |buffer| buffered(buffer.items, buffer.bytes)),
            writes.count.to_string(),
            time(writes.p50),
            time(writes.p95),
        ]);
    }
    table.write(out)
}

fn write_queues(out: &mut Vec<u8>, status: &Status) -> io::Result<()> {
    // What a stage puts on disk when memory is full is told of while something is there.
    let is_told = |queue: &&QueueShown| queue.items > 0 || !queue.name.starts_with("stage.");
    let queues: Vec<_> = status.queues.iter().filter(is_told).collect();
    if queues.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut table = Table::new(["QUEUE", "ITEMS", "ON DISK", "OLDEST"]);
    for queue in queues {
        let oldest = queue.oldest.as_deref().and_then(|oldest| seconds_between(oldest, &status.now));
        table.row([
            queue.name.clone(),
            queue.items.to_string(),
            about(queue.bytes),
            oldest.map_or_else(|| "-".to_owned(), age),
        ]);
    }
    table.write(out)
}

fn write_faults(out: &mut Vec<u8>, status: &Status) -> io::Result<()> {
    if status.faults.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut table = Table::new(["LAST", "TIMES", "PIPELINE", "COMPONENT", "THEN", "FAULT"]);
    for fault in status.faults.iter().take(FAULTS) {
        table.row([
            seconds_between(&fault.last, &status.now)
                .map_or_else(|| "?".to_owned(), |last| format!("{} ago", age(last))),
            fault.count.to_string(),
            fault.pipeline.clone().unwrap_or_else(|| "-".to_owned()),
            fault.component.clone(),
            fault.consequence.clone(),
            fault.message.chars().take(MESSAGE).collect(),
        ]);
    }
    table.write(out)
}

fn seconds_between(from: &str, to: &str) -> Option<f64> {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    Some(time(to)?.duration_since(time(from)?).as_secs_f64().max(0.0))
}

/// `12s`, `3m`, `5h`: in whole units.
fn age(seconds: f64) -> String {
    let unit = [86_400, 3600, 60].into_iter().find(|unit| seconds >= *unit as f64).unwrap_or(1);
    show_duration(Duration::from_secs(seconds as u64 / unit * unit))
}

/// `12.3 ms`.
fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        assert_eq!([0.4, 59.9, 61.0, 7300.0, 200_000.0].map(age), ["0s", "59s", "1m", "2h", "2d"]);
        assert_eq!([Some(0.0042), Some(2.25), None].map(time), ["4.2 ms", "2.2 s", "-"]);
    }
}
