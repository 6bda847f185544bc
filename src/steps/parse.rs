//! `parse`: makes data of text.

use std::sync::Arc;

use crate::component::{
    FilterFault, Kind, Opened, Outputs, Reason, Repeats, Step, StepContext, StepSettings, Transform, TransformScope,
};
use crate::expr::Fuel;
use crate::model::{Columns, Fault, FaultKind, Item, Value, json};
use crate::settings::Section;

/// Text longer than this is parsed on a blocking thread.
const LARGE: usize = 64 << 10;

pub(super) const KIND: Kind<dyn StepSettings> = Kind {
    name: "parse",
    summary: "Parses text: JSON into one value; JSON lines, CSV rows and lines of text each into an item of their own. \
              Empty lines are passed over.",
    sample: r#"
[pipeline.parse]
from  = { items = ["id;name\n1;Ada\n2;Bo\n"] }
steps = [{ parse = { as = "csv", delimiter = ";" } }]
"#,
    read: |section| Some(Box::new(Parse::read(section)?)),
};

#[derive(Clone, Copy)]
enum Format {
    Json,
    Ndjson,
    Csv,
    Lines,
}

#[derive(Clone, Copy)]
struct Parse {
    format: Format,
    delimiter: u8,
    header: bool,
}

impl Parse {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        section.shorthand("as");
        let words =
            [("json", Format::Json), ("ndjson", Format::Ndjson), ("csv", Format::Csv), ("lines", Format::Lines)];
        let format = section.required_choice("as", &words, "what the text is");
        // Only CSV has these, so `explain` shows no default for the other formats.
        let delimiter: Option<String> =
            section.optional("delimiter", "what stands between the fields of a CSV row; a comma unless given");
        let about = "the first CSV row names the columns, and rows become objects, unless this is false: then arrays";
        let header = section.optional("header", about).unwrap_or(true);
        let &[delimiter] = delimiter.as_deref().unwrap_or(",").as_bytes() else {
            section.mistake("delimiter", "a delimiter is one ASCII character", "write one such as `;` or `\\t`");
            return None;
        };
        let format = format?;
        for key in ["delimiter", "header"] {
            if !matches!(format, Format::Csv) && section.has(key) {
                section.mistake(
                    key,
                    format!("`{key}` says something of CSV only"),
                    "leave it out, or write `as = \"csv\"`",
                );
            }
        }
        Some(Self { format, delimiter, header })
    }
}

impl StepSettings for Parse {
    fn repeats(&self) -> Repeats {
        Repeats::AlikeEach
    }

    fn open(&self, _context: &StepContext, _limit: usize) -> Opened<Step> {
        Ok(Step::Transform(Arc::new(*self)))
    }
}

impl Transform for Parse {
    fn apply(&self, item: &Item, scope: &TransformScope) -> Result<Outputs, FilterFault> {
        let bytes = match &item.value {
            Value::Text(text) => text.as_bytes(),
            Value::Bytes(bytes) => bytes,
            other => {
                let message = format!("cannot parse a value of type {}: only text and bytes", other.type_name());
                return Err(Fault::reject(FaultKind::Parse, message).into());
            }
        };
        if bytes.len() > LARGE && scope.fuel == Fuel::Inline {
            return Err(FilterFault::OutOfFuel);
        }
        let values = match self.format {
            Format::Json => return Ok(Outputs::Value(parse_json(bytes)?)),
            Format::Ndjson => parse_ndjson(bytes)?,
            Format::Csv => self.parse_csv(bytes)?,
            Format::Lines => lines(text(bytes)?).map(|(_, line)| Value::from(line)).collect(),
        };
        Ok(if values.is_empty() { Outputs::Filtered(Reason::NoMatch) } else { Outputs::Many(values) })
    }
}

impl Parse {
    /// Rows as RFC 4180 writes them.
    fn parse_csv(&self, bytes: &[u8]) -> Result<Vec<Value>, Fault> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(self.delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(text(bytes)?.as_bytes());
        let mut columns = None;
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| fault("CSV", None, error))?;
            let line = record.position().map(csv::Position::line);
            let row = match (&columns, self.header) {
                (None, true) => {
                    columns = Some(Columns::named(record.iter()));
                    continue;
                }
                (Some(columns), true) => columns.row(record.iter()).map_err(|reason| fault("CSV", line, reason))?,
                (_, false) => Value::array(record.iter().map(Value::from).collect()),
            };
            rows.push(row);
        }
        Ok(rows)
    }
}

fn parse_json(bytes: &[u8]) -> Result<Value, Fault> {
    json::parse(bytes).map_err(|error| {
        let before = &bytes[..error.offset.min(bytes.len())];
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        Fault::reject(FaultKind::Parse, format!("cannot parse JSON: line {line}, column {column}: {}", error.reason))
    })
}

fn parse_ndjson(bytes: &[u8]) -> Result<Vec<Value>, Fault> {
    let parsed = lines(text(bytes)?).map(|(number, line)| {
        json::parse(line.as_bytes()).map_err(|error| {
            fault("NDJSON", Some(number), format_args!("column {}: {}", error.offset + 1, error.reason))
        })
    });
    parsed.collect()
}

/// The lines that are not empty, each with its number.
fn lines(text: &str) -> impl Iterator<Item = (u64, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty())
}

fn text(bytes: &[u8]) -> Result<&str, Fault> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| fault("text", None, error))
}

fn fault(what: &str, line: Option<u64>, reason: impl std::fmt::Display) -> Fault {
    let line = line.map_or_else(String::new, |line| format!("line {line}: "));
    Fault::reject(FaultKind::Parse, format!("cannot parse {what}: {line}{reason}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{apply, check, open, show, test_item};
    use super::*;

    #[test]
    fn text_becomes_data_and_mistakes_name_their_line() {
        for (step, value, expected) in [
            ("parse = 'json'", r#""{\"a\": [1]}""#, r#"one {"a":[1]}"#),
            ("parse = 'json'", r#""[1,\n  x]""#, "rejected parse: cannot parse JSON: line 2, column 3: value expected"),
            ("parse = 'json'", "{}", "rejected parse: cannot parse a value of type object: only text and bytes"),
            ("parse = 'ndjson'", r#""{}\n\r\n[1]\r\n""#, "many [{},[1]]"),
            (
                "parse = 'ndjson'",
                r#""1\n\n{a""#,
                "rejected parse: cannot parse NDJSON: line 3: column 2: string expected",
            ),
            ("parse = 'lines'", r#""a\r\n\nb c""#, r#"many ["a","b c"]"#),
            ("parse = 'lines'", r#""""#, "filtered no_match"),
            ("parse = 'csv'", r#""a,b\n1,\"x\ny\"\n\n2,\n""#, r#"many [{"a":"1","b":"x\ny"},{"a":"2","b":""}]"#),
            (
                "parse = 'csv'",
                r#""a,b\n1,2\n3\n""#,
                "rejected parse: cannot parse CSV: line 3: the row has 1 field, but the first row names 2 columns",
            ),
            ("parse = { as = 'csv', delimiter = ';', header = false }", r#""1;2\n3\n""#, r#"many [["1","2"],["3"]]"#),
        ] {
            check(&KIND, step, value, expected);
        }
        let bytes = test_item(Value::bytes(&b"\xff"[..]));
        let step = open(&KIND, "parse = 'lines'").unwrap();
        assert_eq!(
            show(apply(&*step, &bytes)),
            "rejected parse: cannot parse text: invalid utf-8 sequence of 1 bytes from index 0"
        );
    }

    #[test]
    fn settings_of_csv_stand_with_csv_only() {
        for (text, expected) in [
            (
                "parse = { as = 'json', delimiter = ';' }",
                "test.toml:1:36: `delimiter` says something of CSV only; leave it out, or write `as = \"csv\"`",
            ),
            (
                "parse = { as = 'csv', delimiter = ';;' }",
                "test.toml:1:35: a delimiter is one ASCII character; write one such as `;` or `\\t`",
            ),
            (
                "parse = 'xml'",
                "test.toml:1:9: `as` has no choice \"xml\"; there are `json`, `ndjson`, `csv` and `lines`",
            ),
        ] {
            assert_eq!(open(&KIND, text).err().as_deref(), Some(expected));
        }
    }
}
