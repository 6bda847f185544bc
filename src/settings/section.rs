//! One table of a config, read setting by setting.

mod tables;
mod templates;

use std::collections::BTreeSet;
use std::panic::Location;

use super::fill::{Piece, pieces};
use super::mistake::{Breaks, Severity};
use super::record::{ANY_KEY, Inner, Presence, Record};
use super::setting::{Given, Setting, Wrong};
use super::suggestion;
use super::tree::{Data, Node, Table, text_to_toml};
use super::{Form, Place, Reading, Rule};
use crate::expr::Vars;
use crate::model::Size;

/// One table of a config, read setting by setting. A key that no call has asked for is a mistake.
///
/// A reader asks for all its settings before it gives up on a missing one, so that one run finds every mistake, and
/// so that `gatherd kinds` can show them all: there the reader runs over nothing, and what is required answers a
/// placeholder.
pub struct Section<'a> {
    reading: &'a Reading,
    vars: &'a Vars,
    /// What the author calls it, such as `get`.
    name: String,
    /// Where a mistake about the section as a whole is shown, if it stands anywhere.
    place: Option<Place>,
    content: Content<'a>,
    /// What stands beside the component key.
    beside: Option<&'a Table>,
    /// The setting that may stand in place of the table.
    short: Option<&'static str>,
    records: Vec<Record>,
}

/// A kind of section that a setting can name.
struct NamedSection {
    section: &'static str,
    noun: &'static str,
    /// The rule that a name breaks which no section has.
    unknown: Rule,
}

const CLIENT: NamedSection = NamedSection { section: "http", noun: "client", unknown: Rule::UnknownClient };
const QUEUE: NamedSection = NamedSection { section: "queue", noun: "queue", unknown: Rule::UnknownQueue };

/// What is written in a section.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    Nothing,
    Table(&'a Table),
    /// Not a table: the value of the one obvious setting, if the reader has one.
    Short(&'a Node),
}

impl<'a> Content<'a> {
    pub(super) fn of(node: &'a Node) -> Self {
        match &node.data {
            Data::Table(table) => Content::Table(table),
            _ => Content::Short(node),
        }
    }
}

impl<'a> Section<'a> {
    pub(super) fn new(
        reading: &'a Reading,
        vars: &'a Vars,
        name: &str,
        place: Place,
        content: Content<'a>,
        beside: Option<&'a Table>,
    ) -> Self {
        let (name, place) = (name.to_owned(), Some(place));
        Self { name, place, content, beside, ..Self::of_nothing(reading, vars) }
    }

    /// A section in which nothing is written.
    pub(super) fn of_nothing(reading: &'a Reading, vars: &'a Vars) -> Self {
        let (name, content, records) = (String::new(), Content::Nothing, Vec::new());
        Self { reading, vars, name, place: None, content, beside: None, short: None, records }
    }

    /// The setting that may stand in place of the table.
    pub(super) fn short(&self) -> Option<&'static str> {
        self.short
    }

    /// What was asked for, in order.
    pub(super) fn into_records(self) -> Vec<Record> {
        if let (Content::Short(node), None) = (self.content, self.short) {
            // Only now is it known that the reader has no obvious setting.
            let keys: Vec<&str> = self.records.iter().map(|record| record.key.as_str()).collect();
            let first = keys.first().copied().unwrap_or("…");
            self.reading.mistakes.report(
                Rule::WrongType,
                node.place.clone(),
                format!("`{}` cannot be {}", self.name, node.kind()),
                format!("write a table such as `{} = {{ {first} = … }}`", self.name),
            );
        }
        self.records
    }

    /// Lets the table be written as the value of its one obvious setting: `get = "URL"`. Called first.
    pub fn shorthand(&mut self, key: &'static str) {
        self.short = Some(key);
    }

    /// A setting that must be there. Nothing if it is not, or is wrong: that has been reported then.
    pub fn required<T: Setting>(&mut self, key: &'static str, about: &'static str) -> Option<T> {
        self.read(key, about, Presence::Required)
    }

    /// A setting that may be left out. Nothing too if it is wrong: that has been reported then, and the config
    /// will not be used.
    pub fn optional<T: Setting>(&mut self, key: &'static str, about: &'static str) -> Option<T> {
        self.read(key, about, Presence::Optional)
    }

    /// A setting with a default.
    pub fn or<T: Setting>(&mut self, key: &'static str, default: T, about: &'static str) -> T {
        self.read(key, about, Presence::Default(default.show())).unwrap_or(default)
    }

    /// All settings of this table, under keys that the author has chosen, in the order in which they are written.
    /// For a reader that asks for nothing else.
    pub fn entries<T: Setting>(&mut self, about: &'static str) -> Vec<(String, T)> {
        if self.reading.is_describing() {
            self.records.push(record(ANY_KEY, T::expects(), T::form(), about, Presence::Optional));
        }
        let Some(table) = self.own_table() else { return Vec::new() };
        let mut entries = Vec::new();
        for (key, entry) in table.iter() {
            let mut record = record(key, T::expects(), T::form(), about, Presence::Optional);
            record.given = Some(T::show_given(&entry.node));
            self.records.push(record);
            let value: Option<T> = self.read_node(key, &entry.node);
            self.last_record().engine = value.as_ref().and_then(T::engine);
            entries.extend(value.map(|value| (key.to_owned(), value)));
        }
        entries
    }

    /// One of a few words, each with what it stands for. The first is the default.
    pub fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)], about: &'static str) -> T {
        let default = words.first().expect("a choice has at least one word");
        self.read_word(key, words, about, Presence::Default(text_to_toml(default.0))).unwrap_or(default.1)
    }

    /// One of a few words, or nothing if it is left out.
    pub fn optional_choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        about: &'static str,
    ) -> Option<T> {
        self.read_word(key, words, about, Presence::Optional)
    }

    /// One of a few words, which must be there.
    pub fn required_choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        about: &'static str,
    ) -> Option<T> {
        let chosen = self.read_word(key, words, about, Presence::Required);
        if self.reading.is_describing() { words.first().map(|(_, value)| *value) } else { chosen }
    }

    /// The name of a `[http.NAME]`; reported if there is none of that name, and answered all the same.
    pub fn client(&mut self, key: &'static str, about: &'static str) -> Option<String> {
        let name = self.name(key, about, Presence::Optional, &CLIENT, &self.reading.clients)?;
        self.reading.use_client(&name);
        Some(name)
    }

    /// The name of a `[queue.NAME]`, which must be there; reported if there is no queue of that name, and answered all
    /// the same.
    pub fn queue(&mut self, key: &'static str, about: &'static str) -> Option<String> {
        let name = self.name(key, about, Presence::Required, &QUEUE, &self.reading.queues)?;
        self.reading.use_queue(&name);
        Some(name)
    }

    fn name(
        &mut self,
        key: &'static str,
        about: &'static str,
        presence: Presence,
        named: &NamedSection,
        names: &BTreeSet<String>,
    ) -> Option<String> {
        let NamedSection { section, noun, unknown } = named;
        let expects = format!("the name of a `[{section}.NAME]`");
        let node = self.find(key, expects, Form::Text, about, presence)?;
        let name: String = self.read_node(key, node)?;
        if !names.contains(&name) {
            let way_out = if names.is_empty() {
                format!("add a section `[{section}.{name}]`")
            } else {
                suggestion::way_out(&name, names.iter().map(String::as_str))
            };
            let message = self.reading.fill.mask(&format!("there is no {noun} `{name}`"));
            self.reading.mistakes.report(*unknown, node.place.clone(), message, self.reading.fill.mask(&way_out));
        }
        Some(name)
    }

    /// Whether `key` is written there, in whatever form. Does not count as asking for it.
    pub fn has(&self, key: &str) -> bool {
        self.inside(key).is_some()
    }

    /// Whether it is a table in which nothing is written.
    pub fn is_empty(&self) -> bool {
        self.own_table().is_some_and(|table| table.is_empty())
    }

    /// Reports a mistake at the value of `key`, or at the table if the key is not there. `headers.X-Key` is the value
    /// of a key in a table of this table.
    #[track_caller]
    pub fn mistake(&mut self, key: &str, message: impl Into<String>, way_out: impl Into<String>) {
        let node = self.node(key);
        let place = node.map(|node| node.place.clone()).or_else(|| self.place.clone());
        self.add_mistake(node, place, &message.into(), way_out.into());
    }

    /// Reports a mistake at bytes `span` of the text that is the value of `key`.
    #[track_caller]
    pub fn mistake_in_text(
        &mut self,
        key: &str,
        span: std::ops::Range<usize>,
        message: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        let node = self.node(key);
        let place = node.map(|node| node.place_in_text(span)).or_else(|| self.place.clone());
        self.add_mistake(node, place, &message.into(), way_out.into());
    }

    /// The whole number `found`, which was asked for last, must be at least `least`.
    pub fn at_least<N: Copy + TryInto<i128>>(&mut self, found: N, least: i128, message: impl Into<String>) {
        if let Form::Integer { least: bound, .. } = &mut self.last_record().form {
            *bound = least;
        }
        if found.try_into().is_ok_and(|found| found < least) {
            let key = self.last_record().key.clone();
            self.broken(Rule::TooSmall, &key, message, format!("write at least {least}"));
        }
    }

    /// The size `found`, which was asked for last, must be at least `least`.
    pub fn at_least_of_size(&mut self, found: Size, least: Size, message: impl Into<String>, way_out: &str) {
        if let Form::Size { least: bound } = &mut self.last_record().form {
            *bound = least.0;
        }
        if found < least {
            let key = self.last_record().key.clone();
            self.broken(Rule::TooSmall, &key, message, way_out);
        }
    }

    /// The text that was asked for last is a name.
    pub fn is_name(&mut self) {
        self.last_record().form = Form::Name;
    }

    /// The whole number `found`, which was asked for last, must be at most `most`.
    pub fn at_most<N: Copy + TryInto<i128>>(&mut self, found: N, most: i128, message: impl Into<String>) {
        if let Form::Integer { most: bound, .. } = &mut self.last_record().form {
            *bound = most;
        }
        if found.try_into().is_ok_and(|found| found > most) {
            let key = self.last_record().key.clone();
            self.broken(Rule::NumberOutOfRange, &key, message, format!("write at most {most}"));
        }
    }

    /// Reports that the value of `key` breaks a rule of the language.
    pub fn broken(&mut self, rule: Rule, key: &str, message: impl Into<String>, way_out: impl Into<String>) {
        if self.reading.is_describing() {
            return;
        }
        let place = self.node(key).map(|node| node.place.clone()).or_else(|| self.place.clone());
        self.reading.mistakes.report(rule, place, self.reading.fill.mask(&message.into()), way_out);
    }

    /// The pipeline's variables, for a filter that a component builds itself.
    pub fn vars(&self) -> &Vars {
        self.vars
    }

    #[track_caller]
    fn add_mistake(&self, node: Option<&Node>, place: Option<Place>, message: &str, way_out: String) {
        let is_unset = |node: &Node| matches!(&node.data, Data::Text(text) if has_unset(self.reading, text));
        // What is known to be wrong with a value is enough.
        let is_reported = |node: &Node| self.reading.mistakes.has_any_in(&node.place);
        if self.reading.is_describing() || node.is_some_and(|node| is_unset(node) || is_reported(node)) {
            return;
        }
        let message = self.reading.fill.mask(message);
        let breaks = Breaks::Component(Location::caller());
        self.reading.mistakes.add(Severity::Mistake, breaks, place, message, way_out);
    }

    /// The value of `key`, inside or beside. In `headers.X-Key` the first part names a table.
    fn node(&self, key: &str) -> Option<&'a Node> {
        let Some((outer, inner)) = key.split_once('.') else { return self.own_node(key) };
        self.own_node(outer).and_then(|node| node.as_table()?.get(inner).or(Some(node)))
    }

    fn own_node(&self, key: &str) -> Option<&'a Node> {
        self.inside(key).or_else(|| self.beside.and_then(|table| table.get(key)))
    }

    fn inside(&self, key: &str) -> Option<&'a Node> {
        match self.content {
            Content::Nothing => None,
            Content::Table(table) => table.get(key),
            Content::Short(node) => (self.short == Some(key)).then_some(node),
        }
    }

    fn own_table(&self) -> Option<&'a Table> {
        match self.content {
            Content::Table(table) => Some(table),
            Content::Nothing | Content::Short(_) => None,
        }
    }

    fn last_record(&mut self) -> &mut Record {
        self.records.last_mut().expect("called right after a record was made")
    }

    /// Makes the record of `key`, and answers its value as it is written. A required one that is not there is
    /// reported.
    fn find(
        &mut self,
        key: &'static str,
        expects: String,
        form: Form,
        about: &'static str,
        presence: Presence,
    ) -> Option<&'a Node> {
        let found = self.inside(key);
        // That the table itself is missing is reported in the end.
        let is_no_table = self.short.is_none() && matches!(self.content, Content::Short(_));
        if found.is_none() && presence == Presence::Required && !self.reading.is_describing() && !is_no_table {
            let message = format!("`{}` needs `{key}`", self.name);
            let way_out = format!("add `{key} = …`, {expects}");
            self.reading.mistakes.report(Rule::MissingKey, self.place.clone(), message, way_out);
        }
        let mut record = record(key, expects, form, about, presence);
        record.given = found.map(Node::to_toml);
        self.records.push(record);
        found
    }

    fn read<T: Setting>(&mut self, key: &'static str, about: &'static str, presence: Presence) -> Option<T> {
        let is_required = presence == Presence::Required;
        match self.find(key, T::expects(), T::form(), about, presence) {
            Some(node) => {
                self.last_record().given = Some(T::show_given(node));
                let value: Option<T> = self.read_node(key, node);
                self.last_record().engine = value.as_ref().and_then(T::engine);
                value
            }
            None => (is_required && self.reading.is_describing()).then(T::placeholder),
        }
    }

    fn read_node<T: Setting>(&self, key: &str, node: &Node) -> Option<T> {
        match T::read(&self.given(node)) {
            Ok(value) => Some(value),
            // What is not set is let pass on purpose; there is no value then, and none is needed.
            Err(Wrong::Reported) if self.reading.unset_ok => Some(T::placeholder()),
            Err(wrong) => {
                let expects = match (&node.data, T::form()) {
                    (Data::Text(_), Form::List(_)) => format!("a list such as [{}]", node.to_toml()),
                    (Data::Integer(_) | Data::Float(_), Form::Text) => {
                        format!("{}: \"{}\"", T::expects(), node.to_toml())
                    }
                    _ => T::expects(),
                };
                self.report(key, node, &expects, wrong);
                None
            }
        }
    }

    fn read_word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        about: &'static str,
        presence: Presence,
    ) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let quoted: Vec<String> = names.iter().map(|name| text_to_toml(name)).collect();
        let expects = quoted.join(" | ");
        let form = Form::Words(names.iter().map(|name| (*name).to_owned()).collect());
        let node = self.find(key, expects, form, about, presence)?;
        let Data::Text(_) = node.data else {
            self.report(key, node, &format!("one of {}", suggestion::list(&names)), Wrong::Type);
            return None;
        };
        let written: String = self.read_node(key, node)?;
        let chosen = words.iter().find(|(word, _)| *word == written).map(|(_, value)| *value);
        if chosen.is_none() && !matches!(&node.data, Data::Text(text) if has_unset(self.reading, text)) {
            let shown = node.to_toml();
            let way_out = suggestion::way_out(&written, names);
            let message = format!("`{key}` has no choice {shown}");
            self.reading.mistakes.report(
                Rule::UnknownWord,
                node.place.clone(),
                message,
                self.reading.fill.mask(&way_out),
            );
        }
        chosen
    }

    fn given<'g>(&'g self, node: &'g Node) -> Given<'g> {
        Given { node, vars: self.vars, reading: self.reading }
    }

    fn report(&self, key: &str, node: &Node, expects: &str, wrong: Wrong) {
        let name = match self.content {
            // The author has not written the key.
            Content::Short(short) if std::ptr::eq(short, node) => &self.name,
            _ => key,
        };
        self.given(node).report_as(&format!("`{name}`"), expects, wrong);
    }
}

fn record(key: &str, expects: String, form: Form, about: &'static str, presence: Presence) -> Record {
    let (key, short, given, is_beside, inner) = (key.to_owned(), None, None, false, Inner::None);
    Record { key, expects, form, short, about, presence, given, engine: None, is_beside, inner }
}

fn has_unset(reading: &Reading, text: &str) -> bool {
    pieces(text).iter().any(|piece| matches!(piece, Piece::Name(_, name) if reading.fill.look_up(name).is_none()))
}
