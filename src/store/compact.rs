//! Gives the space back that a store does not need any more.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use super::fault::{is_full, stop};
use super::layout::Layout;
use super::salvage::{COMPANIONS, beside};
use super::{Store, writer};
use crate::model::Fault;

/// What a store took, with its log, before it was compacted and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    pub bytes_before: u64,
    pub bytes_after: u64,
}

impl Store {
    /// Rewrites the store without gaps. Commits wait until it is done. Needs as much space again while it works;
    /// without it nothing changes, and the fault says so.
    pub async fn compact(&self) -> Result<Compacted, Fault> {
        match &self.inner.writer {
            None => Err(writer::refuse_to_write()),
            Some(writer) => writer.compact().await,
        }
    }
}

/// To be called by the writer, outside of a commit.
pub(super) fn compact(connection: &Connection, file: &Path) -> Result<Compacted, Fault> {
    let bytes_before = bytes_of(file);
    let rewrite = || {
        empty_log(connection)?;
        connection.execute_batch("VACUUM")?;
        empty_log(connection)
    };
    rewrite().map_err(|error: rusqlite::Error| {
        if is_full(&error) {
            let cause = "there is not enough space on the disk for a copy of it (it may also be the one of temporary \
                         files, see SQLITE_TMPDIR); nothing was changed";
            stop("compact", file, cause)
        } else {
            stop("compact", file, error)
        }
    })?;
    Layout::note(connection, file);
    Ok(Compacted { bytes_before, bytes_after: bytes_of(file) })
}

/// Moves the log into the file. It keeps its size where someone reads it just now.
fn empty_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

fn bytes_of(file: &Path) -> u64 {
    let size = |suffix| fs::metadata(beside(file, suffix)).map_or(0, |metadata| metadata.len());
    size("") + size(COMPANIONS[0])
}
