//! The rows of positions, seen keys and last values.

use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::checksum::{Table, is_whole, put};
use super::fault::is_wrong_type;
use super::schema::{LAST, POSITIONS, SEEN};
use super::{Digest, payload};
use crate::model::Value;

/// What a look into the store found.
#[derive(Debug, PartialEq)]
pub(super) struct Found<T> {
    pub(super) value: T,
    /// How many damaged rows were passed over.
    pub(super) damaged: u64,
}

/// Reads a row, unless it is damaged.
pub(super) fn read_whole<T>(
    table: &Table,
    row: &Row<'_>,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<Option<T>>,
) -> rusqlite::Result<Option<T>> {
    if !is_whole(table, row)? {
        return Ok(None);
    }
    match read(row) {
        Err(error) if is_wrong_type(&error) => Ok(None),
        other => other,
    }
}

/// The newest whole position, and its turn.
pub(super) fn position(
    connection: &Connection,
    pipeline: &str,
    component: &str,
) -> rusqlite::Result<Found<Option<(i64, Value)>>> {
    let sql = [
        "SELECT * FROM position_even WHERE pipeline = ?1 AND component = ?2",
        "SELECT * FROM position_odd WHERE pipeline = ?1 AND component = ?2",
    ];
    read_by_turns(connection, &POSITIONS, sql, &[pipeline, component], "position")
}

/// Writes the next position, and leaves the newest whole one as it is.
pub(super) fn put_position(
    connection: &Connection,
    pipeline: &str,
    component: &str,
    value: &Value,
) -> rusqlite::Result<()> {
    let newest = position(connection, pipeline, component)?.value;
    put_by_turns(connection, &POSITIONS, newest, &[pipeline, component], value)
}

/// Forgets a source's position.
pub(super) fn reset_position(connection: &Connection, pipeline: &str, component: &str) -> rusqlite::Result<()> {
    for table in &POSITIONS {
        let sql = format!("DELETE FROM {} WHERE pipeline = ?1 AND component = ?2", table.name);
        connection.execute(&sql, [pipeline, component])?;
    }
    Ok(())
}

/// The newest whole value of two tables that are written by turns, and its turn.
pub(super) fn read_by_turns(
    connection: &Connection,
    tables: &[Table; 2],
    sql: [&str; 2],
    key: &[&str],
    column: &str,
) -> rusqlite::Result<Found<Option<(i64, Value)>>> {
    let mut found = Found { value: None, damaged: 0 };
    for (table, sql) in tables.iter().zip(sql) {
        let read = |row: &Row<'_>| {
            read_whole(table, row, |row| {
                let turn: i64 = row.get("turn")?;
                let value = payload::decode(row.get_ref(column)?.as_str()?.as_bytes());
                Ok(value.map(|value| (turn, value)))
            })
        };
        match connection.prepare_cached(sql)?.query_row(rusqlite::params_from_iter(key), read).optional()? {
            Some(Some(newer)) if found.value.as_ref().is_none_or(|(turn, _)| newer.0 > *turn) => {
                found.value = Some(newer);
            }
            Some(Some(_)) => {}
            Some(None) => found.damaged += 1,
            None => {}
        }
    }
    Ok(found)
}

/// Writes the value after `newest` into the table whose turn it is.
pub(super) fn put_by_turns(
    connection: &Connection,
    tables: &[Table; 2],
    newest: Option<(i64, Value)>,
    key: &[&str],
    value: &Value,
) -> rusqlite::Result<()> {
    let turn = newest.map_or(0, |(turn, _)| turn + 1);
    let text = payload::encode(value);
    let mut covered: Vec<ValueRef<'_>> = key.iter().map(|column| ValueRef::from(*column)).collect();
    covered.extend([ValueRef::Integer(turn), text.as_str().into()]);
    put(connection, &tables[usize::from(turn % 2 != 0)], &[], &covered)
}

/// Whether the key was seen and is not forgotten at `now`. A damaged row counts as unseen.
pub(super) fn is_seen(
    connection: &Connection,
    pipeline: &str,
    component: &str,
    key: &str,
    now: Timestamp,
) -> rusqlite::Result<Found<bool>> {
    let sql = "SELECT * FROM seen WHERE pipeline = ?1 AND component = ?2 AND key = ?3";
    let read = |row: &Row<'_>| read_whole(&SEEN, row, |row| row.get::<_, Option<i64>>("until").map(Some));
    let key = Key::of(key);
    let row = connection.prepare_cached(sql)?.query_row(params![pipeline, component, key.bound()], read).optional()?;
    Ok(match row {
        None => Found { value: false, damaged: 0 },
        Some(None) => Found { value: false, damaged: 1 },
        Some(Some(until)) => Found { value: !is_over(until, now), damaged: 0 },
    })
}

fn is_over(until: Option<i64>, now: Timestamp) -> bool {
    until.is_some_and(|until| until <= now.as_millisecond())
}

pub(super) fn put_seen(
    connection: &Connection,
    pipeline: &str,
    component: &str,
    key: &str,
    until: Option<Timestamp>,
) -> rusqlite::Result<()> {
    let until = until.map_or(ValueRef::Null, |until| ValueRef::Integer(until.as_millisecond()));
    put(connection, &SEEN, &[], &[pipeline.into(), component.into(), Key::of(key).as_sql(), until])
}

/// What `changed` saw last. A damaged row counts as none.
pub(super) fn last_digest(
    connection: &Connection,
    pipeline: &str,
    component: &str,
    key: &str,
) -> rusqlite::Result<Found<Option<Digest>>> {
    let sql = "SELECT * FROM last WHERE pipeline = ?1 AND component = ?2 AND key = ?3";
    let read = |row: &Row<'_>| read_whole(&LAST, row, |row| row.get::<_, Digest>("digest").map(Some));
    let key = Key::of(key);
    let row = connection.prepare_cached(sql)?.query_row(params![pipeline, component, key.bound()], read).optional()?;
    let damaged = u64::from(row == Some(None));
    Ok(Found { value: row.flatten(), damaged })
}

pub(super) fn put_last(
    connection: &Connection,
    pipeline: &str,
    component: &str,
    key: &str,
    digest: &Digest,
) -> rusqlite::Result<()> {
    put(connection, &LAST, &[], &[pipeline.into(), component.into(), Key::of(key).as_sql(), ValueRef::Blob(digest)])
}

/// A key as it is stored: text as it is, or its SHA-256 if it is long. The two cannot be mistaken for each other,
/// since SQLite holds text and blobs apart.
enum Key<'a> {
    Text(&'a str),
    Digest(ring::digest::Digest),
}

impl<'a> Key<'a> {
    const LONGEST_TEXT: usize = 64;

    fn of(key: &'a str) -> Self {
        if key.len() <= Self::LONGEST_TEXT { Key::Text(key) } else { Key::Digest(digest(&SHA256, key.as_bytes())) }
    }

    fn as_sql(&self) -> ValueRef<'_> {
        match self {
            Key::Text(text) => ValueRef::from(*text),
            Key::Digest(digest) => ValueRef::Blob(digest.as_ref()),
        }
    }

    fn bound(&self) -> ToSqlOutput<'_> {
        ToSqlOutput::Borrowed(self.as_sql())
    }
}

/// Walks over the seen keys, a few at a time and round and round, and removes those that are over.
pub(super) struct Purge {
    at: (String, String, SqlValue),
}

impl Purge {
    pub(super) fn from_the_start() -> Self {
        Self { at: (String::new(), String::new(), SqlValue::Text(String::new())) }
    }

    /// Looks at the next `count` keys.
    pub(super) fn walk(&mut self, connection: &Connection, count: u32, now: Timestamp) -> rusqlite::Result<()> {
        let sql = "SELECT pipeline, component, key, until FROM seen \
                   WHERE (pipeline, component, key) > (?1, ?2, ?3) ORDER BY pipeline, component, key LIMIT ?4";
        let mut statement = connection.prepare_cached(sql)?;
        let (pipeline, component, key) = &self.at;
        let mut rows = statement.query(params![pipeline, component, key, count])?;
        let (mut looked_at, mut over, mut last) = (0, Vec::new(), None);
        while let Some(row) = rows.next()? {
            looked_at += 1;
            // A damaged row is left to whoever asks for it.
            let (Ok(pipeline), Ok(component), Some(key)) = (row.get(0), row.get(1), key_of(row.get_ref(2)?)) else {
                continue;
            };
            let at: (String, String, SqlValue) = (pipeline, component, key);
            if is_over(row.get(3)?, now) {
                over.push(at.clone());
            }
            last = Some(at);
        }
        let mut remove =
            connection.prepare_cached("DELETE FROM seen WHERE pipeline = ?1 AND component = ?2 AND key = ?3")?;
        for (pipeline, component, key) in &over {
            remove.execute(params![pipeline, component, key])?;
        }
        *self = match last {
            Some(at) if looked_at == count => Self { at },
            _ => Self::from_the_start(),
        };
        Ok(())
    }
}

fn key_of(value: ValueRef<'_>) -> Option<SqlValue> {
    match value {
        ValueRef::Text(text) => Some(SqlValue::Text(String::from_utf8(text.to_vec()).ok()?)),
        ValueRef::Blob(blob) => Some(SqlValue::Blob(blob.to_vec())),
        _ => None,
    }
}
