//! Items that were given up.

use std::fmt::Write;

use jiff::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};

use super::checksum::put;
use super::payload;
use super::schema::DEAD_LETTER;
use super::state::{Found, read_whole};
use crate::model::{ItemId, Number, Text, Value, Window, json};

/// An item that was given up, as it entered the component that gave it up.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Given by the store; 0 before that.
    pub id: i64,
    pub pipeline: Text,
    /// The component that gave up: a step's id, or `sink.NAME`.
    pub component: Text,
    pub item: ItemId,
    pub trace: String,
    pub value: Value,
    pub labels: Value,
    pub window: Option<Window>,
    pub fault: FaultRecord,
    /// Every fault of this item, the oldest first, the last one included; at most the newest 20.
    pub history: Vec<FaultRecord>,
    pub first: Timestamp,
    pub last: Timestamp,
    /// How many times the item was given up.
    pub count: u64,
}

/// One fault of a dead letter.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRecord {
    pub at: Timestamp,
    pub kind: String,
    pub message: String,
    /// How many tries it took.
    pub attempts: u32,
}

/// Which dead letters to list.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterFilter {
    pub pipeline: Option<String>,
    pub component: Option<String>,
    pub fault: Option<String>,
    /// Only those whose last fault is at or after this time.
    pub since: Option<Timestamp>,
    pub limit: Option<usize>,
}

/// How many faults a dead letter remembers.
const HISTORY: usize = 20;

/// Writes a dead letter. One of the same item from the same component is continued: its history grows, and it
/// keeps its id.
pub(super) fn put_dead_letter(connection: &Connection, letter: &DeadLetter) -> rusqlite::Result<()> {
    let sql = "SELECT * FROM dead_letter WHERE pipeline = ?1 AND component = ?2 AND item = ?3";
    let key = [&*letter.pipeline, &*letter.component, &letter.item.to_string()];
    let mut statement = connection.prepare_cached(sql)?;
    let before = statement.query_row(key, |row| Ok((row.get::<_, i64>("id")?, read(row)?))).optional()?;
    let mut letter = letter.clone();
    letter.count = letter.count.max(1);
    let mut id = ValueRef::Null;
    if let Some((before_id, before)) = before {
        id = ValueRef::Integer(before_id);
        if let Some(before) = before {
            letter.first = letter.first.min(before.first);
            letter.count += before.count;
            letter.history.splice(..0, before.history);
        }
    }
    let surplus = letter.history.len().saturating_sub(HISTORY);
    letter.history.drain(..surplus);
    write(connection, id, &letter)
}

fn write(connection: &Connection, id: ValueRef<'_>, letter: &DeadLetter) -> rusqlite::Result<()> {
    let item = letter.item.to_string();
    let [first, last] = [letter.first, letter.last].map(show_time);
    let window = letter.window.map(|window| [show_time(window.start), show_time(window.end)]);
    let [start, end] = match &window {
        None => [ValueRef::Null; 2],
        Some([start, end]) => [start, end].map(|time| ValueRef::from(time.as_str())),
    };
    let (value, labels) = (payload::encode(&letter.value), payload::encode(&letter.labels));
    let history = encode_history(&letter.history);
    let row = [
        (*letter.pipeline).into(),
        (*letter.component).into(),
        item.as_str().into(),
        letter.trace.as_str().into(),
        last.as_str().into(),
        first.as_str().into(),
        ValueRef::Integer(letter.count.try_into().unwrap_or(i64::MAX)),
        letter.fault.kind.as_str().into(),
        letter.fault.message.as_str().into(),
        ValueRef::Integer(letter.fault.attempts.into()),
        start,
        end,
        value.as_str().into(),
        labels.as_str().into(),
        history.as_str().into(),
    ];
    put(connection, &DEAD_LETTER, &[id], &row)
}

/// Dead letters, newest first.
pub(super) fn list(connection: &Connection, filter: &DeadLetterFilter) -> rusqlite::Result<Found<Vec<DeadLetter>>> {
    let mut sql = "SELECT * FROM dead_letter WHERE true".to_owned();
    let since = filter.since.map(show_time);
    let mut bound = Vec::new();
    for (condition, wanted) in [
        ("pipeline =", &filter.pipeline),
        ("component =", &filter.component),
        ("fault =", &filter.fault),
        ("last >=", &since),
    ] {
        if let Some(wanted) = wanted {
            bound.push(ToSqlOutput::from(wanted.as_str()));
            write!(sql, " AND {condition} ?{}", bound.len()).expect("a String takes every write");
        }
    }
    sql.push_str(" ORDER BY last DESC, id DESC");
    // The limit counts whole letters, so damaged ones are skipped before it is applied.
    let limit = filter.limit.unwrap_or(usize::MAX);
    let mut found = Found { value: Vec::new(), damaged: 0 };
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(bound))?;
    while found.value.len() < limit
        && let Some(row) = rows.next()?
    {
        match read(row)? {
            Some(letter) => found.value.push(letter),
            None => found.damaged += 1,
        }
    }
    Ok(found)
}

pub(super) fn by_id(connection: &Connection, id: i64) -> rusqlite::Result<Found<Option<DeadLetter>>> {
    let mut statement = connection.prepare_cached("SELECT * FROM dead_letter WHERE id = ?1")?;
    let row = statement.query_row([id], read).optional()?;
    let damaged = u64::from(matches!(row, Some(None)));
    Ok(Found { value: row.flatten(), damaged })
}

pub(super) fn count(connection: &Connection) -> rusqlite::Result<u64> {
    let count = connection.prepare_cached("SELECT count(*) FROM dead_letter")?.query_row([], |row| row.get(0));
    count.map(i64::unsigned_abs)
}

/// Reads a row, unless it is damaged.
fn read(row: &Row<'_>) -> rusqlite::Result<Option<DeadLetter>> {
    read_whole(&DEAD_LETTER, row, |row| {
        let (start, end): (Option<String>, Option<String>) = (row.get("window_start")?, row.get("window_end")?);
        let (item, last, first): (String, String, String) = (row.get("item")?, row.get("last")?, row.get("first")?);
        let payload = |column| Ok::<_, rusqlite::Error>(payload::decode(row.get_ref(column)?.as_str()?.as_bytes()));
        let (value, labels) = (payload("value")?, payload("labels")?);
        let history = decode_history(row.get_ref("history")?.as_str()?);
        let fault = (row.get("fault")?, row.get("message")?, row.get("attempts")?);
        let (id, count) = (row.get("id")?, row.get::<_, i64>("count")?.unsigned_abs());
        let (pipeline, component) = (row.get("pipeline")?, row.get("component")?);
        let trace = row.get("trace")?;
        // Texts that are whole but do not parse: as good as damaged.
        let parsed = || {
            let last = last.parse().ok()?;
            Some(DeadLetter {
                id,
                pipeline,
                component,
                item: ItemId(u64::from_str_radix(&item, 16).ok()?),
                trace,
                value: value?,
                labels: labels?,
                window: match (start, end) {
                    (Some(start), Some(end)) => Some(Window { start: start.parse().ok()?, end: end.parse().ok()? }),
                    _ => None,
                },
                fault: FaultRecord { at: last, kind: fault.0, message: fault.1, attempts: fault.2 },
                history: history?,
                first: first.parse().ok()?,
                last,
                count,
            })
        };
        Ok(parsed())
    })
}

/// RFC 3339 in UTC with all nine digits, so that texts sort as times do.
fn show_time(time: Timestamp) -> String {
    format!("{time:.9}")
}

fn encode_history(history: &[FaultRecord]) -> String {
    let record = |record: &FaultRecord| -> Value {
        [
            ("at", Value::from(show_time(record.at))),
            ("fault", Value::from(record.kind.as_str())),
            ("message", Value::from(record.message.as_str())),
            ("attempts", Value::from(i64::from(record.attempts))),
        ]
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect()
    };
    Value::array(history.iter().map(record).collect()).to_string()
}

fn decode_history(text: &str) -> Option<Vec<FaultRecord>> {
    let Value::Array(records) = json::parse(text.as_bytes()).ok()? else { return None };
    let text = |record: &Value, name| record.get(name)?.as_text().map(str::to_owned);
    let record = |record: &Value| {
        let Some(Value::Number(Number::Int(attempts))) = record.get("attempts") else { return None };
        Some(FaultRecord {
            at: text(record, "at")?.parse().ok()?,
            kind: text(record, "fault")?,
            message: text(record, "message")?,
            attempts: u32::try_from(*attempts).ok()?,
        })
    };
    records.iter().map(record).collect()
}
