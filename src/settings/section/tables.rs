//! Reading tables inside of a table.

use super::{Content, Presence, Section, record};
use crate::settings::record::Inner;
use crate::settings::setting::Wrong;
use crate::settings::tree::{Data, Node};
use crate::settings::{Form, Read, expanded};

impl Section<'_> {
    /// A table inside this one, read by `read`; nothing if it is left out.
    pub fn table<T>(
        &mut self,
        key: &'static str,
        about: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        let found = self.find(key, "a table".to_owned(), Form::Table, about, Presence::Optional);
        let Read { value, records, short } = match found {
            Some(node) => self.read_inner(key, node, read),
            None if self.reading.is_describing() => self.read_nothing(read),
            None => return None,
        };
        self.last_record().short = short;
        self.last_record().inner = Inner::Table(records);
        value
    }

    /// A table inside this one whose settings all have defaults: if it is left out, `read` runs over an empty one.
    pub fn group<T>(
        &mut self,
        key: &'static str,
        about: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        let found = self.find(key, "a table".to_owned(), Form::Table, about, Presence::Optional);
        let Read { value, records, short } = match found {
            Some(node) => self.read_inner(key, node, read),
            None => self.read_nothing(read),
        };
        self.last_record().presence = Presence::Default(expanded(&records).on_one_line());
        self.last_record().short = short;
        self.last_record().inner = Inner::Table(records);
        value
    }

    /// A list of tables inside this one, each read by `read`.
    pub fn tables<T>(
        &mut self,
        key: &'static str,
        about: &'static str,
        read: impl FnMut(&mut Section<'_>) -> Option<T>,
    ) -> Vec<T> {
        let found = self.find(key, "a list of tables".to_owned(), Form::Tables, about, Presence::Optional);
        self.read_list(key, found, read)
    }

    /// A list of tables that stands beside the component key, such as `on`; see [`Section::tables`].
    pub fn tables_beside<T>(
        &mut self,
        key: &'static str,
        about: &'static str,
        read: impl FnMut(&mut Section<'_>) -> Option<T>,
    ) -> Vec<T> {
        let found = self.beside.and_then(|table| table.get(key));
        let mut record = record(key, "a list of tables".to_owned(), Form::Tables, about, Presence::Optional);
        record.is_beside = true;
        record.given = found.map(Node::to_toml);
        self.records.push(record);
        self.read_list(key, found, read)
    }

    fn read_inner<T>(&self, key: &str, node: &Node, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Read<T> {
        read_all(Section::new(self.reading, self.vars, key, node.place.clone(), Content::of(node), None), read)
    }

    fn read_nothing<T>(&self, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Read<T> {
        read_all(Section::of_nothing(self.reading, self.vars), read)
    }

    fn read_list<T>(
        &mut self,
        key: &'static str,
        found: Option<&Node>,
        mut read: impl FnMut(&mut Section<'_>) -> Option<T>,
    ) -> Vec<T> {
        let elements: Vec<Read<T>> = match found {
            Some(Node { data: Data::List(nodes), .. }) => {
                nodes.iter().map(|node| self.read_inner(key, node, &mut read)).collect()
            }
            Some(node) => {
                self.report(key, node, "a list of tables, such as `[ { … }, { … } ]`", Wrong::Type);
                return Vec::new();
            }
            None if self.reading.is_describing() => vec![self.read_nothing(&mut read)],
            None => return Vec::new(),
        };
        self.last_record().short = elements.first().and_then(|element| element.short);
        let (values, inner) = elements.into_iter().map(|element| (element.value, element.records)).unzip();
        let values: Vec<Option<T>> = values;
        self.last_record().inner = Inner::List(inner);
        values.into_iter().flatten().collect()
    }
}

fn read_all<T>(mut section: Section<'_>, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Read<T> {
    let value = read(&mut section);
    Read { value, short: section.short(), records: section.into_records() }
}
