//! `new_by`: which items of a reply are new, and how far they bring the cursor.

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use std::fmt::Display;

use ring::digest::{Context, SHA256};

use super::cursor_value::{CursorType, CursorValue, Lag};
use super::parameter::Parameter;
use super::progress::RunProgress;
use super::run::is_below;
use crate::component::{Child, FilterFault};
use crate::expr::{Filter, FilterError, Fuel, Scope};
use crate::http::Payload;
use crate::model::{Fault, FaultKind, Value, digest, parse_duration};
use crate::settings::Section;
use crate::store::{Digest, Rank, SettledItem};

/// So many items of a run are known by memory alone; the store knows those that have settled.
const REMEMBERED: usize = 10_000;

#[derive(Clone)]
pub(super) struct NewBy {
    cursor: Filter,
    pub send_as: Parameter,
    cursor_type: Option<CursorType>,
    lag: Option<Lag>,
    key: Option<Filter>,
    pub per: Option<Filter>,
    initial: Option<Value>,
    pub is_ascending: bool,
}

/// An item of a reply, with what its filters gave.
pub(super) struct Found {
    pub value: Value,
    /// Its cursor's value as it stands there, and its key.
    at: Result<(Value, Vec<u8>), Fault>,
}

/// The items of a page that go on, and what is kept of them.
#[derive(Default)]
pub(super) struct Sifted {
    pub children: Vec<Child>,
    pub seen: usize,
    pub settled: Vec<SettledItem>,
    /// The first value that was less than the one before it, and that one.
    pub descent: Option<(Value, Value)>,
}

/// The newest items of a run.
#[derive(Default)]
pub(super) struct Remembered {
    items: HashSet<Digest>,
    order: VecDeque<Digest>,
}

impl NewBy {
    pub(super) fn read(section: &mut Section<'_>, payload: &Payload) -> Option<Self> {
        const ABOUT: &str = "takes only what is new: sends how far the last run has come, and moves that once every page \
                             of a run has settled in every sink";
        section.table("new_by", ABOUT, |section| {
            section.shorthand("cursor");
            let cursor = section.required("cursor", "what items are ordered by: a number, a time or a text in each item");
            let send_as = Parameter::read(section, "send_as", "what the cursor is sent as, such as \"since\"", payload);
            if send_as.is_none() && !section.has("send_as") {
                let way_out = "add `send_as = \"since\"`, the name of a parameter of the URL";
                section.mistake("send_as", "it does not say what the cursor is sent as", way_out);
            }
            let words = [
                ("auto", None),
                ("number", Some(CursorType::Number)),
                ("time", Some(CursorType::Time)),
                ("text", Some(CursorType::Text)),
            ];
            const AS: &str = "what the cursor's values are; with \"auto\" the first one says: a number, a time as in RFC \
                              3339, or else a text";
            let cursor_type = section.choice("as", &words, AS);
            let lag = read_lag(section, cursor_type);
            let key = section.optional("key", "what tells items apart; the whole item if left out");
            const PER: &str = "a filter over the item that asks: each of its results has a cursor of its own";
            let per = section.optional("per", PER);
            let initial = read_initial(section, cursor_type);
            const ORDER: &str = "\"ascending\" if items come in the order of the cursor, which is verified: it moves page \
                                 by page then";
            let is_ascending = section.choice("order", &[("any", false), ("ascending", true)], ORDER);
            // Whoever only asks for the settings gets one.
            let send_as = send_as.or_else(|| (!section.has("send_as")).then(|| Parameter::Query("since".into())))?;
            Some(Self { cursor: cursor?, send_as, cursor_type, lag, key, per, initial, is_ascending })
        })
    }

    /// The value to send for a run that begins at this cursor, if any.
    pub(super) fn sent(&self, began_at: Option<&Value>) -> Result<Option<Value>, Fault> {
        let Some(cursor) = began_at else { return Ok(self.initial.clone()) };
        let Some(lag) = &self.lag else { return Ok(Some(cursor.clone())) };
        Ok(Some(self.value(cursor)?.before(lag).map_err(of_cursor)?.to_value()))
    }

    /// What items that may come again stand at or above, once the cursor is at this value.
    pub(super) fn boundary(&self, cursor: &Value) -> Result<Rank, Fault> {
        let value = self.value(cursor)?;
        let bound = match &self.lag {
            Some(lag) => value.before(lag).map_err(of_cursor)?,
            None => value,
        };
        Ok(bound.rank())
    }

    /// A value of the cursor that was stored.
    fn value(&self, stored: &Value) -> Result<CursorValue, Fault> {
        let stored_type = self.cursor_type.or_else(|| CursorType::of(stored)).unwrap_or(CursorType::Text);
        CursorValue::read(stored, stored_type).map_err(|_| {
            let message = format!(
                "the cursor stands at {stored}, which is not a {}; set or reset it with `gatherd state`",
                stored_type.name()
            );
            Fault::reject(FaultKind::Cursor, message)
        })
    }

    /// Runs the filters over an item. Only what is the item's own fault is its fault.
    pub(super) fn find(&self, value: &Value, scope: &Scope<'_>) -> Result<Found, FilterFault> {
        let read = || -> Result<(Value, Vec<u8>), (&'static str, FilterError)> {
            let cursor = self.cursor.first(value, scope).map_err(|error| ("cursor", error))?.unwrap_or_default();
            let key = match &self.key {
                Some(key) => key.one_text(value, scope).map_err(|error| ("key", error))?.as_bytes().to_vec(),
                None => digest(value).to_vec(),
            };
            Ok((cursor, key))
        };
        let at = match read() {
            Ok(at) => Ok(at),
            Err((_, FilterError::OutOfFuel)) if scope.fuel == Fuel::Inline => return Err(FilterFault::OutOfFuel),
            Err((setting, error)) => match FilterFault::new(setting, error, scope.fuel) {
                FilterFault::Fault(fault) => Err(fault),
                FilterFault::OutOfFuel => return Err(FilterFault::OutOfFuel),
            },
        };
        Ok(Found { value: value.clone(), at })
    }

    /// Takes from a page's items those that are new, in order. `are_settled` asks the store.
    pub(super) fn sift(
        &self,
        partition: &str,
        found: Vec<Found>,
        run: &mut RunProgress,
        remembered: &mut Remembered,
        are_settled: impl FnOnce(&[SettledItem]) -> Result<Vec<bool>, Fault>,
    ) -> Result<Sifted, Fault> {
        let mut sifted = Sifted::default();
        let mut read = Vec::with_capacity(found.len());
        let began_at = run.began_at.as_ref().map(|value| self.value(value)).transpose()?;
        // What stands below it was not asked for, and is nothing new: it has been passed on, and is forgotten.
        let bound = run.began_at.as_ref().map(|value| self.boundary(value)).transpose()?;
        let mut maximum = run.maximum.as_ref().map(|value| self.value(value)).transpose()?;
        let mut last = run.last.as_ref().map(|value| self.value(value)).transpose()?;
        let mut asked = Vec::new();
        for Found { value, at } in found {
            let known = maximum.as_ref().or(began_at.as_ref()).map(CursorValue::cursor_type);
            let item = at.and_then(|(cursor, key)| {
                let expected = self.cursor_type.or(known).or_else(|| CursorType::of(&cursor));
                let cursor = CursorValue::read(&cursor, expected.unwrap_or(CursorType::Text)).map_err(of_item)?;
                let digest = cursor.digest(&key);
                Ok((cursor, digest))
            });
            if let Ok((cursor, digest)) = &item {
                if let (None, Some(lag)) = (known, &self.lag) {
                    // A lag of the wrong kind is no fault of the item.
                    cursor.before(lag).map_err(of_cursor)?;
                }
                if let Some(last) = last.replace(cursor.clone())
                    && cursor.compare(&last) == Some(Ordering::Less)
                    && run.ascends
                {
                    run.ascends = false;
                    sifted.descent = Some((cursor.to_value(), last.to_value()));
                }
                if maximum.as_ref().is_none_or(|maximum| cursor.compare(maximum) == Some(Ordering::Greater)) {
                    maximum = Some(cursor.clone());
                }
                let is_above = began_at.as_ref().is_none_or(|began| cursor.compare(began) == Some(Ordering::Greater));
                if run.comes_again || !is_above {
                    asked.push(SettledItem { rank: cursor.rank(), digest: *digest });
                }
            }
            read.push((value, item));
        }
        let known = are_settled(&asked)?;
        let known: HashSet<Digest> =
            asked.into_iter().zip(known).filter_map(|(item, is_known)| is_known.then_some(item.digest)).collect();
        for (value, item) in read {
            match item {
                Err(fault) => sifted.children.push(Child { value, name: None, fault: Some(fault) }),
                Ok((cursor, _)) if bound.as_ref().is_some_and(|bound| is_below(&cursor.rank(), bound)) => {
                    sifted.seen += 1;
                }
                Ok((_, digest)) if known.contains(&digest) || !remembered.add(digest) => sifted.seen += 1,
                Ok((cursor, digest)) => {
                    sifted.settled.push(SettledItem { rank: cursor.rank(), digest });
                    sifted.children.push(Child { value, name: Some(name(partition, &digest)), fault: None });
                }
            }
        }
        run.maximum = maximum.map(|value| value.to_value());
        run.last = last.map(|value| value.to_value());
        Ok(sifted)
    }

    /// Whether `value` is greater than the cursor `than`, or there is none yet.
    pub(super) fn is_beyond(&self, value: &Value, than: Option<&Value>) -> Result<bool, Fault> {
        let Some(than) = than else { return Ok(true) };
        Ok(self.value(value)?.compare(&self.value(than)?) == Some(Ordering::Greater))
    }
}

impl Remembered {
    /// False if it is there already.
    fn add(&mut self, digest: Digest) -> bool {
        if !self.items.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.items.remove(&oldest);
        }
        true
    }
}

/// What an item is called whenever it comes, in this version: so a receiver that knows keys takes it once.
fn name(partition: &str, item: &Digest) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(item);
    context.update(partition.as_bytes());
    context.finish().as_ref().try_into().expect("a SHA-256 digest has 32 bytes")
}

fn of_item(why: impl Display) -> Fault {
    Fault::reject(FaultKind::Cursor, format!("the filter `cursor` {why}"))
}

fn of_cursor(why: impl Display) -> Fault {
    Fault::reject(FaultKind::Cursor, why.to_string())
}

fn read_lag(section: &mut Section<'_>, cursor_type: Option<CursorType>) -> Option<Lag> {
    const ABOUT: &str = "how far before the cursor a run asks again, for items that come late: a duration such as \"5m\" if \
                         the cursor is a time, a number if it is one";
    let lag: Value = section.optional("lag", ABOUT)?;
    let lag = match &lag {
        Value::Number(number) if number.as_f64() >= 0.0 => Some(Lag::Number(number.clone())),
        Value::Text(text) => parse_duration(text).ok().map(Lag::Duration),
        _ => None,
    };
    match (&lag, cursor_type) {
        (None, _) => {
            let way_out = "write one such as \"5m\" if the cursor is a time, or 10 if it is a number";
            section.mistake("lag", "this is neither a duration nor a number from 0 on", way_out);
        }
        (Some(_), Some(CursorType::Text)) => {
            section.mistake("lag", "texts have no distance, so a cursor that is text has no `lag`", "leave it out");
        }
        (Some(Lag::Number(_)), Some(CursorType::Time)) => {
            section.mistake("lag", "a number says nothing of a time", "write a duration such as \"5m\"");
        }
        (Some(Lag::Duration(_)), Some(CursorType::Number)) => {
            section.mistake("lag", "a duration says nothing of a number", "write a number, in the unit of the cursor");
        }
        (Some(_), _) => {}
    }
    lag
}

fn read_initial(section: &mut Section<'_>, cursor_type: Option<CursorType>) -> Option<Value> {
    let initial: Value = section.optional("initial", "what is sent before there is a cursor; nothing if left out")?;
    let found = CursorType::of(&initial);
    let is_right = match cursor_type {
        Some(CursorType::Text) => matches!(initial, Value::Text(_)),
        Some(expected) => found == Some(expected),
        None => found.is_some(),
    };
    if !is_right {
        let expected = cursor_type.map_or("a number, a time or a text".to_owned(), |kind| format!("a {}", kind.name()));
        let way_out = format!("write {expected}, as the API takes it");
        section.mistake("initial", format!("a cursor cannot begin at {initial}"), way_out);
    }
    Some(initial)
}
