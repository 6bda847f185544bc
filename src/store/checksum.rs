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
