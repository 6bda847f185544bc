//! `sqlite`: each item is a row of a table.

mod cell;
mod rows;
mod table;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::component::{BatchLimits, Kind, Opened, Retry, Sink, SinkContext, SinkSettings, WriteFault};
use crate::model::{Fault, FaultKind, Item, Size};
use crate::runtime::GroupThread;
use crate::settings::Section;
use writer::Writer;

pub(super) const KIND: Kind<dyn SinkSettings> = Kind {
    name: "sqlite",
    summary: "Writes each item, an object, as a row of a SQLite table; with a primary key it updates the row there",
    sample: r#"
[pipeline.stations]
from = { items = [{ id = 1, name = "north", mag = 2.5 }, { id = 2, name = "south", mag = 4.0 }] }
to   = ["db"]

[sink.db]
sqlite = { path = "stations.db", table = "stations", primary_key = ["id"] }
"#,
    read: |section| Some(Box::new(SqliteSettings(Arc::new(Options::read(section)?)))),
};

/// Where rows go, and what their table looks like.
#[derive(Debug, PartialEq)]
struct Options {
    path: PathBuf,
    table: String,
    /// None means that every item is a row of its own.
    primary_key: Vec<String>,
    /// Names and types of the columns that the table has at least.
    columns: Vec<(String, String)>,
    extra: Extra,
}

/// What becomes of a field that has no column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extra {
    Add,
    Ignore,
    Reject,
}

impl Options {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let path = section.required("path", "the database file; made if it is not there");
        let table = section.required("table", "the table; made from the first batch if it is not there");
        let primary_key: Vec<String> =
            section.optional("primary_key", "the columns that tell rows apart").unwrap_or_default();
        let about =
            "the columns and their types, such as { id = \"INTEGER\" }; found from the first batch unless given";
        let columns: Vec<(String, String)> =
            section.table("columns", about, |columns| Some(columns.entries("the type"))).unwrap_or_default();
        let words = [("add", Extra::Add), ("ignore", Extra::Ignore), ("reject", Extra::Reject)];
        let extra = section.choice("extra", &words, "what becomes of a field that has no column");
        for key in &primary_key {
            if !columns.is_empty() && !columns.iter().any(|(name, _)| name.eq_ignore_ascii_case(key)) {
                section.mistake("primary_key", format!("`{key}` is no column"), format!("add `{key}` to `columns`"));
            }
        }
        Some(Self { path: path?, table: table?, primary_key, columns, extra })
    }

    /// What messages call the table.
    fn name(&self) -> String {
        format!("table `{}` of `{}`", self.table, self.path.display())
    }

    /// The fault of a row that the table does not take.
    fn refused(&self, message: &str) -> Fault {
        Fault::reject(FaultKind::Refused, format!("{} refused the row: {message}", self.name()))
    }
}

struct SqliteSettings(Arc<Options>);

impl SinkSettings for SqliteSettings {
    fn batch(&self) -> BatchLimits {
        BatchLimits { items: 1000, bytes: Size::mib(4), age: BatchLimits::AGE }
    }

    fn retry(&self) -> Retry {
        Retry::DISK
    }

    fn open(&self, context: SinkContext) -> Opened<Box<dyn Sink>> {
        let writer = Writer::open(self.0.clone())?;
        let started = GroupThread::start(&format!("sink-{}", context.name), writer);
        let failed = |error| Fault::stop(FaultKind::Write, format!("cannot start the thread of a sink: {error}"));
        Ok(Box::new(SqliteSink { options: self.0.clone(), thread: started.map_err(failed)? }))
    }
}

struct SqliteSink {
    options: Arc<Options>,
    thread: GroupThread<Writer>,
}

#[async_trait]
impl Sink for SqliteSink {
    async fn write(&self, batch: &[Item]) -> Result<(), WriteFault> {
        let rows = batch.iter().map(|item| item.value.clone()).collect();
        match self.thread.ask(rows).await {
            Some(answer) => answer,
            None => {
                let message = format!("the thread that writes to {} has ended", self.options.name());
                Err(Fault::stop(FaultKind::Panic, message).into())
            }
        }
    }

    async fn close(&self) -> Result<(), Fault> {
        self.thread.close().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
