//! A config as a tree of values that know their places.

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::IndexMap;
use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use super::{Mistakes, Place, Rule, SourceFile, text_offset};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    pub place: Place,
    pub data: Data,
}

#[derive(Clone, Debug)]
pub enum Data {
    Bool(bool),
    Integer(i128),
    /// An integer beyond 128 bits.
    HugeInteger(String),
    Float(f64),
    Text(String),
    Time(Datetime),
    List(Vec<Node>),
    Table(Table),
}

/// A table in the order in which it is written.
#[derive(Clone, Debug, Default)]
pub struct Table {
    entries: IndexMap<String, Entry>,
}

/// A key with its place, and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key_place: Place,
    pub node: Node,
}

impl Table {
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries.get(key).map(|entry| &entry.node)
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn insert(&mut self, key: String, entry: Entry) {
        self.entries.insert(key, entry);
    }
}

impl Node {
    pub fn as_table(&self) -> Option<&Table> {
        match &self.data {
            Data::Table(table) => Some(table),
            _ => None,
        }
    }

    /// What it is, for messages: `a text`.
    pub fn kind(&self) -> &'static str {
        match self.data {
            Data::Bool(_) => "a boolean",
            Data::Integer(_) | Data::HugeInteger(_) => "a whole number",
            Data::Float(_) => "a number with a fraction",
            Data::Text(_) => "a text",
            Data::Time(_) => "a date or time",
            Data::List(_) => "a list",
            Data::Table(_) => "a table",
        }
    }

    /// Where bytes `span` of a decoded text stand in the file.
    pub fn place_in_text(&self, span: std::ops::Range<usize>) -> Place {
        let start = self.place.span().start;
        let literal = self.place.text();
        let from = start + text_offset::in_literal(literal, span.start);
        let to = start + text_offset::in_literal(literal, span.end);
        self.place.at(from..to.max(from))
    }

    /// As TOML on one line, the way it would be written inside an inline table.
    pub fn to_toml(&self) -> String {
        match &self.data {
            Data::Bool(value) => value.to_string(),
            Data::Integer(value) => value.to_string(),
            Data::HugeInteger(digits) => digits.clone(),
            Data::Float(value) => toml::Value::Float(*value).to_string(),
            Data::Text(text) => text_to_toml(text),
            Data::Time(time) => time.to_string(),
            Data::List(nodes) => {
                format!("[{}]", nodes.iter().map(Node::to_toml).collect::<Vec<_>>().join(", "))
            }
            Data::Table(table) if table.is_empty() => "{}".to_owned(),
            Data::Table(table) => {
                let entries =
                    table.iter().map(|(key, entry)| format!("{} = {}", key_to_toml(key), entry.node.to_toml()));
                format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// A text as TOML on one line, in the quotes that need no escapes if there are such.
pub fn text_to_toml(text: &str) -> String {
    let is_literal = text.contains(['"', '\\']) && !text.contains(|char: char| char == '\'' || char.is_control());
    if is_literal {
        return format!("'{text}'");
    }
    let mut written = String::with_capacity(text.len() + 2);
    written.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => written.extend(['\\', char]),
            '\n' => written.push_str("\\n"),
            '\t' => written.push_str("\\t"),
            '\r' => written.push_str("\\r"),
            control if control.is_control() => written.push_str(&format!("\\u{:04x}", u32::from(control))),
            plain => written.push(plain),
        }
    }
    written.push('"');
    written
}

/// A key, in quotes where it needs them.
pub fn key_to_toml(key: &str) -> String {
    let is_bare = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    if !key.is_empty() && key.chars().all(is_bare) { key.to_owned() } else { text_to_toml(key) }
}

/// Parses a file. What is not TOML is reported, and as much as possible is read all the same.
pub fn parse(file: &Arc<SourceFile>, mistakes: &Mistakes) -> Table {
    let (document, errors) = DeTable::parse_recoverable(&file.text);
    let table = table_of(file, document.get_ref());
    let unclosed = unclosed(&table).map(|node| {
        let start = node.place.span().start;
        (start, end_of_unclosed(&file.text, start))
    });
    if let Some((start, _)) = unclosed {
        let (bracket, what) = if file.text[start..].starts_with('{') { ('}', "table") } else { (']', "list") };
        let place = Place::new(file.clone(), start..start + 1);
        mistakes.spoil(place.at(start..file.text.len()));
        mistakes.report(
            Rule::Syntax,
            place,
            format!("this {what} is not closed"),
            format!("add `{bracket}` at its end"),
        );
    }
    let mut lines = BTreeSet::new();
    for error in errors {
        let place = Place::new(file.clone(), error.span().unwrap_or(0..0));
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
        Some((what, expected)) => (format!("this is not TOML: {what}"), format!("expected here: {expected}")),
        None => (format!("this is not TOML: {message}"), "see https://toml.io for how TOML is written".to_owned()),
    }
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
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Table, Vec<String>) {
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

    #[test]
    fn a_text_is_shown_on_one_line_and_reads_back_as_it_was() {
        for (text, shown) in [
            ("plain", r#""plain""#),
            ("a\nb", r#""a\nb""#),
            (r#"say "x""#, r#"'say "x"'"#),
            (r#"it's "x""#, r#""it's \"x\"""#),
            ("\u{1}\u{7f}é", r#""\u0001\u007fé""#),
            (r"\d", r"'\d'"),
        ] {
            assert_eq!(text_to_toml(text), shown);
            let (table, mistakes) = parsed(&format!("x = {shown}"));
            assert!(mistakes.is_empty(), "{mistakes:?}");
            assert!(matches!(&table.get("x").unwrap().data, Data::Text(read) if read == text), "{shown}");
        }
    }

    #[test]
    fn a_value_is_shown_as_it_could_be_written() {
        let text = r#"{ a = 1, "b c" = [true, 1.5, "x\"y"], d = {}, e = 2026-01-01T00:00:00Z }"#;
        let (table, mistakes) = parsed(&format!("x = {text}\n"));
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let shown = table.get("x").unwrap().to_toml();
        assert_eq!(shown, text.replace(r#""x\"y""#, r#"'x"y'"#));
    }
}
