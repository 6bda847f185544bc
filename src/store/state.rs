//! The rows of positions and last values, and how keys are stored.

use ring::digest::{SHA256, digest};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::checksum::{Table, is_whole, put};
use super::fault::is_wrong_type;
use super::schema::{LAST, POSITIONS};
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
pub(super) enum Key<'a> {
    Text(&'a str),
    Digest(ring::digest::Digest),
}

impl<'a> Key<'a> {
    const LONGEST_TEXT: usize = 64;

    pub(super) fn of(key: &'a str) -> Self {
        if key.len() <= Self::LONGEST_TEXT { Key::Text(key) } else { Key::Digest(digest(&SHA256, key.as_bytes())) }
    }

    pub(super) fn as_sql(&self) -> ValueRef<'_> {
        match self {
            Key::Text(text) => ValueRef::from(*text),
            Key::Digest(digest) => ValueRef::Blob(digest.as_ref()),
        }
    }

    pub(super) fn bound(&self) -> ToSqlOutput<'_> {
        ToSqlOutput::Borrowed(self.as_sql())
    }
}
