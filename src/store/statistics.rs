//! How much of what a store holds, and since when.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use super::fault::stop;
use super::schema::{META, TABLES};
use super::state::Found;
use super::{FILE, QueueCounts, Store, queue};
use crate::model::{Fault, Text};

#[derive(Debug, Default)]
pub struct Statistics {
    /// The store's file and those that stand beside it under its name, with their bytes.
    pub files: Vec<(String, u64)>,
    /// What compacting would give back of the store's file at least.
    pub free_bytes: u64,
    pub tables: Vec<TableStatistics>,
    pub queues: Vec<QueueStatistics>,
    pub pipelines: Vec<PipelineStatistics>,
}

#[derive(Debug)]
pub struct TableStatistics {
    pub name: &'static str,
    pub rows: u64,
    /// On disk, indexes included.
    pub bytes: u64,
}

#[derive(Debug)]
pub struct QueueStatistics {
    pub name: Text,
    pub counts: QueueCounts,
    /// Keys that it knows.
    pub keys: u64,
    /// When its oldest entry was pushed.
    pub oldest: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub struct PipelineStatistics {
    pub name: String,
    /// Keys that its `new` steps have seen.
    pub seen: u64,
    /// Values that its `changed` steps remember.
    pub last: u64,
    pub dead_letters: u64,
    /// What the dead letters take.
    pub dead_bytes: u64,
    /// When the oldest of its dead letters was given up first.
    pub oldest_dead: Option<Timestamp>,
}

impl Store {
    /// How much the store holds as of one moment. Reads all of it once.
    pub fn statistics(&self) -> Result<Statistics, Fault> {
        let file = self.inner.folder.join(FILE);
        let files = files_of(&self.inner.folder).map_err(|error| stop("look into the folder of", &file, error))?;
        let mut statistics = self.inner.readers.read(|connection| {
            let transaction = connection.unchecked_transaction()?;
            read(&transaction)
        })?;
        statistics.files = files;
        Ok(statistics)
    }
}

/// The names and sizes of the files of a store.
fn files_of(folder: &Path) -> std::io::Result<Vec<(String, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // One that is gone by now takes nothing.
        if name.starts_with(FILE)
            && let Ok(metadata) = entry.metadata()
        {
            files.push((name, metadata.len()));
        }
    }
    files.sort();
    Ok(files)
}

fn read(connection: &Connection) -> rusqlite::Result<Found<Statistics>> {
    let free_pages = connection.pragma_query_value(None, "freelist_count", number)?;
    let page_size = connection.pragma_query_value(None, "page_size", number)?;
    let mut statistics = Statistics { free_bytes: free_pages * page_size, ..Statistics::default() };
    let bytes = bytes_by_table(connection)?;
    for table in [&META].into_iter().chain(TABLES.iter().copied()) {
        let sql = format!("SELECT count(*) FROM {}", table.name);
        let rows = connection.query_row(&sql, [], number)?;
        let bytes = bytes.get(table.name).copied().unwrap_or(0);
        statistics.tables.push(TableStatistics { name: table.name, rows, bytes });
    }
    let Found { value: queues, damaged } = queue::counts(connection)?;
    for (name, counts) in queues {
        let sql = "SELECT count(*) FROM seen WHERE pipeline = '' AND component = 'queue.' || ?1";
        let keys = connection.query_row(sql, [&*name], number)?;
        let oldest = queue::oldest(connection, &name)?.value;
        statistics.queues.push(QueueStatistics { name, counts, keys, oldest });
    }
    statistics.pipelines = pipelines(connection)?;
    Ok(Found { value: statistics, damaged })
}

/// The first column.
fn number(row: &Row<'_>) -> rusqlite::Result<u64> {
    row.get::<_, i64>(0).map(i64::unsigned_abs)
}

/// What each table takes on disk, with its indexes (<https://sqlite.org/dbstat.html>).
fn bytes_by_table(connection: &Connection) -> rusqlite::Result<BTreeMap<String, u64>> {
    let sql = "SELECT sum(pgsize), tbl_name FROM dbstat JOIN sqlite_schema USING (name) \
               WHERE aggregate = TRUE GROUP BY tbl_name";
    connection.prepare(sql)?.query_map([], |row| Ok((row.get(1)?, number(row)?)))?.collect()
}

fn pipelines(connection: &Connection) -> rusqlite::Result<Vec<PipelineStatistics>> {
    let mut pipelines: BTreeMap<String, PipelineStatistics> = BTreeMap::new();
    let mut count = |sql: &str, take: fn(&mut PipelineStatistics, u64)| -> rusqlite::Result<()> {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            take(pipelines.entry(row.get(1)?).or_default(), number(row)?);
        }
        Ok(())
    };
    // Under no pipeline stand the keys of queues.
    let seen = "SELECT count(*), pipeline FROM seen WHERE pipeline <> '' GROUP BY pipeline";
    count(seen, |pipeline, count| pipeline.seen = count)?;
    count("SELECT count(*), pipeline FROM last GROUP BY pipeline", |pipeline, count| pipeline.last = count)?;
    let dead = "SELECT count(*), pipeline FROM dead_letter GROUP BY pipeline";
    count(dead, |pipeline, count| pipeline.dead_letters = count)?;
    let bytes =
        "SELECT sum(length(value) + length(labels) + length(history)), pipeline FROM dead_letter GROUP BY pipeline";
    count(bytes, |pipeline, bytes| pipeline.dead_bytes = bytes)?;
    for sql in ["SELECT 0, pipeline FROM position_even", "SELECT 0, pipeline FROM position_odd"] {
        count(sql, |_, _| {})?;
    }
    let mut statement = connection.prepare("SELECT pipeline, min(first) FROM dead_letter GROUP BY pipeline")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let first: String = row.get(1)?;
        pipelines.entry(row.get(0)?).or_default().oldest_dead = first.parse().ok();
    }
    let named = |(name, pipeline)| PipelineStatistics { name, ..pipeline };
    Ok(pipelines.into_iter().map(named).collect())
}
