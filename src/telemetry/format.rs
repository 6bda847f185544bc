//! How a line of the log looks.

use std::io::{self, Write};

use jiff::Timestamp;
use log::kv::{self, Key, Value, VisitSource};
use log::{Level, Record};

use crate::model::secret;

/// `2026-11-21T09:30:00.123Z WARN gatherd::pipeline [quakes-7f3a09c2] message key=value`
///
/// The journal has times of its own and wants the priority first, as in sd-daemon(3).
pub(super) fn write_text(out: &mut impl Write, record: &Record<'_>, journal: bool, color: bool) -> io::Result<()> {
    write_masked(out, |line| text_line(line, record, journal, color))
}

/// `{"time":…,"level":…,"target":…,"trace":…,"message":…, and the fields}`
pub(super) fn write_json(out: &mut impl Write, record: &Record<'_>) -> io::Result<()> {
    write_masked(out, |line| json_line(line, record))
}

/// Writes a line without the secrets that are in it.
fn write_masked(out: &mut impl Write, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    let mut line = Vec::new();
    write(&mut line)?;
    out.write_all(secret::mask(&String::from_utf8_lossy(&line)).as_bytes())
}

fn text_line(out: &mut Vec<u8>, record: &Record<'_>, journal: bool, color: bool) -> io::Result<()> {
    let mut fields = Fields::of(record);
    if journal {
        write!(out, "<{}>", priority(record.level()))?;
    } else {
        write!(out, "{:.3} ", Timestamp::now())?;
    }
    let (style, reset) = if color { (color_of(record.level()), "\x1b[0m") } else { ("", "") };
    write!(out, "{style}{:<5}{reset} {}", record.level(), record.target())?;
    if let Some(trace) = fields.take_trace() {
        write!(out, " [{trace}]")?;
    }
    write!(out, " {}", OneLine(&record.args().to_string()))?;
    for (key, value) in fields.0.into_iter().map(|(key, value)| (key, as_text(value))) {
        let plain = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c == '"' || c.is_control());
        if plain {
            write!(out, " {key}={value}")?;
        } else {
            write!(out, " {key}={value:?}")?;
        }
    }
    writeln!(out)
}

fn json_line(out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
    let mut fields = Fields::of(record);
    let trace = fields.take_trace();
    let mut line = serde_json::Map::new();
    line.insert("time".to_owned(), format!("{:.3}", Timestamp::now()).into());
    line.insert("level".to_owned(), record.level().as_str().to_lowercase().into());
    line.insert("target".to_owned(), record.target().into());
    if let Some(trace) = trace {
        line.insert("trace".to_owned(), trace.into());
    }
    line.insert("message".to_owned(), record.args().to_string().into());
    line.extend(fields.0);
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}

/// A record's fields, in their order: numbers and booleans as such, all else as text.
struct Fields(Vec<(String, serde_json::Value)>);

impl Fields {
    fn of(record: &Record<'_>) -> Self {
        let mut fields = Self(Vec::new());
        record.key_values().visit(&mut fields).expect("collecting text never fails");
        fields
    }

    /// The id of the item that the line is about.
    fn take_trace(&mut self) -> Option<String> {
        let place = self.0.iter().position(|(key, _)| key == "trace")?;
        Some(as_text(self.0.remove(place).1))
    }
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let plain = None
            .or_else(|| value.to_bool().map(Into::into))
            .or_else(|| value.to_u64().map(Into::into))
            .or_else(|| value.to_i64().map(Into::into))
            .or_else(|| value.to_f64().map(Into::into));
        self.0.push((key.to_string(), plain.unwrap_or_else(|| value.to_string().into())));
        Ok(())
    }
}

fn as_text(value: serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Text on one line, whatever stands in it: nobody can forge a second one.
struct OneLine<'a>(&'a str);

impl std::fmt::Display for OneLine<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write;
        self.0.chars().try_for_each(|c| {
            if c.is_control() { write!(formatter, "{}", c.escape_default()) } else { formatter.write_char(c) }
        })
    }
}

fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn color_of(level: Level) -> &'static str {
    match level {
        Level::Error => "\x1b[31m",
        Level::Warn => "\x1b[33m",
        Level::Info => "\x1b[32m",
        Level::Debug | Level::Trace => "\x1b[2m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(write: impl Fn(&mut Vec<u8>, &Record<'_>) -> io::Result<()>) -> String {
        let fields = [("sink", "db"), ("trace", "quakes-1"), ("fault", "cannot\nwrite")];
        let record = Record::builder()
            .level(Level::Warn)
            .target("gatherd")
            .args(format_args!("sink\nfails"))
            .key_values(&fields)
            .build();
        let mut out = Vec::new();
        write(&mut out, &record).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_for_people_has_its_trace_and_fields_and_stays_one_line() {
        let line = lines(|out, record| write_text(out, record, true, false));
        assert_eq!(line, "<4>WARN  gatherd [quakes-1] sink\\nfails sink=db fault=\"cannot\\nwrite\"\n");
        let line = lines(|out, record| write_text(out, record, false, false));
        assert!(line.as_bytes()[23] == b'Z', "{line}");
    }

    #[test]
    fn numbers_stay_numbers_for_programs() {
        let fields = [("pipelines", 3)];
        let mut out = Vec::new();
        write_json(&mut out, &Record::builder().key_values(&fields).build()).unwrap();
        let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(line["pipelines"], 3);
    }

    #[test]
    fn a_line_for_programs_is_one_json_object() {
        let line: serde_json::Value = serde_json::from_str(&lines(write_json)).unwrap();
        assert_eq!(line["trace"], "quakes-1");
        assert_eq!(line["message"], "sink\nfails");
        assert_eq!(line["fault"], "cannot\nwrite");
    }
}
