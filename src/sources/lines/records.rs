//! Bytes cut into records: lines of text, JSON values or CSV rows, each with the bytes it stood in.

use std::io::{self, Read};

use csv_core::ReadRecordResult;
use memchr::memchr;

use crate::model::{Columns, Size, Value, json};

/// How many bytes are read in one go.
const CHUNK: usize = 256 << 10;

/// How much is kept of a record that is too long.
const BEGINNING: usize = 1024;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A line is text.
    Text,
    /// A line is a JSON value.
    Ndjson,
    /// A row is an object, keyed by the first row (RFC 4180).
    Csv { delimiter: u8 },
}

#[derive(Debug, PartialEq)]
pub(super) struct Record {
    /// Where it begins and ends in the file, uncompressed.
    pub start: u64,
    pub end: u64,
    pub value: Value,
    /// Why it could not be read; the value is then as much of its text as is kept.
    pub fault: Option<String>,
}

/// Cuts what is read into records. Empty lines are passed over.
pub(super) struct Records {
    max_line: Size,
    /// What was read and not yet cut, and where it begins in the file.
    buffer: Vec<u8>,
    offset: u64,
    /// How much of the buffer is known to hold no end of a record.
    searched: usize,
    /// A record that is too long, until its end is found.
    too_long: Option<TooLong>,
    rows: Rows,
}

enum Rows {
    Text,
    Ndjson,
    Csv(Box<Csv>),
}

struct Csv {
    reader: csv_core::Reader,
    /// The names of the columns, once the first row was read.
    header: Option<Columns>,
    fields: Vec<u8>,
    fields_length: usize,
    ends: Vec<usize>,
    ends_length: usize,
}

struct TooLong {
    start: u64,
    beginning: Vec<u8>,
}

impl Records {
    /// Records of a file from its beginning.
    pub(super) fn new(format: Format, max_line: Size) -> Self {
        let rows = match format {
            Format::Text => Rows::Text,
            Format::Ndjson => Rows::Ndjson,
            Format::Csv { delimiter } => Rows::Csv(Box::new(Csv::new(delimiter))),
        };
        Self { max_line, buffer: Vec::new(), offset: 0, searched: 0, too_long: None, rows }
    }

    /// Whether a first row is still to be read before the file can be read from somewhere in the middle.
    pub(super) fn needs_header(&self) -> bool {
        matches!(&self.rows, Rows::Csv(csv) if csv.header.is_none())
    }

    /// Goes on at another place of the file, which is the end of a record.
    pub(super) fn go_to(&mut self, offset: u64) {
        self.buffer.clear();
        self.offset = offset;
        self.forget_unfinished();
    }

    /// Where the next byte to be read stands in the file.
    pub(super) fn read_to(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Reads on, and answers how many bytes there were; 0 at the end.
    pub(super) fn fill(&mut self, input: &mut impl Read) -> io::Result<usize> {
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK, 0);
        let read = loop {
            match input.read(&mut self.buffer[length..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        read
    }

    /// The last `length` bytes that were read.
    pub(super) fn newest(&self, length: usize) -> &[u8] {
        &self.buffer[self.buffer.len() - length..]
    }

    /// Cuts at most `limit` records out of what was read. At the end of the file (`last`), what is left counts as
    /// one too.
    pub(super) fn take(&mut self, limit: usize, last: bool) -> Vec<Record> {
        let mut records = Vec::new();
        // Where the record begins that is looked at.
        let mut start = 0;
        while records.len() < limit {
            if self.too_long.is_some() {
                let Some(end) = self.line_end(start, last) else { break };
                records.extend(self.too_long.take().map(|long| long.record(self.offset + end as u64, self.max_line)));
                start = end;
                self.searched = end;
                continue;
            }
            let Some((end, record)) = self.cut(start, last) else { break };
            records.extend(record);
            start = end;
        }
        if self.too_long.is_some() {
            // Nothing but its end matters of it any more.
            start = self.buffer.len();
        } else if records.len() < limit && self.buffer.len() - start > self.max_line.bytes() {
            let beginning = self.buffer[start..start + BEGINNING.min(self.buffer.len() - start)].to_vec();
            self.too_long = Some(TooLong { start: self.offset + start as u64, beginning });
            self.forget_unfinished();
            start = self.buffer.len();
        }
        self.buffer.drain(..start);
        self.offset += start as u64;
        self.searched = self.searched.saturating_sub(start);
        records
    }

    /// The end of the record that begins at `start`, and the record, unless it is an empty line or a header.
    fn cut(&mut self, start: usize, last: bool) -> Option<(usize, Option<Record>)> {
        let end = match &mut self.rows {
            Rows::Csv(csv) => {
                self.searched = self.searched.max(start);
                csv.read(&self.buffer, &mut self.searched, last).then_some(self.searched)?
            }
            Rows::Text | Rows::Ndjson => self.line_end(start, last).filter(|end| *end > start)?,
        };
        let (from, to) = (self.offset + start as u64, self.offset + end as u64);
        let bytes = &self.buffer[start..end];
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").filter(|_| from == 0).unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        // A row ends with the first byte of its line break, so the next begins with the second.
        let bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        if bytes.len() > self.max_line.bytes() {
            let long = TooLong { start: from, beginning: bytes[..BEGINNING.min(bytes.len())].to_vec() };
            self.forget_unfinished();
            self.searched = end;
            return Some((end, Some(long.record(to, self.max_line))));
        }
        let value = match &mut self.rows {
            Rows::Csv(csv) => csv.row().transpose(),
            _ if bytes.is_empty() => None,
            Rows::Text => Some(std::str::from_utf8(bytes).map(Value::from).map_err(|error| error.to_string())),
            Rows::Ndjson => Some(json::parse(bytes).map_err(|error| error.to_string())),
        };
        let record = value.map(|value| match value {
            Ok(value) => Record { start: from, end: to, value, fault: None },
            Err(reason) => Record { start: from, end: to, value: text_or_bytes(bytes), fault: Some(reason) },
        });
        Some((end, record))
    }

    /// The place after the next line break.
    fn line_end(&mut self, start: usize, last: bool) -> Option<usize> {
        let from = self.searched.max(start);
        let found = memchr(b'\n', &self.buffer[from..]);
        self.searched = found.map_or(self.buffer.len(), |place| from + place + 1);
        (found.is_some() || last).then_some(self.searched)
    }

    fn forget_unfinished(&mut self) {
        self.searched = 0;
        if let Rows::Csv(csv) = &mut self.rows {
            csv.reader.reset();
            (csv.fields_length, csv.ends_length) = (0, 0);
        }
    }
}

impl TooLong {
    fn record(self, end: u64, max_line: Size) -> Record {
        let reason = format!("the line is longer than `max_line` allows ({max_line}); only its beginning is kept");
        let value = Value::from(String::from_utf8_lossy(&self.beginning).into_owned());
        Record { start: self.start, end, value, fault: Some(reason) }
    }
}

impl Csv {
    fn new(delimiter: u8) -> Self {
        let reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        Self { reader, header: None, fields: vec![0; 1024], fields_length: 0, ends: vec![0; 64], ends_length: 0 }
    }

    /// Reads on to the end of a row; false if there is none yet, or no row is left.
    fn read(&mut self, buffer: &[u8], searched: &mut usize, last: bool) -> bool {
        // To the reader an empty input means the end of the file.
        while *searched < buffer.len() || last {
            let (fields, ends) = (&mut self.fields[self.fields_length..], &mut self.ends[self.ends_length..]);
            let (result, read, written, ended) = self.reader.read_record(&buffer[*searched..], fields, ends);
            *searched += read;
            self.fields_length += written;
            self.ends_length += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.fields.resize(2 * self.fields.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::Record => return true,
                ReadRecordResult::End => return false,
            }
        }
        false
    }

    /// The row that was read as an object; nothing if it was the header.
    fn row(&mut self) -> Result<Option<Value>, String> {
        let fields = &self.fields[..std::mem::take(&mut self.fields_length)];
        let ends = &self.ends[..std::mem::take(&mut self.ends_length)];
        let text = std::str::from_utf8(fields).map_err(|error| error.to_string())?;
        let starts = std::iter::once(&0).chain(ends);
        let fields = starts.zip(ends).map(|(start, end)| &text[*start..*end]);
        let Some(header) = &self.header else {
            self.header = Some(Columns::named(fields));
            return Ok(None);
        };
        header.row(fields).map(Some)
    }
}

fn text_or_bytes(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| Value::bytes(bytes.to_vec()), Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: Format = Format::Csv { delimiter: b',' };

    /// Cuts `text`, given in pieces of `piece` bytes; shows each record as `start-end value` or `start-end !fault`.
    fn cut(format: Format, text: &[u8], piece: usize, max_line: u64, last: bool) -> Vec<String> {
        let mut records = Records::new(format, Size(max_line));
        let mut found = Vec::new();
        for piece in text.chunks(piece) {
            records.fill(&mut &*piece).unwrap();
            found.extend(records.take(usize::MAX, false));
        }
        if last {
            found.extend(records.take(usize::MAX, true));
        }
        let show = |record: Record| match record.fault {
            None => format!("{}-{} {}", record.start, record.end, record.value),
            Some(fault) => format!("{}-{} !{fault} {}", record.start, record.end, record.value),
        };
        found.into_iter().map(show).collect()
    }

    fn check(format: Format, text: &[u8], expected: &[&str]) {
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(cut(format, text, piece, 1000, true), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn text_lines_end_with_or_without_a_carriage_return_or_at_the_end() {
        check(Format::Text, b"a\r\nb c\n\n\r\nd", &["0-3 \"a\"", "3-7 \"b c\"", "10-11 \"d\""]);
        check(Format::Text, b"\xef\xbb\xbfa\nb\n", &["0-5 \"a\"", "5-7 \"b\""]);
        check(Format::Text, b"", &[]);
        assert_eq!(cut(Format::Text, b"a\nb", 1, 1000, false), ["0-2 \"a\""]);
    }

    #[test]
    fn what_cannot_be_read_is_kept_with_its_fault() {
        check(
            Format::Text,
            b"ok\n\xff\xfe\nok\n",
            &["0-3 \"ok\"", "3-6 !invalid utf-8 sequence of 1 bytes from index 0 \"//4=\"", "6-9 \"ok\""],
        );
        check(
            Format::Ndjson,
            b"{\"a\": 1}\n{a}\n[2]",
            &["0-9 {\"a\":1}", "9-13 !not JSON at byte 1: string expected \"{a}\"", "13-16 [2]"],
        );
        check(
            CSV,
            b"a,b\n1,2\n3\n4,5,6\n7,8\n",
            &[
                "4-8 {\"a\":\"1\",\"b\":\"2\"}",
                "8-10 !the row has 1 field, but the first row names 2 columns \"3\"",
                "10-16 !the row has 3 fields, but the first row names 2 columns \"4,5,6\"",
                "16-20 {\"a\":\"7\",\"b\":\"8\"}",
            ],
        );
    }

    #[test]
    fn csv_fields_may_hold_quotes_delimiters_and_line_breaks() {
        check(
            CSV,
            b"a,b\r\n\"x\r\ny\",\"say \"\"hi\"\"\"\r\n\r\n5\" pipe,\"1,2\"",
            &["4-25 {\"a\":\"x\\r\\ny\",\"b\":\"say \\\"hi\\\"\"}", "25-41 {\"a\":\"5\\\" pipe\",\"b\":\"1,2\"}"],
        );
        check(CSV, b"id,id,,id\n1,2,3,4\n", &["10-18 {\"id\":\"1\",\"id_2\":\"2\",\"column_3\":\"3\",\"id_3\":\"4\"}"]);
    }

    #[test]
    fn a_line_that_is_too_long_costs_itself_alone() {
        let fault = "!the line is longer than `max_line` allows (4B); only its beginning is kept";
        for piece in [1, 3, 1000] {
            let found = cut(Format::Text, b"1234\n123456789\n12\n12345", piece, 4, true);
            let starts: Vec<_> = found.iter().map(|record| record.split(" \"").next().unwrap()).collect();
            assert_eq!(starts, ["0-5", &format!("5-15 {fault}"), "15-18", &format!("18-23 {fault}")], "{piece}");
        }
        for piece in [1, 3, 1000] {
            let found = cut(CSV, b"a\n1\n\"xyz\nuvw\n2\n", piece, 4, true);
            assert!(
                found.iter().any(|record| record.starts_with("4-") && record.contains(fault)),
                "{piece}: {found:?}"
            );
            assert_eq!(found.first().unwrap(), "2-4 {\"a\":\"1\"}", "{piece}");
        }
    }

    #[test]
    fn a_limit_leaves_the_rest_for_the_next_call() {
        for (format, text) in [(Format::Text, &b"a\nb\nc"[..]), (CSV, b"h\na\nb\nc")] {
            let mut records = Records::new(format, Size::mib(1));
            records.fill(&mut &*text).unwrap();
            assert_eq!(records.take(1, false).len(), 1);
            assert_eq!(records.take(1, false).len(), 1);
            assert_eq!(records.take(1, false).len(), 0);
            assert_eq!(records.take(1, true).len(), 1);
            assert_eq!(records.take(1, true).len(), 0);
        }
    }
}
