//! The rows of cursors, runs and settled items.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{CursorChange, CursorKey, Rank, SettledItem};
use crate::model::Value;
use crate::store::checksum::put;
use crate::store::payload;
use crate::store::schema::{CURSORS, RUN, SETTLED};
use crate::store::state::{Found, put_by_turns, read_by_turns, read_whole};

/// So many settled items are forgotten in one commit at most, so that others need not wait for long.
const FORGOTTEN: i64 = 50_000;

/// The newest whole cursor, and its turn.
pub(super) fn cursor(connection: &Connection, key: &CursorKey) -> rusqlite::Result<Found<Option<(i64, Value)>>> {
    let sql = [
        "SELECT * FROM cursor_even WHERE pipeline = ?1 AND component = ?2 AND partition = ?3",
        "SELECT * FROM cursor_odd WHERE pipeline = ?1 AND component = ?2 AND partition = ?3",
    ];
    read_by_turns(connection, &CURSORS, sql, &key.columns(), "cursor")
}

/// Writes the next cursor, and leaves the newest whole one as it is; or removes it.
pub(in crate::store) fn put_cursor(
    connection: &Connection,
    key: &CursorKey,
    value: Option<&Value>,
) -> rusqlite::Result<()> {
    let Some(value) = value else { return remove(connection, key, &["cursor_even", "cursor_odd"]) };
    let newest = cursor(connection, key)?.value;
    put_by_turns(connection, &CURSORS, newest, &key.columns(), value)
}

pub(super) fn run(connection: &Connection, key: &CursorKey) -> rusqlite::Result<Found<Option<Value>>> {
    let sql = "SELECT * FROM run WHERE pipeline = ?1 AND component = ?2 AND partition = ?3";
    let decode = |row: &Row<'_>| Ok(payload::decode(row.get_ref("state")?.as_str()?.as_bytes()));
    let read = |row: &Row<'_>| read_whole(&RUN, row, decode);
    let row = connection.prepare_cached(sql)?.query_row(key.columns(), read).optional()?;
    let damaged = u64::from(row == Some(None));
    Ok(Found { value: row.flatten(), damaged })
}

pub(super) fn are_settled(
    connection: &Connection,
    key: &CursorKey,
    items: &[SettledItem],
) -> rusqlite::Result<Found<Vec<bool>>> {
    let sql = "SELECT * FROM settled WHERE pipeline = ?1 AND component = ?2 AND partition = ?3 AND rank = ?4 \
               AND item = ?5";
    let mut statement = connection.prepare_cached(sql)?;
    let [pipeline, component, partition] = key.columns();
    let mut found = Found { value: Vec::with_capacity(items.len()), damaged: 0 };
    for item in items {
        let read = |row: &Row<'_>| read_whole(&SETTLED, row, |_| Ok(Some(())));
        let row = statement
            .query_row(params![pipeline, component, partition, item.rank, &item.digest[..]], read)
            .optional()?;
        found.damaged += u64::from(row == Some(None));
        found.value.push(row == Some(Some(())));
    }
    Ok(found)
}

/// Writes what a page leaves behind, apart from the cursor itself.
pub(in crate::store) fn write(connection: &Connection, change: &CursorChange) -> rusqlite::Result<()> {
    let CursorChange { key, run, settled, forget_below, .. } = change;
    let [pipeline, component, partition] = key.columns();
    let columns: [ValueRef<'_>; 3] = [pipeline.into(), component.into(), partition.into()];
    match run {
        Some(run) => {
            let text = payload::encode(run);
            let [pipeline, component, partition] = columns;
            put(connection, &RUN, &[], &[pipeline, component, partition, ValueRef::from(text.as_str())])?;
        }
        None => {
            let sql = "DELETE FROM run WHERE pipeline = ?1 AND component = ?2 AND partition = ?3";
            connection.prepare_cached(sql)?.execute(key.columns())?;
        }
    }
    for SettledItem { rank, digest } in settled {
        let [pipeline, component, partition] = columns;
        put(connection, &SETTLED, &[], &[pipeline, component, partition, rank.as_sql(), ValueRef::Blob(digest)])?;
    }
    if let Some(rank) = forget_below {
        let sql = "DELETE FROM settled WHERE (pipeline, component, partition) = (?1, ?2, ?3) AND rank < ?4 \
                   AND rank <= ifnull((SELECT rank FROM settled WHERE (pipeline, component, partition) = (?1, ?2, ?3) \
                                       ORDER BY rank LIMIT 1 OFFSET ?5), ?4)";
        connection.prepare_cached(sql)?.execute(params![pipeline, component, partition, rank, FORGOTTEN])?;
    }
    Ok(())
}

/// Forgets all that is known of a partition, and begins at `value` if there is one.
pub(in crate::store) fn reset(connection: &Connection, key: &CursorKey, value: Option<&Value>) -> rusqlite::Result<()> {
    remove(connection, key, &["cursor_even", "cursor_odd", "run", "settled"])?;
    put_cursor(connection, key, value)
}

fn remove(connection: &Connection, key: &CursorKey, tables: &[&str]) -> rusqlite::Result<()> {
    for table in tables {
        let sql = format!("DELETE FROM {table} WHERE pipeline = ?1 AND component = ?2 AND partition = ?3");
        connection.execute(&sql, key.columns())?;
    }
    Ok(())
}

impl CursorKey {
    fn columns(&self) -> [&str; 3] {
        [&self.pipeline, &self.component, &self.partition]
    }
}

impl Rank {
    fn as_sql(&self) -> ValueRef<'_> {
        match self {
            Rank::Integer(integer) => ValueRef::Integer(*integer),
            Rank::Real(real) => ValueRef::Real(*real),
            Rank::Text(text) => ValueRef::Text(text.as_bytes()),
        }
    }
}

impl ToSql for Rank {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.as_sql()))
    }
}
