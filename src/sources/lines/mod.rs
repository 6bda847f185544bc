//! `lines`: the lines of files or of the standard input.

mod file;
mod reader;
mod records;

use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use self::reader::{Found, Reader};
use self::records::{Format, Record, Records};
use crate::component::{Kind, Opened, Position, Produced, Promise, Source, SourceContext, SourceSettings};
use crate::model::{Fault, FaultKind, Item, ItemIds, Size};
use crate::runtime::{Clock, Panic, blocking};
use crate::settings::Section;

pub(super) const KIND: Kind<dyn SourceSettings> = Kind {
    name: "lines",
    summary: "The lines of a file, of all files that a pattern such as `*.log` names, or of the standard input (`-`): \
              text, NDJSON, or CSV whose first row names the columns; also in .gz and .zst files. It remembers how far \
              each file has settled: a later start takes only what was added since. Empty lines are passed over; a \
              line that cannot be read becomes a dead letter. `labels.file` is the file's path.",
    sample: r#"
[pipeline.visits]
from  = { lines = { path = "visits.csv", follow = true } }
steps = [{ map = "{page, visitors: (.count | tonumber)}" }]
"#,
    read: |section| Some(Box::new(Lines::read(section)?)),
};

/// How long it takes to look again while nothing comes: doubled each time from the first to the last.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

#[derive(Clone, Debug)]
struct Lines {
    path: String,
    /// By the file's name if it is not given.
    format: Option<Word>,
    delimiter: Option<u8>,
    follow: bool,
    repeat: bool,
    max_line: Size,
}

/// A format as a config names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Text,
    Ndjson,
    Csv,
}

impl Lines {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        section.shorthand("path");
        let path: Option<String> =
            section.required("path", "a file, a pattern such as `logs/*.log`, or `-` for the standard input");
        let format = section.optional_choice(
            "format",
            &[("text", Word::Text), ("ndjson", Word::Ndjson), ("csv", Word::Csv)],
            "what a line is; by default .ndjson and .jsonl are NDJSON, .csv and .tsv are CSV, all else is text",
        );
        let delimiter: Option<String> =
            section.optional("delimiter", "the character between two fields of CSV; a comma, in .tsv files a tab");
        let follow = section.or("follow", false, "waits for more lines at the end, also through rotation");
        let repeat = section.or("repeat", false, "files that were read to their end are read again at the next start");
        let max_line = section.or("max_line", Size::mib(16), "a line that is longer becomes a dead letter");
        if let Some(pattern) = path.as_ref().filter(|path| glob::Pattern::new(path).is_err()) {
            section.mistake("path", format!("`{pattern}` is not a pattern"), "write one such as \"logs/*.log\"");
            return None;
        }
        let delimiter = match delimiter.as_deref().map(str::as_bytes) {
            None => None,
            Some(&[byte]) => Some(byte),
            Some(_) => {
                section.mistake("delimiter", "a delimiter is one ASCII character", "write one such as \";\"");
                return None;
            }
        };
        Some(Self { path: path?, format, delimiter, follow, repeat, max_line })
    }

    fn is_standard_input(&self) -> bool {
        self.path == "-"
    }

    fn is_glob(&self) -> bool {
        self.path.contains(['*', '?', '['])
    }

    fn format_of(&self, path: &Path) -> Format {
        let path = match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz" | "zst") => path.with_extension(""),
            _ => path.to_owned(),
        };
        let extension = path.extension().and_then(|extension| extension.to_str());
        let word = self.format.unwrap_or(match extension {
            Some("ndjson" | "jsonl") => Word::Ndjson,
            Some("csv" | "tsv") => Word::Csv,
            _ => Word::Text,
        });
        match word {
            Word::Text => Format::Text,
            Word::Ndjson => Format::Ndjson,
            Word::Csv => {
                let usual = if extension == Some("tsv") { b'\t' } else { b',' };
                Format::Csv { delimiter: self.delimiter.unwrap_or(usual) }
            }
        }
    }
}

impl SourceSettings for Lines {
    fn promise(&self) -> Promise {
        if self.is_standard_input() { Promise::UntilTheProcessDies } else { Promise::AtLeastOnce }
    }

    fn open(&self, context: SourceContext) -> Opened<Box<dyn Source>> {
        let input: Box<dyn Input> = if self.is_standard_input() {
            Box::new(StandardInput {
                records: Records::new(self.format_of(Path::new("-")), self.max_line),
                opened: context.clock.timestamp().as_nanosecond(),
                ended: false,
            })
        } else {
            let settings = Self { follow: self.follow && !context.once, ..self.clone() };
            Box::new(Reader::new(settings, context.position.as_ref()))
        };
        Ok(Box::new(Reading {
            clock: context.clock,
            ready: VecDeque::new(),
            work: None,
            input: Some(input),
            wait: LOOK_AGAIN.0,
            look_at: None,
        }))
    }
}

/// Where lines come from. Blocks.
trait Input: Send {
    fn read(&mut self) -> Result<Found, Fault>;
}

impl Input for Reader {
    fn read(&mut self) -> Result<Found, Fault> {
        Reader::read(self)
    }
}

struct StandardInput {
    records: Records,
    /// Tells the lines of one process from those of another.
    opened: i128,
    ended: bool,
}

impl Input for StandardInput {
    fn read(&mut self) -> Result<Found, Fault> {
        loop {
            let records = self.records.take(reader::ITEMS, self.ended);
            if !records.is_empty() {
                return Ok(Found::Items(records.into_iter().map(|record| self.make(record)).collect()));
            }
            if self.ended {
                return Ok(Found::End);
            }
            let read = self.records.fill(&mut std::io::stdin().lock());
            let cannot_read = |error| Fault::retry(FaultKind::Read, format!("cannot read the standard input: {error}"));
            self.ended = read.map_err(cannot_read)? == 0;
        }
    }
}

impl StandardInput {
    fn make(&self, record: Record) -> Produced {
        let place = [&self.opened.to_le_bytes()[..], &record.start.to_le_bytes()].concat();
        Produced {
            fault: record.fault.map(|reason| {
                let message = format!("cannot read the standard input at byte {}: {reason}", record.start);
                Fault::reject(FaultKind::Parse, message)
            }),
            ..Produced::new(record.value, place)
        }
    }
}

type Work = Pin<Box<dyn Future<Output = Result<(Box<dyn Input>, Result<Found, Fault>), Panic>> + Send>>;

/// Hands out what was read, and reads on when it has run out.
struct Reading {
    clock: Clock,
    ready: VecDeque<Produced>,
    /// A read that is under way. It holds the input, and outlives a question that nobody waits for any more.
    work: Option<Work>,
    /// Nothing while it is being read, or after a panic.
    input: Option<Box<dyn Input>>,
    wait: Duration,
    /// When to look again.
    look_at: Option<Instant>,
}

#[async_trait]
impl Source for Reading {
    async fn next(&mut self) -> Result<Option<Produced>, Fault> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            if let Some(when) = self.look_at {
                self.clock.sleep_until(when).await;
                self.look_at = None;
            }
            if self.work.is_none() {
                let Some(mut input) = self.input.take() else {
                    return Err(Fault::stop(FaultKind::Panic, "cannot read on: the reader panicked"));
                };
                self.work = Some(Box::pin(blocking(move || {
                    let found = input.read();
                    (input, found)
                })));
            }
            let Some(work) = &mut self.work else { continue };
            let done = work.await;
            self.work = None;
            let (input, found) = done.map_err(|Panic(message)| {
                Fault::stop(FaultKind::Panic, format!("cannot read on: the reader panicked: {message}"))
            })?;
            self.input = Some(input);
            match found? {
                Found::Items(items) => {
                    self.ready = items.into();
                    self.wait = LOOK_AGAIN.0;
                }
                Found::Nothing => {
                    self.look_at = Some(self.clock.instant() + self.wait);
                    self.wait = (2 * self.wait).min(LOOK_AGAIN.1);
                }
                Found::End => return Ok(None),
            }
        }
    }

    fn at_hand(&mut self, ids: ItemIds, item: &mut Item, position: &mut Option<Position>) -> bool {
        let produced = self.ready.pop_front_if(|produced| produced.fault.is_none() && produced.position.is_some());
        let Some(Produced { value, labels, position: behind, place, .. }) = produced else { return false };
        (item.value, item.labels, item.id) = (value, labels, ids.at(&place));
        *position = behind;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract;
    use crate::model::Value;
    use crate::runtime::{block_on, race};
    use futures_lite::future::poll_once;
    use std::io::Write;

    fn open(path: &Path, once: bool) -> Box<dyn Source> {
        let path = path.to_str().unwrap().to_owned();
        let lines = Lines { path, format: None, delimiter: None, follow: true, repeat: false, max_line: Size::mib(1) };
        let context = SourceContext { once, ..contract::source_context("visits", "lines", Clock::system()) };
        lines.open(context).unwrap()
    }

    #[test]
    fn a_question_that_is_given_up_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut file = std::fs::File::create(&path).unwrap();
        (0..10_000).for_each(|line| writeln!(file, "{line}").unwrap());
        let mut source = open(&path, false);
        let mut next = 0;
        while next < 10_000 {
            match block_on(poll_once(source.next())) {
                None => std::thread::yield_now(),
                Some(item) => {
                    assert_eq!(item.unwrap().unwrap().value, Value::from(next.to_string()));
                    next += 1;
                    if next == 5000 {
                        writeln!(file, "10000").unwrap();
                    }
                }
            }
        }
        let item = block_on(race(source.next(), async {
            Clock::system().sleep(Duration::from_secs(10)).await;
            panic!("the line that was added never came")
        }));
        assert_eq!(item.unwrap().unwrap().value, Value::from("10000"));
    }

    #[test]
    fn a_run_once_does_not_follow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, "one\ntwo").unwrap();
        let mut source = open(&path, true);
        for expected in [Some("one"), Some("two"), None] {
            let item = block_on(source.next()).unwrap();
            assert_eq!(item.map(|item| item.value), expected.map(Value::from));
        }
    }

    #[test]
    fn the_name_of_a_file_tells_its_format() {
        let lines = |delimiter| Lines {
            path: String::new(),
            format: None,
            delimiter,
            follow: false,
            repeat: false,
            max_line: Size::mib(1),
        };
        for (name, delimiter, format) in [
            ("a.txt", None, Format::Text),
            ("a", None, Format::Text),
            ("a.ndjson", None, Format::Ndjson),
            ("a.jsonl.zst", None, Format::Ndjson),
            ("a.csv.gz", None, Format::Csv { delimiter: b',' }),
            ("a.tsv", None, Format::Csv { delimiter: b'\t' }),
            ("a.csv", Some(b';'), Format::Csv { delimiter: b';' }),
        ] {
            assert_eq!(lines(delimiter).format_of(Path::new(name)), format, "{name}");
        }
        assert_eq!(
            Lines { format: Some(Word::Csv), ..lines(None) }.format_of(Path::new("a.txt")),
            Format::Csv { delimiter: b',' }
        );
    }
}
