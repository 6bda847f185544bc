//! `file`: each item is a line, a row or raw bytes at the end of a file.

mod appender;
mod csv;
mod repair;
mod rotation;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use indexmap::IndexMap;

use super::line;
use crate::component::{
    BatchLimits, FilterFault, Kind, Opened, Retry, Sink, SinkContext, SinkSettings, WriteFault, with_fuel,
};
use crate::expr::{Encoding, Fuel, Scope, Template};
use crate::model::{Fault, FaultKind, Item, Size, Text, Value};
use crate::runtime::{self, Clock, GroupThread};
use crate::settings::Section;
use csv::Columns;
use rotation::Rotation;
use writer::{Chunk, Piece, Writer};

pub(super) const KIND: Kind<dyn SinkSettings> = Kind {
    name: "file",
    summary: "Appends each item to a file; what it has acknowledged is on disk",
    sample: r#"
[pipeline.greetings]
from = { items = [{ to = "world", word = "hello" }, { to = "moon", word = "good night" }] }
to   = ["lines", "table"]

[sink.lines]
file = "greetings/{.to}.ndjson"

[sink.table]
file = { path = "greetings.csv", columns = ["to", "word"], rotate = { size = "100MiB" }, compress = "zst" }
"#,
    read: |section| Some(Box::new(FileSettings { options: Arc::new(Options::read(section)?) })),
};

/// Which file an item goes to, and how.
#[derive(Debug)]
struct Options {
    path: Template,
    form: Form,
    rotation: Rotation,
    /// The permissions of a new file, as `chmod` takes them.
    mode: u32,
}

/// How an item is written.
#[derive(Clone, Debug)]
enum Form {
    Lines(line::Form),
    /// A row of a table with a header (RFC 4180, with line breaks as Unix has them).
    Csv(Columns),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Ndjson,
    Csv,
    Raw,
}

impl Options {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        section.shorthand("path");
        let path = section.template("path", Encoding::Path, "the file; its folders are made if they are not there");
        let words = [("ndjson", Format::Ndjson), ("csv", Format::Csv), ("raw", Format::Raw)];
        let about = "JSON lines, rows of a table, or text and bytes as they are; csv for a path that ends in .csv, \
                     else ndjson";
        let is_csv = |path: &Template| path.source().ends_with(".csv");
        let format = section.optional_choice("format", &words, about).unwrap_or_else(|| match &path {
            Some(path) if is_csv(path) => Format::Csv,
            _ => Format::Ndjson,
        });
        let columns = read_columns(section, format);
        let separator = match format {
            Format::Raw => line::read_separator(section),
            _ => line::refuse_separator(section),
        };
        let rotation = Rotation::read(section);
        let mode = read_mode(section);
        let form = match format {
            Format::Ndjson => Form::Lines(line::Form::Ndjson),
            Format::Raw => Form::Lines(line::Form::Raw { separator }),
            Format::Csv => Form::Csv(columns?),
        };
        Some(Self { path: path?, form, rotation, mode })
    }
}

fn read_columns(section: &mut Section<'_>, format: Format) -> Option<Columns> {
    let about = "the columns of csv, in order: fields of an object, or as many values of an array";
    let columns: Option<Vec<String>> = section.optional("columns", about);
    match (columns, format) {
        (Some(columns), Format::Csv) if !columns.is_empty() => Some(Columns::new(columns)),
        (_, Format::Csv) => {
            section.mistake(
                "columns",
                "a csv file needs its columns",
                "add them, such as columns = [\"id\", \"name\"]",
            );
            None
        }
        (Some(_), _) => {
            section.mistake("columns", "only csv has columns", "leave them out, or write format = \"csv\"");
            None
        }
        (None, _) => None,
    }
}

fn read_mode(section: &mut Section<'_>) -> u32 {
    let mode = section.or("mode", "0644".to_owned(), "the permissions of a new file, before the umask");
    match u32::from_str_radix(&mode, 8) {
        Ok(mode) if mode <= 0o777 => mode,
        _ => {
            section.mistake(
                "mode",
                format!("`{mode}` is no permissions"),
                "write them as chmod does, such as \"0640\"",
            );
            0o644
        }
    }
}

struct FileSettings {
    options: Arc<Options>,
}

impl SinkSettings for FileSettings {
    fn batch(&self) -> BatchLimits {
        BatchLimits { items: 1000, bytes: Size::mib(4), age: BatchLimits::AGE }
    }

    fn retry(&self) -> Retry {
        Retry::DISK
    }

    fn open(&self, context: SinkContext) -> Opened<Box<dyn Sink>> {
        let constant = self.options.path.constant().cloned();
        let mut writer = Writer::new(self.options.clone(), context.clock.clone())?;
        if let Some(path) = &constant {
            writer.try_open(Path::new(&**path))?;
        }
        let started = GroupThread::start(&format!("sink-{}", context.name), writer);
        let failed = |error| Fault::stop(FaultKind::Write, format!("cannot start the thread of a sink: {error}"));
        let thread = started.map_err(failed)?;
        Ok(Box::new(FileSink { options: self.options.clone(), constant, clock: context.clock, thread }))
    }
}

struct FileSink {
    options: Arc<Options>,
    /// The path, if it is the same for every item.
    constant: Option<Text>,
    clock: Clock,
    thread: GroupThread<Writer>,
}

#[async_trait]
impl Sink for FileSink {
    async fn write(&self, batch: &[Item]) -> Result<(), WriteFault> {
        let mut faults = Vec::new();
        let mut files: IndexMap<Text, (Lines, Vec<usize>), foldhash::fast::RandomState> = IndexMap::default();
        for (place, item) in batch.iter().enumerate() {
            if place % line::SLICE == line::SLICE - 1 {
                runtime::yield_now().await;
            }
            match self.path_of(item).await {
                Ok(path) => {
                    let (lines, places) = files
                        .entry(path)
                        .or_insert_with(|| (Lines::new(&self.options.form, self.room(batch)), Vec::new()));
                    match lines.push(&item.value) {
                        Ok(()) => places.push(place),
                        Err(message) => faults.push((place, Fault::reject(FaultKind::Refused, message))),
                    }
                }
                Err(fault) => faults.push((place, fault)),
            }
        }
        files.retain(|_, (_, places)| !places.is_empty());
        let (chunks, places): (Vec<_>, Vec<_>) = files
            .into_iter()
            .map(|(path, (lines, places))| (Chunk { path: PathBuf::from(&*path), pieces: lines.finish() }, places))
            .unzip();
        let ended = || Fault::stop(FaultKind::Panic, "the thread that writes to a file has ended");
        let answers = self.thread.ask(chunks).await.ok_or_else(ended)?;
        let mut failed: Option<Fault> = None;
        for (answer, places) in answers.into_iter().zip(places) {
            if let Err(fault) = answer {
                faults.extend(places.into_iter().map(|place| (place, fault.clone())));
                failed = Some(fault);
            }
        }
        match failed {
            Some(fault) if faults.len() == batch.len() && self.constant.is_some() => Err(WriteFault::Batch(fault)),
            _ if !faults.is_empty() => Err(WriteFault::Items(faults)),
            _ => Ok(()),
        }
    }

    async fn close(&self) -> Result<(), Fault> {
        self.thread.close().await;
        Ok(())
    }
}

impl FileSink {
    /// How long the lines of a batch will be that all go to one file.
    fn room(&self, batch: &[Item]) -> usize {
        if self.constant.is_none() {
            return 0;
        }
        batch.iter().map(|item| line::expected_length(&item.value)).filter(|length| *length < LONG).sum()
    }

    async fn path_of(&self, item: &Item) -> Result<Text, Fault> {
        if let Some(path) = &self.constant {
            return Ok(path.clone());
        }
        let (template, item, now) = (self.options.path.clone(), item.clone(), self.clock.timestamp());
        with_fuel(move |fuel: Fuel| {
            let rendered = template.render(&item.value, &Scope::of(&item, now, fuel));
            rendered.map_err(|error| FilterFault::new("path", error, fuel))
        })
        .await
    }
}

/// Values of this many bytes are written from where they are.
const LONG: usize = 32 << 10;

/// What is to be appended to one file.
enum Lines<'a> {
    Text { form: &'a line::Form, pieces: Vec<Piece>, out: Vec<u8> },
    Csv { columns: &'a Columns, rows: csv::Rows },
}

impl<'a> Lines<'a> {
    /// `room` is how many bytes are expected.
    fn new(form: &'a Form, room: usize) -> Self {
        match form {
            Form::Lines(form) => Lines::Text { form, pieces: Vec::new(), out: Vec::with_capacity(room) },
            Form::Csv(columns) => Lines::Csv { columns, rows: csv::Rows::new() },
        }
    }

    /// The error says why the value cannot be written.
    fn push(&mut self, value: &Value) -> Result<(), String> {
        match self {
            Lines::Text { form, pieces, out } => {
                if line::written_as_it_is(form, value).is_some_and(|bytes| bytes.len() >= LONG) {
                    pieces.push(Piece::Lines(std::mem::take(out)));
                    pieces.push(Piece::Long { form: form.clone(), value: value.clone() });
                    out.extend_from_slice(line::line_end(form));
                } else {
                    line::write_line(form, value, out);
                }
                Ok(())
            }
            Lines::Csv { columns, rows } => rows.push(columns, value),
        }
    }

    fn finish(self) -> Vec<Piece> {
        let (mut pieces, rest) = match self {
            Lines::Text { pieces, out, .. } => (pieces, out),
            Lines::Csv { rows, .. } => (Vec::new(), rows.finish()),
        };
        pieces.push(Piece::Lines(rest));
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

#[cfg(test)]
mod tests;
