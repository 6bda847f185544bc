//! The rows of dead letters, and of what was asked of them.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};

use super::super::checksum::put;
use super::super::payload;
use super::super::schema::{DEAD_LETTER, REPLAY};
use super::super::state::{Found, read_whole};
use super::{DeadLetter, DeadLetterFilter, FaultRecord, Replay};
use crate::model::{ItemId, Number, Planted, Size, Text, Value, Window, json};

/// How many faults a dead letter remembers.
const HISTORY: usize = 20;

/// What a change did to the dead letters of a pipeline: how many more there are, and how many bytes more they take.
#[derive(Debug)]
pub(in crate::store) struct Grown {
    pub(super) pipeline: Text,
    pub(super) items: i64,
    pub(super) bytes: i64,
}

/// Bytes that a row's large columns take.
const BYTES: &str = "octet_length(value) + octet_length(labels) + octet_length(history)";

/// Writes a dead letter. One of the same item from the same component is continued: its history grows, and it
/// keeps its id.
pub(in crate::store) fn put_dead_letter(connection: &Connection, letter: &DeadLetter) -> rusqlite::Result<Grown> {
    put_again(connection, letter, None)
}

/// Writes a dead letter. One of the same item from the same component is continued: its history grows, and it
/// keeps its id. So is the letter `replayed` that the item came from; that one ends with [`end_replay`].
pub(in crate::store) fn put_again(
    connection: &Connection,
    letter: &DeadLetter,
    replayed: Option<i64>,
) -> rusqlite::Result<Grown> {
    let key = [&*letter.pipeline, &*letter.component, &letter.item.to_string()];
    let sql = "SELECT * FROM dead_letter WHERE pipeline = ?1 AND component = ?2 AND item = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let before = statement.query_row(key, |row| Ok((row.get::<_, i64>("id")?, read(row)?))).optional()?;
    let mut letter = letter.clone();
    letter.count = letter.count.max(1);
    let id = before.as_ref().map(|(id, _)| *id);
    let origin = match replayed {
        Some(replayed) if Some(replayed) != id => by_id(connection, replayed)?.value,
        _ => None,
    };
    for before in before.and_then(|(_, before)| before).into_iter().chain(origin) {
        letter.first = letter.first.min(before.first);
        letter.count += before.count;
        if !Planted::ReplayWithoutHistory.is_on() {
            letter.history.splice(..0, before.history);
        }
    }
    if let Some(id) = id
        && replayed == Some(id)
    {
        remove_replay(connection, id)?;
    }
    let surplus = letter.history.len().saturating_sub(HISTORY);
    letter.history.drain(..surplus);
    replace(connection, id, &letter)
}

/// Gives a dead letter another value. Nothing if it has gone, or cannot be read.
pub(in crate::store) fn edit(connection: &Connection, id: i64, value: &Value) -> rusqlite::Result<Option<Grown>> {
    let Some(letter) = by_id(connection, id)?.value else { return Ok(None) };
    replace(connection, Some(id), &DeadLetter { value: value.clone(), ..letter }).map(Some)
}

/// Removes a dead letter. Nothing if it has gone.
pub(in crate::store) fn remove(connection: &Connection, id: i64) -> rusqlite::Result<Option<Grown>> {
    remove_replay(connection, id)?;
    let sql = format!("SELECT pipeline, {BYTES} FROM dead_letter WHERE id = ?1");
    let size = |row: &Row<'_>| Ok(Grown { pipeline: row.get(0)?, items: -1, bytes: -row.get::<_, i64>(1)? });
    let grown = connection.prepare_cached(&sql)?.query_row([id], size).optional()?;
    connection.prepare_cached("DELETE FROM dead_letter WHERE id = ?1")?.execute([id])?;
    Ok(grown)
}

/// The replay of a dead letter has come to its end, and so has the letter, unless it was given up once more.
pub(in crate::store) fn end_replay(connection: &Connection, id: i64) -> rusqlite::Result<Option<Grown>> {
    if is_replay_asked(connection, id)?.value { remove(connection, id) } else { Ok(None) }
}

/// Asks for a dead letter to be replayed, if it is there.
pub(in crate::store) fn put_replay(connection: &Connection, replay: &Replay) -> rusqlite::Result<()> {
    let is_there = connection.prepare_cached("SELECT 1 FROM dead_letter WHERE id = ?1")?.exists([replay.letter])?;
    if !is_there {
        return Ok(());
    }
    let from = replay.from.as_deref().map_or(ValueRef::Null, ValueRef::from);
    let interval = i64::try_from(replay.interval.as_micros()).unwrap_or(i64::MAX);
    put(connection, &REPLAY, &[ValueRef::Integer(replay.letter)], &[from, ValueRef::Integer(interval)])
}

fn remove_replay(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM replay WHERE letter = ?1")?.execute([id])?;
    Ok(())
}

pub(in crate::store) fn is_replay_asked(connection: &Connection, id: i64) -> rusqlite::Result<Found<bool>> {
    let value = connection.prepare_cached("SELECT 1 FROM replay WHERE letter = ?1")?.exists([id])?;
    Ok(Found { value, damaged: 0 })
}

/// Up to `count` dead letters of a pipeline that are asked to be replayed, in the order of their ids, from the one
/// after `after` on.
pub(in crate::store) fn replays(
    connection: &Connection,
    pipeline: &str,
    after: i64,
    count: usize,
) -> rusqlite::Result<Found<Vec<Replay>>> {
    let sql = "SELECT replay.* FROM replay JOIN dead_letter ON dead_letter.id = replay.letter \
               WHERE dead_letter.pipeline = ?1 AND replay.letter > ?2 ORDER BY replay.letter LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let mut rows = statement.query(rusqlite::params![pipeline, after, count])?;
    let mut found = Found { value: Vec::new(), damaged: 0 };
    while let Some(row) = rows.next()? {
        let letter: i64 = row.get("letter")?;
        // That it was asked for is not in doubt, only how.
        let plain = Replay { letter, from: None, interval: Duration::ZERO };
        let read = read_whole(&REPLAY, row, |row| {
            let interval = row.get::<_, i64>("interval")?.unsigned_abs();
            Ok(Some(Replay { letter, from: row.get("start")?, interval: Duration::from_micros(interval) }))
        })?;
        found.damaged += u64::from(read.is_none());
        found.value.push(read.unwrap_or(plain));
    }
    Ok(found)
}

/// The pipelines of all dead letters that are asked to be replayed.
pub(in crate::store) fn replay_pipelines(connection: &Connection) -> rusqlite::Result<Found<Vec<Text>>> {
    let sql = "SELECT DISTINCT pipeline FROM replay JOIN dead_letter ON dead_letter.id = replay.letter";
    let value = connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(Found { value, damaged: 0 })
}

/// How many dead letters each pipeline has, and what they take.
pub(in crate::store) fn sizes(connection: &Connection) -> rusqlite::Result<Vec<Grown>> {
    let sql = format!("SELECT pipeline, count(*), sum({BYTES}) FROM dead_letter GROUP BY pipeline");
    let size = |row: &Row<'_>| Ok(Grown { pipeline: row.get(0)?, items: row.get(1)?, bytes: row.get(2)? });
    connection.prepare(&sql)?.query_map([], size)?.collect()
}

/// Writes a row in place of the one with this id.
fn replace(connection: &Connection, id: Option<i64>, letter: &DeadLetter) -> rusqlite::Result<Grown> {
    let before = match id {
        Some(id) => bytes_of(connection, id)?,
        None => None,
    };
    let bytes = write(connection, id.map_or(ValueRef::Null, ValueRef::Integer), letter)?;
    let (items, less) = before.map_or((1, 0), |bytes| (0, bytes));
    Ok(Grown { pipeline: letter.pipeline.clone(), items, bytes: bytes - less })
}

/// Answers how many bytes the row took that is about to be replaced.
fn bytes_of(connection: &Connection, id: i64) -> rusqlite::Result<Option<i64>> {
    let sql = format!("SELECT {BYTES} FROM dead_letter WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([id], |row| row.get(0)).optional()
}

/// Answers how many bytes its large columns take.
fn write(connection: &Connection, id: ValueRef<'_>, letter: &DeadLetter) -> rusqlite::Result<i64> {
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
    put(connection, &DEAD_LETTER, &[id], &row)?;
    Ok((value.len() + labels.len() + history.len()) as i64)
}

/// Dead letters, newest first.
pub(in crate::store) fn list(
    connection: &Connection,
    filter: &DeadLetterFilter,
) -> rusqlite::Result<Found<Vec<DeadLetter>>> {
    let (condition, bound) = condition(filter);
    let sql = format!("SELECT * FROM dead_letter WHERE {condition} ORDER BY last DESC, id DESC");
    // The limits count whole letters, so damaged ones are skipped before they are applied.
    let limit = filter.limit.unwrap_or(usize::MAX);
    let mut bytes = filter.bytes.map_or(usize::MAX, Size::bytes);
    let mut found = Found { value: Vec::new(), damaged: 0 };
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(bound))?;
    while found.value.len() < limit
        && bytes > 0
        && let Some(row) = rows.next()?
    {
        match read(row)? {
            Some(mut letter) => {
                letter.is_replay_asked = is_replay_asked(connection, letter.id)?.value;
                bytes = bytes.saturating_sub(letter.value.size_in_memory());
                found.value.push(letter);
            }
            None => found.damaged += 1,
        }
    }
    Ok(found)
}

/// The ids of dead letters, damaged ones included, the oldest first.
pub(in crate::store) fn ids(connection: &Connection, filter: &DeadLetterFilter) -> rusqlite::Result<Found<Vec<i64>>> {
    let (condition, bound) = condition(filter);
    let sql = format!("SELECT id FROM dead_letter WHERE {condition} ORDER BY id");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(rusqlite::params_from_iter(bound), |row| row.get(0))?;
    Ok(Found { value: rows.collect::<rusqlite::Result<_>>()?, damaged: 0 })
}

/// What a `WHERE` says for the filter, and what is bound to it.
fn condition(filter: &DeadLetterFilter) -> (String, Vec<SqlValue>) {
    let mut sql = "true".to_owned();
    let text = |text: &Option<String>| text.clone().map(SqlValue::Text);
    let time = |time: Option<Timestamp>| time.map(|time| SqlValue::Text(show_time(time)));
    let mut bound = Vec::new();
    for (condition, wanted) in [
        ("pipeline =", text(&filter.pipeline)),
        ("component =", text(&filter.component)),
        ("fault =", text(&filter.fault)),
        ("last >=", time(filter.since)),
        ("last <", time(filter.until)),
    ] {
        if let Some(wanted) = wanted {
            bound.push(wanted);
            write!(sql, " AND {condition} ?{}", bound.len()).expect("a String takes every write");
        }
    }
    if let Some((last, id)) = filter.after {
        bound.extend([SqlValue::Text(show_time(last)), SqlValue::Integer(id)]);
        write!(sql, " AND (last, id) < (?{}, ?{})", bound.len() - 1, bound.len()).expect("a String takes every write");
    }
    (sql, bound)
}

pub(in crate::store) fn by_id(connection: &Connection, id: i64) -> rusqlite::Result<Found<Option<DeadLetter>>> {
    let mut statement = connection.prepare_cached("SELECT * FROM dead_letter WHERE id = ?1")?;
    let row = statement.query_row([id], read).optional()?;
    let damaged = u64::from(matches!(row, Some(None)));
    let mut value = row.flatten();
    if let Some(letter) = &mut value {
        letter.is_replay_asked = is_replay_asked(connection, letter.id)?.value;
    }
    Ok(Found { value, damaged })
}

pub(in crate::store) fn count(connection: &Connection) -> rusqlite::Result<u64> {
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
                is_replay_asked: false,
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
