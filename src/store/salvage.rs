//! What becomes of a store that is damaged: it is set aside, and what can be read of it is kept.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, Row};

use super::checksum::{Table, is_whole};
use super::fault::stop;
use super::folder::{create, sync_folder_of};
use super::schema::{self, TABLES, Version};
use crate::model::Fault;

/// Up to this size a store is read through at every start, at about 1 GB a second.
const CHECKED_AT_START: u64 = 64 << 20;

/// Notes that the store showed damage while it ran, so that the next start looks closely.
pub(super) fn suspect(file: &Path) {
    let mark = suspect_mark(file);
    if let Err(error) = File::create(&mark) {
        log::error!(file:% = mark.display(), error:%; "cannot note that the store is damaged");
    }
}

fn suspect_mark(file: &Path) -> PathBuf {
    beside(file, ".suspect")
}

/// `file` with something after its name.
fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What is wrong with the store, if anything. Small stores and suspected ones are read through.
pub(super) fn damage(connection: &Connection, file: &Path) -> rusqlite::Result<Option<String>> {
    let suspected = suspect_mark(file).exists();
    let size = fs::metadata(file).map_or(0, |metadata| metadata.len());
    if !suspected && size > CHECKED_AT_START {
        return Ok(None);
    }
    let check = if suspected { "PRAGMA integrity_check(1)" } else { "PRAGMA quick_check(1)" };
    let verdict: String = connection.query_row(check, [], |row| row.get(0))?;
    if verdict == "ok" {
        let _ = fs::remove_file(suspect_mark(file));
        return Ok(None);
    }
    Ok(Some(verdict))
}

/// Moves a damaged store to a file beside it, and puts a new one with its readable rows in its place.
///
/// At every moment of it a crash leaves either the damaged store or the new one to be found by [`finish`].
pub(super) fn replace(file: &Path, why: &str) -> Result<(), Fault> {
    let failed = |error: &dyn std::fmt::Display| stop("set aside the damaged store", file, error);
    let fresh = fresh_file(file);
    remove_with_companions(&fresh).map_err(|error| failed(&error))?;
    let (kept, lost) = copy_whole_rows(file, &fresh).map_err(|error| failed(&error))?;
    let aside = move_aside(file).and_then(|aside| finish(file).map(|()| aside)).map_err(|error| failed(&error))?;
    log::error!(
        why, set_aside:% = aside.display(), rows_kept = kept, rows_lost = lost.rows, tables_cut_short = lost.tables;
        "the store was damaged; what could be read of it is kept, the rest is set aside"
    );
    Ok(())
}

fn fresh_file(file: &Path) -> PathBuf {
    beside(file, ".salvaged")
}

/// Ends a replacement that a crash cut short: the new store was whole, but not yet in its place.
pub(super) fn finish(file: &Path) -> io::Result<()> {
    let fresh = fresh_file(file);
    if file.exists() || !fresh.exists() {
        return Ok(());
    }
    // A log that stayed behind belongs to the damaged store, and must not be taken for the new one's.
    for companion in COMPANIONS {
        let left = beside(file, companion);
        if left.exists() {
            fs::rename(&left, beside(&left, &format!(".left-{}", stamp())))?;
        }
    }
    fs::rename(&fresh, file)?;
    let _ = fs::remove_file(suspect_mark(file));
    sync_folder_of(file)
}

const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

fn remove_with_companions(file: &Path) -> io::Result<()> {
    for suffix in ["", COMPANIONS[0], COMPANIONS[1]] {
        match fs::remove_file(beside(file, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Moves the store and its companions, and answers where the store is now.
fn move_aside(file: &Path) -> io::Result<PathBuf> {
    let aside = beside(file, &format!(".damaged-{}", stamp()));
    fs::rename(file, &aside)?;
    for companion in COMPANIONS {
        match fs::rename(beside(file, companion), beside(&aside, companion)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_folder_of(file)?;
    Ok(aside)
}

fn stamp() -> String {
    Timestamp::now().strftime("%Y%m%dT%H%M%S%6f").to_string()
}

#[derive(Debug, Default)]
struct Lost {
    rows: u64,
    tables: u64,
}

/// Makes a store at `fresh` of the rows of `file` that are whole, and answers how many those are.
fn copy_whole_rows(file: &Path, fresh: &Path) -> Result<(u64, Lost), Box<dyn std::error::Error>> {
    create(fresh)?;
    let mut target = schema::connect_to_write(fresh)?;
    let damaged = schema::connect_to_read(file);
    let known = damaged.as_ref().map(schema::version);
    let from = match known {
        Ok(Ok(Version::Known(version @ 1..))) => version,
        _ => schema::VERSION,
    };
    schema::migrate(&mut target, 0, from)?;
    let (mut kept, mut lost) = (0, Lost::default());
    if let Ok(damaged) = &damaged {
        let transaction = target.transaction()?;
        for table in &TABLES {
            kept += copy_table(damaged, &transaction, table, &mut lost)?;
        }
        transaction.commit()?;
    } else {
        lost.tables = TABLES.len() as u64;
    }
    schema::migrate(&mut target, from, schema::VERSION)?;
    // Without its log the new store is one file, and can be renamed.
    target.pragma_update(None, "journal_mode", "delete")?;
    target.close().map_err(|(_, error)| error)?;
    File::open(fresh)?.sync_all()?;
    Ok((kept, lost))
}

/// Copies from both ends, each as far as it can be read.
fn copy_table(from: &Connection, to: &Connection, table: &Table, lost: &mut Lost) -> rusqlite::Result<u64> {
    let before = to.total_changes();
    let mut damaged_rows = 0;
    let forward = copy_rows(from, to, table, "ASC", &mut damaged_rows)?;
    if !forward {
        lost.tables += 1;
        copy_rows(from, to, table, "DESC", &mut 0)?;
    }
    lost.rows += damaged_rows;
    Ok(to.total_changes() - before)
}

/// Copies the whole rows in the order of the key, and answers whether it came to the end.
fn copy_rows(
    from: &Connection,
    to: &Connection,
    table: &Table,
    order: &str,
    damaged_rows: &mut u64,
) -> rusqlite::Result<bool> {
    let key = if table.crc == 0 { "pipeline" } else { "id" };
    let sql = format!("SELECT * FROM {} ORDER BY {key} {order}", table.name);
    let Ok(mut statement) = from.prepare(&sql) else { return Ok(false) };
    let places = vec!["?"; statement.column_count()].join(",");
    let mut insert = to.prepare(&format!("INSERT OR IGNORE INTO {} VALUES ({places})", table.name))?;
    let Ok(mut rows) = statement.query([]) else { return Ok(false) };
    loop {
        match rows.next() {
            Err(_) => return Ok(false),
            Ok(None) => return Ok(true),
            Ok(Some(row)) if is_whole(table, row).unwrap_or(false) => copy_row(row, &mut insert)?,
            Ok(Some(_)) => *damaged_rows += 1,
        }
    }
}

fn copy_row(row: &Row<'_>, insert: &mut rusqlite::Statement<'_>) -> rusqlite::Result<()> {
    let columns = 0..row.as_ref().column_count();
    let values = columns.map(|column| row.get_ref(column).map(ToSqlOutput::Borrowed));
    insert.execute(rusqlite::params_from_iter(values.collect::<rusqlite::Result<Vec<_>>>()?))?;
    Ok(())
}
