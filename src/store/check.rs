//! A look at every byte of a store, that changes nothing.

use std::fmt::Write;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::checksum::{Table, is_whole};
use super::fault::stop;
use super::schema::{self, META, TABLES, Version};
use super::{Store, existing_file, newer_schema, queue};
use crate::model::Fault;

/// What is named of each kind of damage at most; the rest is only counted.
const NAMED: usize = 100;

/// What SQLite reports at most of damage to the file itself.
const REPORTED: usize = 100;

/// How a store was found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Rows of tables, and entries of queues, that are as they were written.
    pub whole: u64,
    pub damages: Vec<Damage>,
    /// How many more there are than those that are named.
    pub unnamed: u64,
}

/// Something in a store that is not as it was written.
#[derive(Debug, PartialEq)]
pub struct Damage {
    pub place: String,
    pub what: String,
}

impl CheckReport {
    pub fn is_whole(&self) -> bool {
        self.damages.is_empty()
    }

    pub(super) fn damaged(&mut self, place: impl Into<String>, what: impl Into<String>) {
        if self.damages.len() < NAMED {
            self.damages.push(Damage { place: place.into(), what: what.into() });
        } else {
            self.unnamed += 1;
        }
    }
}

impl Store {
    /// Checks the file, the checksum of every row, and that of every entry of a queue. Works while a daemon holds the
    /// store, and sees it as of one moment.
    pub fn check(folder: &Path) -> Result<CheckReport, Fault> {
        let file = existing_file(folder)?;
        let mut report = CheckReport::default();
        if let Err(error) = check_file(&file, &mut report)? {
            report.damaged("file", error.to_string());
        }
        Ok(report)
    }
}

/// The inner error is what keeps SQLite from reading on.
fn check_file(file: &Path, report: &mut CheckReport) -> Result<rusqlite::Result<()>, Fault> {
    let open = || -> rusqlite::Result<_> {
        let connection = schema::connect_to_read(file)?;
        let version = schema::version(&connection)?;
        Ok((connection, version))
    };
    let (connection, version) = match open() {
        Ok(opened) => opened,
        Err(error) if super::fault::is_damage(&error) => return Ok(Err(error)),
        Err(error) => return Err(stop("look into", file, error)),
    };
    match version {
        Version::Newer(version) => return Err(newer_schema(file, version)),
        Version::Damaged => report.damaged("file", "its version is not what it was"),
        Version::Known(0) => report.damaged("file", "there is no table in it"),
        Version::Known(_) => {}
    }
    Ok(check_content(&connection, version, report))
}

fn check_content(connection: &Connection, version: Version, report: &mut CheckReport) -> rusqlite::Result<()> {
    // So that all of it is of one moment.
    let transaction = connection.unchecked_transaction()?;
    let sql = format!("PRAGMA integrity_check({REPORTED})");
    let mut statement = transaction.prepare(&sql)?;
    let mut verdicts = statement.query([])?;
    while let Some(row) = verdicts.next()? {
        let verdict: String = row.get(0)?;
        if verdict != "ok" {
            report.damaged("file", verdict);
        }
    }
    for table in [&META].into_iter().chain(TABLES.iter().copied()) {
        let is_there = transaction.table_exists(None, table.name)?;
        if is_there {
            check_table(&transaction, table, report);
        } else if version == Version::Known(schema::VERSION) {
            report.damaged(format!("table `{}`", table.name), "it is not there");
        }
    }
    if let Err(error) = queue::check(&transaction, report) {
        report.damaged("queues", error.to_string());
    }
    Ok(())
}

fn check_table(connection: &Connection, table: &Table, report: &mut CheckReport) {
    let mut read = 0;
    if let Err(error) = check_rows(connection, table, report, &mut read) {
        report.damaged(format!("table `{}`", table.name), format!("it cannot be read beyond row {read}: {error}"));
    }
}

fn check_rows(
    connection: &Connection,
    table: &Table,
    report: &mut CheckReport,
    read: &mut u64,
) -> rusqlite::Result<()> {
    let keys = connection
        .prepare("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk")?
        .query_map([table.name], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    let mut statement = connection.prepare(&format!("SELECT * FROM {}", table.name))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        *read += 1;
        if is_whole(table, row)? {
            report.whole += u64::from(table.crc != Table::NO_CRC);
        } else {
            report.damaged(place_of(table, &keys, row)?, "it is not as it was written");
        }
    }
    Ok(())
}

/// `table "seen", row with pipeline p, component new, key a`
fn place_of(table: &Table, keys: &[String], row: &Row<'_>) -> rusqlite::Result<String> {
    const SHOWN: usize = 60;
    let mut place = format!("table `{}`, row with", table.name);
    for (number, key) in keys.iter().enumerate() {
        let value = match row.get_ref(key.as_str())? {
            ValueRef::Null => "nothing".to_owned(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => number.to_string(),
            ValueRef::Text(text) => format!("`{}`", String::from_utf8_lossy(text)),
            ValueRef::Blob(blob) => data_encoding::HEXLOWER.encode(blob),
        };
        let value: String = value.chars().take(SHOWN).collect();
        let comma = if number == 0 { "" } else { "," };
        write!(place, "{comma} {key} {value}").expect("a String takes every write");
    }
    Ok(place)
}
