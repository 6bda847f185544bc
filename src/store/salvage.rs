//! What becomes of a store that is damaged: it is set aside, and what can be read of it is kept.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::Connection;

use super::fault::unopened;
use super::folder::sync_folder_of;
use super::rescue;
use crate::model::Fault;

/// Up to this size a store is read through at every start, its indexes compared with their tables.
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
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
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
    // Not `quick_check`: rows that an index does not lead to would be missing from what is read by it.
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
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
    const ATTEMPTED: &str = "set aside the damaged store";
    let failed = |error: io::Error| unopened(ATTEMPTED, file, &error);
    let fresh = fresh_file(file);
    remove_with_companions(&fresh).map_err(failed)?;
    let rescued = rescue::rescue(file, &fresh).map_err(|error| unopened(ATTEMPTED, file, &error))?;
    let aside = move_aside(file).and_then(|aside| finish(file).map(|()| aside)).map_err(failed)?;
    log::error!(
        why, set_aside:% = aside.display(), rows_kept = rescued.rows, damaged_rows = rescued.damaged_rows,
        tables_cut_short = rescued.tables_cut_short;
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

/// What SQLite keeps beside a file: its log, and the index of that.
pub(super) const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

pub(super) fn remove_with_companions(file: &Path) -> io::Result<()> {
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

pub(super) fn stamp() -> String {
    Timestamp::now().strftime("%Y%m%dT%H%M%S%6f").to_string()
}
