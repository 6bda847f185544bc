//! A checksum for every row, so that no altered row is ever taken for a whole one.
//!
//! Each table has a column `crc`; the columns after it are what it covers. A null is skipped, so a later version of
//! the schema can add columns at the end without touching the rows that are there.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row};

/// A table of the store, as far as its checksums need it known.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// The place of the column `crc`.
    pub(super) crc: usize,
    /// The statement that writes a row, in place of the one with the same key.
    pub(super) put: &'static str,
    /// The first column of the primary key.
    pub(super) key: &'static str,
}

impl Table {
    /// In place of [`Table::crc`]: what the rows hold has checksums of its own.
    pub(super) const NO_CRC: usize = usize::MAX;
}

/// CRC-32 of a row's covered values, and of where they stand.
fn checksum<'a>(table: &Table, covered: impl Iterator<Item = ValueRef<'a>>) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(table.name.as_bytes());
    for (place, value) in (0u8..).zip(covered) {
        let mut add = |kind: u8, bytes: &[u8]| {
            hasher.update(&[place, kind]);
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        match value {
            ValueRef::Null => {}
            ValueRef::Integer(int) => add(b'i', &int.to_le_bytes()),
            ValueRef::Real(float) => add(b'r', &float.to_bits().to_le_bytes()),
            ValueRef::Text(text) => add(b't', text),
            ValueRef::Blob(blob) => add(b'b', blob),
        }
    }
    i64::from(hasher.finalize())
}

/// Whether a row of all the table's columns is as it was written.
pub(super) fn is_whole(table: &Table, row: &Row<'_>) -> rusqlite::Result<bool> {
    if table.crc == Table::NO_CRC {
        return Ok(true);
    }
    let columns = row.as_ref().column_count();
    let stored = row.get_ref(table.crc)?;
    let covered = (table.crc + 1..columns).map(|column| row.get_ref_unwrap(column));
    Ok(stored == ValueRef::Integer(checksum(table, covered)))
}

/// Writes a row, in place of the one with the same key. `uncovered` stands before its checksum, `covered` after it.
pub(super) fn put(
    connection: &Connection,
    table: &Table,
    uncovered: &[ValueRef<'_>],
    covered: &[ValueRef<'_>],
) -> rusqlite::Result<()> {
    debug_assert_eq!(uncovered.len(), table.crc);
    let crc = ValueRef::Integer(checksum(table, covered.iter().copied()));
    let row = uncovered.iter().chain(std::iter::once(&crc)).chain(covered);
    let mut statement = connection.prepare_cached(table.put)?;
    statement.execute(rusqlite::params_from_iter(row.map(|value| ToSqlOutput::Borrowed(*value))))?;
    Ok(())
}

/// So many rows are written by one statement: it is begun and ended, and finds its place in the table, once for all.
const ROWS: usize = 16;

/// Writes rows as [`put`] does, of a table that begins with the column `crc`. Those that come in the order of the table
/// cost the least.
pub(super) fn put_all<'a, const COVERED: usize>(
    connection: &Connection,
    table: &Table,
    rows: impl ExactSizeIterator<Item = [ValueRef<'a>; COVERED]>,
) -> rusqlite::Result<()> {
    debug_assert_eq!(table.crc, 0);
    let mut rows = rows;
    let (start, places) = table.put.split_once("VALUES ").expect("every statement that writes a row has its values");
    for count in [ROWS, 1] {
        if rows.len() < count {
            continue;
        }
        let sql = format!("{start}VALUES {}", vec![places; count].join(", "));
        let mut statement = connection.prepare_cached(&sql)?;
        // What stands in a row's columns, and need not be bound again if it stands there in the next one as well.
        let mut bound: Vec<Option<[ValueRef<'a>; COVERED]>> = vec![None; count];
        while rows.len() >= count {
            for (number, bound) in bound.iter_mut().enumerate() {
                let Some(row) = rows.next() else { return Ok(()) };
                let first = number * (COVERED + 1) + 1;
                statement.raw_bind_parameter(first, checksum(table, row.iter().copied()))?;
                for (column, value) in row.iter().enumerate() {
                    if bound.is_none_or(|bound| bound[column] != *value) {
                        statement.raw_bind_parameter(first + 1 + column, ToSqlOutput::Borrowed(*value))?;
                    }
                }
                *bound = Some(row);
            }
            statement.raw_execute()?;
        }
    }
    Ok(())
}
