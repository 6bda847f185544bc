//! How far everything has come: what `gatherd state` shows and changes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::Connection;

use super::state::Found;
use super::{Change, Cursor, CursorKey, Store};
use crate::model::{Fault, FaultKind, Object, Text, Value};

/// How far a source or a partition of a step has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub pipeline: Text,
    pub component: Text,
    pub at: KeptAt,
}

#[derive(Clone, Debug, PartialEq)]
pub enum KeptAt {
    /// Of a source.
    Position(Value),
    /// Of a step.
    Cursor { partition: Text, value: Option<Value>, run: Option<Value> },
}

/// What a person wants to change: all of a component's partitions if none is named.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptPlace {
    pub pipeline: Text,
    pub component: Text,
    pub partition: Option<Text>,
}

impl Kept {
    /// An object with `pipeline`, `component`, and `position` or `partition`, `cursor` and `run`.
    pub fn to_json(&self) -> Value {
        let text = |text: &Text| Value::Text(text.clone());
        let mut entries = vec![("pipeline", text(&self.pipeline)), ("component", text(&self.component))];
        match &self.at {
            KeptAt::Position(position) => entries.push(("position", position.clone())),
            KeptAt::Cursor { partition, value, run } => entries.extend([
                ("partition", text(partition)),
                ("cursor", value.clone().unwrap_or_default()),
                ("run", run.clone().unwrap_or_default()),
            ]),
        }
        Value::object(entries.into_iter().map(|(key, value)| (Text::from(key), value)).collect::<Object>())
    }

    /// Reads what [`Kept::to_json`] wrote.
    pub fn from_json(json: &Value) -> Option<Self> {
        let text = |key| json.get(key).and_then(Value::as_text).map(Text::from);
        let optional = |key| json.get(key).filter(|value| **value != Value::Null).cloned();
        let at = match json.get("position") {
            Some(position) => KeptAt::Position(position.clone()),
            None => KeptAt::Cursor { partition: text("partition")?, value: optional("cursor"), run: optional("run") },
        };
        Some(Self { pipeline: text("pipeline")?, component: text("component")?, at })
    }
}

impl Store {
    /// Every position, and every cursor with its run, by name.
    pub fn kept(&self) -> Result<Vec<Kept>, Fault> {
        let positions = self.inner.readers.read(|connection| names(connection, POSITIONS))?;
        let mut kept = Vec::new();
        for [pipeline, component, _] in positions {
            if let Some(position) = self.position(&pipeline, &component)? {
                kept.push(Kept { pipeline, component, at: KeptAt::Position(position) });
            }
        }
        let cursors = self.inner.readers.read(|connection| names(connection, CURSORS))?;
        for [pipeline, component, partition] in cursors {
            let key = CursorKey { pipeline, component, partition };
            let Cursor { value, run, .. } = self.cursor(&key)?;
            let CursorKey { pipeline, component, partition } = key;
            if value.is_some() || run.is_some() {
                kept.push(Kept { pipeline, component, at: KeptAt::Cursor { partition, value, run } });
            }
        }
        kept.sort_by(|one, other| (&one.pipeline, &one.component).cmp(&(&other.pipeline, &other.component)));
        Ok(kept)
    }

    /// Sets a position or a cursor; what is there must be of the type of `value`. With `runs`, sources run, and would
    /// overwrite their positions: those are refused then.
    pub async fn set_kept(&self, place: &KeptPlace, value: Value, runs: bool) -> Result<(), Fault> {
        let there = self.kept_at(place, "set", runs)?;
        let [Kept { pipeline, component, at }] = &there[..] else {
            let message = format!(
                "cannot set the cursor of `{}` in pipeline `{}`: it has {} partitions; name one with `--partition`",
                place.component,
                place.pipeline,
                there.len()
            );
            return Err(Fault::stop(FaultKind::Request, message));
        };
        let (pipeline, component) = (pipeline.clone(), component.clone());
        let change = match at {
            KeptAt::Position(now) => {
                check_type(place, now, &value)?;
                Change::Position { pipeline, component, position: value }
            }
            KeptAt::Cursor { partition, value: now, run } => {
                // Before the first run has come to its end, only the run tells what the cursor will be.
                let now = now.as_ref().or_else(|| run.as_ref()?.get("maximum"));
                check_cursor(place, now, &value)?;
                let key = CursorKey { pipeline, component, partition: partition.clone() };
                Change::ResetCursor { key, value: Some(value) }
            }
        };
        self.commit(vec![change]).await
    }

    /// Forgets a position or cursors: the next start, or the next run, begins as the first one did. Answers how many.
    pub async fn reset_kept(&self, place: &KeptPlace, runs: bool) -> Result<usize, Fault> {
        let there = self.kept_at(place, "reset", runs)?;
        let count = there.len();
        let change = |Kept { pipeline, component, at }: Kept| match at {
            KeptAt::Position(_) => Change::ResetPosition { pipeline, component },
            KeptAt::Cursor { partition, .. } => {
                Change::ResetCursor { key: CursorKey { pipeline, component, partition }, value: None }
            }
        };
        self.commit(there.into_iter().map(change).collect()).await?;
        Ok(count)
    }

    fn kept_at(&self, place: &KeptPlace, attempted: &str, runs: bool) -> Result<Vec<Kept>, Fault> {
        let KeptPlace { pipeline, component, partition } = place;
        let refused = |why: &str| {
            let message = format!("cannot {attempted} the state of `{component}` in pipeline `{pipeline}`: {why}");
            Fault::stop(FaultKind::Request, message)
        };
        let is_there = |kept: &Kept| {
            let is_partition = match (&kept.at, partition) {
                (KeptAt::Cursor { partition: of, .. }, Some(asked)) => of == asked,
                (KeptAt::Position(_), Some(_)) => false,
                (_, None) => true,
            };
            kept.pipeline == *pipeline && kept.component == *component && is_partition
        };
        let there: Vec<Kept> = self.kept()?.into_iter().filter(is_there).collect();
        if there.is_empty() {
            return Err(refused("there is none (see `gatherd state list`)"));
        }
        if runs && there.iter().any(|kept| matches!(kept.at, KeptAt::Position(_))) {
            return Err(refused("the source that runs would overwrite its position; stop gatherd first"));
        }
        Ok(there)
    }
}

/// A cursor is a number, a time or a text, and stays what it is.
fn check_cursor(place: &KeptPlace, now: Option<&Value>, value: &Value) -> Result<(), Fault> {
    let is_time = |value: &Value| value.as_text().is_some_and(|text| text.parse::<Timestamp>().is_ok());
    match value {
        Value::Number(_) | Value::Text(_) => {}
        other => return Err(unfit(place, other, "a cursor is a number or a text")),
    }
    let Some(now) = now else { return Ok(()) };
    if is_time(now) && !is_time(value) {
        return Err(unfit(place, value, "the cursor is a time, such as \"2026-01-31T00:00:00Z\""));
    }
    check_type(place, now, value)
}

fn check_type(place: &KeptPlace, now: &Value, value: &Value) -> Result<(), Fault> {
    if now.type_name() == value.type_name() {
        return Ok(());
    }
    Err(unfit(place, value, &format!("what is there is of type {}: {now}", now.type_name())))
}

fn unfit(place: &KeptPlace, value: &Value, why: &str) -> Fault {
    let KeptPlace { pipeline, component, .. } = place;
    let message = format!("cannot set the state of `{component}` in pipeline `{pipeline}` to {value}: {why}");
    Fault::stop(FaultKind::Request, message)
}

const POSITIONS: &str = "SELECT pipeline, component, '' FROM position_even \
                         UNION SELECT pipeline, component, '' FROM position_odd";
const CURSORS: &str = "SELECT pipeline, component, partition FROM cursor_even \
                       UNION SELECT pipeline, component, partition FROM cursor_odd \
                       UNION SELECT pipeline, component, partition FROM run";

/// The names that a query answers, three a row. What is no text is damaged, and counted where it is read.
fn names(connection: &Connection, sql: &str) -> rusqlite::Result<Found<BTreeSet<[Text; 3]>>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut found = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let text = |column: usize| Some(Text::from(row.get_ref(column).ok()?.as_str().ok()?));
        if let (Some(pipeline), Some(component), Some(partition)) = (text(0), text(1), text(2)) {
            found.insert([pipeline, component, partition]);
        }
    }
    Ok(Found { value: found, damaged: 0 })
}
