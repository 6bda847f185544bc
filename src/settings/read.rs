//! Runs a reader over a table, and finds the keys that it does not know.

use std::sync::Arc;

use super::record::{Inner, Record, merge};
use super::section::{Content, Section};
use super::suggestion;
use super::tree::{Data, Node, Table};
use super::{Fill, Mistake, Place, Reading, Rule, SourceFile, parse};
use crate::expr::Vars;

/// The setting that names a client.
const CLIENT_KEY: &str = "via";

/// What a reader made of its table.
pub struct Read<T> {
    /// Nothing if it cannot be used: that has been reported then.
    pub value: Option<T>,
    /// All settings that the reader knows, in the order in which it asks for them.
    pub records: Vec<Record>,
    /// The setting that may stand in place of the table.
    pub short: Option<&'static str>,
}

/// A table that is to be read, with what surrounds it.
#[derive(Clone, Copy)]
pub struct Unread<'a> {
    /// What the author calls it: `get`, `[http.acme]`.
    pub name: &'a str,
    /// Where a mistake about it as a whole is shown.
    pub place: &'a Place,
    pub node: &'a Node,
    /// What stands beside the component key.
    pub beside: Option<&'a Table>,
    /// Keys that may stand beside but not inside: a misplaced one is told so.
    pub keys_beside: &'a [String],
}

impl Reading {
    /// Runs `read` over a table. Keys that it does not know are reported.
    pub fn read<T>(&self, unread: Unread<'_>, vars: &Vars, read: impl Fn(&mut Section<'_>) -> Option<T>) -> Read<T> {
        let Unread { name, place, node, beside, keys_beside } = unread;
        let mut section = Section::new(self, vars, name, place.clone(), Content::of(node), beside);
        let value = read(&mut section);
        let short = section.short();
        let mut records = section.into_records();
        if value.is_none() {
            merge(&mut records, &describe(read).records);
        }
        if let Data::Table(table) = &node.data {
            self.check_keys(name, table, &records, keys_beside);
        }
        Read { value, records, short }
    }

    /// Runs `read` over a table that is not a component: `[service]`, or the common settings of a step, whose other
    /// keys the caller checks.
    pub fn read_part<T>(
        &self,
        name: &str,
        place: &Place,
        table: &Table,
        vars: &Vars,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> (T, Vec<Record>) {
        let mut section = Section::new(self, vars, name, place.clone(), Content::Table(table), None);
        let value = read(&mut section);
        let records = section.into_records();
        for record in &records {
            self.check_inner(record, table, &[]);
        }
        (value, records)
    }

    /// Reports the keys of `table` that none of `records` asks for.
    pub fn check_keys(&self, name: &str, table: &Table, records: &[Record], keys_beside: &[String]) {
        let known: Vec<&str> = inside(records).map(|record| record.key.as_str()).collect();
        for (key, entry) in table.iter().filter(|(key, _)| !known.contains(key)) {
            let way_out = if keys_beside.iter().any(|beside| beside == key) {
                let value = entry.node.to_toml();
                format!("write it beside: {{ {name} = {{ … }}, {key} = {value} }}")
            } else if known.contains(&CLIENT_KEY) && (self.client_settings)().iter().any(|setting| setting == key) {
                format!("write it into a section `[http.NAME]`, and `{CLIENT_KEY} = \"NAME\"` here")
            } else {
                suggestion::way_out(key, known.iter().copied())
            };
            let message = format!("`{name}` has no setting `{key}`");
            self.mistakes.report(Rule::UnknownKey, entry.key_place.clone(), message, way_out);
        }
        let known: Vec<String> = known.into_iter().map(str::to_owned).collect();
        for record in inside(records) {
            self.check_inner(record, table, &known);
        }
    }

    /// Reports unknown keys in the tables within the setting of `record`. One of `keys_beside` may stand beside it.
    pub fn check_inner(&self, record: &Record, table: &Table, keys_beside: &[String]) {
        let Some(node) = table.get(&record.key) else { return };
        match (&record.inner, &node.data) {
            (Inner::Table(inner), Data::Table(table)) => self.check_keys(&record.key, table, inner, keys_beside),
            (Inner::List(elements), Data::List(nodes)) => {
                for (element, node) in elements.iter().zip(nodes) {
                    if let Data::Table(table) = &node.data {
                        self.check_keys(&record.key, table, element, &[]);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The settings that `read` would ask for, found by running it over nothing. The value is made of placeholders.
pub fn describe<T>(read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Read<T> {
    let reading = Reading::describing();
    let vars = Vars::default();
    let mut section = Section::of_nothing(&reading, &vars);
    let value = read(&mut section);
    Read { value, short: section.short(), records: section.into_records() }
}

fn inside(records: &[Record]) -> impl Iterator<Item = &Record> {
    records.iter().filter(|record| !record.is_beside)
}

/// Reads `text`, a document such as `get = { url = "…" }`, with the reader of its first key; other keys stand beside.
/// For tests of components.
pub fn read_text<T>(text: &str, read: impl Fn(&mut Section<'_>) -> Option<T>) -> Result<T, Vec<Mistake>> {
    let file = Arc::new(SourceFile { name: "test.toml".to_owned(), text: text.to_owned() });
    let reading = Reading::new(Fill::new(|_| None, None));
    let document = parse(&file, &reading.mistakes);
    let value = document.iter().next().and_then(|(name, entry)| {
        let unread =
            Unread { name, place: &entry.key_place, node: &entry.node, beside: Some(&document), keys_beside: &[] };
        reading.read(unread, &Vars::default(), read).value
    });
    let mistakes = reading.mistakes.into_sorted();
    value.filter(|_| mistakes.is_empty()).ok_or(mistakes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Size;
    use crate::settings::Presence;

    #[derive(Debug, PartialEq)]
    struct Fetch {
        url: String,
        timeout: Duration,
        limit: Option<Size>,
        format: char,
        rotate: Option<usize>,
        rules: Vec<String>,
    }

    fn read(section: &mut Section<'_>) -> Option<Fetch> {
        section.shorthand("url");
        let url: Option<String> = section.required("url", "where it goes");
        let timeout = section.or("timeout", Duration::from_secs(30), "how long it may take");
        let limit = section.optional("limit", "how large it may be");
        let format = section.choice("format", &[("json", 'j'), ("csv", 'c')], "how it is written");
        let rotate = section.table("rotate", "when a new one begins", |rotate| rotate.required("after", "how many"));
        let rules = section.tables_beside("on", "what to do", |rule| rule.required("when", "the condition"));
        if url.as_deref() == Some("ftp://x") {
            section.mistake("url", "`ftp://x` is not HTTP", "write one that begins with http:// or https://");
        }
        Some(Fetch { url: url?, timeout, limit, format, rotate, rules })
    }

    fn mistakes(text: &str) -> Vec<String> {
        let mistakes = read_text(text, read).unwrap_err();
        mistakes.iter().map(|mistake| mistake.to_string().lines().next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn a_table_and_its_short_form_are_read_the_same_way() {
        let expected = Fetch {
            url: "x".to_owned(),
            timeout: Duration::from_secs(30),
            limit: None,
            format: 'j',
            rotate: None,
            rules: vec![],
        };
        assert_eq!(read_text("get = 'x'", read).unwrap(), expected);
        assert_eq!(read_text("get = { url = 'x' }", read).unwrap(), expected);
        let full = "get = { url = 'x', timeout = '5s', limit = '1MiB', format = 'csv', rotate = { after = 3 } }\n\
                    on = [ { when = 'a' }, { when = 'b' } ]";
        let expected = Fetch {
            url: "x".to_owned(),
            timeout: Duration::from_secs(5),
            limit: Some(Size::mib(1)),
            format: 'c',
            rotate: Some(3),
            rules: vec!["a".to_owned(), "b".to_owned()],
        };
        assert_eq!(read_text(full, read).unwrap(), expected);
    }

    #[test]
    fn every_mistake_is_reported_at_once_with_its_way_out() {
        let text = "get = { timeot = '5s', timeout = 5, limit = 'much', format = 'cvs', rotate = { aftr = 3 } }\n\
                    on = [ { when = 1, x = 2 } ]";
        assert_eq!(
            mistakes(text),
            [
                "test.toml:1:1: `get` needs `url`; add `url = …`, a text",
                "test.toml:1:9: `get` has no setting `timeot`; did you mean `timeout`?",
                "test.toml:1:34: `5` is a duration without a unit; write one such as \"5s\"",
                "test.toml:1:45: `much` is not a size; write one such as \"16MiB\" or \"1GB\"",
                "test.toml:1:62: `format` has no choice \"cvs\"; did you mean `csv`?",
                "test.toml:1:78: `rotate` needs `after`; add `after = …`, a whole number such as 100",
                "test.toml:1:80: `rotate` has no setting `aftr`; did you mean `after`?",
                "test.toml:2:17: `when` cannot be a whole number; write a text: \"1\"",
            ]
        );
    }

    #[test]
    fn a_wrong_short_form_is_called_by_the_name_that_its_author_knows() {
        assert_eq!(mistakes("get = 5"), ["test.toml:1:7: `get` cannot be a whole number; write a text: \"5\""]);
        assert_eq!(
            mistakes("get = 'ftp://x'"),
            ["test.toml:1:7: `ftp://x` is not HTTP; write one that begins with http:// or https://"]
        );
    }

    #[test]
    fn a_reader_that_gives_up_describes_all_its_settings() {
        let records = describe(read).records;
        let keys: Vec<&str> = records.iter().map(|record| record.key.as_str()).collect();
        assert_eq!(keys, ["url", "timeout", "limit", "format", "rotate", "on"]);
        assert_eq!(records[0].presence, Presence::Required);
        assert_eq!(records[1].presence, Presence::Default("\"30s\"".to_owned()));
        assert_eq!(records[3].expects, "\"json\" | \"csv\"");
        assert!(matches!(&records[4].inner, Inner::Table(inner) if inner[0].key == "after"));
        assert!(matches!(&records[5].inner, Inner::List(inner) if inner[0][0].key == "when"));
    }

    #[test]
    fn a_config_is_shown_with_every_default() {
        let file = Arc::new(SourceFile { name: "a.toml".to_owned(), text: "get = { url = '${URL}' }".to_owned() });
        let reading = Reading::new(Fill::new(|_| Some("https://secret.example".to_owned()), None));
        let document = parse(&file, &reading.mistakes);
        let entry = document.entry("get").unwrap();
        let unread = Unread { name: "get", place: &entry.key_place, node: &entry.node, beside: None, keys_beside: &[] };
        let read = reading.read(unread, &Vars::default(), read);
        assert_eq!(read.value.unwrap().url, "https://secret.example");
        let shown = super::super::expanded(&read.records).on_one_line();
        assert_eq!(shown, "{ url = \"${URL}\", timeout = \"30s\", format = \"json\" }");
    }
}
