//! From the text of a file to its tree, and what is wrong with its TOML.

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::IndexMap;
use toml::de::{DeTable, DeValue};

use super::tree::{Data, Entry, Node, Table, text_to_toml};
use super::{Mistakes, Place, Rule, SourceFile};

/// Parses a file. What is not TOML is reported, and as much as possible is read all the same.
pub fn parse(file: &Arc<SourceFile>, mistakes: &Mistakes) -> Table {
    let (document, errors) = DeTable::parse_recoverable(&file.text);
    let table = table_of(file, document.get_ref());
    let unclosed = unclosed(&table).map(|node| {
        let start = node.place.span().start;
        (start, end_of_unclosed(&file.text, start))
    });
    let places: Vec<Place> =
        errors.iter().map(|error| Place::new(file.clone(), error.span().unwrap_or(0..0))).collect();
    if let Some((start, end)) = unclosed {
        let (bracket, what) = if file.text[start..].starts_with('{') { ('}', "table") } else { (']', "list") };
        let place = Place::new(file.clone(), start..start + 1);
        mistakes.spoil(place.at(start..file.text.len()));
        // A text that ends too early hides the brackets behind it.
        let is_hidden = |place: &Place| (start..end).contains(&place.span().start) && ends_too_early(place).is_some();
        if !places.iter().any(is_hidden) {
            mistakes.report(
                Rule::Syntax,
                place,
                format!("this {what} is not closed"),
                format!("add `{bracket}` at its end"),
            );
        }
    }
    let mut lines = BTreeSet::new();
    for (error, place) in errors.iter().zip(places) {
        // What an unclosed list swallows is not what is wrong with it; nor is what follows the first slip of a line.
        let is_swallowed = unclosed.is_some_and(|(_, end)| place.span().start >= end);
        if !is_swallowed && lines.insert(place.line()) {
            let (message, way_out) = explain_syntax(error.message(), &place);
            mistakes.spoil(spoiled(&place));
            mistakes.report(Rule::Syntax, place, message, way_out);
        }
    }
    table
}

/// What a slip at `place` makes unreadable: its line, or the whole section if it is in the section's name.
fn spoiled(place: &Place) -> Place {
    let text = &place.file().text;
    let at = place.span().start;
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let next = if text[start..].starts_with('[') { "\n[" } else { "\n" };
    let end = text[at..].find(next).map_or(text.len(), |length| at + length);
    place.at(start..end)
}

/// The innermost list or inline table that goes on to the end of the file for want of a closing bracket.
fn unclosed(table: &Table) -> Option<&Node> {
    let is_unclosed = |node: &Node| {
        let (text, place) = (node.place.text(), node.place.span());
        let close = match text.as_bytes().first() {
            Some(b'[') if matches!(node.data, Data::List(_)) => ']',
            Some(b'{') => '}',
            _ => return false,
        };
        node.place.file().text[place.end..].trim().is_empty() && !(text.len() > 1 && text.trim_end().ends_with(close))
    };
    table.iter().find_map(|(_, entry)| unclosed_in(&entry.node, &is_unclosed))
}

fn unclosed_in<'n>(node: &'n Node, is_unclosed: &impl Fn(&Node) -> bool) -> Option<&'n Node> {
    let inner = match &node.data {
        Data::List(nodes) => nodes.iter().find_map(|node| unclosed_in(node, is_unclosed)),
        Data::Table(table) => table.iter().find_map(|(_, entry)| unclosed_in(&entry.node, is_unclosed)),
        _ => None,
    };
    inner.or_else(|| is_unclosed(node).then_some(node))
}

/// Where an unclosed list or table was probably meant to end: before the next line that begins a section or a setting
/// of its own, which no line of a list does unless it is indented.
fn end_of_unclosed(text: &str, start: usize) -> usize {
    let mut at = start;
    for line in text[start..].split_inclusive('\n') {
        let is_next = at > start
            && (line.starts_with('[')
                || line.starts_with(|char: char| char.is_ascii_alphabetic()) && line.contains('='));
        if is_next {
            return at;
        }
        at += line.len();
    }
    text.len()
}

/// The parser's message, which ends with what it expected, as a mistake and its way out.
fn explain_syntax(message: &str, place: &Place) -> (String, String) {
    match message.split_once(", expected ") {
        _ if message.starts_with("duplicate key") => (
            format!("`{}` is defined twice in this table", place.text()),
            "keep one of the two, or give one of them another name".to_owned(),
        ),
        _ if message.starts_with("string values must be quoted") && place.text().is_empty() => {
            ("there is no value".to_owned(), "write one after the `=`".to_owned())
        }
        _ if message.starts_with("string values must be quoted") => {
            ("this text has no quotes".to_owned(), format!("write `{}`", text_to_toml(place.text())))
        }
        _ if message.starts_with("missing escaped value") => (
            "TOML knows no escape of this letter".to_owned(),
            r"write `\\` for a backslash, or put the text in single quotes, where a backslash stays as it is"
                .to_owned(),
        ),
        _ if message.starts_with("invalid basic string") || message.starts_with("invalid literal string") => (
            "this text is not closed".to_owned(),
            "add the closing quote; a text of several lines stands between three quotes on each side".to_owned(),
        ),
        _ if ends_too_early(place) == Some('"') => (
            "the text ends at the quote before this".to_owned(),
            "write a filter or a text that holds double quotes in single quotes: '…'".to_owned(),
        ),
        _ if ends_too_early(place) == Some('\'') => (
            "the text ends at the quote before this".to_owned(),
            "write text inside of a filter in double quotes: '… \"…\" …'".to_owned(),
        ),
        Some((what, expected)) => (format!("this is not TOML: {what}"), format!("expected here: {expected}")),
        None => (format!("this is not TOML: {message}"), "see https://toml.io for how TOML is written".to_owned()),
    }
}

/// The quote that stands right before `place`, if a word goes on there.
fn ends_too_early(place: &Place) -> Option<char> {
    let (before, after) = place.file().text.split_at_checked(place.span().start)?;
    let goes_on = after.starts_with(|first: char| first.is_alphanumeric() || "_.$\\/:-".contains(first));
    before.chars().next_back().filter(|last| goes_on && matches!(last, '"' | '\''))
}

fn table_of(file: &Arc<SourceFile>, table: &DeTable<'_>) -> Table {
    let mut entries = IndexMap::new();
    for (key, value) in table {
        let key_place = Place::new(file.clone(), key.span());
        let node = Node { place: Place::new(file.clone(), value.span()), data: data_of(file, value.get_ref()) };
        entries.insert(key.get_ref().clone().into_owned(), Entry { key_place, node });
    }
    Table { entries }
}

fn data_of(file: &Arc<SourceFile>, value: &DeValue<'_>) -> Data {
    match value {
        DeValue::String(text) => Data::Text(text.clone().into_owned()),
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| Data::HugeInteger(integer.to_string()), Data::Integer),
        // The parser has checked that it is a number; one too large for a float is infinite.
        DeValue::Float(float) => Data::Float(float.as_str().parse().unwrap_or(f64::INFINITY)),
        DeValue::Boolean(value) => Data::Bool(*value),
        DeValue::Datetime(time) => Data::Time(*time),
        DeValue::Array(values) => Data::List(
            values
                .iter()
                .map(|value| Node {
                    place: Place::new(file.clone(), value.span()),
                    data: data_of(file, value.get_ref()),
                })
                .collect(),
        ),
        DeValue::Table(table) => Data::Table(table_of(file, table)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a file with this text holds, and what is wrong with it.
    pub(in crate::settings) fn parsed(text: &str) -> (Table, Vec<String>) {
        let file = Arc::new(SourceFile { name: "a.toml".to_owned(), text: text.to_owned() });
        let mistakes = Mistakes::default();
        let table = parse(&file, &mistakes);
        (table, mistakes.into_sorted().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_syntax_error_of_a_file_is_reported_and_the_rest_is_read() {
        let (table, mistakes) = parsed("a = 90s\nb = 2\nb = 3\nc = \"x\n");
        assert_eq!(mistakes.len(), 3, "{mistakes:#?}");
        assert!(mistakes[0].starts_with("a.toml:1:5: this text has no quotes; write `\"90s\"`"), "{}", mistakes[0]);
        assert!(mistakes[1].starts_with("a.toml:3:1: `b` is defined twice"), "{}", mistakes[1]);
        assert!(matches!(table.get("b").unwrap().data, Data::Integer(2)));
    }

    #[test]
    fn an_unclosed_list_is_one_mistake_whatever_it_swallows() {
        for (text, expected) in [
            ("a = [\n  1,\n  { x = 2 },\n\n[b]\nc = 1\n", "a.toml:1:5: this list is not closed; add `]` at its end"),
            ("a = [1, 2\nb = { c = 1 }\n", "a.toml:1:5: this list is not closed; add `]` at its end"),
            ("a = { x = 1\nb = 2\n", "a.toml:1:5: this table is not closed; add `}` at its end"),
            ("a = [ { x = 1 ]\n", "a.toml:1:7: this table is not closed; add `}` at its end"),
        ] {
            let (_, mistakes) = parsed(text);
            assert_eq!(mistakes[0].lines().next(), Some(expected), "{text}");
            assert!(mistakes.len() <= 2, "{text}: {mistakes:#?}");
        }
        let (_, mistakes) = parsed("a = [\n 1\n]\nb = { c = [ { d = 1 } ] }");
        assert_eq!(mistakes, [] as [&str; 0]);
    }
}
