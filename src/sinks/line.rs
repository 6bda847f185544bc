//! Items as lines of text, for the sinks that write a stream.

use crate::model::{Item, Value, json};
use crate::runtime;
use crate::settings::Section;

/// How an item is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Its value as compact JSON in a line of its own (<https://github.com/ndjson/ndjson-spec>).
    Ndjson,
    /// Text and bytes as they are, anything else as compact JSON; then the separator.
    Raw { separator: String },
}

const DEFAULT_SEPARATOR: &str = "\n";

/// The separator of [`Form::Raw`].
pub(super) fn read_separator(section: &mut Section<'_>) -> String {
    section.or("separator", DEFAULT_SEPARATOR.to_owned(), "what ends a raw item")
}

/// Reads the setting of [`read_separator`] for another form, which has none.
pub(super) fn refuse_separator(section: &mut Section<'_>) -> String {
    if section.has("separator") {
        section.mistake("separator", "only raw items have a separator", "leave it out, or write format = \"raw\"");
    }
    let refused = section.optional("separator", "what ends a raw item; a line break unless given");
    refused.unwrap_or_else(|| DEFAULT_SEPARATOR.to_owned())
}

/// How many items are made into lines before other tasks have a turn: a slice of well under a millisecond.
pub(super) const SLICE: usize = 64;

/// Appends the lines of all `items`.
pub(super) async fn write_lines(form: &Form, items: impl IntoIterator<Item = &Item>, out: &mut Vec<u8>) {
    for (place, item) in items.into_iter().enumerate() {
        if place % SLICE == SLICE - 1 {
            runtime::yield_now().await;
        }
        write_line(form, &item.value, out);
    }
}

/// About how many bytes the line of a value takes.
pub(super) fn expected_length(value: &Value) -> usize {
    const SHORT: usize = 64;
    match value {
        Value::Text(text) => text.len() + SHORT,
        Value::Bytes(bytes) => bytes.len() + SHORT,
        other => other.json_text().map_or(SHORT, str::len) + 1,
    }
}

/// The bytes of a value that are written as they are, if there are such.
pub(super) fn written_as_it_is<'v>(form: &Form, value: &'v Value) -> Option<&'v [u8]> {
    match (form, value) {
        (Form::Raw { .. }, Value::Text(text)) => Some(text.as_bytes()),
        (Form::Raw { .. }, Value::Bytes(bytes)) => Some(bytes),
        _ => value.compact_json().map(str::as_bytes),
    }
}

pub(super) fn write_line(form: &Form, value: &Value, out: &mut Vec<u8>) {
    match written_as_it_is(form, value) {
        Some(bytes) => out.extend_from_slice(bytes),
        None => json::write(value, out),
    }
    out.extend_from_slice(line_end(form));
}

/// What stands behind each item.
pub(super) fn line_end(form: &Form) -> &[u8] {
    match form {
        Form::Ndjson => b"\n",
        Form::Raw { separator } => separator.as_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_the_value_and_its_end() {
        let object = json::parse(b"{\"a\": [1, \"x\\ny\"]}").unwrap();
        let raw = |separator: &str| Form::Raw { separator: separator.to_owned() };
        for (form, value, line) in [
            (Form::Ndjson, object.clone(), &b"{\"a\":[1,\"x\\ny\"]}\n"[..]),
            (Form::Ndjson, Value::bytes(vec![0u8]), b"\"AA==\"\n"),
            (raw("\n"), Value::from("a\nb"), b"a\nb\n"),
            (raw(""), Value::bytes(vec![0u8, 255]), b"\x00\xff"),
            (raw("--"), object, b"{\"a\":[1,\"x\\ny\"]}--"),
        ] {
            let mut out = Vec::new();
            write_line(&form, &value, &mut out);
            assert_eq!(out, line);
        }
    }
}
