//! What the readers asked for: the settings of a table, as its reader knows them.

use super::{Form, Shown};
use crate::expr::Engine;

/// The key of a record that stands for whatever keys the author chooses.
pub const ANY_KEY: &str = "NAME";

/// One setting, as the call that read it declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub key: String,
    /// What an author may write.
    pub expects: String,
    pub form: Form,
    /// The setting of the table within that may stand in place of the table.
    pub short: Option<&'static str>,
    pub about: &'static str,
    pub presence: Presence,
    /// As it is written in the config, in TOML on one line; secrets are masked. Nothing if it was left out.
    pub given: Option<String>,
    /// What runs the filter that it is; of a text with filters in it, jaq if that runs one of them.
    pub engine: Option<Engine>,
    /// It stands beside the component key, not inside.
    pub is_beside: bool,
    pub inner: Inner,
}

/// What holds when the setting is left out.
#[derive(Clone, Debug, PartialEq)]
pub enum Presence {
    Required,
    Optional,
    /// This value, in TOML.
    Default(String),
}

/// The settings within a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum Inner {
    /// It has none that are known by name.
    None,
    Table(Vec<Record>),
    /// One table an element. While describing there is just one.
    List(Vec<Vec<Record>>),
    /// The keys are the author's own.
    Free,
}

impl Record {
    /// What an author may write, the short form of a table included.
    pub fn expected(&self) -> String {
        match self.short {
            Some(short) => format!("{}, or its `{short}` alone", self.expects),
            None => self.expects.clone(),
        }
    }

    /// The setting in full, defaults included. Nothing if it was left out and has no default.
    pub fn shown(&self) -> Option<Shown> {
        let is_there = self.given.is_some() || matches!(self.presence, Presence::Default(_));
        match (&self.inner, &self.given, &self.presence) {
            (Inner::Table(inner), ..) if is_there => Some(expanded(inner)),
            (Inner::List(elements), ..) if is_there => {
                Some(Shown::List(elements.iter().map(|element| expanded(element)).collect()))
            }
            (_, Some(given), _) => Some(Shown::Plain(given.clone())),
            (_, None, Presence::Default(default)) => Some(Shown::Plain(default.clone())),
            (_, None, _) => None,
        }
    }
}

/// A table with all its settings that stand inside of it.
pub fn expanded(records: &[Record]) -> Shown {
    let inside = records.iter().filter(|record| !record.is_beside);
    Shown::Table(inside.filter_map(|record| Some((record.key.clone(), record.shown()?))).collect())
}

/// `records` with what only `described` knows added: a reader that gave up has not asked for all its settings.
pub(super) fn merge(records: &mut Vec<Record>, described: &[Record]) {
    for known in described {
        match records.iter_mut().find(|record| record.key == known.key && record.is_beside == known.is_beside) {
            None => records.push(Record { given: None, engine: None, ..known.clone() }),
            Some(record) => match (&mut record.inner, &known.inner) {
                (Inner::Table(inner), Inner::Table(known)) => merge(inner, known),
                (Inner::List(elements), Inner::List(known)) => {
                    for element in elements {
                        merge(element, known.first().map_or(&[], Vec::as_slice));
                    }
                }
                _ => {}
            },
        }
    }
}
