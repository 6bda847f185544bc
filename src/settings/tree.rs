//! A config as a tree of values that know their places.

use indexmap::IndexMap;
use toml::value::Datetime;

use super::{Place, text_offset};

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

impl Node {
    /// Whether `word` stands in some text in it.
    pub fn mentions(&self, word: &str) -> bool {
        match &self.data {
            Data::Text(text) => has_word(text, word),
            Data::List(nodes) => nodes.iter().any(|node| node.mentions(word)),
            Data::Table(table) => table.iter().any(|(_, entry)| entry.node.mentions(word)),
            _ => false,
        }
    }
}

/// Whether a text has a word in it: no letter, digit or underscore stands right before or behind it.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
}

/// A table in the order in which it is written.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub(super) entries: IndexMap<String, Entry>,
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

#[cfg(test)]
mod tests {
    use super::super::parse::tests::parsed;
    use super::*;

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
