//! Where in the store's file each table begins, noted in a file beside it.
//!
//! SQLite keeps that in the file's first pages alone. The note lets the tables be found after damage to those.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::folder;
use super::salvage::beside;
use super::schema::{self, Version};

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Layout {
    /// The version of the schema.
    pub(super) version: i64,
    pub(super) entries: Vec<LayoutEntry>,
}

/// A row of SQLite's own table of tables (<https://sqlite.org/schematab.html>).
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LayoutEntry {
    kind: String,
    name: String,
    table: String,
    root_page: i64,
    /// Nothing for an index that SQLite made for a constraint.
    sql: Option<String>,
}

impl Layout {
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let version = match schema::version(connection)? {
            Version::Known(version) => version,
            Version::Newer(_) | Version::Damaged => 0,
        };
        let mut statement = connection.prepare("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema")?;
        let entry = |row: &rusqlite::Row<'_>| {
            let (kind, name, table) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(LayoutEntry { kind, name, table, root_page: row.get(3)?, sql: row.get(4)? })
        };
        Ok(Self { version, entries: statement.query_map([], entry)?.collect::<rusqlite::Result<_>>()? })
    }

    /// What was noted last, if it can be read.
    pub(super) fn noted(file: &Path) -> Option<Self> {
        let layout: Self = serde_json::from_slice(&fs::read(note_of(file)).ok()?).ok()?;
        (1..=schema::VERSION).contains(&layout.version).then_some(layout)
    }

    /// Notes where the tables are now. Without the note a damaged store loses more, but all else works, so a failure
    /// is only logged.
    pub(super) fn note(connection: &Connection, file: &Path) {
        let noted = Self::of(connection).map_err(|error| error.to_string()).and_then(|layout| {
            if Self::noted(file).as_ref() == Some(&layout) {
                return Ok(());
            }
            let text = serde_json::to_vec(&layout).map_err(|error| error.to_string())?;
            let note = note_of(file);
            folder::create(&note).and_then(|()| fs::write(note, text)).map_err(|error| error.to_string())
        });
        if let Err(error) = noted {
            log::warn!(file:% = file.display(), cause = error; "cannot note where the tables of the store begin");
        }
    }

    /// The last page on which a table or an index begins.
    pub(super) fn last_root_page(&self) -> u64 {
        self.entries.iter().map(|entry| entry.root_page.unsigned_abs()).max().unwrap_or(1)
    }

    /// Tells a file, whose own table of tables is empty, where its tables begin.
    pub(super) fn write(&self, file: &Path) -> rusqlite::Result<()> {
        let mut connection = Connection::open(file)?;
        connection.pragma_update(None, "writable_schema", "on")?;
        let transaction = connection.transaction()?;
        for LayoutEntry { kind, name, table, root_page, sql } in &self.entries {
            let row = rusqlite::params![kind, name, table, root_page, sql];
            transaction.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", row)?;
        }
        transaction.commit()
    }
}

fn note_of(file: &Path) -> PathBuf {
    beside(file, ".layout")
}
