//! `stdout`: each item is a line of the standard output.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use async_trait::async_trait;

use super::line::{Form, read_separator, refuse_separator, write_lines};
use crate::component::{BatchLimits, Kind, Opened, Sink, SinkContext, SinkSettings, WriteFault};
use crate::model::{Fault, FaultKind, Item, Size};
use crate::runtime::{GroupThread, GroupWork};
use crate::settings::Section;

pub(super) const KIND: Kind<dyn SinkSettings> = Kind {
    name: "stdout",
    summary: "Writes each item to the standard output; ends the run when nobody reads it any more",
    sample: r#"
[pipeline.greetings]
from = { items = [{ hello = "world" }, { hello = "moon" }] }
to   = [{ stdout = { format = "ndjson" } }]
"#,
    read: |section| Some(Box::new(StdoutSettings { form: read_form(section) })),
};

#[derive(Clone, Copy)]
enum Format {
    Ndjson,
    Raw,
}

fn read_form(section: &mut Section<'_>) -> Form {
    section.shorthand("format");
    let words = [("ndjson", Format::Ndjson), ("raw", Format::Raw)];
    match section.choice("format", &words, "JSON lines, or text and bytes as they are") {
        Format::Ndjson => {
            refuse_separator(section);
            Form::Ndjson
        }
        Format::Raw => Form::Raw { separator: read_separator(section) },
    }
}

struct StdoutSettings {
    form: Form,
}

impl SinkSettings for StdoutSettings {
    fn batch(&self) -> BatchLimits {
        BatchLimits { items: 1000, bytes: Size::mib(1), age: Duration::ZERO }
    }

    fn open(&self, _context: SinkContext) -> Opened<Box<dyn Sink>> {
        let failed =
            |error: io::Error| Fault::stop(FaultKind::Write, format!("cannot open the standard output: {error}"));
        // A handle of our own: that of the library buffers lines, and takes a closed output for a working one.
        let output = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(failed)?);
        open(output, self.form.clone()).map_err(failed)
    }
}

fn open(output: File, form: Form) -> io::Result<Box<dyn Sink>> {
    let thread = GroupThread::start("gatherd-stdout", Output { output, rest_of_line: Vec::new() })?;
    Ok(Box::new(StdoutSink { form, thread }))
}

struct StdoutSink {
    form: Form,
    thread: GroupThread<Output>,
}

#[async_trait]
impl Sink for StdoutSink {
    async fn write(&self, batch: &[Item]) -> Result<(), WriteFault> {
        let mut lines = Vec::new();
        write_lines(&self.form, batch, &mut lines).await;
        let answer = self.thread.ask(lines).await;
        let gone = || Err(Fault::stop(FaultKind::Panic, "the thread that writes to the standard output has ended"));
        Ok(answer.unwrap_or_else(gone)?)
    }

    async fn close(&self) -> Result<(), Fault> {
        self.thread.close().await;
        Ok(())
    }
}

/// The standard output, which may be a pipe that is full: written on a thread of its own.
struct Output {
    output: File,
    /// What an earlier write that failed left undone of the line it stopped in. It goes first, so that no line is torn.
    rest_of_line: Vec<u8>,
}

impl GroupWork for Output {
    type Request = Vec<u8>;
    type Answer = Result<(), Fault>;
    /// Batches are large already.
    const WEIGHT_LIMIT: usize = 1;
    const REQUESTS: usize = 64;

    fn work(&mut self, requests: Vec<Vec<u8>>, is_closing: &dyn Fn() -> bool) -> Vec<Result<(), Fault>> {
        requests.into_iter().map(|lines| self.write(lines, is_closing).map_err(|error| fault(&error))).collect()
    }
}

impl Output {
    fn write(&mut self, lines: Vec<u8>, is_closing: &dyn Fn() -> bool) -> io::Result<()> {
        let rest = std::mem::take(&mut self.rest_of_line);
        for bytes in [rest, lines] {
            let mut written = 0;
            while written < bytes.len() {
                match self.output.write(&bytes[written..]) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(count) => written += count,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // Someone who shares the terminal has made it non-blocking.
                    Err(error) if error.kind() == ErrorKind::WouldBlock && !is_closing() => {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    Err(error) => {
                        self.rest_of_line = rest_of_line(&bytes, written).to_vec();
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }
}

/// What is missing of the line in which a write stopped after `written` bytes.
fn rest_of_line(bytes: &[u8], written: usize) -> &[u8] {
    if written == 0 || bytes[written - 1] == b'\n' {
        return &[];
    }
    let rest = &bytes[written..];
    &rest[..memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1)]
}

fn fault(error: &io::Error) -> Fault {
    if error.kind() == ErrorKind::BrokenPipe {
        return Fault::stop(FaultKind::ClosedPipe, "nobody reads the standard output any more");
    }
    Fault::retry(FaultKind::Write, format!("cannot write to the standard output: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};

    use super::*;
    use crate::component::contract::items;
    use crate::model::{Value, Verdict};
    use crate::runtime::block_on;
    use crate::settings::read_text;

    fn piped(form: Form) -> (Box<dyn Sink>, io::PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        (open(File::from(std::os::fd::OwnedFd::from(writer)), form).unwrap(), reader)
    }

    #[test]
    fn items_are_lines_and_more_of_them_than_a_pipe_holds() {
        let (sink, reader) = piped(Form::Ndjson);
        let read = std::thread::spawn(move || BufReader::new(reader).lines().map(Result::unwrap).collect::<Vec<_>>());
        block_on(sink.write(&items((0..50_000).map(Value::from)))).unwrap();
        block_on(sink.close()).unwrap();
        let lines = read.join().unwrap();
        assert_eq!(lines.len(), 50_000);
        assert!(lines.iter().enumerate().all(|(place, line)| *line == place.to_string()));
    }

    #[test]
    fn raw_items_are_written_as_they_are() {
        let (sink, mut reader) = piped(Form::Raw { separator: "|".to_owned() });
        block_on(sink.write(&items([Value::from("a"), Value::bytes(vec![255u8])]))).unwrap();
        drop(sink);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"a|\xff|");
    }

    #[test]
    fn a_closed_pipe_stops_and_says_why() {
        let (sink, reader) = piped(Form::Ndjson);
        drop(reader);
        let WriteFault::Batch(fault) = block_on(sink.write(&items([Value::Null]))).unwrap_err() else {
            panic!("not the batch")
        };
        assert_eq!((fault.kind, fault.verdict), (FaultKind::ClosedPipe, Verdict::Stop));
    }

    #[test]
    fn a_full_device_is_tried_again() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let sink = open(full, Form::Ndjson).unwrap();
        let WriteFault::Batch(fault) = block_on(sink.write(&items([Value::Null]))).unwrap_err() else {
            panic!("not the batch")
        };
        assert_eq!(fault.verdict, Verdict::Retry { not_before: None });
        assert!(fault.message.contains("No space left on device"), "{fault}");
    }

    #[test]
    fn only_the_line_that_a_write_stopped_in_is_finished() {
        for (written, rest) in [(0, ""), (1, "b\n"), (3, ""), (4, "d\n"), (6, "")] {
            assert_eq!(rest_of_line(b"ab\ncd\n", written), rest.as_bytes(), "{written}");
        }
    }

    #[test]
    fn settings_may_be_short_and_a_separator_is_for_raw_items() {
        let form = |text: &str| read_text(text, |section| Some(read_form(section)));
        assert_eq!(form("stdout = {}").unwrap(), Form::Ndjson);
        assert_eq!(form("stdout = 'raw'").unwrap(), Form::Raw { separator: "\n".to_owned() });
        assert_eq!(form("stdout = { separator = ';' }").unwrap_err().len(), 1);
    }
}
